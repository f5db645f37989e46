//! Reading events.

use crate::json::{Node, Object, Text};
use crate::model::{self, Delta, Event, Failed, Refused, Start};
use crate::openai_terms;
use crate::responses::request::reasoning_item;
use crate::responses::{error, response};
use tollgate_plugin::types::Usage;

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    /// The places of calls whose arguments came in pieces: the events that end them repeat the arguments.
    argued: Vec<u64>,
    /// Whether the open item has shown thoughts.
    thought: bool,
    ended: bool,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl model::StreamReader for StreamReader {
    fn read(&mut self, data: &str, emit: Emit<'_>) {
        if let Err(refused) = self.event(data, emit) {
            emit(Event::Failed(Failed::unreadable(&refused)));
        }
    }

    fn is_complete(&self) -> bool {
        self.ended
    }
}

fn emit_delta(emit: Emit<'_>, delta: Delta<'_>) {
    emit(Event::Delta { candidate: 0, delta });
}

impl StreamReader {
    /// Events that repeat what came in pieces are skipped, and so are unknown events.
    fn event(&mut self, data: &str, emit: Emit<'_>) -> Result<(), Refused> {
        let document = Node::document(data.as_bytes())?;
        let event = document.object()?;
        match &*event.need("type")?.string()? {
            "response.created" => start(&event.need("response")?.object()?, emit)?,
            "response.output_item.added" => self.item_added(&event, emit)?,
            "response.output_text.delta" => {
                if let Some(tokens) = event.take("logprobs") {
                    let tokens = openai_terms::parse_logprobs(&tokens)?;
                    if !tokens.is_empty() {
                        emit_delta(emit, Delta::Logprobs(tokens));
                    }
                }
                emit_delta(emit, Delta::Text(event.need("delta")?.text()?));
            }
            "response.refusal.delta" => emit_delta(emit, Delta::Refusal(event.need("delta")?.text()?)),
            "response.output_text.annotation.added" => {
                if let Some(annotation) = event.take("annotation")
                    && let Some(citation) = response::citation(&annotation.object()?)?
                {
                    emit_delta(emit, Delta::Citation(citation));
                }
            }
            "response.reasoning_summary_part.added" if self.thought => {
                emit_delta(emit, Delta::Thinking(Text::escaped("\\n\\n")));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.thought = true;
                emit_delta(emit, Delta::Thinking(event.need("delta")?.text()?));
            }
            "response.function_call_arguments.delta" => {
                let call = event.need("output_index")?.whole()?;
                if !self.argued.contains(&call) {
                    self.argued.push(call);
                }
                emit_delta(emit, Delta::Arguments { call, text: event.need("delta")?.text()? });
            }
            "response.output_item.done" => self.item_done(&event, emit)?,
            "response.completed" | "response.incomplete" => {
                self.end(&event.need("response")?.object()?, emit)?;
            }
            "response.failed" => {
                let response = event.need("response")?.object()?;
                emit(Event::Failed(error::parse(&response.need("error")?.object()?)?));
            }
            "error" => emit(Event::Failed(error::parse(&event)?)),
            _ => {}
        }
        Ok(())
    }

    fn item_added(&mut self, event: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        self.thought = false;
        let call = event.need("output_index")?.whole()?;
        let item = event.need("item")?.object()?;
        if item.need("type")?.is("function_call") {
            let id = item.need("call_id")?.string()?;
            let name = item.need("name")?.string()?;
            emit_delta(emit, Delta::Call { call, id, name, signature: None });
        }
        Ok(())
    }

    fn item_done(&mut self, event: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        let call = event.need("output_index")?.whole()?;
        let item = event.need("item")?.object()?;
        match &*item.need("type")?.string()? {
            "function_call" => {
                if !self.argued.contains(&call)
                    && let Some(arguments) = item.take("arguments")
                {
                    emit_delta(emit, Delta::Arguments { call, text: arguments.text()? });
                }
                emit_delta(emit, Delta::CallEnd { call });
            }
            "reasoning" => {
                if let (_, Some(signature)) = reasoning_item(&item)? {
                    emit_delta(emit, Delta::Signature(signature));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, response: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        self.ended = true;
        if let Some(tier) = response::tier(response) {
            emit(Event::Tier(tier));
        }
        emit(Event::Usage(response::usage(response)));
        emit(Event::Finish { candidate: 0, finish: response::finish(response)? });
        emit(Event::End);
        Ok(())
    }
}

fn start(response: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
    emit(Event::Start(Start {
        id: response.take("id").map(|id| id.text()).transpose()?,
        model: response.take("model").map(|model| model.text()).transpose()?,
        created: response::created(response),
        usage: Usage::MISSING,
    }));
    Ok(())
}
