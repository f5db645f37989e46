//! What the runtime promises, one module per promise.
#![expect(clippy::unwrap_used, reason = "what fails to be set up fails the test")]

mod cache;
mod exchange;
mod faults;
mod harness;
mod refusals;
mod reload;
mod restart;
mod rollback;
mod sandbox;
mod variants;
mod watch;
