//! Which credential serves the next attempt. The host decides who may; the policy decides who does.

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::failure::FailureClass;
use tollgate_core::health::{self, Disabled, Rest, Standing};
use tollgate_core::id::CredentialId;
use tollgate_core::lending::NotLent;
use tollgate_core::limits::{RateLimits, RateMeter};
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;
use tollgate_runtime::{Candidate, Health, OnError, SelectRequest, Selector};

use super::error::ProxyError;
use super::request::Request;
use crate::routing::plan::{Destination, Target};
use crate::state::concurrency::Permit;
use crate::state::directory::{Caller, Credential, Directory};
use crate::state::trace::{self, Detail, detail};
use crate::upstream::{CallKind, Upstream};

/// Wait that is advised where nobody can say when a call under way ends.
const BUSY_MS: u64 = 1000;
/// Most candidates that a selector sees.
const CANDIDATES_MAX: usize = 64;

/// Slack between the end of a request's time and that of what it holds.
const LEASE_SLACK_MS: u64 = 60_000;
/// Times that a choice is made again because another request was faster.
const RACES_MAX: usize = 8;

/// A credential at work. Dropping it gives the credential back.
pub(crate) struct Lease {
    credential: Arc<Credential>,
    /// Where the credential is good.
    pub(crate) upstream: Rc<Upstream>,
    /// What is said there.
    pub(crate) upstream_call: CallKind,
    held: health::Lease,
    /// The place among the provider's requests, once there is one.
    pub(crate) permit: Permit,
    taken_at: Timestamp,
    /// Tokens that were counted ahead; `None` once it is known what was used.
    expected: Option<u64>,
    /// Whether a use was counted that has not come to pass yet.
    lent: bool,
}

impl Lease {
    /// Takes a credential, unless it has reached a limit or its probe has begun since it was looked at.
    fn take(
        credential: &Arc<Credential>,
        upstream: &Rc<Upstream>,
        upstream_call: CallKind,
        query: &AttemptQuery,
    ) -> Result<Self, Ineligible> {
        let now = query.now;
        let mut health = credential.health();
        standing(credential, &health, now)?;
        let lent = credential.lender.is_some();
        // A use that is left now is still there below: every use is counted under the lock of the health.
        spare(credential, now)?;
        admit(&credential.limits, &mut credential.live.meter(), now)?;
        if lent {
            credential.live.lending().take(now)?;
        }
        let held = health.begin(now, query.request_ms.saturating_add(LEASE_SLACK_MS));
        drop(health);
        credential.live.meter().expect(query.tokens, now);
        Ok(Self {
            credential: Arc::clone(credential),
            upstream: Rc::clone(upstream),
            upstream_call,
            held,
            permit: Permit::default(),
            taken_at: now,
            expected: Some(query.tokens),
            lent,
        })
    }

    /// A request is about to go up with it: a lent one has been used then, whatever becomes of the request.
    pub(crate) const fn sent(&mut self) {
        self.lent = false;
    }

    /// When it was taken.
    pub(crate) const fn taken_at(&self) -> Timestamp {
        self.taken_at
    }

    /// The credential.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The attempt worked.
    pub(crate) fn succeed(&self) {
        let changed = self.credential.health().succeed();
        self.credential.live.tell(changed);
    }

    /// The attempt failed.
    pub(crate) fn fail(&self, class: FailureClass, retry_after_ms: Option<u64>, now: Timestamp) {
        let changed = self.credential.health().fail(class, retry_after_ms, now, fastrand::u64(..));
        self.credential.live.tell(changed);
    }

    /// The attempt used so many tokens. Later calls change nothing.
    pub(crate) fn settle(&mut self, used: u64) {
        if let Some(expected) = self.expected.take() {
            self.credential.live.meter().correct(expected, used, self.taken_at);
        }
    }

    /// The answer has ended: others may take the credential and the place. Later calls change nothing.
    pub(crate) fn leave(&mut self) {
        self.credential.health().release(self.held);
        self.permit.leave();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle(0);
        self.leave();
        if self.lent {
            self.credential.live.lending().give_back(self.taken_at);
        }
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
    }
    owners
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptQuery {
    /// The credential that the conversation began with, and what that is worth.
    pub(crate) known: Option<(CredentialId, u32)>,
    /// Prompt tokens, by estimate.
    pub(crate) tokens: u64,
    /// Longest that the request may take.
    pub(crate) request_ms: u64,
    /// Now.
    pub(crate) now: Timestamp,
}

/// Why a credential cannot serve now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ineligible {
    /// It is at a limit, the provider's or its own, for so many milliseconds.
    Limited(u64),
    /// It is out of service, for so many milliseconds where that is known.
    Down(Option<u64>),
    /// Its owner has taken it back: it is as if it had never been there.
    Gone,
}

