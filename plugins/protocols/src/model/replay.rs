//! Whole answers and streams of them, each made of the other: a provider may send one where the other was asked for.

use std::borrow::Cow;

use super::{
    Arguments, Body, Call, Candidate, Citation, Delta, Event, Finish, Part, Refused, Response, Start, Tier,
};
use crate::json::Text;
use crate::share;
use tollgate_plugin::types::Usage;

/// Says a whole candidate in events, but for its end. `calls` counts the calls of the answer.
pub(crate) fn replay(
    candidate: u64,
    content: Candidate<'_>,
    calls: &mut u64,
    emit: &mut dyn FnMut(Event<'_>),
) {
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
            Body::Call(Call { id, name, arguments, signature }) => {
                let call = *calls;
                *calls += 1;
                emit(Delta::Call { call, id, name, signature });
                emit(Delta::Arguments { call, text: arguments.encoded() });
                emit(Delta::CallEnd { call });
            }
            _ => {}
        }
    }
}

/// Says a whole answer in events.
pub(crate) fn replay_all(response: Response<'_>, emit: &mut dyn FnMut(Event<'_>)) {
    let Response { id, model, created, candidates, usage, tier } = response;
    emit(Event::Start(Start { id, model, created, usage }));
    let mut calls = 0;
    for (at, candidate) in (0..).zip(candidates) {
        let finish = candidate.finish.clone();
        replay(at, candidate, &mut calls, emit);
        emit(Event::Finish { candidate: at, finish });
    }
    emit(Event::Usage(usage));
    if let Some(tier) = tier {
        emit(Event::Tier(tier));
    }
    emit(Event::End);
}

/// A whole answer, as its events put it together. How likely tokens were is left out.
#[derive(Debug)]
pub(crate) struct Gathered {
    id: Option<Text<'static>>,
    model: Option<Text<'static>>,
    created: Option<u64>,
    candidates: Vec<Gathering>,
    usage: Usage,
    tier: Option<Tier>,
    failed: Option<String>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Gathering {
    parts: Vec<Part<'static>>,
    /// Where the calls are among the parts, by their numbers.
    calls: Vec<(u64, usize)>,
    finish: Option<Finish<'static>>,
}

impl Default for Gathered {
    fn default() -> Self {
        let usage = Usage::MISSING;
        Self {
            id: None,
            model: None,
            created: None,
            candidates: Vec::new(),
            usage,
            tier: None,
            failed: None,
            ended: false,
        }
    }
}

impl Gathered {
    /// Takes the next event.
    pub(crate) fn take(&mut self, event: Event<'_>) {
        match event {
            _ if self.ended => {}
            Event::Start(start) => {
                self.id = self.id.take().or(start.id.map(Text::into_owned));
                self.model = self.model.take().or(start.model.map(Text::into_owned));
                self.created = self.created.or(start.created);
            }
            Event::Delta { candidate, delta } => self.candidate(candidate).take(delta),
            Event::Finish { candidate, finish } => {
                self.candidate(candidate).finish = Some(finish.into_owned());
            }
            Event::Usage(usage) => self.usage = share::later(self.usage, usage),
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Failed(failed) => {
                self.failed = Some(failed.public_message().to_owned());
                self.ended = true;
            }
            Event::End => self.ended = true,
        }
    }

    fn candidate(&mut self, index: u64) -> &mut Gathering {
        // Providers give only a few answers at once; a larger number is an error of theirs.
        let at = usize::try_from(index).unwrap_or(0).min(127);
        if self.candidates.len() <= at {
            self.candidates.resize_with(at + 1, Gathering::default);
        }
        &mut self.candidates[at]
    }

    /// The answer. `complete` tells whether the stream may end here, if it did not say so.
    ///
    /// # Errors
    /// It failed, or ended early.
    pub(crate) fn into_response(mut self, complete: bool) -> Result<Response<'static>, Refused> {
        if let Some(words) = self.failed {
            return Err(Refused::new("", words));
        }
        if !self.ended && !complete {
            return Err(Refused::new("", "the provider's stream ended early"));
        }
        if self.candidates.is_empty() {
            self.candidates.push(Gathering::default());
        }
        let whole = |gathering: Gathering| Candidate {
            parts: gathering.parts,
            finish: gathering.finish.unwrap_or(Finish::Stop),
            logprobs: Vec::new(),
        };
        let candidates = self.candidates.into_iter().map(whole).collect();
        let Self { id, model, created, usage, tier, .. } = self;
        Ok(Response { id, model, created, candidates, usage, tier })
    }
}

impl Gathering {
    fn take(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Text(text) => match self.parts.last_mut().map(|part| &mut part.body) {
                Some(Body::Text { text: whole, .. }) => whole.append(&text),
                _ => self.push(Body::text(text.into_owned())),
            },
            Delta::Refusal(text) => match self.parts.last_mut().map(|part| &mut part.body) {
                Some(Body::Refusal(whole)) => whole.append(&text),
                _ => self.push(Body::Refusal(text.into_owned())),
            },
            Delta::Thinking(text) => match self.parts.last_mut().map(|part| &mut part.body) {
                Some(Body::Thinking { text: whole, signature: None }) => whole.append(&text),
                _ => self.push(Body::Thinking { text: text.into_owned(), signature: None }),
            },
            Delta::Signature(proof) => match self.parts.last_mut().map(|part| &mut part.body) {
                Some(Body::Thinking { signature: signature @ None, .. }) if !proof.redacted => {
                    *signature = Some(proof.into_owned());
                }
                _ => self.push(Body::Thinking { text: Text::EMPTY, signature: Some(proof.into_owned()) }),
            },
            Delta::Citation(citation) => {
                let owned = Citation {
                    url: citation.url.into_owned(),
                    title: citation.title.map(Text::into_owned),
                    start: None,
                    end: None,
                };
                match self.parts.last_mut().map(|part| &mut part.body) {
                    Some(Body::Text { citations, .. }) => citations.push(owned),
                    _ => self.push(Body::Text { text: Text::EMPTY, citations: vec![owned] }),
                }
            }
            Delta::Logprobs(_) | Delta::CallEnd { .. } => {}
            Delta::Call { call, id, name, signature } => {
                self.calls.push((call, self.parts.len()));
                self.push(Body::Call(Call {
                    id: Cow::Owned(id.into_owned()),
                    name: Cow::Owned(name.into_owned()),
                    arguments: Arguments::Encoded(Text::EMPTY),
                    signature: signature.map(super::Signature::into_owned),
                }));
            }
            Delta::Arguments { call, text } => {
                let at = self.calls.iter().rfind(|(number, _)| *number == call).map(|(_, at)| *at);
                if let Some(Body::Call(Call { arguments: Arguments::Encoded(whole), .. })) =
                    at.and_then(|at| self.parts.get_mut(at)).map(|part| &mut part.body)
                {
                    whole.append(&text);
                }
            }
        }
    }

    fn push(&mut self, body: Body<'static>) {
        self.parts.push(Part::from(body));
    }
}
