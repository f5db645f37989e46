//! Content filters: world `content-filter` of `wit/policy.wit`, which documents every field.

pub use crate::bindings::content_filter::exports::tollgate::plugin::filtering::{
    Action, Direction, Found, Plan, Rule, Syntax, Trigger, Verdict,
};

/// The gateway reports at most this many matches of one text.
pub const MATCHES_MAX: usize = 256;

/// Decides what may pass.
pub trait ContentFilter: Sized + 'static {
    /// Makes a filter from the JSON text of the binding's `config` table (`{}` when there is none).
    ///
    /// # Errors
    /// What is wrong with the configuration, for the operator; then nothing changes in the gateway.
    fn configure(config: &str) -> Result<Self, String>;

    /// The patterns that the gateway compiles and searches for. Called once, after `configure`.
    fn plan(&self) -> Plan;

    /// Says what happens to a text in which `matches` (sorted by start, at most [`MATCHES_MAX`]) were found.
    fn inspect(&self, direction: Direction, text: &str, matches: &[Found]) -> Verdict;
}

impl Verdict {
    /// Let everything pass.
    pub const ALLOW: Self = Self { action: Action::Allow, rule: 0, mask: Vec::new() };
}

/// Exports a type that implements [`ContentFilter`](crate::filtering::ContentFilter) as a component of world
/// `content-filter`.
#[macro_export]
macro_rules! export_content_filter {
    ($plugin:ty) => {
        $crate::__export_component!(
            $plugin,
            $crate::filtering::ContentFilter,
            __export_content_filter,
            content_filter
        );
    };
}
