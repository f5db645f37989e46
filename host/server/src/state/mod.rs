//! What a node decides from and keeps in memory: callers and accounts, credentials and their access tokens,
//! limits, concurrency, affinity, durable holds, what answers are like, counters, and the trace of a dry run. Each part
//! is safe to touch from several threads; [`crate::shared`] puts them together.

pub(crate) mod accounts;
pub(crate) mod affinity;
pub(crate) mod component_metrics;
pub(crate) mod concurrency;
pub(crate) mod configuration;
pub(crate) mod credentials;
pub mod deciders;
pub(crate) mod directory;
pub(crate) mod durable;
pub(crate) mod habits;
pub(crate) mod limiter;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod platform;
pub(crate) mod secret;
pub(crate) mod sharded;
pub(crate) mod tokens;
pub(crate) mod trace;
