//! What strangers try, by kind: providers, users, components and accidents cannot take money, keys or service.

mod accidents;
mod bodies;
mod config;
mod connections;
mod data;
mod folding;
mod framing;
mod hidden;
mod holds;
mod install;
mod keys;
mod leaving;
mod lies;
mod lockouts;
mod memory;
mod numbers;
mod plugins;
pub(crate) mod refusals;
mod rewards;
mod secrets;
mod unpriced;
