//! The model list, in the shape of the protocol that the request's headers show. Made of the price table: what has no price
//! cannot be called.

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http::request::Parts;
use serde_json::{Value, json};
use tollgate_core::price::ModelPrice;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;

use super::error::ProxyError;
use super::{Outgoing, authenticate, limit, listing_protocol};
use crate::road::{Road, Shape};
use crate::worker::Worker;

/// Answers `GET /v1/models`, `/v1beta/models` and one model of them.
pub(crate) fn answer(
    worker: &Worker,
    now: Timestamp,
    mut parts: Parts,
    name: Option<String>,
) -> (Protocol, Result<Response<Outgoing>, ProxyError>) {
    let protocol = listing_protocol(&parts);
    let mut query = parts.uri.query().unwrap_or_default().to_owned();
    let key = authenticate::take_key(&mut parts.headers, &mut query);
    let directory = worker.shared.directory.load();
    let listed = authenticate::caller(&directory, key.as_deref(), now).and_then(|caller| {
        let road = worker.road();
        let mut models: Vec<_> =
            directory.prices.models().filter(|(name, price)| offered(&road, name, price, protocol)).collect();
        models.retain(|(name, _)| limit::model(&caller, name).is_ok());
        models.sort_unstable_by_key(|(name, _)| *name);
        match name {
            None => Ok(list(protocol, &models)),
            Some(name) => models
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(known, price)| entry(protocol, known, price))
                .ok_or(ProxyError::UnknownModel(name)),
        }
    });
    (protocol, listed.map(|body| respond(&body)))
}

/// Whether clients of this protocol can call the model.
fn offered(road: &Road, name: &str, price: &ModelPrice, protocol: Protocol) -> bool {
    // A model without output makes embeddings.
    let operation = if price.output_tokens_max == 0 { Operation::Embed } else { Operation::Generate };
    let call = Shape { protocol, operation, streaming: false };
    road.destination(call, name, Some(price)).is_some_and(|destination| destination.exists())
}

fn list(protocol: Protocol, models: &[(&str, &ModelPrice)]) -> Value {
    let entries: Vec<Value> = models.iter().map(|(name, price)| entry(protocol, name, price)).collect();
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => json!({"object": "list", "data": entries}),
        Protocol::AnthropicMessages => json!({
            "data": entries,
            "has_more": false,
            "first_id": models.first().map(|(name, _)| name),
            "last_id": models.last().map(|(name, _)| name),
        }),
        Protocol::Gemini => json!({"models": entries}),
    }
}

fn entry(protocol: Protocol, name: &str, price: &ModelPrice) -> Value {
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": price.provider})
        }
        Protocol::AnthropicMessages => {
            json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        }
        Protocol::Gemini => {
            let methods: &[&str] = if price.output_tokens_max == 0 {
                &["embedContent", "batchEmbedContents", "countTokens"]
            } else {
                &["generateContent", "streamGenerateContent", "countTokens"]
            };
            json!({
                "name": format!("models/{name}"),
                "displayName": name,
                "outputTokenLimit": price.output_tokens_max,
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
