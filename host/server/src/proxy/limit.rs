//! What an API key may do at all, and what it may do now. A key without limits passes by one look at an `Option`.
//!
//! A call is let in before its body is read, and a [`KeyPermit`] goes with it from then on: whatever its end is, its
//! place is free when it has left, and what it used is counted when it is settled.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::limits::{RateStatus, Window};
use tollgate_core::protocol::Protocol;
use tollgate_core::time::Timestamp;

use super::error::{LimitReached, ProxyError};
use super::router::Call;
use crate::routing::plan::Destination;
use crate::state::directory::Caller;
pub(crate) use crate::state::limiter::KeyPermit;
use crate::state::limiter::Limiter;
use crate::state::trace::{Detail, detail};

/// Lets a call in.
///
/// # Errors
/// 403 for a protocol or model that the key may not use, 429 for a limit that is reached.
pub(crate) async fn admit(
    limiter: &Limiter,
    caller: &Caller,
    call: &Call,
    now: Timestamp,
) -> Result<Option<(KeyPermit, RateStatus)>, ProxyError> {
    let Some(limited) = &caller.limited else { return Ok(None) };
    if !limited.limits.allows_protocol(call.protocol) {
        return Err(ProxyError::ProtocolNotAllowed);
    }
    if let Some(name) = &call.model {
        model(caller, name)?;
    }
    let admitted = limiter.admit(caller.api_key, limited, now).await;
    admitted.map(Some).map_err(|(refused, standing)| {
        ProxyError::LimitReached(Box::new(LimitReached { refused, standing, at: now }))
    })
}

/// What an admin is told of the limits that a call has met.
pub(crate) fn told(caller: &Caller, standing: Option<&RateStatus>) -> Detail {
    let left = |window: Option<Window>| {
        window.map(|window| detail!({"limit": window.limit, "left": window.remaining}))
    };
    detail!({
        "limited": caller.limited.is_some(),
        "requests_per_minute": left(standing.and_then(|standing| standing.requests)),
        "tokens_per_minute": left(standing.and_then(|standing| standing.tokens)),
    })
}

/// Checks that the key may call a model.
///
/// # Errors
/// 403 when it may not.
pub(crate) fn model(caller: &Caller, name: &str) -> Result<(), ProxyError> {
    match &caller.limited {
        Some(limited) if !limited.limits.allows_model(name) => {
            Err(ProxyError::ModelNotAllowed(name.to_owned()))
        }
        _ => Ok(()),
    }
}

/// Leaves out the providers that may not serve the key's calls.
///
/// # Errors
/// 403 when none is left.
pub(crate) fn providers(caller: &Caller, destination: &mut Destination<'_>) -> Result<(), ProxyError> {
    for tier in &mut destination.tiers {
        tier.targets.retain(|target| target.provider().is_none_or(|provider| caller.may_use(provider)));
    }
    let served = !destination.tiers.is_empty();
    destination.tiers.retain(|tier| !tier.targets.is_empty());
    if served && destination.tiers.is_empty() { Err(ProxyError::ProviderNotAllowed) } else { Ok(()) }
}

/// Tells the client what is left, in place of whatever a provider said of the gateway's own limits.
pub(crate) fn tell(headers: &mut HeaderMap, standing: &RateStatus, protocol: Protocol, now: Timestamp) {
    for (name, value) in standing.headers(protocol, now) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
