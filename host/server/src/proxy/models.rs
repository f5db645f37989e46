//! The model list, in the shape that the request's path or headers show: the models of the price table and of the model
//! routes that the caller can be served now. What has no price cannot be called, and what has no credential in service
//! is not answered: neither is in any list.

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http::request::Parts;
use serde_json::{Value, json};
use tollgate_core::health::Standing;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;

use super::error::ProxyError;
use super::lane::Lane;
use super::read::unmarked;
use super::router::{FILES_MODEL, Listing};
use super::{Outgoing, authenticate, carried, limit};
use crate::routing::plan::{Destination, Target};
use crate::routing::snapshot::RoutingSnapshot;
use crate::state::directory::{Caller, Directory};
use crate::upstream::CallKind;

/// What Codex is told of how to work with a model that it has no words of its own for.
const INSTRUCTIONS: &str = include_str!("instructions.md");

/// Answers `GET /v1/models`, `/v1beta/models` and one model of them.
pub(crate) fn answer(
    lane: &Lane,
    now: Timestamp,
    mut parts: Parts,
    listing: Listing,
) -> (Protocol, Result<Response<Outgoing>, ProxyError>) {
    let protocol = listing_protocol(&parts, &listing);
    let mut query = parts.uri.query().unwrap_or_default().to_owned();
    let keys = authenticate::take_keys(&mut parts.headers, &mut query);
    let directory = lane.shared.directory.load();
    let snapshot = lane.snapshot();
    let listed = authenticate::caller(&directory, &keys, now).and_then(|caller| {
        let offer = Offer { snapshot: &snapshot, directory: &directory, caller: &caller, protocol, now };
        match listing.name {
            None if protocol == Protocol::OpenaiChat && is_codex(&query) => Ok(of_codex(&offer.all())),
            None => Ok(list(protocol, &offer.all())),
            Some(name) => offer.one(&name).map(|model| entry(protocol, &model)),
        }
    });
    (protocol, listed.map(|body| respond(&body)))
}

/// Whether it is Codex that asks: it says which version it is.
fn is_codex(query: &str) -> bool {
    carried::pairs(query).any(|(name, _)| name == "client_version")
}

/// Who asks, and of what.
struct Offer<'a> {
    snapshot: &'a RoutingSnapshot,
    directory: &'a Directory,
    caller: &'a Caller,
    protocol: Protocol,
    now: Timestamp,
}

impl Offer<'_> {
    /// All models that the caller can be served.
    fn all(&self) -> Vec<Listed> {
        let mut names: Vec<&str> =
            self.directory.prices.at(self.now).models().map(|(name, _)| name).collect();
        names.extend(self.snapshot.routes().listed());
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| self.listed(name)).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// 404 where it is none of them.
    fn one(&self, name: &str) -> Result<Listed, ProxyError> {
        let prices = self.directory.prices.at(self.now);
        let known = |name: &str| {
            let priced = prices.models().any(|(known, _)| known == name);
            priced || self.snapshot.routes().listed().any(|known| known == name)
        };
        let plain = if known(name) { name } else { unmarked(name).unwrap_or(name) };
        let listed = Some(plain).filter(|name| known(name)).and_then(|name| self.listed(name));
        listed.ok_or_else(|| match self.directory.prices.still_to_come(self.now) {
            Some(first) => ProxyError::BeforePrices { now: self.now, first },
            None => ProxyError::UnknownModel(name.to_owned()),
        })
    }

    /// A model, if clients of this protocol can call it and somebody serves it.
    fn listed(&self, name: &str) -> Option<Listed> {
        limit::model(self.caller, name).ok()?;
        // It stands for kept files, and answers nobody.
        if name == FILES_MODEL {
            return None;
        }
        // A model without output makes embeddings.
        let generates = self.found(Operation::Generate, name).filter(|model| model.output_tokens_max > 0);
        generates.or_else(|| self.found(Operation::Embed, name).filter(|model| model.output_tokens_max == 0))
    }

    fn found(&self, operation: Operation, name: &str) -> Option<Listed> {
        let call = CallKind { protocol: self.protocol, operation, streaming: false };
        let prices = self.directory.prices.at(self.now);
        let destination = Destination::find(self.snapshot, prices, call, name).ok()?;
        let target = destination.targets().find(|target| self.serves(target))?;
        let price = target.price?;
        let provider = target.provider().unwrap_or(&price.provider).to_owned();
        Some(Listed { name: name.to_owned(), provider, output_tokens_max: price.output_tokens_max })
    }

    /// Whether a credential of the caller's is in service there. One that rests comes back by itself.
    fn serves(&self, target: &Target<'_>) -> bool {
        let mut credentials = self.directory.credentials(self.caller);
        credentials.any(|credential| {
            let disabled = matches!(credential.live.standing(self.now), Standing::Disabled { .. });
            !disabled && target.upstream(credential).is_some()
        })
    }
}

