//! Which credential serves the next attempt. The host decides who may; the policy decides who does.

use std::cmp::Reverse;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::decisions::{Because, Choice};
use tollgate_core::health::{Among, Asked, Call};
use tollgate_core::id::CredentialId;
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;
use tollgate_runtime::{Candidate, Health, OnError, SelectRequest, Selector};

use super::error::ProxyError;
use super::request::Request;
use crate::routing::plan::{Destination, Target};
use crate::state::concurrency::Permit;
use crate::state::credentials::Credential;
use crate::state::credentials::{Credentials, Use, View};
use crate::state::deciders::{Ineligible, Wanted};
use crate::state::directory::{Caller, Directory};
use crate::state::trace::{self, Detail, detail};
use crate::upstream::{CallKind, Upstream};

/// Most candidates that a selector sees.
const CANDIDATES_MAX: usize = 64;
/// Slack between the end of a request's time and that of what it holds.
const LEASE_SLACK_MS: u64 = 60_000;
/// Times that a choice is made again because another request was faster.
const RACES_MAX: usize = 8;

/// A credential at work, and where. Dropping it gives the credential back.
pub(crate) struct Lease {
    granted: Use,
    /// Where the credential is good.
    pub(crate) upstream: Rc<Upstream>,
    /// What is said there.
    pub(crate) upstream_call: CallKind,
    /// The place among the provider's requests, once there is one.
    pub(crate) permit: Permit,
    /// Whether it is served in a region that was chosen.
    pub(crate) regional: bool,
    /// How the credential was chosen.
    pub(crate) choice: Choice,
}

impl Lease {
    /// The answer has ended: others may take the credential and the place. Later calls change nothing.
    pub(crate) fn leave(&mut self) {
        self.granted.leave();
        self.permit.leave();
    }
}

impl Deref for Lease {
    type Target = Use;

    fn deref(&self) -> &Use {
        &self.granted
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Use {
        &mut self.granted
    }
}

/// What may serve a call, own and others': the price of the hold depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    /// Any of the caller's own.
    pub(crate) own: bool,
    /// Any of the platform's, or lent ones.
    pub(crate) platform: bool,
}

/// Whose credentials could serve the call, whatever their state.
pub(crate) fn owners(destination: &Destination<'_>, directory: &Directory, caller: &Caller) -> Owners {
    let mut owners = Owners::default();
    for credential in directory.credentials(caller) {
        if destination.targets().any(|target| target.upstream(credential).is_some()) {
            match credential.owner {
                Owner::User => owners.own = true,
                Owner::Platform | Owner::Shared => owners.platform = true,
            }
        }
        // However many there are, no more can be learned.
        if owners.own && owners.platform {
            break;
        }
    }
    owners
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptQuery<'q> {
    /// The credential that the conversation began with, and what that is worth.
    pub(crate) known: Option<(CredentialId, u32)>,
    /// The model, as the client names it.
    pub(crate) model: &'q str,
    /// Who else could serve.
    pub(crate) among: Among,
    /// Prompt tokens, by estimate.
    pub(crate) tokens: u64,
    /// Longest that the request may take.
    pub(crate) request_ms: u64,
    /// Now.
    pub(crate) now: Timestamp,
}

/// Why none can: what is at a limit comes back soon, so that counts before what is out of service.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unavailable {
    limited_ms: Option<u64>,
    down: bool,
    down_ms: Option<u64>,
}

impl Unavailable {
    fn add(&mut self, ineligible: Ineligible) {
        let sooner = |known: &mut Option<u64>, ms: u64| *known = Some(known.map_or(ms, |it| it.min(ms)));
        match ineligible {
            Ineligible::Gone => {}
            Ineligible::Limited(ms) => sooner(&mut self.limited_ms, ms),
            Ineligible::Down(until) => {
                self.down = true;
                if let Some(ms) = until {
                    sooner(&mut self.down_ms, ms);
                }
            }
        }
    }

    /// Takes in why one target could not serve.
    pub(crate) fn note(&mut self, error: &ProxyError) {
        match error {
            ProxyError::AllCooling(ms) => self.add(Ineligible::Limited(*ms)),
            ProxyError::AllDown(until) => self.add(Ineligible::Down(*until)),
            _ => {}
        }
    }

    /// Whether one is out of service that may soon be back.
    pub(crate) const fn rests(self) -> bool {
        self.down_ms.is_some()
    }

