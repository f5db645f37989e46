//! Which components the configuration asks for, and how they are bound.

use std::time::Duration;

use tollgate_components::COMPONENTS;
use tollgate_runtime::{Archive, Binding, Embedded, Kind, Limits, OnError, Probation, Settings, Variant};

use crate::config::{self, Config, Millis, Policy};
use crate::routing::matcher;

/// Enough to translate a request of the largest size by default: its text, the translation, and everything in between.
const ADAPTER_MEMORY_BYTES_MAX: usize = 128 << 20;

/// The runtime's settings.
pub(crate) fn settings(config: &Config, workers: usize) -> Settings {
    Settings {
        plugins_dir: Some(config.plugins_dir()),
        cache_dir: Some(config.cache_dir()),
        archive: Some(archive(config)),
        versions_file: Some(config.server.data_dir.join("components.txt")),
        embedded: COMPONENTS
            .iter()
            .map(|component| Embedded { name: component.name.to_owned(), bytes: component.bytes })
            .collect(),
        workers,
        probation: Probation::DEFAULT,
        limits: limits(&config.plugins),
        filter_check: |plan| matcher::compiled(plan).map(|_| ()),
    }
}

/// Where the pricing policies of receipts are kept.
pub(crate) fn archive(config: &Config) -> Archive {
    Archive::new(config.server.data_dir.join("components"))
}

fn limits(plugins: &config::Plugins) -> Limits {
    Limits {
        file_bytes_max: plugins.file_bytes_max,
        compile: Duration::from_millis(plugins.compile_timeout_ms.get()),
        configure_ms: milliseconds(plugins.configure_timeout_ms),
        ..Limits::DEFAULT
    }
}

/// At most a day, which fits.
fn milliseconds(limit: Millis) -> u32 {
    u32::try_from(limit.get()).unwrap_or(u32::MAX)
}

/// One binding per enabled provider, then the policies.
pub(crate) fn bindings(config: &Config) -> Vec<Binding> {
    let adapters =
        config.providers.iter().filter(|(_, provider)| provider.enabled).map(|(name, provider)| Binding {
            memory_bytes_max: ADAPTER_MEMORY_BYTES_MAX,
            key_place: provider.key_place(),
            ..Binding::of(
                name,
                Kind::ProviderAdapter,
                vec![Variant::new(&provider.adapter, json(&provider.config))],
            )
        });
    let policies = &config.policies;
    adapters
        .chain([
            policy("key-selection", Kind::KeySelector, &policies.key_selection),
            policy("pricing", Kind::PricingPolicy, &policies.pricing),
            policy("content-filter", Kind::ContentFilter, &policies.content_filter),
        ])
        .collect()
}

fn policy(name: &str, kind: Kind, policy: &Policy) -> Binding {
    Binding {
        on_error: match policy.on_error {
            config::OnError::Closed => OnError::Closed,
            config::OnError::Open => OnError::Open,
            config::OnError::Fallback => OnError::Fallback,
        },
        deadline_ms: milliseconds(policy.deadline_ms),
        memory_bytes_max: policy.memory_bytes_max,
        ..Binding::of(name, kind, vec![Variant::new(&policy.component, json(&policy.config))])
    }
}

fn json(table: &toml::Table) -> String {
    serde_json::to_string(table).unwrap_or_else(|_| "{}".to_owned())
}
