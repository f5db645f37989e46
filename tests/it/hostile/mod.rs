//! What strangers try, by kind: providers, users, components and accidents cannot take money, keys or service.

mod accidents;
mod bodies;
mod config;
mod data;
mod folding;
mod hidden;
mod install;
mod keys;
mod lockouts;
mod numbers;
mod plugins;
mod refusals;
mod rewards;
mod secrets;
