//! Adapter for Lumen, a provider that does not exist and speaks almost as OpenAI does.
//!
//! It has chat completions only, below `/serving/<api_version>`, and takes its key in `x-lumen-key`. Prompt tokens that
//! came from its cache are not among `prompt_tokens` but beside them. A client that asks too often gets a 420 whose
//! body says how long to wait. Everything else is as at OpenAI, and left to its adapter: addresses, translation for
//! clients of other protocols, what other errors mean.

use serde::Deserialize;
use tollgate_plugin::adapter::{
    Adapter, Check, Exchange, Failure, FailureClass, Plan, Refusal, Reply, Translated,
};
use tollgate_plugin::config;
use tollgate_plugin::types::{Class, Operation, Protocol, Quality, Usage};
use tollgate_plugin_openai::Openai;
use tollgate_protocols::sample;

/// The line of the samples on which `usage` stands: OpenAI's plan names it first.
const USAGE: usize = 0;
/// The status for a key that asks too often.
const ENHANCE_YOUR_CALM: u16 = 420;

/// The adapter.
pub struct Lumen {
    openai: Openai,
    catalog: String,
}

/// What an operator may set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    api_version: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { api_version: "v3".to_owned() }
    }
}

/// `usage` in Lumen's words.
#[derive(Deserialize)]
struct Stated {
    prompt_tokens: u64,
    #[serde(default)]
    cached_prompt_tokens: u64,
    completion_tokens: u64,
}

/// The body of a 420.
#[derive(Deserialize)]
struct TooOften {
    retry_in_s: u64,
}

impl Adapter for Lumen {
    fn configure(config: &str) -> Result<Self, String> {
        let Options { api_version } = config::parse(config)?;
        let prefix = format!("/serving/{api_version}");
        let server = serde_json::json!({"protocol": "openai-chat", "auth_header": "x-lumen-key", "path_prefix": prefix});
        Ok(Self { openai: Openai::configure(&server.to_string())?, catalog: format!("{prefix}/catalog") })
    }

    fn plan(&self) -> Plan {
        let check = Check { path: self.catalog.clone(), account_header: None };
        // Azure and others have OpenAI's models, not these.
        Plan { check: Some(check), platforms: Vec::new(), ..self.openai.plan() }
    }

    fn read_usage(&self, _protocol: Protocol, _operation: Operation, samples: &[u8]) -> Usage {
        sample::read(samples, USAGE).map_or(Usage::MISSING, |stated: Stated| {
            let uncached = (Class::Input, stated.prompt_tokens);
            let cached = (Class::CacheRead, stated.cached_prompt_tokens);
            let output = (Class::Output, stated.completion_tokens);
            Usage::of(Quality::Exact, &[uncached, cached, output])
        })
    }

    fn classify(&self, refusal: &Refusal) -> Failure {
        if refusal.status != ENHANCE_YOUR_CALM {
            return self.openai.classify(refusal);
        }
        let told = serde_json::from_slice(&refusal.body)
            .ok()
            .map(|TooOften { retry_in_s }| retry_in_s.saturating_mul(1000));
        Failure { class: FailureClass::RateLimited, retry_after_ms: told.or(refusal.retry_after_ms) }
    }

    fn translate(&self, exchange: &Exchange, body: &[u8]) -> Result<Translated, Reply> {
        self.openai.translate(exchange, body)
    }
}

tollgate_plugin::export_adapter!(Lumen);

#[cfg(test)]
mod tests;
