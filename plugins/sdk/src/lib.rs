//! What a plugin author depends on.
//!
//! A plugin is a type that implements the trait of its kind and is named in the export macro of its kind:
//!
//! | kind | trait | macro |
//! |---|---|---|
//! | provider adapter | [`adapter::Adapter`] | [`export_adapter!`] |
//! | key-selection policy | [`key_selection::KeySelector`] | [`export_key_selector!`] |
//! | pricing policy | [`pricing::Pricing`] | [`export_pricing!`] |
//! | content filter | [`filtering::ContentFilter`] | [`export_content_filter!`] |
//!
//! The gateway calls `configure`, keeps what it returns inside the sandbox, and makes every later call on that value; a
//! plugin therefore has no global state, and a native test is `MyPlugin::configure("{}")?.select(..)`.
//! `wit/README.md` tells what the gateway promises and what it forbids.
//!
//! ```
//! use tollgate_plugin::key_selection::{Candidate, Health, KeySelector, Request};
//! use tollgate_plugin::types::Owner;
//!
//! /// Serves with the credential that has failed least.
//! struct Steady;
//!
//! impl KeySelector for Steady {
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn select(&self, _request: Request, candidates: &[Candidate]) -> Option<u32> {
//!         let best = candidates.iter().min_by_key(|candidate| candidate.failures)?;
//!         Some(best.handle)
//!     }
//! }
//!
//! tollgate_plugin::export_key_selector!(Steady);
//!
//! let (owner, health) = (Owner::Platform, Health::Available);
//! let flaky =
//!     Candidate { handle: 1, owner, health, weight: 100, in_flight: 0, failures: 2, idle_ms: 0, affinity: 0 };
//! let sound = Candidate { handle: 2, failures: 0, ..flaky };
//! assert_eq!(Steady.select(Request { seed: 0, attempt: 0 }, &[flaky, sound]), Some(2));
//! ```
//!
//! Build for `wasm32-wasip2` as a `cdylib`. The macros export only there: the names of WIT exports hold characters that
//! native linkers refuse.

extern crate self as tollgate_plugin;

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod component;

pub mod adapter;
pub mod config;
pub mod filtering;
pub mod host;
pub mod key_selection;
pub mod pricing;
pub mod types;
