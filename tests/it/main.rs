//! The one test binary: each module is a group of promises, each test's name is one.

mod bad_input;
mod bad_wire;
mod cancellation;
mod charging;
mod crash;
mod docs;
mod failover;
mod passthrough;
mod plugin_faults;
mod reload;
mod routes;
mod sdk;
mod streaming;