    /// What the client is told.
    pub(crate) fn error(self) -> ProxyError {
        match self {
            Self { limited_ms: Some(ms), .. } => ProxyError::AllCooling(ms.max(1)),
            Self { down: true, down_ms, .. } => ProxyError::AllDown(down_ms),
            _ => ProxyError::NoCredential,
        }
    }
}

/// Chooses the credential of the next attempt at `target` and takes it.
///
/// # Errors
/// 503 when there is none for such calls or all are out of service, 429 when one is only at its limit, and what the
/// policy's binding says when the policy fails.
pub(crate) async fn next(
    credentials: &Credentials,
    target: &Target<'_>,
    directory: &Directory,
    request: &Request,
    tried: &[CredentialId],
    query: &AttemptQuery<'_>,
) -> Result<Lease, ProxyError> {
    let mut unavailable = Unavailable::default();
    let mut unfit = 0;
    // Those that somebody else was faster to take.
    let mut lost: Vec<CredentialId> = Vec::new();
    let model = target.model.as_deref().unwrap_or(query.model);
    let caller = request.caller.user;
    // Nearly all are asked the same.
    let usual = Call::new(target.call.operation, model);
    let asks = |call: CallKind| {
        let same = call.operation == target.call.operation;
        Asked { caller, call: if same { usual } else { Call::new(call.operation, model) } }
    };
    for _ in 0..RACES_MAX {
        let mut found: Vec<(Candidate, &Arc<Credential>, Rc<Upstream>, CallKind)> = Vec::with_capacity(8);
        for credential in directory.credentials(&request.caller) {
            let Some((upstream, upstream_call)) = target.upstream(credential) else { continue };
            if tried.contains(&credential.id) || lost.contains(&credential.id) {
                continue;
            }
            match candidate(credentials, credential, &asks(upstream_call), query) {
                Ok(candidate) => found.push((candidate, credential, upstream, upstream_call)),
                Err(ineligible) => {
                    unavailable.add(ineligible);
                    unfit += 1;
                }
            }
        }
        if found.is_empty() {
            trace::note(request.trace(), "select", || detail!({"candidates": []}));
            break;
        }
        if found.len() > CANDIDATES_MAX {
            // So that each has its turn, however many there are.
            found.sort_by_key(|(candidate, ..)| precedence(candidate));
            found.truncate(CANDIDATES_MAX);
        }
        let numbered = found.iter().zip(0..);
        let candidates: Vec<Candidate> =
            numbered.map(|((candidate, ..), handle)| Candidate { handle, ..*candidate }).collect();
        let attempt = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        let asked = SelectRequest { seed: fastrand::u64(..), attempt };
        let handle = choose(request.policies.selector.as_deref(), asked, &candidates)?;
        let (_, credential, upstream, upstream_call) =
            found.get(handle as usize).ok_or(ProxyError::Internal)?;
        trace::note(request.trace(), "select", || {
            let seen = found.iter().map(|(numbers, credential, ..)| told(credential, numbers));
            detail!({"chosen": credential.id.to_string(), "candidates": seen.collect::<Vec<_>>()})
        });
        let lease_ms = query.request_ms.saturating_add(LEASE_SLACK_MS);
        let AttemptQuery { among, tokens, now, .. } = *query;
        let (asked, limits) = (asks(*upstream_call), credential.limits);
        match credentials.take(credential, Wanted { asked, among, limits, tokens, now, lease_ms }).await {
            Ok(granted) => {
                let (upstream, upstream_call) = (Rc::clone(upstream), *upstream_call);
                let (permit, regional) = (Permit::default(), false);
                let ids = found.iter().map(|(_, credential, ..)| credential.id);
                let choice = Choice { unfit, ..chosen(&candidates, handle, ids) };
                return Ok(Lease { granted, upstream, upstream_call, permit, regional, choice });
            }
            Err(ineligible) => {
                unavailable.add(ineligible);
                lost.push(credential.id);
            }
        }
    }
    Err(unavailable.error())
}

