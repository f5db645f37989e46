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
        408 | 409 | 424 | 425 | 499 => FailureClass::Transient,
        400..=499 | 501 => FailureClass::BadRequest,
        500..=599 => FailureClass::Transient,
        _ => FailureClass::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{FailureClass, by_status};

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
