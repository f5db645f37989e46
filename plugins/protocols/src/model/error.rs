//! What went wrong upstream, in terms that every protocol has.

use std::borrow::Cow;

use super::Refused;
use tollgate_plugin::adapter::{Failure, FailureClass};

/// A failure, as the client is to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed<'a> {
    pub(crate) class: FailureClass,
    /// HTTP status at the upstream; 0 inside a stream, where there is none.
    pub(crate) status: u16,
    /// The provider's own words.
    pub(crate) message: Cow<'a, str>,
    /// Milliseconds until another try may succeed.
    pub(crate) retry_after_ms: Option<u64>,
    /// The member of the client's request that is at fault.
    pub(crate) param: Option<Cow<'a, str>>,
}

impl<'a> Failed<'a> {
    /// Something in the middle of a stream.
    pub(crate) fn in_stream(class: FailureClass, message: impl Into<Cow<'a, str>>) -> Self {
        Self { class, status: 0, message: message.into(), retry_after_ms: None, param: None }
    }

    /// An answer with a status of 400 or more.
    pub(crate) fn of_answer(failure: &Failure, status: u16, message: Option<Cow<'a, str>>) -> Self {
        let message = message.unwrap_or_default();
        let retry_after_ms = failure.retry_after_ms;
        Self { class: failure.class, status, message, retry_after_ms, param: None }
    }

    /// A request that cannot be translated.
    pub(crate) fn of_refused(refused: &'a Refused) -> Self {
        let param = Some(Cow::Borrowed(&*refused.path)).filter(|path| !path.is_empty());
        let message = refused.to_string().into();
        Self { class: FailureClass::BadRequest, status: 400, message, retry_after_ms: None, param }
    }

    /// An event that is not of the provider's protocol.
    pub(crate) fn unreadable(refused: &Refused) -> Self {
        let message = format!("the provider sent an event that cannot be read: {refused}");
        Self::in_stream(FailureClass::Transient, message)
    }

    /// The message for the client. The provider's words about the gateway's own credential are not passed on: they may
    /// quote it.
    pub(crate) fn public_message(&self) -> &str {
        match self.class {
            FailureClass::InvalidCredential => "the provider refused the credential of the gateway",
            FailureClass::QuotaExhausted => "the gateway's account at the provider has no quota left",
            _ if self.message.is_empty() => "the provider failed without a message",
            _ => &self.message,
        }
    }

    /// The status for the client. `overloaded` is how its protocol says that the provider is busy.
    pub(crate) fn public_status(&self, overloaded: u16) -> u16 {
        match self.class {
            FailureClass::InvalidCredential => 502,
            FailureClass::Permission if self.status == 404 => 404,
            FailureClass::Permission => 403,
            FailureClass::QuotaExhausted | FailureClass::RateLimited => 429,
            FailureClass::Overloaded => overloaded,
            FailureClass::BadRequest if matches!(self.status, 413 | 422) => self.status,
            FailureClass::BadRequest | FailureClass::ContextTooLong | FailureClass::ContentRefused => 400,
            FailureClass::NotFound => 404,
            FailureClass::Transient if matches!(self.status, 408 | 409 | 500..=599) => self.status,
            FailureClass::Transient => 500,
            FailureClass::Unknown => 502,
        }
    }
}
