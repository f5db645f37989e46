//! The calls of a translation. No large value goes into a component ([`values`](super::values)), what is large all the
//! same is worked on aside, and what is kept of a request afterwards is what its answer needs.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use tollgate_core::id::RequestId;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_runtime::{Adapter, Begun, CallError, Exchange, Reply, Terms};

use super::aside::{LARGE_BYTES, aside};
use super::error::{ProxyError, UPSTREAM_BROKE};
use super::lean::{conversation, lean};
use super::restore::Changed;
use super::taps::any_failure;
use super::values::Values;
use crate::transport::body::{Chained, Splice};

/// Most that a client is told of what was left out.
const LEFT_OUT_BYTES_MAX: usize = 1024;

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
    pub(super) output_limit: u64,
    pub(super) strict: bool,
}

/// A translation under way: an exchange, and what of its bodies stays with the host.
#[derive(Debug)]
pub(crate) struct Translation {
    exchange: Exchange,
    values: Values,
}

/// What a translation says.
#[derive(Debug)]
pub(super) struct Words {
    /// In the client's protocol.
    pub(super) pieces: VecDeque<Bytes>,
    /// Whether an event of it tells of a failure.
    pub(super) failed: bool,
}

impl Words {
    /// All of it as one.
    pub(super) fn joined(mut self) -> Bytes {
        match self.pieces.len() {
            0 | 1 => self.pieces.pop_front().unwrap_or_default(),
            _ => Vec::from(self.pieces).concat().into(),
        }
    }
}

impl Translation {
    /// What a component is given of events.
    pub(super) fn without_values(&mut self, events: &Bytes) -> Bytes {
        self.values.take_events(events).unwrap_or_else(|| events.clone())
    }

    /// Translates events of which [`without_values`](Self::without_values) is left.
    ///
    /// # Errors
    /// When the component failed.
    pub(super) fn part(&mut self, left: &[u8]) -> Result<Words, ProxyError> {
        let told = self.exchange.part(left);
        self.words(told)
    }

    /// Ends a stream.
    ///
    /// # Errors
    /// When the component failed.
    pub(super) fn end(&mut self) -> Result<Words, ProxyError> {
        let told = self.exchange.end();
        self.words(told)
    }

    fn words(&mut self, told: Result<Vec<u8>, CallError>) -> Result<Words, ProxyError> {
        // What went wrong with the component has been logged where it happened.
        let told = told.map_err(|_| ProxyError::Internal)?;
        let failed = any_failure(&told);
        Ok(Words { pieces: restored(&self.values, told)?, failed })
    }

    /// A failure of the upstream that blames the request.
    ///
    /// # Errors
    /// When the component failed.
    pub(super) fn failure(&mut self, status: u16, body: &[u8]) -> Result<Reply, CallError> {
        self.exchange.failure(status, body)
    }

    /// Bytes that it holds, where they count.
    pub(super) fn held_bytes(&self) -> usize {
        let weight = if self.exchange.is_heavy() { self.exchange.memory_bytes() } else { 0 };
        weight + self.values.bytes()
    }

    /// Whether no call has failed.
    pub(super) const fn is_sound(&self) -> bool {
        self.exchange.is_sound()
    }
}

/// What a component wrote, with what it was not given.
fn restored(values: &Values, told: Vec<u8>) -> Result<VecDeque<Bytes>, ProxyError> {
    values.restore(told).map_err(|Changed| {
        tracing::warn!("a component changed what stood for a value that it was not given");
        ProxyError::Internal
    })
}

/// A request in the upstream's protocol, and what translates its answer. `splices` are changes to the body.
///
/// # Errors
/// What the client is told of a request that cannot be translated; [`ProxyError::Unavailable`] when nobody can
/// translate it now.
pub(super) async fn begin(
    adapter: &Arc<Adapter>,
    asked: Asked,
    body: &Bytes,
    splices: &[Splice],
) -> Result<(Translation, Chained), ProxyError> {
    let (id, adapter) = (asked.id, Arc::clone(adapter));
    if body.len() < LARGE_BYTES {
        return begun(&adapter, &asked, body, splices);
    }
    let (body, splices) = (body.clone(), splices.to_vec());
    aside(id, move || begun(&adapter, &asked, &body, &splices)).await?
}

fn begun(
    adapter: &Adapter,
    asked: &Asked,
    body: &Bytes,
    splices: &[Splice],
) -> Result<(Translation, Chained), ProxyError> {
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
        output_limit: asked.output_limit,
        strict: asked.strict,
    };
    let mut values = Values::new();
    let left = match asked.operation {
        // The length of what is embedded is what it costs where nothing is stated.
        Operation::Embed | Operation::EmbedBatch => Chained::spliced(body, &mut splices.to_vec()).joined(),
        _ => values.take(body, splices),
    };
    // What went wrong with the component has been logged where it happened.
    let (mut exchange, told) = match adapter.begin(&terms, &left).map_err(|_| ProxyError::Unavailable)? {
        Begun::Translated(exchange, told) => (exchange, told),
        Begun::Refused(reply) => return Err(reply.into()),
        Begun::TooMuch => return Err(ProxyError::TooMuch),
    };
    if exchange.is_heavy()
        && let Some(lean) = lean(asked.client, &left)
    {
        exchange.relieve(adapter, &terms, &lean);
    }
    let sent = restored(&values, told)?.into();
    // What an answer may repeat is kept for it; the conversation is not.
    let said =
        if asked.client == Protocol::OpenaiResponses { conversation(asked.client, body) } else { None };
    values.forget(&said.map_or(0..body.len(), |said| said.range()));
    Ok((Translation { exchange, values }, sent))
}

/// What a translation has left out, as a header tells it: what a component says is bounded, and on one line.
pub(super) fn left_out(translation: &Translation) -> Option<HeaderValue> {
    let printable = |symbol: &char| matches!(symbol, ' '..='~');
    let names: String =
        translation.exchange.left_out().chars().filter(printable).take(LEFT_OUT_BYTES_MAX).collect();
    HeaderValue::try_from(names.trim()).ok().filter(|names| !names.is_empty())
}

/// A whole answer in the client's protocol.
///
/// # Errors
/// 500 when the component failed, 502 when the answer is not of its protocol.
pub(super) async fn whole(
    mut translation: Translation,
    operation: Operation,
    answer: Bytes,
    id: RequestId,
) -> Result<Chained, ProxyError> {
    let large = answer.len() >= LARGE_BYTES;
    let mut work = move || translation.whole(operation, &answer);
    let told = if large { aside(id, work).await? } else { work() };
    told.map(Chained::from)
}

impl Translation {
    fn whole(&mut self, operation: Operation, answer: &Bytes) -> Result<VecDeque<Bytes>, ProxyError> {
        // An embedding may be one long string, which is read.
        let left = if operation.generates() { self.values.take(answer, &[]) } else { answer.clone() };
        // What went wrong with the component has been logged where it happened.
        let told = self.exchange.answer(&left).map_err(|_| ProxyError::Internal)?;
        let told = told.map_err(|words| {
            tracing::warn!(words, "an upstream's answer is not of its protocol");
            UPSTREAM_BROKE
        })?;
        restored(&self.values, told)
    }
}
