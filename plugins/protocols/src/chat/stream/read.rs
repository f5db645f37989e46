//! Reading chunks.

use super::DONE;
use crate::chat::error;
use crate::chat::request::google_signature;
use crate::chat::response;
use crate::json::{Node, Object};
use crate::model::{self, Delta, Event, Failed, Refused, Start};
use crate::openai;
use tollgate_plugin::types::Usage;

/// Reads the chunks of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    started: bool,
    finished: bool,
    /// The calls so far; their positions are their numbers in the events.
    calls: Vec<Begun>,
}

/// A call, as its pieces name it.
#[derive(Debug)]
struct Begun {
    candidate: u64,
    index: u64,
    id: String,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl model::StreamReader for StreamReader {
    fn read(&mut self, data: &str, emit: Emit<'_>) {
        if data.trim() == DONE {
            emit(Event::End);
        } else if let Err(refused) = self.chunk(data, emit) {
            emit(Event::Failed(Failed::unreadable(&refused)));
        }
    }

    fn is_complete(&self) -> bool {
        self.finished
    }
}

impl StreamReader {
    fn chunk(&mut self, data: &str, emit: Emit<'_>) -> Result<(), Refused> {
        let document = Node::document(data.as_bytes())?;
        let chunk = document.object()?;
        if chunk.take("error").is_some() {
            let class = openai::classify(0, None, data.as_bytes()).class;
            let message = error::message(&document).unwrap_or_default();
            emit(Event::Failed(Failed::in_stream(class, message)));
            return Ok(());
        }
        if !self.started {
            self.started = true;
            emit(Event::Start(Start {
                id: chunk.take("id").map(|id| id.text()).transpose()?,
                model: chunk.take("model").map(|model| model.text()).transpose()?,
                created: chunk.take("created").and_then(|created| created.whole().ok()),
                usage: Usage::MISSING,
            }));
        }
        if let Some(tier) = response::parse_tier(&chunk) {
            emit(Event::Tier(tier));
        }
        if let Some(choices) = chunk.take("choices") {
            choices.items(|choice| self.choice(&choice.object()?, emit))?;
        }
        if let Some(usage) = chunk.take("usage") {
            emit(Event::Usage(response::parse_usage(&usage)));
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        let candidate = choice.take("index").map_or(Ok(0), |index| index.whole())?;
        let logprobs = response::parse_logprobs(choice)?;
        if !logprobs.is_empty() {
            emit(Event::Delta { candidate, delta: Delta::Logprobs(logprobs) });
        }
        if let Some(delta) = choice.take("delta") {
            self.deltas(candidate, &delta.object()?, &mut |delta| emit(Event::Delta { candidate, delta }))?;
        }
        // Some servers send an empty reason until there is one.
        if let Some(reason) = choice.take("finish_reason").filter(|reason| !reason.is("")) {
            self.finished = true;
            emit(Event::Finish { candidate, finish: response::finish(&reason)? });
        }
        Ok(())
    }

    fn deltas(
        &mut self,
        candidate: u64,
        delta: &Object<'_, '_>,
        emit: &mut dyn FnMut(Delta<'_>),
    ) -> Result<(), Refused> {
        if let Some(thoughts) = response::thoughts(delta)? {
            emit(Delta::Thinking(thoughts));
        }
        if let Some(text) = delta.take("content") {
            emit(Delta::Text(text.text()?));
        }
        if let Some(refusal) = delta.take("refusal") {
            emit(Delta::Refusal(refusal.text()?));
        }
        if let Some(list) = delta.take("annotations") {
            response::citations(&list)?.into_iter().for_each(|citation| emit(Delta::Citation(citation)));
        }
        let Some(calls) = delta.take("tool_calls") else { return Ok(()) };
        calls.items(|piece| self.call(candidate, &piece.object()?, emit))
    }

    fn call(
        &mut self,
        candidate: u64,
        piece: &Object<'_, '_>,
        emit: &mut dyn FnMut(Delta<'_>),
    ) -> Result<(), Refused> {
        let index = piece.take("index").map_or(Ok(0), |index| index.whole())?;
        let signature = piece.take("extra_content").map(|extra| google_signature(&extra)).transpose()?;
        let id = piece.take("id").map(|id| id.string()).transpose()?.unwrap_or_default();
        let Some(function) = piece.take("function") else { return Ok(()) };
        let function = function.object()?;
        let name = function.take("name").map(|name| name.string()).transpose()?.unwrap_or_default();
        let call = match self.begun(candidate, index, &id) {
            Some(call) => call,
            None if name.is_empty() => return Ok(()),
            None => {
                self.calls.push(Begun { candidate, index, id: id.clone().into_owned() });
                let call = self.calls.len() as u64 - 1;
                emit(Delta::Call { call, id, name, signature: signature.flatten() });
                call
            }
        };
        if let Some(arguments) = function.take("arguments") {
            let text = arguments.text()?;
            if !text.is_empty() {
                emit(Delta::Arguments { call, text });
            }
        }
        Ok(())
    }

    /// The call that a piece belongs to. Some servers repeat id and name in every piece, and some give all calls the
    /// same index: a new id is a new call.
    fn begun(&self, candidate: u64, index: u64, id: &str) -> Option<u64> {
        let same = |call: &Begun| {
            (call.candidate, call.index) == (candidate, index) && (id.is_empty() || call.id == id)
        };
        self.calls.iter().rposition(same).map(|place| place as u64)
    }
}
