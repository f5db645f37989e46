//! The gateway, as a library so that tests can run it in their own process. In reading order:
//!
//! [`config`] (what the operator says) → [`app`] (the only place where things are wired together) → `worker` (a serving
//! thread) → `router` (paths to calls) → `proxy` (the data path, file by file). Beside them: `road` (a generation made ready
//! for the road), `directory` (who may call, in memory), `admin` (the operators' listener), `cli` (the command line) and
//! [`demo`] (a simulated provider).

pub mod app;
pub mod config;
pub mod demo;
pub mod desk;

mod acks;
mod admin;
mod allocator;
mod bodies;
mod body;
mod books;
mod check;
mod cli;
mod components;
mod conversation;
mod destination;
mod directory;
mod environment;
mod gates;
mod keys;
mod login;
mod master;
mod matcher;
mod memory_keys;
mod metrics;
mod model_routes;
mod net;
mod nurse;
mod password;
mod place;
mod pricediff;
mod pricefile;
mod priceimport;
mod proxy;
mod reload;
mod reprice;
mod retention;
mod road;
mod router;
mod secret_parts;
mod shared;
mod telemetry;
mod token;
mod tokens;
mod trial;
mod upstream;
mod worker;

pub use books::FirstStart;
pub use cli::main;
