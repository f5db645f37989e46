//! Takes the request in: collects its body, and peeks at the few members that decide something. Everything else stays
//! as the client wrote it.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Body;
use std::borrow::Cow;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tollgate_core::id::RequestId;
use tollgate_core::json::{self, Kind, Value};
use tollgate_core::protocol::{Operation, Protocol};

use super::aside::aside;
use super::carried::{self, ANYTHING, EVENTS, JSON};
use super::counted::Counted;
use super::error::ProxyError;
use super::extras::{Below, Extras};
use super::files::kept::Kept;
use super::form::Form;
use super::mark;
use super::members::{GENERATION, Member, STREAMED, last, members_of, members_within};
use super::prompt::Prompt;
use super::router::Call;
use super::spelling;
use super::unpack;
use crate::clock::before;
use crate::config::Limits;
use crate::state::memory::{Memory, Share, Spent};
use crate::state::trace::{Detail, detail};
use crate::transport::body::Splice;
use crate::transport::websocket::{self, Session};
use crate::upstream::CallKind;

/// Bodies from this length on are looked into on a thread of their own.
const LARGE_BYTES: usize = 1024 * 1024;
/// Asks Gemini for a stream of events.
const EVENTS_QUERY: &str = "alt=sse";
/// What Tollgate's own Gemini envelope has beside a Gemini body.
const OWN_MEMBERS: [&str; 2] = ["model", "stream"];
/// The model that judges where a request names none.
const JUDGE: &str = "omni-moderation-latest";
/// Behind the name of a model, Claude Code's wish for a context of a million tokens.
const LONG_CONTEXT: &str = "[1m]";
/// What begins a text in UTF-8 that says so, as some editors and shells write it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Longest name of a model: it is recorded, whoever asks for it.
const MODEL_BYTES_MAX: usize = 256;

/// A request as the client wrote it, and what was found in it.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// The client's protocol.
    pub(crate) protocol: Protocol,
    /// What it asks for.
    pub(crate) operation: Operation,
    /// The model's name, without a `models/` prefix.
    pub(crate) model: String,
    /// Whether the body names it in another way.
    pub(crate) renamed: bool,
    /// Whether the answer is to be streamed.
    pub(crate) streaming: bool,
    /// The client's bytes.
    pub(crate) body: Bytes,
    /// What is changed in them on the way.
    pub(crate) splices: Vec<Splice>,
    /// The client's headers, without any that carry a key.
    pub(crate) headers: HeaderMap,
    /// The client's query, without a key.
    pub(crate) query: String,
    /// The most output tokens that the request allows, all its answers together.
    pub(crate) output_tokens_max: Option<u64>,
    /// Answers that it asks for at once.
    pub(crate) answers: u64,
    /// The session that it is a call of.
    pub(super) session: Option<Session>,
    /// What it asks of kept files, where it is about those.
    pub(super) kept: Option<Box<Kept>>,
    /// Its fields, where it is a form.
    pub(super) form: Option<Form>,
    /// What it asks for beside text.
    pub(crate) extras: Extras,
    /// What of it the model reads.
    pub(crate) prompt: Prompt,
    /// Room for the body among all that is held.
    pub(crate) share: Option<Share>,
    /// Top-level members by name and place, for splices that an adapter declares.
    pub(crate) members: Vec<Member>,
}

impl Inbound {
    /// A request of which nothing is known but who asks for what.
    pub(super) fn bare(call: &Call, model: String, headers: HeaderMap, query: String, body: Bytes) -> Self {
        Self {
            protocol: call.protocol,
            operation: call.operation,
            model,
            renamed: false,
            streaming: false,
            splices: Vec::new(),
            headers,
            query,
            output_tokens_max: None,
            answers: 1,
            session: None,
            kept: None,
            form: None,
            extras: Extras::default(),
            prompt: Prompt::EMPTY,
            share: None,
            members: Vec::new(),
            body,
        }
    }

    /// What an admin is told of a request.
    pub(crate) fn told(&self) -> Detail {
        detail!({
            "model": self.model, "protocol": self.protocol.name(), "operation": self.operation.name(),
            "stream": self.streaming, "bytes": self.body.len(), "output_tokens_max": self.output_tokens_max,
        })
    }

    /// Whether it is a call of a Realtime session.
    pub(super) fn is_realtime(&self) -> bool {
        self.session.is_some_and(is_realtime)
    }

