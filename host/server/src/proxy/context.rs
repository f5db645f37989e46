//! How much of a conversation is sent on, where the caller's key says so. What goes upstream is the client's bytes
//! without its oldest turns, so everything after this step, the price included, sees the shorter request.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::context;
use tollgate_core::id::RequestId;
use tollgate_core::protocol::Operation;

use super::error::ProxyError;
use super::read::Inbound;
use crate::state::directory::Caller;

/// The header in which an answer says how many turns were left out; absent where none were.
const TURNS_DROPPED: HeaderName = HeaderName::from_static("x-tollgate-turns-dropped");

/// The request as the key's window lets it through, and how many turns that left out.
///
/// # Errors
/// None that a body which has been read can meet.
pub(crate) fn fit(caller: &Caller, inbound: Inbound, id: RequestId) -> Result<(Inbound, usize), ProxyError> {
    let window = caller.limited.as_ref().and_then(|limited| limited.limits.context.in_force());
    let window = window.filter(|_| matches!(inbound.operation, Operation::Generate | Operation::CountTokens));
    let Some(window) = window else { return Ok((inbound, 0)) };
    let list = inbound.member(context::turns_member(inbound.protocol));
    let fit = list.and_then(|list| context::fit(inbound.protocol, &inbound.body, list, window));
    let Some(fit) = fit else { return Ok((inbound, 0)) };
    tracing::info!(request = %id, turns = fit.turns, window, "turns were left out of a conversation");
    let body = Bytes::from(fit.apply(&inbound.body));
    Ok((inbound.with_body(body)?, fit.turns))
}

/// Tells the client how many turns were left out.
pub(crate) fn tell(headers: &mut HeaderMap, turns: usize) {
    if turns > 0 {
        headers.insert(TURNS_DROPPED, HeaderValue::from(turns));
    }
}
