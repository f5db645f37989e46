//! Whether a streamed answer said that it is complete. A connection that closes in order proves nothing: servers and
//! proxies between them end a body of unknown length as soon as they have nothing more to send.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::json;
use crate::protocol::{Operation, Protocol};
use crate::sse;

/// Watches the events of one stream for the last word of its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    words: Words,
    said: bool,
    last: bool,
    /// Whether there is an answer whose end has to come: Gemini may state its usage alone.
    owed: bool,
    counted: bool,
}

/// How a protocol says that nothing more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// `data: [DONE]`, or a reason for the end of an answer, since some servers never send the former.
    Chat,
    /// An event whose `type` says so, in a Realtime session too.
    Responses,
    /// As in the Responses protocol.
    Messages,
    /// A reason for the end of an answer, or one for which there is none.
    Gemini,
    /// An event whose `event_type` says so, or `data: [DONE]`.
    Interactions,
}

impl Ending {
    /// At the beginning of a stream.
    #[must_use]
    pub const fn new(protocol: Protocol, operation: Operation) -> Self {
        let words = match protocol {
            Protocol::Gemini if matches!(operation, Operation::Interact) => Words::Interactions,
            Protocol::Gemini => Words::Gemini,
            Protocol::OpenaiChat => Words::Chat,
            Protocol::OpenaiResponses => Words::Responses,
            Protocol::AnthropicMessages => Words::Messages,
        };
        let owed = !matches!(words, Words::Gemini);
        Self { words, said: false, last: false, owed, counted: false }
    }

    /// Takes the next event, with its `data:`.
    pub fn see(&mut self, event: &[u8]) {
        if self.last {
            return;
        }
        self.said = self.said || self.words.are_in(event);
        if !self.owed {
            self.owed = CANDIDATES.find(event).is_some();
            self.counted = USAGE_METADATA.find(event).is_some();
        }
        self.last = self.said && self.words.are_last(event);
    }

    /// Takes the whole of an answer that is no stream of events. One that is a JSON array (Gemini without `alt=sse`)
    /// has to end as it began; any other comes from a server that does not stream and sends everything at once.
    pub fn see_whole(&mut self, body: &[u8]) {
        let body = body.trim_ascii();
        self.said = !body.starts_with(b"[") || body.ends_with(b"]") && self.words.are_in(body);
    }

    /// Whether the last word was among what was seen.
    #[must_use]
    pub const fn said(&self) -> bool {
        self.said || self.counted && !self.owed
    }

    /// Whether nothing at all comes after what was seen: usage may still come after the last word of some protocols.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.last
    }
}

impl Words {
    fn are_in(self, event: &[u8]) -> bool {
        match self {
            Self::Chat => is_done(event) || states(event, &FINISH_REASON),
            Self::Gemini => states(event, &CAMEL_FINISH_REASON) || states(event, &BLOCK_REASON),
            Self::Messages => is_named(event, &MESSAGE_STOP, "type", &["message_stop"]),
            Self::Responses => {
                let names = ["response.completed", "response.incomplete", "response.failed", "response.done"];
                is_named(event, &RESPONSE, "type", &names)
            }
            Self::Interactions => {
                let names = ["interaction.completed", "interaction.complete"];
                is_done(event) || is_named(event, &INTERACTION, "event_type", &names)
            }
        }
    }

    /// Whether an event with the last word, or after it, is the last one.
    fn are_last(self, event: &[u8]) -> bool {
        match self {
            Self::Chat => is_done(event),
            Self::Gemini => false,
            Self::Responses | Self::Messages | Self::Interactions => true,
        }
    }
}

type Needle = LazyLock<Finder<'static>>;

static DONE: Needle = LazyLock::new(|| Finder::new("[DONE]"));
static FINISH_REASON: Needle = LazyLock::new(|| Finder::new("\"finish_reason\""));
static CAMEL_FINISH_REASON: Needle = LazyLock::new(|| Finder::new("\"finishReason\""));
static CANDIDATES: Needle = LazyLock::new(|| Finder::new("\"candidates\""));
static USAGE_METADATA: Needle = LazyLock::new(|| Finder::new("\"usageMetadata\""));
static BLOCK_REASON: Needle = LazyLock::new(|| Finder::new("\"blockReason\""));
static MESSAGE_STOP: Needle = LazyLock::new(|| Finder::new("\"message_stop\""));
static RESPONSE: Needle = LazyLock::new(|| Finder::new("\"response."));
static INTERACTION: Needle = LazyLock::new(|| Finder::new("\"interaction.complete"));

fn is_done(event: &[u8]) -> bool {
    DONE.find(event).is_some() && sse::data(event).is_some_and(|data| data.trim_ascii() == b"[DONE]")
}

/// Whether a member of this name, at any depth, is a text that is not empty. In a text the quotes of the name would be
/// escaped, so what is found is a name, or a text that no value follows.
fn states(event: &[u8], name: &Finder<'_>) -> bool {
    let mut rest = event;
    while let Some(at) = name.find(rest) {
        rest = &rest[at + name.needle().len()..];
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if value.and_then(|value| value.strip_prefix(b"\"")).is_some_and(|text| !text.starts_with(b"\"")) {
            return true;
        }
    }
    false
}