    /// What kind of call it is.
    pub(crate) const fn call(&self) -> CallKind {
        CallKind { protocol: self.protocol, operation: self.operation, streaming: self.streaming }
    }

    /// Whether a streamed answer is to be one JSON array: what Gemini's clients get that do not ask for events.
    pub(crate) fn wants_array(&self) -> bool {
        let events = || carried::pairs(&self.query).any(|(name, value)| name == "alt" && value == "sse");
        self.protocol == Protocol::Gemini
            && self.operation == Operation::Generate
            && self.streaming
            && !events()
    }

    /// What the answer is to be, in the same protocol.
    pub(crate) fn accepted(&self) -> HeaderValue {
        match self.operation {
            Operation::Speak | Operation::Transcribe | Operation::TranslateSpeech => ANYTHING,
            _ if self.streaming && !self.wants_array() => EVENTS,
            _ => JSON,
        }
    }

    /// The same request with another body, which is a JSON object too.
    ///
    /// # Errors
    /// 400 when it is none after all.
    pub(crate) fn with_body(mut self, body: Bytes) -> Result<Self, ProxyError> {
        self.members = members_of(&body, &mut ())?;
        if !self.splices.is_empty() {
            self.splices = without(&body, &self.members, &OWN_MEMBERS);
        }
        let prompt = self.prompt.left(body.len(), self.body.len());
        Ok(Self { body, prompt, ..self })
    }

    /// The same request for the model without its mark, where none is `known` by the name with it: Claude Code marks
    /// the model of which a long context is wanted, and says so in a header too.
    pub(crate) fn unmarked(mut self, known: impl Fn(&str) -> bool) -> Self {
        if let Some(plain) = unmarked(&self.model).filter(|_| !known(&self.model)) {
            self.model = plain.to_owned();
            self.renamed = true;
        }
        self
    }

    /// The last top-level member of that name; those that anything is decided by stand there once.
    pub(crate) fn member(&self, name: &str) -> Option<Value> {
        last(&self.members, name)
    }
}

fn is_realtime(session: Session) -> bool {
    session.kind == websocket::Kind::Realtime
}

/// Reads a call's body and peeks into it.
///
/// # Errors
/// 400 for what is not the protocol's, 408, 413 and 415 for bodies that cannot be taken.
pub(crate) async fn inbound(
    call: Call,
    headers: HeaderMap,
    query: String,
    body: &mut (impl Body<Data = Bytes> + Unpin),
    (limits, memory): (&Limits, &Arc<Memory>),
    id: RequestId,
) -> Result<Inbound, ProxyError> {
    let layers = unpack::layers(&headers)?;
    let mut share = memory.share();
    let mut body = collect(body, limits, &mut share).await?;
    if !layers.is_empty() {
        (body, share) = unpack::unpacked(layers, body, limits.request_body_bytes_max, share, id).await?;
    }
    if body.starts_with(BYTE_ORDER_MARK) {
        body.advance(BYTE_ORDER_MARK.len());
    }
    let large = body.len() >= LARGE_BYTES;
    let peek = move || match call.operation.is_form() {
        true => peek_form(&call, headers, query, body),
        false => peek(call, headers, query, body),
    };
    let mut inbound = if large { aside(id, peek).await?? } else { peek()? };
    inbound.share = Some(share);
    Ok(inbound)
}

/// Collects a body of bounded size and slowness. One piece is taken as it is; several are joined once.
pub(super) async fn collect(
    body: &mut (impl Body<Data = Bytes> + Unpin),
    limits: &Limits,
    share: &mut Share,
) -> Result<Bytes, ProxyError> {
    let max = limits.request_body_bytes_max;
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(ProxyError::BodyTooLarge(max));
    }
    let mut pace = Pace::new(limits);
    let mut first = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    let mut length = 0;
    loop {
        let frame = before(|| pace.deadline(length), pin!(body.frame())).await;
        let Some(frame) = frame.ok_or(ProxyError::BodyTimeout)? else { break };
        let frame = frame
            .map_err(|_| ProxyError::bad_request("The body ended before its announced length.", None))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > max {
            return Err(ProxyError::BodyTooLarge(max));
        }
        share.grow_to(length).map_err(|Spent| ProxyError::Full)?;
        match &mut joined {
            Some(joined) => joined.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let capacity = usize::try_from(announced).unwrap_or(max).clamp(length, max);
                let mut bytes = BytesMut::with_capacity(capacity);
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                joined = Some(bytes);
            }
        }
    }
    Ok(joined.map_or(first, BytesMut::freeze))
}