impl From<NotLent> for Ineligible {
    fn from(not: NotLent) -> Self {
        match not {
            NotLent::Withdrawn => Self::Gone,
            NotLent::Spent(ms) => Self::Limited(ms),
        }
    }
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
/// 503 when there is none for such calls or all are out of service, 429 when one is only at its limit, and what the policy's
/// binding says when the policy fails.
pub(crate) fn next(
    target: &Target<'_>,
    directory: &Directory,
    request: &Request,
    tried: &[CredentialId],
    query: &AttemptQuery,
) -> Result<Lease, ProxyError> {
    let mut unavailable = Unavailable::default();
    for _ in 0..RACES_MAX {
        unavailable = Unavailable::default();
        let mut found: Vec<(Candidate, &Arc<Credential>, Rc<Upstream>, CallKind)> = Vec::with_capacity(8);
        for credential in directory.credentials(&request.caller) {
            let Some((upstream, upstream_call)) = target.upstream(credential) else { continue };
            if tried.contains(&credential.id) {
                continue;
            }
            match candidate(credential, query) {
                Ok(candidate) => found.push((candidate, credential, upstream, upstream_call)),
                Err(ineligible) => unavailable.add(ineligible),
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
        match Lease::take(credential, upstream, *upstream_call, query) {
            Ok(lease) => return Ok(lease),
            Err(ineligible) => unavailable.add(ineligible),
        }
    }
    Err(unavailable.error())
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

/// Which candidates a selector sees where there are too many: the caller's own before lent ones before the platform's; of each
/// owner, the one that knows the conversation, and those that have been idle the longest.
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
fn candidate(credential: &Credential, query: &AttemptQuery) -> Result<Candidate, Ineligible> {
    let now = query.now;
    let health = credential.health();
    let state = standing(credential, &health, now)?;
    spare(credential, now)?;
    // On a copy: what is only looked at is not counted.
    admit(&credential.limits, &mut credential.live.meter().clone(), now)?;
    let affinity = query.known.filter(|(known, _)| *known == credential.id).map_or(0, |(_, worth)| worth);
    Ok(Candidate {
        handle: 0,
        owner: credential.owner,
        health: state,
        weight: credential.weight,
        in_flight: health.in_flight(now),
        failures: health.failures(),
        idle_ms: health.last_used().map_or(u64::MAX, |last| now.since_ms(last)),
        affinity,
    })
}

/// Whether a credential is fit to serve, as far as its health and its concurrency go.
fn standing(credential: &Credential, health: &health::Health, now: Timestamp) -> Result<Health, Ineligible> {
    let state = match health.standing(now) {
        Standing::Available => Health::Available,
        Standing::HalfOpen => Health::HalfOpen,
        Standing::Cooling { why: Rest::RateLimited, remaining_ms } => {
            return Err(Ineligible::Limited(remaining_ms));
        }
        Standing::Cooling { why: Rest::Faults, remaining_ms } => {
            return Err(Ineligible::Down(Some(remaining_ms)));
        }
        Standing::Disabled { why: Disabled::QuotaGone, recheck_ms } => {
            return Err(Ineligible::Down(Some(recheck_ms)));
        }
        // Nobody knows when someone brings a better key.
        Standing::Disabled { why: Disabled::InvalidKey, .. } => return Err(Ineligible::Down(None)),
    };
    match credential.limits.concurrency {
        Some(most) if u64::from(health.in_flight(now)) >= most => Err(Ineligible::Limited(BUSY_MS)),
        _ => Ok(state),
    }
}

/// Whether its owner lets others use it once more, where he lends it at all.
fn spare(credential: &Credential, now: Timestamp) -> Result<(), Ineligible> {
    match credential.lender {
        Some(_) => Ok(credential.live.lending().check(now)?),
        None => Ok(()),
    }
}

/// Whether a credential's own limits let a call in, which is counted then.
fn admit(limits: &RateLimits, meter: &mut RateMeter, now: Timestamp) -> Result<(), Ineligible> {
    // Leases are counted by its health, where one that is stuck ends by itself.
    let limits = RateLimits { concurrency: None, ..*limits };
    meter.admit(&limits, now).map_err(|refused| Ineligible::Limited(refused.retry_after_ms))?;
    meter.leave();
    Ok(())
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

/// The gateway's own rule: the caller's before lent ones before the platform's, healthy before half-open, then the least loaded by weight.
fn least_loaded(candidates: &[Candidate]) -> Option<u32> {
    let load = |c: &Candidate| u64::from(c.in_flight) * 1000 / u64::from(c.weight.max(1));
    candidates
        .iter()
        .min_by_key(|c| (rank(c.owner), c.health == Health::HalfOpen, load(c), u64::MAX - c.idle_ms))
        .map(|candidate| candidate.handle)
}