/// Whether the event's own member `kind` is one of `names`.
fn is_named(event: &[u8], needle: &Finder<'_>, kind: &str, names: &[&str]) -> bool {
    if needle.find(event).is_none() {
        return false;
    }
    let Some(data) = sse::data(event) else { return false };
    let value = json::find(&data, &[kind]).and_then(|value| json::string(&data, value));
    value.is_some_and(|name| names.contains(&&*name))
}

#[cfg(test)]
mod tests {
    use super::{Ending, Operation, Protocol};

    fn said(protocol: Protocol, events: &[&str]) -> bool {
        let mut ending = Ending::new(protocol, Operation::Generate);
        events.iter().for_each(|event| ending.see(event.as_bytes()));
        ending.said()
    }

    #[test]
    fn a_chat_ends_with_done_or_with_a_reason() {
        let check =
            |expected: bool, events: &[&str]| assert_eq!(said(Protocol::OpenaiChat, events), expected);
        check(true, &["data: [DONE]\n\n"]);
        check(true, &["data: {\"choices\":[{\"finish_reason\" : \"stop\"}]}\n\n", "data: {}\n\n"]);
        check(
            false,
            &["data: {\"choices\":[{\"delta\":{\"content\":\"[DONE]\"},\"finish_reason\":null}]}\n\n"],
        );
        check(false, &["data: {\"choices\":[{\"finish_reason\":\"\"}]}\n\n"]);
        check(false, &["data: {\"text\":\"\\\"finish_reason\\\":\\\"stop\\\"\"}\n\n"]);
        check(false, &["data: {\"text\":\"finish_reason\",\"x\":\"stop\"}\n\n"]);
        check(false, &[]);
    }

    #[test]
    fn usage_may_follow_a_reason_and_nothing_follows_the_last_event() {
        let last = |protocol, events: &[&str]| {
            let mut ending = Ending::new(protocol, Operation::Generate);
            events.iter().for_each(|event| ending.see(event.as_bytes()));
            ending.is_last()
        };
        let reason = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n";
        assert!(!last(Protocol::OpenaiChat, &[reason]));
        assert!(last(Protocol::OpenaiChat, &[reason, "data: [DONE]\n\n"]));
        assert!(last(Protocol::AnthropicMessages, &["data: {\"type\":\"message_stop\"}\n\n"]));
        let failed = "data: {\"type\":\"response.failed\",\"response\":{}}\n\n";
        assert!(last(Protocol::OpenaiResponses, &[failed]));
        assert!(!last(Protocol::Gemini, &["data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n"]));
    }

    #[test]
    fn named_events_end_with_the_name_and_not_with_the_word() {
        let messages = |event: &str| said(Protocol::AnthropicMessages, &[event]);
        assert!(messages("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
        assert!(!messages(
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"message_stop\"}}\n\n"
        ));
        assert!(!messages("data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"));
        let responses = |event: &str| said(Protocol::OpenaiResponses, &[event]);
        for name in ["completed", "incomplete", "failed"] {
            assert!(responses(&format!("data: {{\"type\":\"response.{name}\",\"response\":{{}}}}\n\n")));
        }
        assert!(!responses("data: {\"type\":\"response.created\",\"response\":{}}\n\n"));
        assert!(!responses(
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\"}\n\n"
        ));
    }

    #[test]
    fn gemini_ends_with_a_reason_and_an_array_with_its_bracket_too() {
        let gemini = |event: &str| said(Protocol::Gemini, &[event]);
        assert!(gemini("data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\r\n\r\n"));
        assert!(gemini("data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\r\n\r\n"));
        assert!(!gemini("data: {\"candidates\":[{\"content\":{}}]}\r\n\r\n"));
        assert!(gemini("data: {\"usageMetadata\":{}}\r\n\r\n"), "an answer without candidates");
        assert!(!gemini("data: {\"candidates\":[{}],\"usageMetadata\":{}}\r\n\r\n"));
        let array = |array: &str| {
            let mut ending = Ending::new(Protocol::Gemini, Operation::Generate);
            ending.see_whole(array.as_bytes());
            ending.said()
        };
        assert!(array("[{\"candidates\":[{\"finishReason\":\"STOP\"}]}\n]\n"));
        assert!(!array("[{\"candidates\":[{\"finishReason\":\"STOP\"}]}\n"));
        assert!(!array("[{\"candidates\":[]}]"));
        assert!(array("{\"candidates\":[]}"), "a server that does not stream");
    }

    #[test]
    fn an_interaction_ends_with_its_completion() {
        let interaction = |event: &str| {
            let mut ending = Ending::new(Protocol::Gemini, Operation::Interact);
            ending.see(event.as_bytes());
            ending.said()
        };
        assert!(interaction("data: {\"interaction\":{},\"event_type\":\"interaction.completed\"}\n\n"));
        assert!(interaction("data: {\"interaction\":{},\"event_type\":\"interaction.complete\"}\n\n"));
        assert!(interaction("event: done\ndata: [DONE]\n\n"));
        assert!(!interaction("data: {\"event_type\":\"interaction.created\"}\n\n"));
    }
}
