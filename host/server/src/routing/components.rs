//! Which components the configuration asks for, and how they are bound.

use tollgate_components::COMPONENTS;
use tollgate_runtime::{Binding, Embedded, Kind, Probation, Settings, Variant};

use crate::config::bounds::{ADAPTER_MEMORY_BYTES_MAX, bounded, limits};
use crate::config::{Config, Policy};
use crate::routing::matcher;

/// The runtime's settings.
pub(crate) fn settings(config: &Config, workers: usize) -> Settings {
    Settings {
        plugins_dir: Some(config.plugins_dir()),
        cache_dir: Some(config.cache_dir()),
        archive: Some(config.archive()),
        versions_file: Some(config.versions_file()),
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
    bounded(Binding::of(name, kind, vec![Variant::new(&policy.component, json(&policy.config))]), policy)
}

/// The settings of a runtime that serves nobody: for whoever looks at components beside a server. It keeps nothing.
pub(crate) fn apart(config: &Config) -> Settings {
    Settings { plugins_dir: None, cache_dir: None, archive: None, versions_file: None, ..settings(config, 1) }
}

fn json(table: &toml::Table) -> String {
    serde_json::to_string(table).unwrap_or_else(|_| "{}".to_owned())
}
