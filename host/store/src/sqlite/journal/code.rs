//! The numbers that stand for the values of enums in the journal. They are part of its layout and therefore spelt out:
//! the order in which an enum declares its values does not matter. A number that was ever written keeps its meaning.

use tollgate_core::failure::FailureClass;
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::usage::Quality;

/// An enum whose values have a number each.
pub(super) trait Coded: Sized {
    /// The name of the enum, for the error about an unknown number.
    const WHAT: &'static str;

    /// The number of this value.
    fn code(&self) -> u8;

    /// The value of a number; `None` for one that this build does not know.
    fn of(code: u8) -> Option<Self>;
}

/// Both directions from one table.
macro_rules! codes {
    ($type:ty, $what:literal: $($value:ident = $code:literal),+ $(,)?) => {
        impl Coded for $type {
            const WHAT: &'static str = $what;

            fn code(&self) -> u8 {
                match self {
                    $(Self::$value => $code),+
                }
            }

            fn of(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Hold,
    Settle,
    Void,
    Record,
    Event,
    Attempts,
    Borrow,
    Lent,
}

codes! {
    EntryKind, "entry kind":
    Hold = 1,
    Settle = 2,
    Void = 3,
    Record = 4,
    Event = 5,
    Attempts = 6,
    Borrow = 7,
    Lent = 8,
}

codes! {
    Protocol, "protocol":
    OpenaiChat = 0,
    OpenaiResponses = 1,
    AnthropicMessages = 2,
    Gemini = 3,
}

codes! {
    Operation, "operation":
    Generate = 0,
    CountTokens = 1,
    Embed = 2,
    EmbedBatch = 3,
    ListModels = 4,
    Interact = 5,
    Complete = 6,
    MakeImages = 7,
    EditImages = 8,
    Speak = 9,
    Transcribe = 10,
    TranslateSpeech = 11,
    Moderate = 12,
    Rerank = 13,
    KeepFile = 14,
    KeptFiles = 15,
}

codes! {
    Outcome, "outcome":
    Ok = 0,
    Empty = 1,
    Partial = 2,
    CancelledBeforeFirstByte = 3,
    CancelledAfterFirstByte = 4,
    UpstreamError = 5,
    Unknown = 6,
    Refused = 7,
}

codes! {
    Quality, "usage quality":
    Exact = 0,
    Estimated = 1,
    Missing = 2,
}

codes! {
    FailureClass, "failure class":
    InvalidCredential = 0,
    Permission = 1,
    QuotaExhausted = 2,
    RateLimited = 3,
    Overloaded = 4,
    BadRequest = 5,
    ContextTooLong = 6,
    ContentRefused = 7,
    NotFound = 8,
    Transient = 9,
    Unknown = 10,
}

#[cfg(test)]
mod tests {
    use super::{Coded, EntryKind};
    use tollgate_core::failure::FailureClass;
    use tollgate_core::outcome::Outcome;
    use tollgate_core::protocol::{Operation, Protocol};
    use tollgate_core::usage::Quality;

    fn check<T: Coded>(values: usize) {
        let known: Vec<u8> = (0..=u8::MAX).filter(|code| T::of(*code).is_some()).collect();
        assert_eq!(known.len(), values, "{}", T::WHAT);
        for code in known {
            assert_eq!(T::of(code).map(|value| value.code()), Some(code), "{}", T::WHAT);
        }
    }

    #[test]
    fn each_value_has_a_number_of_its_own_and_is_found_by_it() {
        check::<EntryKind>(8);
        check::<Protocol>(4);
        check::<Operation>(16);
        check::<Outcome>(8);
        check::<Quality>(3);
        check::<FailureClass>(11);
    }
}
