//! More is held as an answer passes, a slice at a time and before it is needed, so that no byte waits for it. Where the
//! balance carries no more, the answer is ended as if its output limit were reached ([`Tail`]), and what passed is
//! charged.
//!
//! What passes is known by its text alone: four bytes stand for a token. An answer with a hidden part, and one that
//! comes whole, are covered by an output limit from the beginning, and get here only where their provider ignores it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tollgate_core::hold::Quote;
use tollgate_core::json::{self, Kind};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol;
use tollgate_core::sse::{self, Framer};
use tollgate_runtime::Pricing;

use super::meter::BYTES_PER_TOKEN;
use super::request::{Hold, Request};
use super::reserve;
use super::taps::EVENT_BYTES_MAX;
use crate::state::accounts::Growth;
use crate::state::deciders::{Deciding, HoldRefused};

/// Most answers of one call whose end is told.
const ANSWERS_MAX: u64 = 128;

/// How much of an answer is covered while it passes.
pub(super) struct Coverage {
    /// Bytes of text from which on something is to be done; never where nothing is held.
    watch: u64,
    /// Output tokens that are covered.
    tokens: u64,
    /// Tokens that are asked for at a time.
    slice: u64,
    asked: Option<Asked>,
    /// How often in a row a slice was refused.
    refusals: u8,
    /// Kept once a slice was refused.
    tail: Option<Tail>,
}

/// A question to those who keep the balance.
struct Asked {
    tokens: u64,
    more: Micropoints,
    answer: Deciding<'static, Result<(), HoldRefused>>,
}

impl Coverage {
    /// For an answer whose request has this hold, where it has one and the answer can be followed.
    pub(super) fn of(hold: Option<&Hold>, followed: bool) -> Self {
        let cover = hold.filter(|_| followed).map(|hold| hold.cover);
        let (tokens, slice) = cover.map_or((u64::MAX, 0), |cover| (cover.tokens, cover.slice.max(1)));
        let mut coverage = Self { watch: u64::MAX, tokens, slice, asked: None, refusals: 0, tail: None };
        if let Some(cover) = cover {
            // Where all that may come is covered, it is enough to look when more does.
            coverage.watch = bytes(if cover.grows { coverage.early() } else { tokens });
        }
        coverage
    }

    /// Where half of a slice is left.
    const fn early(&self) -> u64 {
        self.tokens.saturating_sub(self.slice / 2)
    }

    /// Whether something is to be done after so many bytes of text: what every piece is compared with.
    pub(super) const fn is_due(&self, text_bytes: u64) -> bool {
        text_bytes > self.watch
    }

    /// Whether no piece may follow before the question has been answered.
    pub(super) const fn waits(&self, text_bytes: u64) -> bool {
        self.asked.is_some() && text_bytes > bytes(self.tokens)
    }

    /// Asks for more where it is due. Says whether the answer has to end: nothing more is granted, and all that is
    /// covered has passed.
    pub(super) fn advance(&mut self, hold: &Hold, pricing: Option<&Pricing>, text_bytes: u64) -> bool {
        let passed = text_bytes.div_ceil(BYTES_PER_TOKEN);
        loop {
            if self.asked.is_some() || self.refusals > 0 && passed <= self.tokens {
                return false;
            }
            // The second time, when all that is covered has passed, as little as makes sense will do.
            let slice = match self.refusals {
                0 => self.slice,
                1 => (self.slice / 8).max(1),
                _ => return true,
            };
            let refusals = self.refusals;
            self.ask(hold, pricing, passed.max(self.tokens).saturating_add(slice));
            if self.refusals <= refusals {
                return false;
            }
        }
    }

    fn ask(&mut self, hold: &Hold, pricing: Option<&Pricing>, tokens: u64) {
        let at = |tokens| {
            let quote = Quote { output_tokens_max: tokens, ..hold.cover.quote };
            pricing.and_then(|pricing| reserve::quoted(pricing, &quote).ok())
        };
        let (Some(now), Some(then)) = (at(self.tokens), at(tokens)) else { return self.refuse() };
        let more = then.checked_sub(now).unwrap_or_default().max(Micropoints::ZERO);
        match hold.granted.grow(more) {
            Growth::Decided(Ok(())) => self.grant(hold, tokens, more),
            Growth::Decided(Err(_)) => self.refuse(),
            Growth::Asked(answer) => self.asked = Some(Asked { tokens, more, answer }),
        }
    }

    fn grant(&mut self, hold: &Hold, tokens: u64, more: Micropoints) {
        hold.granted.grown(more);
        (self.tokens, self.refusals) = (tokens, 0);
        self.watch = bytes(self.early());
    }

    fn refuse(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
        self.tail.get_or_insert_default();
    }