/// How slowly a body may come.
struct Pace {
    /// When it was first waited for.
    begun: Option<Instant>,
    /// Between two pieces, and beyond what the rate allows.
    patience: Duration,
    /// Bytes a second; 0 for any.
    rate: u64,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        let patience = limits.body_read_timeout_ms.duration();
        Self { begun: None, patience, rate: limits.client_rate_bytes_min }
    }

    /// Until when the next piece must come, after so many bytes.
    fn deadline(&mut self, bytes: usize) -> Instant {
        let now = Instant::now();
        let (begun, next) = (*self.begun.get_or_insert(now), now + self.patience);
        match (bytes as u64).saturating_mul(1000).checked_div(self.rate) {
            Some(ms) => next.min(begun + self.patience + Duration::from_millis(ms)),
            None => next,
        }
    }
}

/// Checks that the body is a JSON object and finds in it what decides something.
pub(super) fn peek(
    call: Call,
    headers: HeaderMap,
    query: String,
    body: Bytes,
) -> Result<Inbound, ProxyError> {
    let mut below = Below::new(&body, call.protocol, call.operation);
    let members = members_of(&body, &mut below)?;
    if let Some(plain) = spelling::plain(&body, &members) {
        return peek(call, headers, query, plain);
    }
    let mut extras = Extras::of(call.protocol, call.operation, &body, &members, &below);
    let session = mark::of(&headers);
    let around = call.operation.generates() && !session.is_some_and(is_realtime);
    let prompt = below.prompt.with(&members, extras.hides_of_prompt(), around);
    let streaming = match call.streaming {
        Some(streaming) => streaming,
        None => optional(&body, last(&members, "stream"), json::boolean, "stream", "true or false")?
            .unwrap_or(false),
    };
    no_background(&body, &members)?;
    no_agent(call.protocol, &members)?;
    stated_once(&body, &members)?;
    let by_body = optional(&body, last(&members, "model"), json::string, "model", "a string")?;
    let by_body = by_body.or((call.operation == Operation::Moderate).then_some(Cow::Borrowed(JUDGE)));
    let model = model(call.protocol, call.model, by_body)?;
    let splices = if call.gemini_chat { without(&body, &members, &OWN_MEMBERS) } else { Vec::new() };
    let (limit, answers) = output_limit(call.protocol, &body, &members)?;
    extras.count(Counted::of(call.operation, &body, &members, answers));
    Ok(Inbound {
        protocol: call.protocol,
        operation: call.operation,
        model,
        renamed: false,
        streaming,
        splices,
        headers,
        query: upstream_query(call.protocol, call.gemini_chat, streaming, query),
        output_tokens_max: limit.map(|limit| limit.saturating_mul(answers)),
        answers,
        kept: None,
        form: None,
        session,
        extras,
        prompt,
        share: None,
        members,
        body,
    })
}

/// Finds in a form what decides something.
fn peek_form(call: &Call, headers: HeaderMap, query: String, body: Bytes) -> Result<Inbound, ProxyError> {
    let form = Form::read(&headers, &body)?;
    let model = model(call.protocol, None, form.text(&body, "model").map(|(_, name)| name.into()))?;
    let answers = match form.text(&body, "n") {
        None => 1,
        Some((_, n)) => n.trim().parse().ok().filter(|n| *n > 0).ok_or_else(|| {
            ProxyError::bad_request("`n` must be a whole number that is more than 0.", Some("n"))
        })?,
    };
    let mut extras = Extras::default();
    extras.count(Counted::of_form(call.operation, &body, &form, answers));
    let mut prompt = Prompt::EMPTY;
    prompt.say(form.text_bytes());
    let bare = Inbound::bare(call, model, headers, query, body);
    Ok(Inbound { answers, form: Some(form), extras, prompt, ..bare })
}

