//! The model list, in the shape of the protocol that the request's headers show: the models of the price table and of
//! the model routes. What has no price cannot be called, and is in no list.

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http::request::Parts;
use serde_json::{Value, json};
use tollgate_core::price::PriceTable;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;

use super::error::ProxyError;
use super::lane::Lane;
use super::{Outgoing, authenticate, limit};
use crate::routing::plan::Destination;
use crate::routing::snapshot::RoutingSnapshot;
use crate::upstream::CallKind;

/// Answers `GET /v1/models`, `/v1beta/models` and one model of them.
pub(crate) fn answer(
    lane: &Lane,
    now: Timestamp,
    mut parts: Parts,
    name: Option<String>,
) -> (Protocol, Result<Response<Outgoing>, ProxyError>) {
    let protocol = listing_protocol(&parts);
    let mut query = parts.uri.query().unwrap_or_default().to_owned();
    let key = authenticate::take_key(&mut parts.headers, &mut query);
    let directory = lane.shared.directory.load();
    let listed = authenticate::caller(&directory, key.as_deref(), now).and_then(|caller| {
        let snapshot = lane.snapshot();
        let prices = directory.prices.at(now);
        let mut names: Vec<&str> = prices.models().map(|(name, _)| name).collect();
        names.extend(snapshot.routes().listed());
        names.sort_unstable();
        names.dedup();
        names.retain(|name| limit::model(&caller, name).is_ok());
        let listed = |name: &'_ str| {
            offered(&snapshot, prices, name, protocol).filter(|model| caller.may_use(&model.provider))
        };
        match name {
            None => Ok(list(protocol, &names.into_iter().filter_map(listed).collect::<Vec<_>>())),
            Some(name) => names
                .into_iter()
                .find(|known| *known == name)
                .and_then(listed)
                .map(|model| entry(protocol, &model))
                .ok_or_else(|| match directory.prices.still_to_come(now) {
                    Some(first) => ProxyError::BeforePrices { now, first },
                    None => ProxyError::UnknownModel(name),
                }),
        }
    });
    (protocol, listed.map(|body| respond(&body)))
}

/// A model that can be called.
struct Listed {
    name: String,
    provider: String,
    output_tokens_max: u64,
}

/// A model, if clients of this protocol can call it.
fn offered(
    snapshot: &RoutingSnapshot,
    prices: &PriceTable,
    name: &str,
    protocol: Protocol,
) -> Option<Listed> {
    let find = |operation| {
        let call = CallKind { protocol, operation, streaming: false };
        let destination = Destination::find(snapshot, prices, call, name).ok().filter(Destination::exists)?;
        let (_, target) = destination.first()?;
        let price = target.price?;
        Some(Listed {
            name: name.to_owned(),
            provider: target.provider().unwrap_or(&price.provider).to_owned(),
            output_tokens_max: price.output_tokens_max,
        })
    };
    // A model without output makes embeddings.
    let generates = find(Operation::Generate).filter(|model| model.output_tokens_max > 0);
    generates.or_else(|| find(Operation::Embed).filter(|model| model.output_tokens_max == 0))
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

/// The protocol of a model list, by what the client's headers show.
pub(super) fn listing_protocol(parts: &Parts) -> Protocol {
    let has = |name: &str| parts.headers.contains_key(name);
    let query_key =
        parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if has("anthropic-version") || (has("x-api-key") && !has(header::AUTHORIZATION.as_str())) {
        Protocol::AnthropicMessages
    } else if has("x-goog-api-key")
        || query_key
        || agent.contains("google-genai")
        || parts.uri.path().starts_with("/v1beta")
    {
        Protocol::Gemini
    } else {
        Protocol::OpenaiChat
    }
}
