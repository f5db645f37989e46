//! Reading chunks.

use crate::chat::error;
use crate::chat::response;
use crate::json::{Node, Object, Text};
use crate::model::{self, Body, Delta, Event, Failed, Refused, Start};
use crate::nesting::Nesting;
use crate::openai;
use tollgate_plugin::types::Usage;

/// Reads the chunks of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    started: bool,
    finished: bool,
    /// Whether it comes in deltas, as it should: a message beside them repeats them.
    deltas: bool,
    /// The calls so far; their positions are their numbers in the events.
    calls: Vec<Begun>,
}

/// A call, as its pieces name it.
#[derive(Debug)]
struct Begun {
    candidate: u64,
    index: Option<u64>,
    id: String,
    name: String,
    /// Whether its arguments have begun.
    argued: bool,
    arguments: Nesting,
}

/// What a piece says of the call that it belongs to.
struct Piece<'s> {
    candidate: u64,
    index: Option<u64>,
    id: &'s str,
    name: &'s str,
    argues: bool,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl model::StreamReader for StreamReader {
    fn read(&mut self, data: &str, emit: Emit<'_>) {
        if let Err(refused) = self.chunk(data, emit) {
            emit(Event::Failed(Failed::unreadable(&refused)));
        }
    }

    fn done(&mut self, emit: Emit<'_>) {
        emit(Event::End);
    }

    fn is_complete(&self) -> bool {
        self.finished
    }
}

impl StreamReader {
    fn chunk(&mut self, data: &str, emit: Emit<'_>) -> Result<(), Refused> {
        let document = Node::document(data.as_bytes())?;
        let chunk = document.object()?;
        if let Some(message) = error::told(&document) {
            let class = openai::classify(0, None, data.as_bytes()).class;
            emit(Event::Failed(Failed::in_stream(class, message)));
            return Ok(());
        }
        if !self.started {
            self.started = true;
            emit(Event::Start(Start {
                id: chunk.take("id").map(|id| id.words()),
                model: chunk.take("model").map(|model| model.words()),
                created: chunk.take("created").and_then(|created| created.count()),
                usage: Usage::MISSING,
            }));
        }
        if let Some(tier) = response::parse_tier(&chunk) {
            emit(Event::Tier(tier));
        }
        if let Some(choices) = chunk.take("choices") {
            choices.each(|choice| {
                if let Some(choice) = choice.members() {
                    self.choice(&choice, emit);
                }
            });
        }
        if let Some(usage) = chunk.take("usage") {
            emit(Event::Usage(response::parse_usage(&usage)));
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Object<'_, '_>, emit: Emit<'_>) {
        let candidate = choice.take("index").and_then(|index| index.count()).unwrap_or(0);
        let logprobs = response::parse_logprobs(choice);
        if !logprobs.is_empty() {
            emit(Event::Delta { candidate, delta: Delta::Logprobs(logprobs) });
        }
        let mut put = |delta: Delta<'_>| emit(Event::Delta { candidate, delta });
        let delta = choice.take("delta").and_then(|delta| delta.members());
        self.deltas |= delta.is_some();
        let message = choice.take("message").and_then(|message| message.members());
        if let Some(said) = delta.as_ref().or(message.as_ref().filter(|_| !self.deltas)) {
            self.deltas(candidate, said, &mut put);
        } else if let Some(text) = choice.take("text").filter(|_| message.is_none()) {
            put(Delta::Text(text.words()));
        }
        // Some servers state the counts here.
        if let Some(usage) = choice.take("usage") {
            emit(Event::Usage(response::parse_usage(&usage)));
        }
        // Some servers send an empty reason until there is one.
        let reason = choice.take("finish_reason").filter(|reason| !reason.words().is_empty());
        if let Some(reason) = reason.filter(|reason| !reason.is("null")) {
            self.finished = true;
            emit(Event::Finish { candidate, finish: response::finish(&reason) });
        }
    }

    fn deltas(&mut self, candidate: u64, delta: &Object<'_, '_>, emit: &mut dyn FnMut(Delta<'_>)) {
        response::speech(delta, &mut |body| match body {
            Body::Text { text, .. } => emit(Delta::Text(text)),
            Body::Thinking { text, .. } => emit(Delta::Thinking(text)),
            Body::Refusal(text) => emit(Delta::Refusal(text)),
            _ => {}
        });
        if let Some(list) = delta.take("annotations") {
            response::citations(&list).into_iter().for_each(|citation| emit(Delta::Citation(citation)));
        }
        response::calls(delta, |piece| self.call(candidate, piece, emit));
    }

    fn call(&mut self, candidate: u64, piece: &Object<'_, '_>, emit: &mut dyn FnMut(Delta<'_>)) {
        let index = piece.take("index").and_then(|index| index.count());
        let id = piece.take("id").map_or(Text::EMPTY, |id| id.words()).into_decoded();
        let (name, arguments) = response::function(piece);
        let name = name.into_decoded();
        let text = arguments.as_ref().map_or(Text::EMPTY, |arguments| arguments.given());
        let told = Piece { candidate, index, id: &id, name: &name, argues: !text.is_empty() };
        let at = match self.continued(&told) {
            Some(at) => at,
            None if name.is_empty() => return,
            None => {
                self.calls.push(Begun {
                    candidate,
                    index,
                    id: id.clone().into_owned(),
                    name: name.clone().into_owned(),
                    argued: false,
                    arguments: Nesting::default(),
                });
                let at = self.calls.len() - 1;
                emit(Delta::Call { call: at as u64, id, name, signature: response::signature(piece) });
                at
            }
        };
        if !text.is_empty()
            && let Some(call) = self.calls.get_mut(at)
        {
            call.argued = true;
            call.arguments.push(&text.decode());
            emit(Delta::Arguments { call: at as u64, text });
        }
    }

    /// The call that a piece goes on with; `None` for a new one. Local servers and relays send pieces without index or
    /// id, give all calls one index, or each piece an id of its own: then the calls are told apart by what they are.
    fn continued(&self, piece: &Piece<'_>) -> Option<usize> {
        let at = self.nearest(piece)?;
        let call = self.calls.get(at)?;
        let closed = call.arguments.is_closed();
        let goes_on = if piece.name.is_empty() {
            true
        } else if call.name != piece.name {
            false
        } else if call.id == piece.id || call.id.is_empty() || piece.id.is_empty() {
            // The name is repeated, or a call that is complete is followed by another one of the same function.
            !(closed && piece.argues)
        } else {
            // A new id is a new call, but for arguments that only it goes on with.
            !closed && piece.argues
        };
        goes_on.then_some(at)
    }

    /// The last call that a piece may go on with, by what names it.
    fn nearest(&self, piece: &Piece<'_>) -> Option<usize> {
        let last = |is: &dyn Fn(&Begun) -> bool| {
            self.calls.iter().rposition(|call| call.candidate == piece.candidate && is(call))
        };
        let same_id = |call: &Begun| !piece.id.is_empty() && call.id == piece.id;
        let Some(index) = piece.index else {
            return last(&same_id).or_else(|| last(&|_| true));
        };
        let same_index = |call: &Begun| call.index == Some(index);
        let named = || last(&|call| same_index(call) && same_id(call)).or_else(|| last(&same_index));
        // An index that counts pieces, not calls.
        let unnamed = || last(&same_id).or_else(|| last(&|call| !call.arguments.is_closed()));
        named().or_else(|| if piece.name.is_empty() { unnamed() } else { None })
    }
}