/// The model that is asked, by the path or the body; where both name one, they have to agree.
fn model(
    protocol: Protocol,
    by_path: Option<String>,
    by_body: Option<Cow<'_, str>>,
) -> Result<String, ProxyError> {
    let wrong = |words: &str| ProxyError::bad_request(words, Some("model"));
    let plain = |name: &str| match name.strip_prefix("models/") {
        Some(name) if protocol == Protocol::Gemini => name.to_owned(),
        _ => name.to_owned(),
    };
    let model = match (by_path, by_body) {
        (None, None) => return Err(wrong("`model` is missing.")),
        (Some(name), None) => plain(&name),
        (None, Some(name)) => plain(&name),
        (Some(name), Some(other)) if plain(&name) == plain(&other) => plain(&name),
        (Some(_), Some(_)) => return Err(wrong("`model` is not the model that the path names.")),
    };
    match model.len() {
        0 => Err(wrong("`model` is empty.")),
        1..=MODEL_BYTES_MAX => Ok(model),
        _ => Err(wrong("`model` is too long.")),
    }
}

/// The name of a model without the mark that Claude Code puts behind it.
pub(super) fn unmarked(model: &str) -> Option<&str> {
    let (plain, mark) = model.split_at_checked(model.len().checked_sub(LONG_CONTEXT.len())?)?;
    (mark.eq_ignore_ascii_case(LONG_CONTEXT) && !plain.is_empty()).then_some(plain)
}

/// Checks what is read in more than one place, and has to be of one type in all of them.
fn stated_once(body: &[u8], members: &[Member]) -> Result<(), ProxyError> {
    for name in ["service_tier", "serviceTier", "speed"] {
        optional(body, last(members, name), json::string, name, "a string")?;
    }
    let object = |_: &[u8], value: Value| (value.kind == Kind::Object).then_some(value);
    if let Some(options) =
        optional(body, last(members, "stream_options"), object, "stream_options", "an object")?
    {
        let mut include = None;
        members_within(body, options, &STREAMED, |name, value| {
            if name == b"include_usage" {
                include = Some(value);
            }
        })?;
        optional(body, include, json::boolean, "include_usage", "true or false")?;
    }
    Ok(())
}

/// Refuses an agent: who answers then, and what that costs, is not what `model` says.
fn no_agent(protocol: Protocol, members: &[Member]) -> Result<(), ProxyError> {
    let named = last(members, "agent").is_some_and(|value| value.kind != Kind::Null);
    if named && matches!(protocol, Protocol::OpenaiResponses | Protocol::Gemini) {
        let words = "An agent is not served here: name a `model`, and leave `agent` out.";
        return Err(ProxyError::bad_request(words, Some("agent")));
    }
    Ok(())
}

/// Refuses an answer that is to be fetched later (Responses and interactions): there is no way here to fetch it, and
/// nobody would know what it cost.
fn no_background(body: &[u8], members: &[Member]) -> Result<(), ProxyError> {
    let asked = optional(body, last(members, "background"), json::boolean, "background", "true or false")?;
    if asked == Some(true) {
        let words = "An answer in the background cannot be fetched here: leave `background` out.";
        return Err(ProxyError::bad_request(words, Some("background")));
    }
    Ok(())
}

/// Reads a member of a known type; absent and `null` are the same.
fn optional<'a, T>(
    body: &'a [u8],
    value: Option<Value>,
    read: impl Fn(&'a [u8], Value) -> Option<T>,
    name: &'static str,
    expected: &str,
) -> Result<Option<T>, ProxyError> {
    match value {
        None => Ok(None),
        Some(value) if value.kind == Kind::Null => Ok(None),
        Some(value) => read(body, value)
            .map(Some)
            .ok_or_else(|| ProxyError::bad_request(format!("`{name}` must be {expected}."), Some(name))),
    }
}

/// The most output tokens that the request allows for an answer, and the number of answers it asks for.
fn output_limit(
    protocol: Protocol,
    body: &[u8],
    members: &[Member],
) -> Result<(Option<u64>, u64), ProxyError> {
    let number =
        |value, name| optional(body, value, json::unsigned, name, "a whole number that is not negative");
    let (limit, answers) = match protocol {
        Protocol::OpenaiChat => {
            let newer = number(last(members, "max_completion_tokens"), "max_completion_tokens")?;
            let older = number(last(members, "max_tokens"), "max_tokens")?;
            if newer.zip(older).is_some_and(|(newer, older)| newer != older) {
                let words = "`max_tokens` and `max_completion_tokens` are not the same: send one of them.";
                return Err(ProxyError::bad_request(words, Some("max_tokens")));
            }
            let answers = number(last(members, "n"), "n")?.max(number(last(members, "best_of"), "best_of")?);
            (newer.or(older), answers)
        }
        Protocol::OpenaiResponses => (number(last(members, "max_output_tokens"), "max_output_tokens")?, None),
        Protocol::AnthropicMessages => (number(last(members, "max_tokens"), "max_tokens")?, None),
        Protocol::Gemini => {
            let (limit, candidates) = generation_config(body, members)?;
            (number(limit, "maxOutputTokens")?, number(candidates, "candidateCount")?)
        }
    };
    Ok((limit, answers.unwrap_or(1).max(1)))
}

