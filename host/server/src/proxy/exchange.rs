//! The calls of a translation that whole bodies go into: large ones aside, and what is kept of a request afterwards is
//! what its answer needs.

use std::sync::Arc;

use bytes::Bytes;
use tollgate_core::id::RequestId;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_runtime::{Adapter, Begun, CallError, Exchange, Terms};

use super::aside::{LARGE_BYTES, aside};
use super::error::ProxyError;
use super::flow::UPSTREAM_BROKE;
use super::lean::lean;

/// What a translation is told beside the body; see [`Terms`].
pub(super) struct Asked {
    pub(super) client: Protocol,
    pub(super) upstream: Protocol,
    pub(super) operation: Operation,
    pub(super) model: String,
    pub(super) id: RequestId,
    pub(super) now_s: u64,
    pub(super) streaming: bool,
    pub(super) json_array: bool,
}

/// A request in the upstream's protocol, and what translates its answer.
///
/// # Errors
/// What the client is told of a request that cannot be translated; [`ProxyError::Unavailable`] when nobody can
/// translate it now.
pub(super) async fn begin(
    adapter: &Arc<Adapter>,
    asked: Asked,
    body: Bytes,
) -> Result<(Exchange, Bytes), ProxyError> {
    let (id, large, adapter) = (asked.id, body.len() >= LARGE_BYTES, Arc::clone(adapter));
    let work = move || begun(&adapter, &asked, &body);
    let begun = if large { aside(id, work).await? } else { work() };
    // What went wrong with the component has been logged where it happened.
    match begun.map_err(|_| ProxyError::Unavailable)? {
        Begun::Translated(exchange, body) => Ok((exchange, body.into())),
        Begun::Refused(reply) => Err(reply.into()),
        Begun::TooMuch => Err(ProxyError::TooMuch),
    }
}

fn begun(adapter: &Adapter, asked: &Asked, body: &[u8]) -> Result<Begun, CallError> {
    let request_id = asked.id.to_string();
    let terms = Terms {
        client: asked.client,
        upstream: asked.upstream,
        operation: asked.operation,
        model: &asked.model,
        request_id: &request_id,
        now_s: asked.now_s,
        streaming: asked.streaming,
        json_array: asked.json_array,
    };
    let mut begun = adapter.begin(&terms, body)?;
    if let Begun::Translated(exchange, _) = &mut begun
        && exchange.is_heavy()
        && let Some(lean) = lean(asked.client, body)
    {
        exchange.relieve(adapter, &terms, &lean);
    }
    Ok(begun)
}

/// A whole answer in the client's protocol.
///
/// # Errors
/// 500 when the component failed, 502 when the answer is not of its protocol.
pub(super) async fn whole(mut exchange: Exchange, answer: Bytes, id: RequestId) -> Result<Bytes, ProxyError> {
    let large = answer.len() >= LARGE_BYTES;
    let mut work = move || exchange.answer(&answer);
    let translated = if large { aside(id, work).await? } else { work() };
    // What went wrong with the component has been logged where it happened.
    translated.map_err(|_| ProxyError::Internal)?.map(Bytes::from).map_err(|words| {
        tracing::warn!(words, "an upstream's answer is not of its protocol");
        UPSTREAM_BROKE
    })
}
