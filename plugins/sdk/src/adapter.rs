//! Provider adapters: world `provider-adapter` of `wit/provider.wit`, which documents every field.

use crate::types::{Operation, Protocol, Usage};

pub use crate::bindings::provider_adapter::exports::tollgate::plugin::adapter::{
    Endpoint, Failure, FailureClass, HeaderTemplate, Plan, StreamOption, TextTap, UsageTap,
};

/// Speaks for one provider.
pub trait Adapter: Sized + 'static {
    /// Makes an adapter from the JSON text of the binding's `config` table (`{}` when there is none).
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for the operator; nothing changes in the gateway then.
    fn configure(config: &str) -> Result<Self, String>;

    /// Everything about the provider that is data. Called once, after `configure`.
    fn plan(&self) -> Plan;

    /// Maps what the usage taps of [`plan`](Self::plan) saw to disjoint token classes. Called once per billed response.
    fn read_usage(&self, protocol: Protocol, operation: Operation, samples: &[u8]) -> Usage;

    /// Says what an answer with a status of 400 or more means. Called once per failed attempt.
    fn classify(&self, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> Failure;
}

/// Exports a type that implements [`Adapter`](crate::adapter::Adapter) as a component of world `provider-adapter`.
#[macro_export]
macro_rules! export_adapter {
    ($plugin:ty) => {
        $crate::__export_component!(
            $plugin,
            $crate::adapter::Adapter,
            __export_provider_adapter,
            provider_adapter
        );
    };
}