/// Gemini's limits, in either spelling that proto JSON takes.
fn generation_config(body: &[u8], members: &[Member]) -> Result<(Option<Value>, Option<Value>), ProxyError> {
    let config = last(members, "generationConfig").or_else(|| last(members, "generation_config"));
    let object = |_: &[u8], value: Value| (value.kind == Kind::Object).then_some(value);
    let config = optional(body, config, object, "generationConfig", "an object")?;
    let (mut limit, mut candidates) = (None, None);
    if let Some(config) = config {
        members_within(body, config, &GENERATION, |name, value| match name {
            b"maxOutputTokens" | b"max_output_tokens" => limit = Some(value),
            b"candidateCount" | b"candidate_count" => candidates = Some(value),
            _ => {}
        })?;
    }
    Ok((limit, candidates))
}

/// Splices that take top-level members out, with the commas that parted them.
pub(super) fn without(body: &[u8], members: &[Member], names: &[&str]) -> Vec<Splice> {
    let Some(open) = memchr::memchr(b'{', body) else { return Vec::new() };
    let close = memchr::memrchr(b'}', body).unwrap_or(body.len());
    let mut splices = Vec::new();
    let (mut kept_end, mut kept_any, mut removed) = (open + 1, false, false);
    for member in members {
        if names.iter().any(|name| *member.name == *name.as_bytes()) {
            removed = true;
            continue;
        }
        if removed {
            let with: &'static [u8] = if kept_any { b"," } else { b"" };
            let start = name_start(body, member.value);
            splices.push(Splice { range: kept_end..start, with: Bytes::from_static(with) });
        }
        (kept_end, kept_any, removed) = (member.value.end, true, false);
    }
    if removed {
        splices.push(Splice { range: kept_end..close, with: Bytes::new() });
    }
    splices
}

/// Where the name of a member begins, its quote included.
fn name_start(body: &[u8], value: Value) -> usize {
    let quote = |range: Range<usize>| memchr::memrchr(b'"', &body[range]);
    let Some(closing) = quote(0..value.start) else { return value.start };
    // A quote inside the name is escaped: step over those.
    let mut opening = quote(0..closing);
    while let Some(at) = opening.filter(|&at| at > 0 && body[at - 1] == b'\\') {
        opening = quote(0..at);
    }
    opening.unwrap_or(value.start)
}

/// The query that goes upstream: Tollgate's own Gemini envelope always streams as events.
fn upstream_query(protocol: Protocol, gemini_chat: bool, streaming: bool, query: String) -> String {
    if gemini_chat { own_query(protocol, streaming).to_owned() } else { query }
}

/// The query of a call that the gateway itself words: streams are events.
pub(crate) const fn own_query(protocol: Protocol, streaming: bool) -> &'static str {
    if matches!(protocol, Protocol::Gemini) && streaming { EVENTS_QUERY } else { "" }
}

#[cfg(test)]
mod tests {
    use super::{Inbound, peek};
    use crate::proxy::error::ProxyError;
    use crate::proxy::router::{Route, route};
    use crate::transport::body::Splice;
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    fn read(path: &str, body: &str) -> Result<Inbound, ProxyError> {
        let Route::Call(call) = route(&Method::POST, path) else { panic!("{path}") };
        peek(call, HeaderMap::new(), String::new(), Bytes::copy_from_slice(body.as_bytes()))
    }

