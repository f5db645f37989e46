//! Reading events.

use crate::chat;
use crate::json::{Node, Object, Text};
use crate::model::{self, Body, Candidate, Delta, Event, Failed, Finish, Refused, Start};
use crate::openai_terms;
use crate::responses::{error, response};
use tollgate_plugin::types::Usage;

/// Places of items that say none: no provider counts as far as that.
const UNPLACED: u64 = 1 << 32;

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    /// The places of calls that have begun.
    begun: Vec<u64>,
    /// The places of calls whose arguments came in pieces: the events that end them repeat the arguments.
    argued: Vec<u64>,
    /// Items that do not say where they are, by their ids.
    unplaced: Vec<String>,
    /// Whether the open item has shown thoughts.
    thought: bool,
    /// Whether anything was said before the last event, which repeats all.
    said: bool,
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
        let kind = event.take("type").map_or(Text::EMPTY, |kind| kind.words());
        let response = || event.take("response").and_then(|response| response.members());
        let text = || event.take("delta").map_or(Text::EMPTY, |delta| delta.all_text());
        match &*kind.decode() {
            "response.created" | "response.in_progress" => {
                if let Some(response) = response() {
                    start(&response, emit);
                }
            }
            "response.output_item.added" => self.item_added(&event, emit),
            "response.output_text.delta" => {
                self.said = true;
                let tokens = event.take("logprobs").and_then(|list| openai_terms::parse_logprobs(&list).ok());
                if let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) {
                    emit_delta(emit, Delta::Logprobs(tokens));
                }
                emit_delta(emit, Delta::Text(text()));
            }
            "response.refusal.delta" => {
                self.said = true;
                emit_delta(emit, Delta::Refusal(text()));
            }
            "response.output_text.annotation.added" => {
                let annotation = event.take("annotation").and_then(|annotation| annotation.members());
                if let Some(citation) = annotation.and_then(|annotation| response::citation(&annotation)) {
                    emit_delta(emit, Delta::Citation(citation));
                }
            }
            "response.reasoning_summary_part.added" if self.thought => {
                emit_delta(emit, Delta::Thinking(Text::escaped("\\n\\n")));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.thought = true;
                emit_delta(emit, Delta::Thinking(text()));
            }
            "response.function_call_arguments.delta" => self.arguments(&event, emit),
            "response.output_item.done" => self.item_done(&event, emit),
            "response.completed" | "response.incomplete" | "response.done" => self.end(response(), emit),
            "response.failed" => {
                let response = response();
                let error = response.as_ref().and_then(|response| response.take("error")?.members());
                emit(Event::Failed(error::parse(error.as_ref().unwrap_or(&event))));
            }
            "error" => emit(Event::Failed(failure(&event))),
            _ if chat::error_told(&document).is_some() => emit(Event::Failed(failure(&event))),
            _ => {}
        }
        Ok(())
    }

    /// Where an item is: what tells it apart.
    fn place(&mut self, event: &Object<'_, '_>, item: Option<&Object<'_, '_>>) -> u64 {
        if let Some(place) = event.take("output_index").and_then(|index| index.count()) {
            return place;
        }
        let id = event.take("item_id").or_else(|| item?.peek("id"));
        let id = id.map_or(Text::EMPTY, |id| id.words()).into_decoded();
        let known = self.unplaced.iter().position(|known| *known == *id);
        let at = known.unwrap_or_else(|| {
            self.unplaced.push(id.into_owned());
            self.unplaced.len() - 1
        });
        UNPLACED + at as u64
    }

    fn item_added(&mut self, event: &Object<'_, '_>, emit: Emit<'_>) {
        self.thought = false;
        let item = event.take("item").and_then(|item| item.members());
        let place = self.place(event, item.as_ref());
        if let Some(item) = item.filter(|item| item.peek("type").is_some_and(|kind| kind.is("function_call")))
        {
            self.begin(place, &item, emit);
        }
    }

    /// A call begins, unless it has.
    fn begin(&mut self, place: u64, item: &Object<'_, '_>, emit: Emit<'_>) {
        if self.begun.contains(&place) {
            return;
        }
        if let Some(model::Call { id, name, .. }) = response::call(item) {
            self.said = true;
            self.begun.push(place);
            emit_delta(emit, Delta::Call { call: place, id, name, signature: None });
        }
    }

    fn arguments(&mut self, event: &Object<'_, '_>, emit: Emit<'_>) {
        let call = self.place(event, None);
        let Some(piece) = event.take("delta").map(|delta| response::arguments(&delta)) else { return };
        if !self.argued.contains(&call) {
            self.argued.push(call);
        }
        emit_delta(emit, Delta::Arguments { call, text: piece.given() });
    }

    fn item_done(&mut self, event: &Object<'_, '_>, emit: Emit<'_>) {
        let item = event.take("item").and_then(|item| item.members());
        let call = self.place(event, item.as_ref());
        let Some(item) = item else { return };
        match &*item.peek("type").map_or(Text::EMPTY, |kind| kind.words()).decode() {
            "function_call" => {
                let arguments = item.peek("arguments").map(|arguments| response::arguments(&arguments));
                self.begin(call, &item, emit);
                if !self.argued.contains(&call)
                    && let Some(arguments) = &arguments
                {
                    emit_delta(emit, Delta::Arguments { call, text: arguments.given() });
                }
                emit_delta(emit, Delta::CallEnd { call });
            }
            "reasoning" => {
                if let (_, Some(signature)) = response::thought(&item) {
                    emit_delta(emit, Delta::Signature(signature));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, response: Option<Object<'_, '_>>, emit: Emit<'_>) {
        self.ended = true;
        let Some(response) = response else { return emit(Event::End) };
        if let Some(tier) = response::tier(&response) {
            emit(Event::Tier(tier));
        }
        if !self.said {
            self.repeat(&response, emit);
        }
        emit(Event::Usage(response::usage(&response)));
        emit(Event::Finish { candidate: 0, finish: response::finish(&response) });
        emit(Event::End);
    }

    /// Some servers say all in the last event.
    fn repeat(&self, response: &Object<'_, '_>, emit: Emit<'_>) {
        start(response, emit);
        let mut parts = response::content(response).parts;
        parts.retain(|part| !(self.thought && matches!(part.body, Body::Thinking { .. })));
        let content = Candidate { parts, finish: Finish::Stop, logprobs: Vec::new() };
        model::replay(0, content, &mut 0, emit);
    }
}

fn failure<'a>(event: &Object<'a, '_>) -> Failed<'a> {
    let inner = event.take("error").and_then(|error| error.members());
    error::parse(inner.as_ref().unwrap_or(event))
}

fn start(response: &Object<'_, '_>, emit: Emit<'_>) {
    emit(Event::Start(Start {
        id: response.take("id").map(|id| id.words()),
        model: response.take("model").map(|model| model.words()),
        created: response::created(response),
        usage: Usage::MISSING,
    }));
}
