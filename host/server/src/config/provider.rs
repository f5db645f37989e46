//! The upstreams: the built-in ones, changed by those of the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use tollgate_runtime::KeyPlace;

use super::value::BaseUrl;

/// Providers by name, in the order of their names.
pub type Providers = BTreeMap<String, Provider>;

/// One upstream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Whether requests may go there.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The component that speaks for it.
    pub adapter: String,
    /// The base of the adapter's paths.
    pub base_url: BaseUrl,
    /// Whether requests go there over HTTP/2, many on one connection, where the provider speaks it.
    #[serde(default)]
    pub http2: bool,
    /// The header in which the provider takes its key, where that is none of those that are made for keys.
    #[serde(default)]
    pub secret_header: Option<String>,
    /// The adapter's own configuration.
    #[serde(default)]
    pub config: toml::Table,
}

impl Provider {
    /// Where the operator says that the key goes: in a setting of its own, or in what they say to the adapter.
    pub(crate) fn key_place(&self) -> KeyPlace {
        let said = |name: &str| self.config.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        KeyPlace {
            header: self.secret_header.clone().or_else(|| said("auth_header")),
            scheme: said("auth_scheme"),
        }
    }
}

const fn yes() -> bool {
    true
}

/// The file's tables over the built-in ones, member by member.
pub(super) fn over_defaults<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Providers, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Partial {
        enabled: Option<bool>,
        adapter: Option<String>,
        base_url: Option<BaseUrl>,
        http2: Option<bool>,
        secret_header: Option<String>,
        config: Option<toml::Table>,
    }
    let mut providers = defaults();
    for (name, part) in BTreeMap::<String, Partial>::deserialize(input)? {
        let missing = |field| serde::de::Error::custom(format!("provider `{name}` needs `{field}`"));
        let known = providers.remove(&name);
        let adapter = part.adapter.or_else(|| known.as_ref().map(|p| p.adapter.clone()));
        let base_url = part.base_url.or_else(|| known.as_ref().map(|p| p.base_url.clone()));
        let provider = Provider {
            enabled: part.enabled.unwrap_or(true),
            adapter: adapter.ok_or_else(|| missing("adapter"))?,
            base_url: base_url.ok_or_else(|| missing("base_url"))?,
            http2: part.http2.unwrap_or(false),
            secret_header: part.secret_header,
            config: part.config.unwrap_or_default(),
        };
        providers.insert(name, provider);
    }
    Ok(providers)
}

/// The providers of an empty file.
pub(super) fn defaults() -> Providers {
    let provider = |adapter: &str, host: &'static str| Provider {
        enabled: true,
        adapter: adapter.to_owned(),
        base_url: BaseUrl::https(host),
        http2: false,
        secret_header: None,
        config: toml::Table::new(),
    };
    BTreeMap::from([
        ("openai".to_owned(), provider("openai", "api.openai.com")),
        ("anthropic".to_owned(), provider("claude", "api.anthropic.com")),
        ("google".to_owned(), provider("gemini", "generativelanguage.googleapis.com")),
    ])
}
