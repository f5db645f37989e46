//! One model of a conversation that all protocols are parsed into and printed from.
//!
//! It holds what at least two protocols can express. What only one can express is refused where it is parsed, and what
//! the other side of a pair cannot express is refused where it is printed; both name the member in the client's
//! request.

pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod left_out;
pub(crate) mod media;
pub(crate) mod part;
pub(crate) mod replay;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod tool;

use std::borrow::Cow;
use std::fmt;

pub(crate) use error::Failed;
pub(crate) use event::{Delta, Event, Start, StreamReader, StreamWriter};
pub(crate) use left_out::LeftOut;
pub(crate) use part::{
    Arguments, Body, CacheMark, Call, Citation, Outcome, Part, Role, Signature, Source, Turn,
};
pub(crate) use replay::{Gathered, replay, replay_all};
pub(crate) use request::{Budget, Effort, Format, Reasoning, Request, Sampling, Schema, Tier};
pub(crate) use response::{Candidate, Finish, Response, TokenLogprob};
pub(crate) use tool::{Alias, Allowed, Tool, ToolChoice, ToolKind, joined_name};

/// Why a request cannot be translated: the client's mistake, to be answered with 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The member at fault, as the client knows it: `messages[2].content[0].audio`. Empty for the whole body.
    pub path: Cow<'static, str>,
    /// What is wrong with it, for the client.
    pub why: Cow<'static, str>,
}

impl Refused {
    pub(crate) fn new(path: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), why: why.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => formatter.write_str(&self.why),
            path => write!(formatter, "{path}: {}", self.why),
        }
    }
}

impl std::error::Error for Refused {}

/// A value of the client's request that knows where it stood there.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) path: Box<str>,
}

impl<T> At<T> {
    /// An error that names the value.
    pub(crate) fn refuse(&self, why: impl Into<Cow<'static, str>>) -> Refused {
        Refused::new(self.path.to_string(), why)
    }
}

/// Refuses an option that was given.
///
/// # Errors
/// The option was given.
pub(crate) fn refuse_given<T>(option: Option<&At<T>>, why: &'static str) -> Result<(), Refused> {
    option.map_or(Ok(()), |given| Err(given.refuse(why)))
}
