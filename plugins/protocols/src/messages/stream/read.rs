//! Reading events.

use crate::anthropic::{self, MessageUsage};
use crate::json::{Node, Object, Text};
use crate::messages::request::parse_citation;
use crate::messages::response;
use crate::model::{self, Body, Delta, Event, Failed, Refused, Signature, Start};
use tollgate_plugin::types::Protocol;

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    usage: MessageUsage,
    /// The index of the block that is open, if it is a call.
    call: Option<u64>,
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

impl StreamReader {
    /// Unknown events are skipped, as Anthropic asks.
    fn event(&mut self, data: &str, emit: Emit<'_>) -> Result<(), Refused> {
        let document = Node::document(data.as_bytes())?;
        let event = document.object()?;
        match &*event.need("type")?.string()? {
            "message_start" => self.start(&event.need("message")?.object()?, emit),
            "content_block_start" => {
                let index = event.need("index")?.whole()?;
                self.block_start(index, &event.need("content_block")?.object()?, emit)
            }
            "content_block_delta" => {
                let index = event.need("index")?.whole()?;
                block_delta(index, &event.need("delta")?.object()?, emit)
            }
            "content_block_stop" => {
                if let Some(call) = self.call.take() {
                    emit_delta(emit, Delta::CallEnd { call });
                }
                Ok(())
            }
            "message_delta" => self.message_delta(&event, emit),
            "message_stop" => {
                self.stopped = true;
                emit(Event::End);
                Ok(())
            }
            "error" => {
                let failed = crate::messages::parse_error(0, data.as_bytes());
                let class = anthropic::classify(0, None, "", data.as_bytes()).class;
                emit(Event::Failed(Failed { class, ..failed }));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, message: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        let usage = message.take("usage");
        self.usage = usage.and_then(|usage| usage.shaped()).unwrap_or_default();
        emit(Event::Start(Start {
            id: message.take("id").map(|id| id.text()).transpose()?,
            model: message.take("model").map(|model| model.text()).transpose()?,
            created: None,
            usage: self.usage.classes(false),
        }));
        emit(Event::Usage(self.usage.classes(false)));
        if let Some(tier) = usage.and_then(|usage| response::tier(&usage)) {
            emit(Event::Tier(tier));
        }
        Ok(())
    }

    fn block_start(&mut self, index: u64, block: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        match &*block.need("type")?.string()? {
            "tool_use" => {
                self.call = Some(index);
                let id = block.need("id")?.string()?;
                let name = block.need("name")?.string()?;
                emit_delta(emit, Delta::Call { call: index, id, name, signature: None });
                // Some relays send all arguments at once; the others begin with an empty object.
                let input = block.take("input").map(|input| input.raw().0).filter(|input| *input != "{}");
                if let Some(input) = input {
                    emit_delta(emit, Delta::Arguments { call: index, text: Text::plain(input) });
                }
            }
            "text" => {
                if let Some(text) = block.take("text") {
                    emit_delta(emit, Delta::Text(text.text()?));
                }
            }
            "thinking" => {
                let text = block.take("thinking").map_or(Ok(Text::EMPTY), |text| text.text())?;
                if !text.is_empty() {
                    emit_delta(emit, Delta::Thinking(text));
                }
            }
            "redacted_thinking" => {
                let value = block.need("data")?.text()?;
                let mut signature = Signature::own(Protocol::AnthropicMessages, value);
                signature.redacted = true;
                emit_delta(emit, Delta::Signature(signature));
            }
            _ => {}
        }
        Ok(())
    }

    fn message_delta(&mut self, event: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        if let Some(delta) = event.take("delta") {
            let delta = delta.object()?;
            if let Some(Body::Refusal(text)) = response::explanation(&delta)?.map(|part| part.body) {
                emit_delta(emit, Delta::Refusal(text));
            }
            emit(Event::Finish { candidate: 0, finish: response::finish(&delta)? });
        }
        if let Some(usage) = event.take("usage") {
            self.usage = self.usage.overridden_by(usage.shaped().unwrap_or_default());
            emit(Event::Usage(self.usage.classes(true)));
        }
        Ok(())
    }
}

fn block_delta(index: u64, delta: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
    match &*delta.need("type")?.string()? {
        "text_delta" => emit_delta(emit, Delta::Text(delta.need("text")?.text()?)),
        "input_json_delta" => {
            let text = delta.need("partial_json")?.text()?;
            if !text.is_empty() {
                emit_delta(emit, Delta::Arguments { call: index, text });
            }
        }
        "citations_delta" => {
            if let Some(citation) = parse_citation(&delta.need("citation")?)? {
                emit_delta(emit, Delta::Citation(citation));
            }
        }
        "thinking_delta" => emit_delta(emit, Delta::Thinking(delta.need("thinking")?.text()?)),
        "signature_delta" => {
            let value = delta.need("signature")?.text()?;
            emit_delta(emit, Delta::Signature(Signature::own(Protocol::AnthropicMessages, value)));
        }
        _ => {}
    }
    Ok(())
}
