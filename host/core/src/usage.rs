//! Token counts in disjoint classes.

use serde::{Deserialize, Serialize};

/// How far a usage figure can be trusted. Missing is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Quality {
    /// Stated by the provider.
    Exact,
    /// Part is derived from the bytes that were forwarded.
    Estimated,
    /// Nothing is known.
    #[default]
    Missing,
}

impl Quality {
    /// The name used in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Estimated => "estimated",
            Self::Missing => "missing",
        }
    }
}

/// Tokens of one request; a token is counted in one class only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens that no cache served or stored.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to a five-minute cache, or the provider's only kind.
    pub cache_write_short: u64,
    /// Prompt tokens written to a one-hour cache.
    pub cache_write_long: u64,
    /// Visible output tokens.
    pub output: u64,
    /// Hidden reasoning tokens.
    pub reasoning: u64,
    /// Prompt tokens of audio.
    pub audio_input: u64,
    /// Output tokens of audio.
    pub audio_output: u64,
    /// How far the figures can be trusted.
    pub quality: Quality,
}

impl Usage {
    /// All prompt tokens, cached ones included: what long-prompt tiers look at.
    #[must_use]
    pub const fn prompt_total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_short)
            .saturating_add(self.cache_write_long)
            .saturating_add(self.audio_input)
    }

    /// All output tokens, hidden ones included.
    #[must_use]
    pub const fn output_total(&self) -> u64 {
        self.output.saturating_add(self.reasoning).saturating_add(self.audio_output)
    }
}