    fn applied(inbound: &Inbound) -> String {
        let mut text = inbound.body.to_vec();
        for Splice { range, with } in inbound.splices.iter().rev() {
            text.splice(range.clone(), with.iter().copied());
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_envelope_of_a_gemini_chat_loses_its_own_members_only() {
        let check = |body: &str, left: &str| {
            assert_eq!(applied(&read("/gemini/v1/chat", body).unwrap()), left, "{body}");
        };
        check(r#"{"model":"m","contents":[]}"#, r#"{"contents":[]}"#);
        check(r#"{"contents":[],"model":"m"}"#, r#"{"contents":[]}"#);
        check(r#"{"contents":[], "model":"m" , "stream":true}"#, r#"{"contents":[]}"#);
        check(r#"{ "stream" : false,"contents":[],"model":"m","x":1}"#, r#"{"contents":[],"x":1}"#);
        check(r#"{"model":"m"}"#, "{}");
        check(r#"{"a\"b":1,"model":"m","c\"":"}"}"#, r#"{"a\"b":1,"c\"":"}"}"#);
    }

    #[test]
    fn another_body_loses_the_envelope_too_and_its_members_are_found_again() {
        let first = read("/gemini/v1/chat", r#"{"model":"m","contents":[1,2,3],"stream":true}"#).unwrap();
        let body = Bytes::from_static(br#"{"model":"m","contents":[3],"stream":true}"#);
        let other = first.with_body(body).unwrap();
        assert_eq!(applied(&other), r#"{"contents":[3]}"#);
        assert_eq!(&other.body[other.member("contents").unwrap().range()], b"[3]");
    }

    #[test]
    fn wrong_types_are_refused_by_name() {
        let check = |path: &str, body: &str, names: &str| match read(path, body) {
            Err(ProxyError::BadRequest { message, .. }) => {
                assert!(message.contains(names), "{body}: {message}")
            }
            other => panic!("{body}: {other:?}"),
        };
        check("/v1/chat/completions", "[]", "JSON object");
        check("/v1/chat/completions", "{\"model\":\"m\"", "JSON object");
        check("/v1/chat/completions", "{}", "`model` is missing");
        check("/v1/chat/completions", r#"{"model":7}"#, "`model` must be a string");
        check("/v1/chat/completions", r#"{"model":""}"#, "`model` is empty");
        check(
            "/v1/chat/completions",
            &format!(r#"{{"model":"{}"}}"#, "m".repeat(257)),
            "`model` is too long",
        );
        check("/v1/chat/completions", r#"{"model":"m","stream":"yes"}"#, "`stream` must be");
        check("/v1/responses", r#"{"model":"m","background":true}"#, "`background`");
        check("/v1/interactions", r#"{"model":"m","background":true}"#, "`background`");
        check("/v1/interactions", r#"{"model":"m","background":1}"#, "`background` must be");
        check("/v1/interactions", r#"{"model":"m","agent":"deep-research"}"#, "`agent`");
        check("/v1/models/m:generateContent", r#"{"model":"models/dear"}"#, "`model` is not the model");
        let limits = r#"{"model":"m","max_tokens":9,"max_completion_tokens":5}"#;
        check("/v1/chat/completions", limits, "`max_tokens` and `max_completion_tokens`");
        check("/v1/chat/completions", r#"{"model":"m","stream_options":[]}"#, "`stream_options` must be");
        check("/v1/chat/completions", r#"{"model":"m","service_tier":["priority"]}"#, "`service_tier` must");
        check("/v1/messages", r#"{"model":"m","max_tokens":-1}"#, "`max_tokens` must be");
        check("/v1/messages", r#"{"model":"m","max_tokens":1.5}"#, "`max_tokens` must be");
        check(
            "/gemini/v1/chat",
            r#"{"model":"m","generationConfig":{"maxOutputTokens":"9"}}"#,
            "maxOutputTokens",
        );
    }

    #[test]
    fn the_output_limit_counts_every_choice() {
        let limit = |path: &str, body: &str| read(path, body).unwrap().output_tokens_max;
        assert_eq!(limit("/v1/chat/completions", r#"{"model":"m","max_tokens":9,"n":3}"#), Some(27));
        let twice = r#"{"model":"m","max_tokens":9,"max_completion_tokens":9}"#;
        assert_eq!(limit("/v1/chat/completions", twice), Some(9));
        assert_eq!(limit("/v1/responses", r#"{"model":"m","max_output_tokens":7}"#), Some(7));
        assert_eq!(limit("/v1/messages", r#"{"model":"m","max_tokens":null}"#), None);
        assert_eq!(
            limit("/v1/chat/completions", r#"{"model":"m","max_tokens":9,"best_of":4,"n":2}"#),
            Some(36)
        );
        let unnamed = read("/v1/chat/completions", r#"{"model":"m","n":5}"#).unwrap();
        assert_eq!((unnamed.output_tokens_max, unnamed.answers), (None, 5));
        let gemini = r#"{"generation_config":{"max_output_tokens":4,"candidateCount":2}}"#;
        assert_eq!(limit("/v1/models/m:generateContent", gemini), Some(8));
    }
}
