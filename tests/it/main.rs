//! The one test binary: each module is a group of promises, each test's name is one.

mod accounts;
mod answer_filter;
mod bad_input;
mod bad_wire;
mod cancellation;
mod charging;
mod commands;
mod content_filter;
mod crash;
mod credential_api;
mod credential_states;
mod credentials;
mod docs;
mod failover;
mod key_limits;
mod management;
mod model_routes;
mod operators;
mod passthrough;
mod plugin_faults;
mod reload;
mod reseal;
mod routes;
mod sdk;
mod streaming;
mod translation;
