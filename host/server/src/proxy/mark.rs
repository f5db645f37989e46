//! By what the calls of a [`session`](super::session) are known on their way.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use crate::transport::websocket::{Kind, Session};

/// By this header the calls of a session are known to be its. No client can send it: names with an underscore are
/// refused.
static SESSION: HeaderName = HeaderName::from_static("x_tollgate_session");

/// The session that a call is of.
pub(super) fn of(headers: &HeaderMap) -> Option<Session> {
    let value = headers.get(&SESSION)?.to_str().ok()?;
    let (kind, id) = value.split_at_checked(1)?;
    let kind = if kind == "t" { Kind::Realtime } else { Kind::Responses };
    Some(Session { id: id.parse().ok()?, kind })
}

/// What is escaped in a value of a query.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where sessions with a model are begun, by where its responses are asked for.
pub(super) fn realtime_path(responses: &str, model: &str) -> Option<String> {
    let path = responses.split('?').next().unwrap_or(responses).strip_suffix("/responses")?;
    let model = percent_encoding::utf8_percent_encode(model, VALUE);
    Some(format!("{path}/realtime?model={model}"))
}

/// Marks the calls of a session.
pub(super) fn put(headers: &mut HeaderMap, session: Session) {
    let kind = if session.kind == Kind::Realtime { 't' } else { 'r' };
    // Letters and digits are a header's value.
    if let Ok(value) = HeaderValue::try_from(format!("{kind}{}", session.id)) {
        headers.insert(&SESSION, value);
    }
}
