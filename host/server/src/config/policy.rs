//! Where components come from, and the policies.

use std::path::PathBuf;

use serde::Deserialize;

use super::grant::Grants;
use super::value::Millis;

/// Where components come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// Files in this directory replace built-in components; `None` is `plugins` below the data directory.
    pub dir: Option<PathBuf>,
    /// Compiled code is kept in this directory between starts; `None` is `cache` below the data directory.
    pub cache_dir: Option<PathBuf>,
    /// Whether a changed file is loaded automatically.
    pub watch: bool,
    /// Largest component file, in bytes.
    pub file_bytes_max: u64,
    /// Longest compilation of one component, in CPU time of its thread.
    pub compile_timeout_ms: Millis,
    /// Longest `configure` of a fresh instance.
    pub configure_timeout_ms: Millis,
    /// Hosts that components may send keys to, beside those that are granted while the gateway runs.
    pub grants: Grants,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            dir: None,
            cache_dir: None,
            watch: true,
            file_bytes_max: 32 << 20,
            compile_timeout_ms: Millis(30_000),
            configure_timeout_ms: Millis(250),
            grants: Grants::default(),
        }
    }
}

/// The policies.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// Chooses credentials.
    #[serde(deserialize_with = "key_selection")]
    pub key_selection: Policy,
    /// Says what a request costs.
    #[serde(deserialize_with = "pricing")]
    pub pricing: Policy,
    /// Decides what may pass.
    #[serde(deserialize_with = "content_filter")]
    pub content_filter: Policy,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            key_selection: Policy::new("key-selection", OnError::Fallback),
            pricing: Policy::new("discount-points", OnError::Fallback),
            content_filter: Policy::new("content-filter", OnError::Closed),
        }
    }
}

/// How the content filter reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContentFilter {
    /// Whether texts are searched as a person reads them, too, and not only as they are spelled.
    pub fold: bool,
}

impl Default for ContentFilter {
    fn default() -> Self {
        Self { fold: true }
    }
}

/// One policy binding.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// File stem of the component.
    pub component: String,
    /// What happens to a request when the component fails.
    pub on_error: OnError,
    /// The longest time of a call.
    pub deadline_ms: Millis,
    /// The most linear memory.
    pub memory_bytes_max: usize,
    /// The component's own configuration.
    pub config: toml::Table,
}

impl Policy {
    fn new(component: &str, on_error: OnError) -> Self {
        Self {
            component: component.to_owned(),
            on_error,
            deadline_ms: Millis(5),
            memory_bytes_max: 16 * 1024 * 1024,
            config: toml::Table::new(),
        }
    }

    /// The file's members over this binding.
    fn read<'de, D: serde::Deserializer<'de>>(self, input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Partial {
            component: Option<String>,
            on_error: Option<OnError>,
            deadline_ms: Option<Millis>,
            memory_bytes_max: Option<usize>,
            config: Option<toml::Table>,
        }
        let part = Partial::deserialize(input)?;
        Ok(Self {
            component: part.component.unwrap_or(self.component),
            on_error: part.on_error.unwrap_or(self.on_error),
            deadline_ms: part.deadline_ms.unwrap_or(self.deadline_ms),
            memory_bytes_max: part.memory_bytes_max.unwrap_or(self.memory_bytes_max),
            config: part.config.unwrap_or(self.config),
        })
    }
}

fn key_selection<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Policy, D::Error> {
    Policies::default().key_selection.read(input)
}

fn pricing<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Policy, D::Error> {
    Policies::default().pricing.read(input)
}

fn content_filter<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Policy, D::Error> {
    Policies::default().content_filter.read(input)
}

/// What happens to a request when a component fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The request is refused.
    Closed,
    /// The request goes on without the policy.
    Open,
    /// The gateway's own rule is used.
    Fallback,
}
