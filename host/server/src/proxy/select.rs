//! Step 5: which credential serves the next attempt. The host decides who may; the policy decides who does.

use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::failure::FailureClass;
use tollgate_core::health::Standing;
use tollgate_core::id::CredentialId;
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;
use tollgate_runtime::{Candidate, Health, OnError, SelectRequest};

use super::error::ProxyError;
use crate::destination::{Destination, Leg};
use crate::directory::{Caller, Credential, Directory};
use crate::road::Road;
use crate::upstream::{Shape, Upstream};

/// Most candidates that a selector sees.
const CANDIDATES_MAX: usize = 64;

/// A credential at work. Dropping it gives the credential back.
pub(crate) struct Lease {
    credential: Arc<Credential>,
    /// Where the credential is good.
    pub(crate) upstream: Rc<Upstream>,
    /// What is said there.
    pub(crate) spoken: Shape,
}

impl Lease {
    fn new(credential: Arc<Credential>, upstream: Rc<Upstream>, spoken: Shape, now: Timestamp) -> Self {
        credential.health().begin(now);
        Self { credential, upstream, spoken }
    }

    /// The credential.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The attempt worked.
    pub(crate) fn succeed(&self) {
        self.credential.health().succeed();
    }

    /// The attempt failed.
    pub(crate) fn fail(&self, class: FailureClass, retry_after_ms: Option<u64>, now: Timestamp) {
        self.credential.health().fail(class, retry_after_ms, now, fastrand::u64(..));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.credential.health().release();
    }
}

/// What may serve a call, own and platform: the price of the hold depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    /// Any of the caller's own.
    pub(crate) own: bool,
    /// Any of the platform's.
    pub(crate) platform: bool,
}

/// Whose credentials could serve the call, whatever their state.
pub(crate) fn owners(destination: &Destination<'_>, directory: &Directory, caller: &Caller) -> Owners {
    let mut owners = Owners::default();
    for credential in directory.credentials(caller) {
        if destination.legs().any(|leg| leg.upstream(credential).is_some()) {
            match credential.owner {
                Owner::User => owners.own = true,
                Owner::Platform | Owner::Shared => owners.platform = true,
            }
        }
    }
    owners
}

/// Chooses the credential of the next attempt at `leg` and takes it.
///
/// # Errors
/// 503 when there is none for such calls, 429 when all rest, and what the policy's binding says when the policy fails.
pub(crate) fn next(
    leg: &Leg<'_>,
    directory: &Directory,
    caller: &Caller,
    tried: &[CredentialId],
    now: Timestamp,
) -> Result<Lease, ProxyError> {
    let mut found: Vec<(&Arc<Credential>, &Rc<Upstream>, Shape)> = Vec::with_capacity(8);
    let mut candidates: Vec<Candidate> = Vec::with_capacity(8);
    let mut soonest_ms: Option<u64> = None;
    for credential in directory.credentials(caller) {
        let Some((upstream, spoken)) = leg.upstream(credential) else { continue };
        if tried.contains(&credential.id) || candidates.len() == CANDIDATES_MAX {
            continue;
        }
        match candidate(credential, candidates.len(), now) {
            Ok(candidate) => {
                candidates.push(candidate);
                found.push((credential, upstream, spoken));
            }
            Err(remaining_ms) => {
                soonest_ms = Some(soonest_ms.map_or(remaining_ms, |ms| ms.min(remaining_ms)))
            }
        }
    }
    if candidates.is_empty() {
        return Err(soonest_ms.map_or(ProxyError::NoCredential, |ms| ProxyError::AllCooling(ms.max(1))));
    }
    let attempt = u32::try_from(tried.len()).unwrap_or(u32::MAX);
    let handle = choose(leg.road, SelectRequest { seed: fastrand::u64(..), attempt }, &candidates)?;
    let &(credential, upstream, spoken) = found.get(handle as usize).ok_or(ProxyError::Internal)?;
    Ok(Lease::new(Arc::clone(credential), Rc::clone(upstream), spoken, now))
}

/// What the policy may know of a credential, or how long it rests.
fn candidate(credential: &Credential, handle: usize, now: Timestamp) -> Result<Candidate, u64> {
    let health = credential.health();
    let state = match health.standing(now) {
        Standing::Available => Health::Available,
        Standing::HalfOpen => Health::HalfOpen,
        Standing::Cooling { remaining_ms } => return Err(remaining_ms),
    };
    Ok(Candidate {
        handle: u32::try_from(handle).unwrap_or(u32::MAX),
        owner: credential.owner,
        health: state,
        weight: credential.weight,
        in_flight: health.in_flight(),
        failures: health.failures(),
        idle_ms: health.last_used().map_or(u64::MAX, |last| now.since_ms(last)),
        affinity: 0,
    })
}

/// Asks the policy, or the gateway's own rule where the binding says so.
fn choose(road: &Road, request: SelectRequest, candidates: &[Candidate]) -> Result<u32, ProxyError> {
    let selected = road.generation.selector().map(|selector| selector.select(request, candidates));
    match selected {
        Some(Ok(Some(handle))) => Ok(handle),
        Some(Ok(None)) => Err(ProxyError::NoCredential),
        Some(Err(error)) if error.on_error == OnError::Closed => Err(ProxyError::Policy("key selection")),
        Some(Err(_)) | None => least_loaded(candidates).ok_or(ProxyError::NoCredential),
    }
}

/// The gateway's own rule: the caller's before the platform's, healthy before half-open, then the least loaded by weight.
fn least_loaded(candidates: &[Candidate]) -> Option<u32> {
    let load = |c: &Candidate| u64::from(c.in_flight) * 1000 / u64::from(c.weight.max(1));
    candidates
        .iter()
        .min_by_key(|c| (c.owner != Owner::User, c.health == Health::HalfOpen, load(c), u64::MAX - c.idle_ms))
        .map(|candidate| candidate.handle)
}
