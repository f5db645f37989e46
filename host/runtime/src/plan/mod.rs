//! What components say: plans that the host runs natively, and the values that go into a call and come out of it.
//!
//! Plain data that names nothing of wasmtime. `bindings` converts it from and to what `bindgen!` makes of `wit/`;
//! what a plan may not hold is refused when its component is loaded.

pub(crate) mod adapter;
pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod place;
pub(crate) mod platform;
pub(crate) mod policy;
