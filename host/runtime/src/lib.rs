//! Runs policy and adapter components in sandboxes, and replaces them while traffic flows.
//!
//! The only crate that names wasmtime's types. A request takes one [`Generation`] from [`Runtime::current`] and calls its
//! components through typed handles: [`Adapter`], [`Selector`], [`Pricing`], [`Filter`]. Whatever a component does, it
//! costs that call at most its deadline and ends as a [`CallError`].
//!
//! Reading order: [`binding`](Binding) (what operators say), `source`, `compile` and `loader` (from bytes to a component that may
//! serve), `unit` and `slot` (how a call reaches an instance), `exchange` (how a translation keeps one), `generation` and `reload` (the transaction), `supervisor`,
//! `breaker` and `vitals` (what happens to those that fail).

mod adapter;
mod archive;
mod binding;
mod bindings;
mod breaker;
mod cache;
mod compile;
mod deadline;
mod engine;
mod error;
mod exchange;
mod generation;
mod loader;
mod platform;
mod policy;
mod reload;
mod runtime;
mod slot;
mod source;
mod state;
mod status;
mod supervisor;
mod unit;
mod vitals;
mod wasi;
mod watch;
mod world;

pub use adapter::{
    Adapter, AdapterPlan, Check, Endpoint, Failure, HeaderTemplate, Refusal, StreamOption, TextTap,
    Translation, UsageTap,
};
pub use archive::Archive;
pub use binding::{Binding, Embedded, Kind, Limits, OnError, Probation, Settings};
pub use error::{CallError, Digest, FaultKind, LoadError, ReloadError, StartError};
pub use exchange::{Begun, Exchange, Reply, Terms};
pub use generation::Generation;
pub use platform::{BodyEdits, Framing, Platform, Scheme, Setting, is_value};
pub use policy::{
    Action, Bill, Candidate, Charge, Direction, Filter, FilterPlan, FilterRule, Found, Health, HoldRule,
    Pricing, PricingPlan, Reason, Rewards, SelectRequest, Selector, Syntax, Trigger, Verdict,
};
pub use runtime::Runtime;
pub use source::Source;
pub use status::{ComponentState, ComponentStatus, Event};
