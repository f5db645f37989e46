//! Reading chunks.

use crate::gemini::proto::Proto as _;
use crate::gemini::{error, response};
use crate::json::{Node, Object};
use crate::model::{self, Body, Candidate, Delta, Event, Failed, Finish, Refused, Start};
use tollgate_plugin::types::Usage;

/// Reads the chunks of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    started: bool,
    finished: bool,
    /// How many calls there were.
    calls: u64,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl model::StreamReader for StreamReader {
    fn read(&mut self, data: &str, emit: Emit<'_>) {
        if let Err(refused) = self.chunk(data, emit) {
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
        if let Some(failed) = chunk.take("error") {
            let code = failed.object()?.take("code").and_then(|code| code.whole().ok());
            let status = code.and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            emit(Event::Failed(error::parse(status, data.as_bytes())));
            return Ok(());
        }
        let usage_node = chunk.field("usageMetadata");
        let usage = usage_node.map_or(Usage::MISSING, |usage| response::parse_usage(&usage));
        if !std::mem::replace(&mut self.started, true) {
            emit(Event::Start(Start {
                id: chunk.field("responseId").map(|id| id.text()).transpose()?,
                model: chunk.field("modelVersion").map(|model| model.text()).transpose()?,
                created: None,
                usage,
            }));
        }
        if let Some(candidates) = chunk.field("candidates") {
            candidates.items(|node| self.candidate(&node.object()?, emit))?;
        }
        if let Some(blocked) = response::blocked(&chunk)? {
            self.finished = true;
            self.deltas(0, blocked, emit);
            emit(Event::Finish { candidate: 0, finish: Finish::Filtered });
        }
        if let Some(node) = usage_node {
            emit(Event::Usage(usage));
            if let Some(tier) = response::tier(&node) {
                emit(Event::Tier(tier));
            }
        }
        Ok(())
    }

    fn candidate(&mut self, object: &Object<'_, '_>, emit: Emit<'_>) -> Result<(), Refused> {
        let candidate = object.take("index").map_or(Ok(0), |index| index.whole())?;
        let reason = object.field("finishReason").map(|reason| response::finish(&reason)).transpose()?;
        self.deltas(candidate, response::candidate(object)?, emit);
        if let Some(finish) = reason {
            self.finished = true;
            emit(Event::Finish { candidate, finish });
        }
        Ok(())
    }

    fn deltas(&mut self, candidate: u64, content: Candidate<'_>, emit: Emit<'_>) {
        let mut emit = |delta: Delta<'_>| emit(Event::Delta { candidate, delta });
        if !content.logprobs.is_empty() {
            emit(Delta::Logprobs(content.logprobs));
        }
        for part in content.parts {
            match part.body {
                Body::Text { text, citations } => {
                    emit(Delta::Text(text));
                    citations.into_iter().for_each(|citation| emit(Delta::Citation(citation)));
                }
                Body::Thinking { text, signature } => {
                    if !text.is_empty() {
                        emit(Delta::Thinking(text));
                    }
                    if let Some(signature) = signature {
                        emit(Delta::Signature(signature));
                    }
                }
                Body::Refusal(text) => emit(Delta::Refusal(text)),
                Body::Call(model::Call { id, name, arguments, signature }) => {
                    let call = self.calls;
                    self.calls += 1;
                    emit(Delta::Call { call, id, name, signature });
                    emit(Delta::Arguments { call, text: arguments.encoded() });
                    emit(Delta::CallEnd { call });
                }
                _ => {}
            }
        }
    }
}