    /// Takes in the answer to a question, if there is one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, hold: Option<&Hold>) {
        let Some((Asked { tokens, more, answer }, hold)) = self.asked.as_mut().zip(hold) else { return };
        let (tokens, more) = (*tokens, *more);
        let Poll::Ready(granted) = Pin::new(answer).poll(cx) else { return };
        self.asked = None;
        match granted {
            Ok(()) => self.grant(hold, tokens, more),
            Err(_) => self.refuse(),
        }
    }

    /// Looks at what the client gets, once it may have to be ended.
    pub(super) fn see(&mut self, protocol: Protocol, passed: &[u8]) {
        if let Some(tail) = &mut self.tail {
            tail.see(protocol, passed);
        }
    }

    /// The words that end the answer as its output limit would.
    pub(super) fn last_words(&self, request: &Request, hold: Option<&Hold>, first: &[u8]) -> Bytes {
        let answers = hold.map_or(1, |hold| hold.cover.answers);
        let nothing = Tail::default();
        self.tail.as_ref().unwrap_or(&nothing).words(request, answers, first, self.tokens)
    }
}

const fn bytes(tokens: u64) -> u64 {
    tokens.saturating_mul(BYTES_PER_TOKEN)
}

/// What the client has of an answer's end, so that it can be ended in order.
#[derive(Default)]
struct Tail {
    framer: Option<Framer>,
    /// The last event.
    last: Vec<u8>,
    /// Anthropic's content block that is open.
    block: Option<u64>,
}

impl Tail {
    fn see(&mut self, protocol: Protocol, passed: &[u8]) {
        let Self { framer, last, block } = self;
        let framer = framer.get_or_insert_with(|| Framer::new(EVENT_BYTES_MAX));
        // What cannot be framed tells nothing.
        let _framed = framer.push(passed, |frame| {
            let Some(data) = sse::data(frame.bytes()).filter(|data| data.starts_with(b"{")) else { return };
            last.clear();
            last.extend_from_slice(&data);
            if protocol == Protocol::AnthropicMessages {
                *block = open_block(&data, *block);
            }
        });
    }

    fn words(&self, request: &Request, answers: u64, first: &[u8], tokens: u64) -> Bytes {
        let id = request.id.to_string();
        let words = match request.call.protocol {
            Protocol::OpenaiChat => chat(&self.last, &id, answers),
            Protocol::OpenaiResponses => responses(&self.last, &id, first, request.at.millis() / 1000),
            Protocol::AnthropicMessages => messages(self.block, tokens),
            Protocol::Gemini if request.dialect().is_interaction() => format!(
                "event: interaction.complete\ndata: {{\"event_type\":\"interaction.complete\",\"interaction\":\
                 {{\"id\":\"{id}\",\"status\":\"incomplete\"}}}}\n\n"
            ),
            Protocol::Gemini => candidates(&self.last, answers),
        };
        words.into()
    }
}

/// The content block that is open after an event.
fn open_block(data: &[u8], before: Option<u64>) -> Option<u64> {
    let kind = json::find(data, &["type"]).and_then(|value| json::string(data, value));
    match kind.as_deref() {
        Some("content_block_start" | "content_block_delta") => {
            json::find(data, &["index"]).and_then(|value| json::unsigned(data, value))
        }
        Some("content_block_stop") => None,
        _ => before,
    }
}

/// The value of a member of an event, as it is written there.
fn raw<'e>(event: &'e [u8], path: &[&str]) -> Option<&'e str> {
    let value = json::find(event, path).filter(|value| value.kind != Kind::Null)?;
    std::str::from_utf8(&event[value.range()]).ok()
}

/// One for each of so many answers.
fn each(answers: u64, one: impl Fn(u64) -> String) -> String {
    (0..answers.min(ANSWERS_MAX)).map(one).collect::<Vec<_>>().join(",")
}