/// What the policy saw of the credential that it chose, and what sets that apart from the others.
fn chosen(candidates: &[Candidate], handle: u32, ids: impl Iterator<Item = CredentialId>) -> Choice {
    let mut choice = Choice { fit: u32::try_from(candidates.len()).unwrap_or(u32::MAX), ..Choice::default() };
    let Some(one) = candidates.iter().find(|candidate| candidate.handle == handle) else { return choice };
    let others = || candidates.iter().filter(|candidate| candidate.handle != handle);
    let mut ids = ids.zip(0..).filter(|(_, at)| *at != handle).map(|(id, _)| id);
    choice.others.fill_with(|| ids.next());
    let before = |key: fn(&Candidate) -> u64| others().all(|other| key(one) < key(other));
    choice.because = if candidates.len() == 1 {
        Because::Only
    } else if before(|candidate| u64::from(rank(candidate.owner))) {
        Because::Owner
    } else if before(|candidate| u64::MAX - u64::from(candidate.affinity)) {
        Because::Conversation
    } else if before(|candidate| u64::from(candidate.health == Health::HalfOpen)) {
        Because::Health
    } else if before(load) {
        Because::Load
    } else if before(|candidate| u64::MAX - candidate.idle_ms) {
        Because::Idle
    } else {
        Because::Policy
    };
    Choice {
        weight: one.weight,
        in_flight: one.in_flight,
        failures: one.failures,
        idle_ms: Some(one.idle_ms).filter(|ms| *ms != u64::MAX),
        half_open: one.health == Health::HalfOpen,
        ..choice
    }
}

/// What a candidate has to do for its weight.
fn load(candidate: &Candidate) -> u64 {
    u64::from(candidate.in_flight) * 1000 / u64::from(candidate.weight.max(1))
}

/// What an admin is told of a candidate: the numbers that the policy saw.
fn told(credential: &Credential, numbers: &Candidate) -> Detail {
    detail!({
        "credential": credential.id.to_string(), "provider": credential.provider,
        "owner": numbers.owner.name(), "weight": numbers.weight, "in_flight": numbers.in_flight,
        "failures": numbers.failures, "half_open": numbers.health == Health::HalfOpen,
        "affinity": numbers.affinity, "idle_ms": Some(numbers.idle_ms).filter(|ms| *ms != u64::MAX),
    })
}

/// Which candidates a selector sees where there are too many: the caller's own before lent ones before the platform's;
/// of each owner, the one that knows the conversation, and those that have been idle the longest.
fn precedence(candidate: &Candidate) -> (u8, Reverse<u32>, Reverse<u64>) {
    (rank(candidate.owner), Reverse(candidate.affinity), Reverse(candidate.idle_ms))
}

const fn rank(owner: Owner) -> u8 {
    match owner {
        Owner::User => 0,
        Owner::Shared => 1,
        Owner::Platform => 2,
    }
}

/// What the policy may know of a credential, or why it is none for now. The handle comes later.
fn candidate(
    credentials: &Credentials,
    credential: &Credential,
    asked: &Asked,
    query: &AttemptQuery<'_>,
) -> Result<Candidate, Ineligible> {
    let View { half_open, in_flight, failures, idle_ms } =
        credentials.look(credential, (asked, query.among), query.now)?;
    let affinity = query.known.filter(|(known, _)| *known == credential.id).map_or(0, |(_, worth)| worth);
    Ok(Candidate {
        handle: 0,
        owner: credential.owner,
        health: if half_open { Health::HalfOpen } else { Health::Available },
        weight: credential.weight,
        in_flight,
        failures,
        idle_ms,
        affinity,
    })
}

/// Asks the policy, or the gateway's own rule where the binding says so.
fn choose(
    selector: Option<&Selector>,
    asked: SelectRequest,
    candidates: &[Candidate],
) -> Result<u32, ProxyError> {
    match selector.map(|selector| selector.select(asked, candidates)) {
        Some(Ok(Some(handle))) => Ok(handle),
        Some(Ok(None)) => Err(ProxyError::NoCredential),
        Some(Err(error)) if error.on_error == OnError::Closed => Err(ProxyError::Policy("key selection")),
        Some(Err(_)) | None => least_loaded(candidates).ok_or(ProxyError::NoCredential),
    }
}

/// The gateway's own rule: the caller's before lent ones before the platform's, healthy before half-open, then the
/// least loaded by weight.
fn least_loaded(candidates: &[Candidate]) -> Option<u32> {
    candidates
        .iter()
        .min_by_key(|c| (rank(c.owner), c.health == Health::HalfOpen, load(c), u64::MAX - c.idle_ms))
        .map(|candidate| candidate.handle)
}
