//! Reading events.

use crate::anthropic::{self, MessageUsage};
use crate::json::{Node, Object, Text};
use crate::messages::response;
use crate::model::{self, Body, Delta, Event, Failed, Refused, Signature, Start};
use tollgate_plugin::types::Protocol;

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    usage: MessageUsage,
    /// The index of the block that is open, if it is a call.
    call: Option<u64>,
    /// The index of the last block.
    last: Option<u64>,
    stopped: bool,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl model::StreamReader for StreamReader {
    fn read(&mut self, data: &str, emit: Emit<'_>) {
        if let Err(refused) = self.event(data, emit) {
            emit(Event::Failed(Failed::unreadable(&refused)));
        }
    }

    fn is_complete(&self) -> bool {
        self.stopped
    }
}

fn emit_delta(emit: Emit<'_>, delta: Delta<'_>) {
    emit(Event::Delta { candidate: 0, delta });
}

/// What an event is: its type or, where it says none, what it holds.
fn kind<'a>(event: &Object<'a, '_>) -> Text<'a> {
    let holds = |name: &str| event.has(name);
    match event.take("type") {
        Some(kind) => kind.words(),
        None if holds("error") => Text::escaped("error"),
        None if holds("message") => Text::escaped("message_start"),
        None if holds("content_block") => Text::escaped("content_block_start"),
        None if holds("delta") && !holds("index") => Text::escaped("message_delta"),
        None if holds("delta") => Text::escaped("content_block_delta"),
        None => Text::EMPTY,
    }
}

impl StreamReader {
    /// Unknown events are skipped, as Anthropic asks.
    fn event(&mut self, data: &str, emit: Emit<'_>) -> Result<(), Refused> {
        let document = Node::document(data.as_bytes())?;
        let event = document.object()?;
        let inner = |name| event.take(name).and_then(|node| node.members());
        match &*kind(&event).decode() {
            "message_start" => {
                if let Some(message) = inner("message") {
                    self.start(&message, emit);
                }
            }
            "content_block_start" => {
                let index = self.index(&event, true);
                if let Some(block) = inner("content_block") {
                    self.block_start(index, &block, emit);
                }
            }
            "content_block_delta" => {
                let index = self.index(&event, false);
                if let Some(delta) = inner("delta") {
                    block_delta(self.call.filter(|_| !event.has("index")).unwrap_or(index), &delta, emit);
                }
            }
            "content_block_stop" => {
                if let Some(call) = self.call.take() {
                    emit_delta(emit, Delta::CallEnd { call });
                }
            }
            "message_delta" => self.message_delta(&event, emit),
            "message_stop" => {
                self.stopped = true;
                emit(Event::End);
            }
            "error" => {
                let failed = crate::messages::parse_error(0, data.as_bytes());
                let class = anthropic::classify(0, None, "", data.as_bytes()).class;
                emit(Event::Failed(Failed { class, ..failed }));
            }
            _ => {}
        }
        Ok(())
    }

    /// The block that an event is of; where it says none, the last one or, of an event that begins one, the next.
    fn index(&mut self, event: &Object<'_, '_>, begins: bool) -> u64 {
        let stated = event.take("index").and_then(|index| index.count());
        let next = self.last.map_or(0, |last| last.saturating_add(u64::from(begins)));
        *self.last.insert(stated.unwrap_or(next))
    }

    fn start(&mut self, message: &Object<'_, '_>, emit: Emit<'_>) {
        let usage = message.take("usage");
        self.usage = usage.and_then(|usage| usage.shaped()).unwrap_or_default();
        emit(Event::Start(Start {
            id: message.take("id").map(|id| id.words()),
            model: message.take("model").map(|model| model.words()),
            created: None,
            usage: self.usage.classes(false),
        }));
        emit(Event::Usage(self.usage.classes(false)));
        if let Some(tier) = usage.and_then(|usage| response::tier(&usage)) {
            emit(Event::Tier(tier));
        }
    }

    fn block_start(&mut self, index: u64, block: &Object<'_, '_>, emit: Emit<'_>) {
        let text = |name| block.take(name).map_or(Text::EMPTY, |text| text.all_text());
        match &*response::kind(block).decode() {
            "tool_use" => {
                self.call = Some(index);
                let (id, name) = (text("id").into_decoded(), text("name").into_decoded());
                emit_delta(emit, Delta::Call { call: index, id, name, signature: None });
                // Some relays send all arguments at once; the others begin with an empty object.
                let input = block.take("input").filter(|input| !matches!(input.raw().0, "{}" | "\"\""));
                if let Some(input) = input {
                    let arguments = response::arguments(&input);
                    emit_delta(emit, Delta::Arguments { call: index, text: arguments.given() });
                }
            }
            "text" => emit_delta(emit, Delta::Text(text("text"))),
            "thinking" => {
                let text = text("thinking");
                if !text.is_empty() {
                    emit_delta(emit, Delta::Thinking(text));
                }
            }
            "redacted_thinking" => {
                let mut signature = Signature::own(Protocol::AnthropicMessages, text("data"));
                signature.redacted = true;
                emit_delta(emit, Delta::Signature(signature));
            }
            _ => {}
        }
    }

    fn message_delta(&mut self, event: &Object<'_, '_>, emit: Emit<'_>) {
        if let Some(delta) = event.take("delta").and_then(|delta| delta.members()) {
            if let Some(Body::Refusal(text)) = response::explanation(&delta).map(|part| part.body) {
                emit_delta(emit, Delta::Refusal(text));
            }
            emit(Event::Finish { candidate: 0, finish: response::finish(&delta) });
        }
        if let Some(usage) = event.take("usage") {
            self.usage = self.usage.overridden_by(usage.shaped().unwrap_or_default());
            emit(Event::Usage(self.usage.classes(true)));
        }
    }
}

fn block_delta(index: u64, delta: &Object<'_, '_>, emit: Emit<'_>) {
    let given = delta.take("type").map_or(Text::EMPTY, |kind| kind.words());
    let given = given.decode();
    let is = |kind: &str, holds: &str| *given == *kind || given.is_empty() && delta.has(holds);
    let text = |name| delta.take(name).map_or(Text::EMPTY, |text| text.all_text());
    if is("text_delta", "text") {
        emit_delta(emit, Delta::Text(text("text")));
    } else if is("input_json_delta", "partial_json") {
        let piece = delta.take("partial_json").map(|piece| response::arguments(&piece));
        if let Some(piece) = piece.as_ref().filter(|piece| !piece.given().is_empty()) {
            emit_delta(emit, Delta::Arguments { call: index, text: piece.given() });
        }
    } else if is("citations_delta", "citation") {
        if let Some(citation) = delta.take("citation").and_then(|node| response::citation(&node)) {
            emit_delta(emit, Delta::Citation(citation));
        }
    } else if is("thinking_delta", "thinking") {
        emit_delta(emit, Delta::Thinking(text("thinking")));
    } else if is("signature_delta", "signature") {
        emit_delta(emit, Delta::Signature(Signature::own(Protocol::AnthropicMessages, text("signature"))));
    }
}