/// A model that can be called.
struct Listed {
    name: String,
    provider: String,
    output_tokens_max: u64,
}

fn list(protocol: Protocol, models: &[Listed]) -> Value {
    let entries: Vec<Value> = models.iter().map(|model| entry(protocol, model)).collect();
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => json!({"object": "list", "data": entries}),
        Protocol::AnthropicMessages => json!({
            "data": entries,
            "has_more": false,
            "first_id": models.first().map(|model| &model.name),
            "last_id": models.last().map(|model| &model.name),
        }),
        Protocol::Gemini => json!({"models": entries}),
    }
}

fn entry(protocol: Protocol, model: &Listed) -> Value {
    let Listed { name, provider, output_tokens_max } = model;
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": provider})
        }
        Protocol::AnthropicMessages => {
            json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        }
        Protocol::Gemini => {
            let methods: &[&str] = if *output_tokens_max == 0 {
                &["embedContent", "batchEmbedContents", "countTokens"]
            } else {
                &["generateContent", "streamGenerateContent", "countTokens"]
            };
            json!({
                "name": format!("models/{name}"),
                "displayName": name,
                "outputTokenLimit": output_tokens_max,
                "supportedGenerationMethods": methods,
            })
        }
    }
}

fn respond(body: &Value) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::from(Bytes::from(body.to_string())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The list as Codex reads it (`ModelsResponse` of its `codex-protocol`, read 2026-11): what a member says beside the
/// name holds for a model of which nothing else is known.
fn of_codex(models: &[Listed]) -> Value {
    let effort = |effort: &str| json!({"effort": effort, "description": ""});
    let entries =
        models.iter().filter(|model| model.output_tokens_max > 0).zip(1..).map(|(model, priority)| {
            json!({
                "slug": model.name,
                "display_name": model.name,
                "description": model.provider,
                "default_reasoning_level": "medium",
                "supported_reasoning_levels": [effort("low"), effort("medium"), effort("high")],
                "shell_type": "shell_command",
                "visibility": "list",
                "supported_in_api": true,
                "priority": priority,
                "availability_nux": null,
                "upgrade": null,
                "base_instructions": INSTRUCTIONS,
                "supports_reasoning_summaries": false,
                "support_verbosity": false,
                "default_verbosity": null,
                "apply_patch_tool_type": null,
                "truncation_policy": {"mode": "bytes", "limit": 10_000},
                "supports_parallel_tool_calls": true,
                "experimental_supported_tools": [],
            })
        });
    json!({"models": entries.collect::<Vec<_>>()})
}

/// The protocol of a model list, by its path or by what the client's headers show.
pub(super) fn listing_protocol(parts: &Parts, listing: &Listing) -> Protocol {
    listing.protocol.unwrap_or_else(|| by_headers(parts))
}

fn by_headers(parts: &Parts) -> Protocol {
    let has = |name: &str| parts.headers.contains_key(name);
    let query_key =
        || parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if has("anthropic-version") || (has("x-api-key") && !has(header::AUTHORIZATION.as_str())) {
        Protocol::AnthropicMessages
    } else if has("x-goog-api-key") || query_key() || agent.contains("google-genai") {
        Protocol::Gemini
    } else {
        Protocol::OpenaiChat
    }
}
