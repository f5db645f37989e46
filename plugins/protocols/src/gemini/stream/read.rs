//! Reading chunks.

use crate::chat;
use crate::gemini::proto::Proto as _;
use crate::gemini::{error, response};
use crate::json::{Node, Object};
use crate::model::{self, Candidate, Event, Failed, Finish, Refused, Start};
use tollgate_plugin::types::Usage;

/// Reads the chunks of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    started: bool,
    finished: bool,
    /// Whether there was a candidate, and whether usage was stated: an answer may have none of the former.
    candidates: bool,
    counted: bool,
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
        self.finished || self.counted && !self.candidates
    }
}

impl StreamReader {
    fn chunk(&mut self, data: &str, emit: Emit<'_>) -> Result<(), Refused> {
        let document = Node::document(data.as_bytes())?;
        let chunk = document.object()?;
        if let Some(words) = chat::error_told(&document) {
            let failed = chunk.take("error").and_then(|error| error.members());
            let code = failed.and_then(|error| error.take("code")?.count());
            let status = code.and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            let failed = error::parse(status, data.as_bytes());
            let message = if failed.message.is_empty() { words } else { failed.message };
            emit(Event::Failed(Failed { message, ..failed }));
            return Ok(());
        }
        let usage_node = chunk.field("usageMetadata");
        let usage = usage_node.map_or(Usage::MISSING, |usage| response::parse_usage(&usage));
        self.counted |= usage_node.is_some();
        if !std::mem::replace(&mut self.started, true) {
            emit(Event::Start(Start {
                id: chunk.field("responseId").map(|id| id.words()),
                model: chunk.field("modelVersion").map(|model| model.words()),
                created: None,
                usage,
            }));
        }
        if let Some(candidates) = chunk.field("candidates") {
            candidates.each(|node| {
                if let Some(candidate) = node.members() {
                    self.candidates = true;
                    self.candidate(&candidate, emit);
                }
            });
        }
        if let Some(blocked) = response::blocked(&chunk) {
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

    fn candidate(&mut self, object: &Object<'_, '_>, emit: Emit<'_>) {
        let candidate = object.take("index").and_then(|index| index.count()).unwrap_or(0);
        let reason = object.has_field("finishReason");
        let content = response::candidate(object);
        let finish = content.finish.clone();
        self.deltas(candidate, content, emit);
        if reason {
            self.finished = true;
            emit(Event::Finish { candidate, finish });
        }
    }

    fn deltas(&mut self, candidate: u64, content: Candidate<'_>, emit: Emit<'_>) {
        model::replay(candidate, content, &mut self.calls, emit);
    }
}
