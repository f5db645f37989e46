//! End-to-end promises, and the harness that checks them.
//!
//! A test stands between two ends that it controls to the byte: [`upstream`] plays the provider by script, and
//! [`client`] plays the caller; [`gateway`] stands between them. [`http2`], [`tls`] and [`curl`] call in other ways,
//! [`sdk`] runs the providers' official SDKs instead, [`browser`] opens the console, and [`odd`] writes what no SDK
//! would; [`hub`] is the shared state of several gateways. The promises themselves are in `it/`.
//!
//! Nothing here sleeps to wait for something: a script stops at a [`upstream::Gate`] until the test opens it, and
//! every wait is for an event. [`patiently`] only turns a wait that would last for ever into a failure.

pub mod browser;
pub mod client;
pub mod curl;
pub mod frames;
pub mod gateway;
pub mod http1;
pub mod http2;
pub mod hub;
pub mod install;
pub mod managed;
pub mod odd;
pub mod process;
pub mod schema;
pub mod sdk;
pub mod source;
pub mod tls;
pub mod upstream;
pub mod websocket;

use std::time::Duration;

/// Longer than anything takes on a busy machine, if it happens at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits `event`.
///
/// # Panics
/// When it has not happened within a minute, saying what was waited for.
pub async fn patiently<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