fn chat(last: &[u8], id: &str, answers: u64) -> String {
    let id = raw(last, &["id"]).map_or_else(|| json::quote(id), str::to_owned);
    let created = raw(last, &["created"]).unwrap_or("0");
    let model = raw(last, &["model"]).unwrap_or("\"\"");
    let choices = each(answers, |at| format!(r#"{{"index":{at},"delta":{{}},"finish_reason":"length"}}"#));
    format!(
        "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\
         \"choices\":[{choices}]}}\n\ndata: [DONE]\n\n"
    )
}

fn messages(block: Option<u64>, tokens: u64) -> String {
    let stop = block.map(|at| {
        format!("event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{at}}}\n\n")
    });
    format!(
        "{}event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"max_tokens\",\
         \"stop_sequence\":null}},\"usage\":{{\"output_tokens\":{tokens}}}}}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n",
        stop.unwrap_or_default()
    )
}

/// `first` are the first bytes of the stream, which tell what the response is called.
fn responses(last: &[u8], id: &str, first: &[u8], now_s: u64) -> String {
    let mut begun = Vec::new();
    // What cannot be framed tells nothing.
    let _framed = Framer::new(EVENT_BYTES_MAX).push(first, |frame| {
        if let Some(data) = sse::data(frame.bytes()).filter(|_| begun.is_empty()) {
            begun = data.into_owned();
        }
    });
    let known = |name| raw(&begun, &["response", name]);
    let id = known("id").map_or_else(|| json::quote(&format!("resp_{id}")), str::to_owned);
    let created = known("created_at").map_or_else(|| now_s.to_string(), str::to_owned);
    let model = known("model").unwrap_or("\"\"");
    let number = json::find(last, &["sequence_number"]).and_then(|value| json::unsigned(last, value));
    let number = number.map_or(0, |number| number.saturating_add(1));
    format!(
        "event: response.incomplete\ndata: {{\"type\":\"response.incomplete\",\"sequence_number\":{number},\
         \"response\":{{\"id\":{id},\"object\":\"response\",\"created_at\":{created},\"model\":{model},\
         \"status\":\"incomplete\",\"incomplete_details\":{{\"reason\":\"max_output_tokens\"}},\"output\":[],\
         \"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[]}}}}\n\n"
    )
}

/// What `generateContent` streams.
fn candidates(last: &[u8], answers: u64) -> String {
    let candidates = each(answers, |at| {
        format!(
            r#"{{"content":{{"parts":[{{"text":""}}],"role":"model"}},"finishReason":"MAX_TOKENS","index":{at}}}"#
        )
    });
    let mut more = String::new();
    for name in ["usageMetadata", "modelVersion", "responseId"] {
        if let Some(value) = raw(last, &[name]) {
            more.push_str(&format!(",\"{name}\":{value}"));
        }
    }
    format!("data: {{\"candidates\":[{candidates}]{more}}}\n\n")
}

#[cfg(test)]
mod tests {
    use super::{Tail, candidates, chat, messages, responses};
    use tollgate_core::protocol::Protocol;

    fn seen(protocol: Protocol, stream: &str) -> Tail {
        let mut tail = Tail::default();
        for piece in stream.as_bytes().chunks(7) {
            tail.see(protocol, piece);
        }
        tail
    }

    #[test]
    fn a_block_that_is_open_is_closed_and_no_other() {
        let start = "data: {\"type\":\"content_block_start\",\"index\":2}\n\n";
        let stop = "data: {\"type\":\"content_block_stop\",\"index\":2}\n\n";
        let blocks = Protocol::AnthropicMessages;
        assert_eq!(seen(blocks, start).block, Some(2));
        assert_eq!(seen(blocks, &[start, stop].concat()).block, None);
        // The first piece may be the rest of an event.
        let delta = "ta\":1}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
        assert_eq!(seen(blocks, delta).block, Some(0));
        assert!(
            messages(Some(2), 9)
                .starts_with("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2")
        );
        assert!(messages(None, 9).starts_with("event: message_delta\n"));
        assert!(messages(None, 9).contains("\"stop_reason\":\"max_tokens\""));
    }

    #[test]
    fn the_last_event_says_what_the_answer_is_called() {
        let tail =
            seen(Protocol::OpenaiChat, "data: {\"id\":\"c1\",\"created\":7,\"model\":\"m\"}\n\ndata: half");
        let words = chat(&tail.last, "r1", 2);
        assert!(
            words.contains("\"id\":\"c1\"") && words.matches("\"finish_reason\":\"length\"").count() == 2
        );
        assert!(words.ends_with("}\n\ndata: [DONE]\n\n"));
        assert!(chat(b"", "r1", 1).contains("\"id\":\"r1\""));
        let words = candidates(br#"{"modelVersion":"g","candidates":[]}"#, 1);
        assert!(
            words.contains("\"finishReason\":\"MAX_TOKENS\"") && words.contains("\"modelVersion\":\"g\"")
        );
    }

    #[test]
    fn a_response_keeps_its_name_and_counts_on() {
        let first = b"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_7\"}}\n\n";
        let words = responses(br#"{"sequence_number":41}"#, "r1", first, 5);
        assert!(
            words.starts_with("event: response.incomplete\n") && words.contains("\"sequence_number\":42")
        );
        assert!(words.contains("\"id\":\"resp_7\"") && words.contains("\"reason\":\"max_output_tokens\""));
        assert!(responses(b"", "r1", b"", 5).contains("\"id\":\"resp_r1\""));
    }
}
