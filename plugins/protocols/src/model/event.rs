//! What a provider answers, as it comes.
//!
//! Events have no open and close: each writer derives what its protocol needs from their order.

use super::{Citation, Failed, Finish, Signature, Tier, TokenLogprob};
use crate::json::{Text, Writer};
use std::borrow::Cow;
use tollgate_plugin::types::Usage;

/// One step of an answer.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Comes once, first.
    Start(Start<'a>),
    /// More of an answer; `candidate` counts from 0.
    Delta { candidate: u64, delta: Delta<'a> },
    /// One answer is complete. It may be repeated with more detail; the last one counts.
    Finish { candidate: u64, finish: Finish<'a> },
    /// Everything that is known of the usage so far.
    Usage(Usage),
    /// The tier that served the request.
    Tier(Tier),
    /// The end, because something failed.
    Failed(Failed<'a>),
    /// The end.
    End,
}

/// Parses the events of one protocol's stream.
pub(crate) trait StreamReader {
    /// Reads one event; `data` is what its `data:` lines held. What it means goes to `emit`, in order.
    fn read(&mut self, data: &str, emit: &mut dyn FnMut(Event<'_>));

    /// The word that ends streams of Chat Completions, which servers of other protocols send, too.
    fn done(&mut self, _emit: &mut dyn FnMut(Event<'_>)) {}

    /// Whether the stream is complete, so that it may end here.
    fn is_complete(&self) -> bool;
}

/// Writes one protocol's stream.
pub(crate) trait StreamWriter {
    /// Writes what `event` means, if anything can be written yet. The first event is a start, the last one an end or a
    /// failure.
    fn write(&mut self, event: Event<'_>, out: &mut Writer);
}

/// The model that answers.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) id: Option<Text<'a>>,
    pub(crate) model: Option<Text<'a>>,
    /// Seconds since 1970.
    pub(crate) created: Option<u64>,
    /// What is known of the usage by then.
    pub(crate) usage: Usage,
}

/// What is added to an answer.
#[derive(Debug)]
pub(crate) enum Delta<'a> {
    Text(Text<'a>),
    Refusal(Text<'a>),
    Thinking(Text<'a>),
    /// Proves the thoughts before it.
    Signature(Signature<'a>),
    Citation(Citation<'a>),
    Logprobs(Vec<TokenLogprob<'a>>),
    /// A call begins; `call` tells the calls of one answer apart.
    Call {
        call: u64,
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        signature: Option<Signature<'a>>,
    },
    /// More of a call's arguments, as a string that holds a piece of their text.
    Arguments {
        call: u64,
        text: Text<'a>,
    },
    /// A call is complete.
    CallEnd {
        call: u64,
    },
}
