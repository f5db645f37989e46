//! A provider's whole answer.

use super::{Body, Part, Tier};
use crate::id;
use crate::json::{Number, Raw, Text};
use tollgate_plugin::types::Usage;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) id: Option<Text<'a>>,
    pub(crate) model: Option<Text<'a>>,
    /// Seconds since 1970.
    pub(crate) created: Option<u64>,
    /// One, unless more were asked for.
    pub(crate) candidates: Vec<Candidate<'a>>,
    pub(crate) usage: Usage,
    pub(crate) tier: Option<Tier>,
}

impl Response<'_> {
    /// Gives an id to every call that the upstream left without one; `request` makes it differ from those of other
    /// requests.
    pub(crate) fn name_calls(&mut self, request: &str) {
        let parts = self.candidates.iter_mut().flat_map(|candidate| &mut candidate.parts);
        let mut count = 0;
        for part in parts {
            if let Body::Call(call) = &mut part.body {
                if call.id.is_empty() {
                    call.id = id::made("call", request, count).into();
                }
                count += 1;
            }
        }
    }
}

/// One of the answers.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) parts: Vec<Part<'a>>,
    pub(crate) finish: Finish<'a>,
    pub(crate) logprobs: Vec<TokenLogprob<'a>>,
}

/// Why an answer ended.
#[derive(Debug, Clone)]
pub(crate) enum Finish<'a> {
    /// It was complete.
    Stop,
    /// It met one of the client's stop sequences.
    StopSequence(Option<Text<'a>>),
    /// It was as long as the client allows.
    Length,
    /// It filled the model's context.
    ContextFull,
    /// Tools have to be called.
    Calls,
    /// The provider wants to be asked again.
    Pause,
    /// The provider would not say it.
    Filtered,
}

impl Finish<'_> {
    pub(crate) fn into_owned(self) -> Finish<'static> {
        match self {
            Self::Stop => Finish::Stop,
            Self::StopSequence(text) => Finish::StopSequence(text.map(Text::into_owned)),
            Self::Length => Finish::Length,
            Self::ContextFull => Finish::ContextFull,
            Self::Calls => Finish::Calls,
            Self::Pause => Finish::Pause,
            Self::Filtered => Finish::Filtered,
        }
    }
}

/// How likely a token was, and what else was likely there.
#[derive(Debug, Clone)]
pub(crate) struct TokenLogprob<'a> {
    pub(crate) token: Text<'a>,
    pub(crate) logprob: Number<'a>,
    /// The token's bytes, an array, where the provider stated them.
    pub(crate) bytes: Option<Raw<'a>>,
    /// The likeliest tokens at this place; they have no alternatives of their own.
    pub(crate) alternatives: Vec<TokenLogprob<'a>>,
}
