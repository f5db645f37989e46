//! The gateway, as a library so that tests can run it in their own process. In reading order:
//!
//! [`config`] (what the operator says) → [`app`] (the only place where things are wired together) → `listen` (sockets
//! and serving threads) → `proxy` (the data path, file by file). Beside them: `routing` (who may serve a call), `state`
//! (what a node decides, and from what), `control` (what runs beside the road), `admin` (the operators' listener),
//! `manage` (what operators and users do), `cli` (the command line) and [`demo`] (a simulated provider).
//! ARCHITECTURE.md lists all rooms.

pub mod app;
pub mod config;
pub mod demo;
pub mod manage;
pub mod transport;

mod admin;
mod allocator;
mod auth;
mod bodies;
mod cli;
mod clock;
mod control;
mod listen;
mod prices;
mod proxy;
mod routing;
mod shared;
mod state;
mod telemetry;
mod upstream;

pub use cli::main;
pub use control::directory_sync::FirstStart;
pub use state::deciders;
