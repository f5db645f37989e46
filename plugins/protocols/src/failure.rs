//! What a status means where the body does not say more.

use tollgate_plugin::adapter::FailureClass;

/// The class of an HTTP status: the meaning that all providers share.
#[must_use]
pub const fn by_status(status: u16) -> FailureClass {
    match status {
        401 => FailureClass::InvalidCredential,
        402 => FailureClass::QuotaExhausted,
        403 => FailureClass::Permission,
        404 => FailureClass::NotFound,
        429 => FailureClass::RateLimited,
        503 | 529 => FailureClass::Overloaded,
        // Conflict with another request, request timeout, failed dependency.
        407 | 408 | 409 | 424 | 425 | 499 => FailureClass::Transient,
        400..=499 | 501 => FailureClass::BadRequest,
        500..=599 => FailureClass::Transient,
        _ => FailureClass::Unknown,
    }
}

/// The class of an HTTP status, where `own` says whether the body has the shape of the provider's errors. A page of
/// some network in between says nothing of a key.
#[must_use]
pub(crate) const fn by_status_of(status: u16, own: bool) -> FailureClass {
    match status {
        401..=403 if !own => FailureClass::Unknown,
        _ => by_status(status),
    }
}

/// Longest sentence that is recognized.
const SENTENCE_BYTES_MAX: usize = 400;

/// Whether a message is a provider's own sentence that begins with these words, and not one that repeats a client's.
///
/// Several providers say in a sentence alone that a key is of no use any more. Such a sentence quotes nothing: what a
/// client wrote is set off by quotes, or stands before a colon, as the name of a field does. What is recognized so is a
/// reason to have the key checked, and no more.
#[must_use]
pub(crate) fn is_sentence(message: &str, beginning: &str) -> bool {
    let Some(rest) = message.strip_prefix(beginning) else { return false };
    let quotes = rest.contains(['"', '`', '\'', '\n']) || rest.contains(": ") || rest.ends_with(':');
    message.len() <= SENTENCE_BYTES_MAX && !quotes
}

#[cfg(test)]
mod tests {
    use super::{FailureClass, by_status, by_status_of, is_sentence};

    #[test]
    fn a_sentence_is_the_providers_only_where_it_quotes_nothing() {
        let words = "Your credit balance is too low";
        assert!(is_sentence("Your credit balance is too low. Buy more at https://x, at 00:00 UTC.", words));
        for repeated in [
            "Your credit balance is too low: Extra inputs are not permitted",
            "Your credit balance is too low`: unexpected",
            "Your credit balance is too low\" is not a model",
            "tools.0.name: Your credit balance is too low",
            "Unexpected value(s) `Your credit balance is too low` for the `anthropic-beta` header",
            "Your credit balance",
            &format!("{words}{}", " x".repeat(200)),
        ] {
            assert!(!is_sentence(repeated, words), "{repeated}");
        }
    }

    #[test]
    fn a_page_of_a_network_in_between_says_nothing_of_a_key() {
        for status in [401, 402, 403] {
            assert_eq!(by_status_of(status, false), FailureClass::Unknown, "{status}");
            assert_ne!(by_status_of(status, true), FailureClass::Unknown, "{status}");
        }
        assert_eq!(by_status_of(429, false), FailureClass::RateLimited);
    }

    #[test]
    fn only_the_request_is_blamed_for_what_only_the_request_can_cause() {
        for status in [400, 405, 406, 413, 414, 415, 422, 431, 501] {
            assert_eq!(by_status(status), FailureClass::BadRequest, "{status}");
        }
        for status in [408, 409, 424, 500, 502, 504, 520, 599] {
            assert_eq!(by_status(status), FailureClass::Transient, "{status}");
        }
        assert_eq!(by_status(200), FailureClass::Unknown);
        assert_eq!(by_status(600), FailureClass::Unknown);
    }
}
