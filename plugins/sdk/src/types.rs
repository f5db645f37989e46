//! Words that every kind of plugin shares. Documented, with units, in `wit/types.wit`.

pub use crate::bindings::provider_adapter::tollgate::plugin::types::{
    Operation, Outcome, Owner, Protocol, Quality, Usage,
};

impl Usage {
    /// Nothing is known, which is not the same as no tokens.
    pub const MISSING: Self = Self {
        input: 0,
        cache_read: 0,
        cache_write_short: 0,
        cache_write_long: 0,
        output: 0,
        reasoning: 0,
        audio_input: 0,
        audio_output: 0,
        quality: Quality::Missing,
    };
}
