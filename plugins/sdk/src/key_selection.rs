//! Key-selection policies: world `key-selector` of `wit/policy.wit`, which documents every field.

pub use crate::bindings::key_selector::exports::tollgate::plugin::key_selection::{
    Candidate, Health, Request,
};

/// Chooses the credential that serves the next attempt.
pub trait KeySelector: Sized + 'static {
    /// Makes a selector from the JSON text of the binding's `config` table (`{}` when there is none).
    ///
    /// # Errors
    /// What is wrong with the configuration, for the operator; then nothing changes in the gateway.
    fn configure(config: &str) -> Result<Self, String>;

    /// The handle of one of `candidates` (there are 1 to 64), or none to refuse the request. Called once per attempt.
    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32>;
}

/// Exports a type that implements [`KeySelector`](crate::key_selection::KeySelector) as a component of world
/// `key-selector`.
#[macro_export]
macro_rules! export_key_selector {
    ($plugin:ty) => {
        $crate::__export_component!(
            $plugin,
            $crate::key_selection::KeySelector,
            __export_key_selector,
            key_selector
        );
    };
}
