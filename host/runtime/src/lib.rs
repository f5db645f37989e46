//! Runs policy and adapter components in sandboxes, and replaces them while traffic flows.
//!
//! The only crate that names wasmtime's types. A request takes one [`Generation`] from [`Runtime::current`] and calls
//! its components through typed handles: [`Adapter`], [`Selector`], [`Pricing`], [`Filter`]. Whatever a component
//! does, it costs that call at most its deadline and ends as a [`CallError`].
//!
//! Reading order: `plan` (what components say), `binding` (what operators say), `source`, `compile` and `loader`
//! (from bytes to a component that may serve), `unit`, `instance` and `slot` (how a call reaches an instance),
//! `exchange` (how a translation keeps one), `generation`, `registry` and `reload` (the transaction), `supervisor`,
//! `breaker` and `vitals` (what happens to those that fail).

mod adapter;
mod archive;
mod behalf;
mod binding;
mod bindings;
mod book;
mod breaker;
mod cache;
mod check;
mod choice;
mod compile;
mod considered;
mod deadline;
mod digest;
mod durations;
mod engine;
mod error;
mod event;
mod exchange;
mod generation;
mod inspect;
mod instance;
mod loader;
mod plan;
mod policy;
mod pricing;
mod probe;
mod purity;
mod registry;
mod reload;
mod runtime;
mod slot;
mod source;
mod spec;
mod state;
mod status;
mod supervisor;
mod translate;
mod unit;
mod versions;
mod vitals;
mod wasi;
mod watch;
mod world;

pub use adapter::Adapter;
pub use archive::Archive;
pub use behalf::{Behalf, caller_is};
pub use binding::{Binding, Embedded, Kind, Limits, OnError, Probation, Settings, Variant, WHOLE_PPM};
pub use choice::{Choice, Policies};
pub use considered::Considered;
pub use digest::{Digest, NoDigest};
pub use durations::Durations;
pub use error::{CallError, FaultKind, LoadError, ReloadError, StartError};
pub use event::Event;
pub use exchange::{Begun, Exchange};
pub use generation::Generation;
pub use inspect::{Inspection, inspect};
pub use plan::adapter::{AdapterPlan, Failure, Refusal, StreamOption, TextTap, Translation, UsageTap};
pub use plan::client::{ClientHeader, ClientParameter, HeaderForm};
pub use plan::endpoint::{Check, Endpoint, HeaderTemplate};
pub use plan::exchange::Terms;
pub use plan::place::KeyPlace;
pub use plan::platform::{BodyEdits, Framing, Platform, Scheme, Setting, is_value};
pub use plan::policy::{
    Action, Bill, Candidate, Charge, Direction, FilterPlan, FilterRule, Found, Health, HoldRule, PricingPlan,
    Reason, Rewards, SelectRequest, Syntax, Trigger, Verdict,
};
pub use policy::{Filter, Pricing, Selector};
pub use runtime::Runtime;
pub use source::Source;
pub use status::{ComponentState, ComponentStatus};
pub use translate::Reply;
pub use versions::{Ran, history, rolled_back};
