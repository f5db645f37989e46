//! Decides whether a credential may serve now: it is in service, below its limits, and lent if it is somebody else's.
//!
//! A grant is a [`Use`]; it ends when it is dropped, and in any case after a while. Only this file touches the state of
//! a credential, and each step under one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use tollgate_core::failure::FailureClass;
use tollgate_core::health::{Among, Asked, Disabled, Health, Lease, Penalty, Rest, Standing};
use tollgate_core::id::{CredentialId, UserId};
use tollgate_core::lending::{Lending, Terms};
use tollgate_core::limits::{RateLimits, RateMeter};
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::CredentialState;

use super::accounts::SharedAccount;
use super::deciders::{Ineligible, SharedCredentials, Wanted};
use super::platform::Place;

/// The wait that is advised where it is not known when a call under way ends.
const BUSY_MS: u64 = 1000;

/// A provider key, opened, with its state.
#[derive(Debug)]
pub(crate) struct Credential {
    /// Its id in the store and the records.
    pub(crate) id: CredentialId,
    /// Whose it is.
    pub(crate) owner: Owner,
    /// The configured provider that it is for.
    pub(crate) provider: String,
    /// What its owner calls it: model routes may set a platform credential aside by it.
    pub(crate) label: String,
    /// The key itself.
    pub(crate) secret: Secret,
    /// Where it is valid, if not at the provider itself.
    pub(crate) place: Option<Place>,
    /// The operator's weight.
    pub(crate) weight: u32,
    /// How much and how often it may serve.
    pub(crate) limits: RateLimits,
    /// Its owner, if it is lent to others.
    pub(crate) lender: Option<Lender>,
    /// Its state; kept through replacements of the directory.
    pub(crate) live: Arc<Live>,
}

/// Who lends a credential.
#[derive(Debug, Clone)]
pub(crate) struct Lender {
    /// The user.
    pub(crate) user: UserId,
    /// Where the earnings go.
    pub(crate) account: Arc<SharedAccount>,
}

/// The state of a credential, and what it has served; kept through replacements of the directory.
#[derive(Debug)]
pub(crate) struct Live {
    id: CredentialId,
    state: Mutex<State>,
    changes: UnboundedSender<CredentialId>,
}

#[derive(Debug)]
struct State {
    health: Health,
    meter: RateMeter,
    lending: Lending,
}

impl Live {
    /// A credential as it was stored. Changes of its condition are sent to `changes`.
    pub(crate) fn new(
        id: CredentialId,
        health: Health,
        meter: RateMeter,
        lending: Lending,
        changes: UnboundedSender<CredentialId>,
    ) -> Arc<Self> {
        Arc::new(Self { id, state: Mutex::new(State { health, meter, lending }), changes })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What they do saturates: nothing in it could panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the terms under which its owner lends it; see [`Lending::agree`].
    pub(crate) fn agree(&self, terms: Option<Terms>) {
        self.lock().lending.agree(terms);
    }

    /// Ends a loan now; see [`Lending::withdraw`].
    pub(crate) fn withdraw(&self, loan: u64) {
        self.lock().lending.withdraw(loan);
    }

    /// Whether its owner lends it.
    pub(crate) fn is_lent(&self) -> bool {
        self.lock().lending.is_lent()
    }

    /// How often others used it since midnight UTC.
    pub(crate) fn uses_today(&self, now: Timestamp) -> u64 {
        self.lock().lending.used(now)
    }

    /// Its current health, to be shown.
    pub(crate) fn health(&self) -> Health {
        self.lock().health.clone()
    }

    /// What it can be used for at `now`.
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        self.lock().health.standing(now)
    }

    /// The part of it that is stored.
    pub(crate) fn lasting(&self) -> CredentialState {
        let health = &self.lock().health;
        CredentialState { condition: health.condition(), failures: health.failures() }
    }

    /// Takes in what a check found at `at`: that the credential is good, or why it is not.
    pub(crate) fn learn(&self, failure: Option<FailureClass>, at: Timestamp) {
        match failure {
            None => self.acquit(at),
            Some(class) => {
                let changed = self.lock().health.fail_check(class, at, fastrand::u64(..));
                self.tell(changed);
            }
        }
    }

    /// It works, or deserves another chance.
    pub(crate) fn acquit(&self, at: Timestamp) {
        let changed = self.lock().health.acquit(at);
        self.tell(changed);
    }

    fn succeed(&self, asked: &Asked) {
        let changed = self.lock().health.succeed(asked);
        self.tell(changed);
    }

    fn fail(&self, penalty: Penalty, asked: &Asked, now: Timestamp) {
        let changed = self.lock().health.fail(penalty, asked, now, fastrand::u64(..));
        self.tell(changed);
    }

    /// When it is to be checked, if it is.
    pub(crate) fn check_at(&self) -> Option<Timestamp> {
        self.lock().health.check_at()
    }

    fn tell(&self, changed: bool) {
        if changed {
            // At the end no one receives it: what is lost then is learned again.
            let _gone = self.changes.send(self.id);
        }
    }
}

impl State {
    /// Whether it may serve, and as what: half-open where the next attempt is a probe.
    fn fit(
        &self,
        credential: &Credential,
        (asked, among): (&Asked, Among),
        now: Timestamp,
    ) -> Result<bool, Ineligible> {
        let half_open = match self.health.standing_among(among, asked, now) {
            Standing::Available => false,
            Standing::HalfOpen => true,
            Standing::Cooling { why: Rest::RateLimited, remaining_ms } => {
                return Err(Ineligible::Limited(remaining_ms));
            }
            Standing::Cooling { why: Rest::Faults | Rest::Refused, remaining_ms } => {
                return Err(Ineligible::Down(Some(remaining_ms)));
            }
            Standing::Disabled { why: Disabled::QuotaGone, recheck_ms } => {
                return Err(Ineligible::Down(Some(recheck_ms)));
            }
            // It is not known when someone brings a better key.
            Standing::Disabled { why: Disabled::InvalidKey, .. } => return Err(Ineligible::Down(None)),
        };
        let in_flight = u64::from(self.health.in_flight(now));
        if credential.limits.concurrency.is_some_and(|most| in_flight >= most) {
            return Err(Ineligible::Limited(BUSY_MS));
        }
        if credential.lender.is_some() {
            self.lending.check(now)?;
        }
        Ok(half_open)
    }
}

/// Whether a credential's own limits let a call in, which is counted then.
fn admit(limits: &RateLimits, meter: &mut RateMeter, now: Timestamp) -> Result<(), Ineligible> {
    // Uses under way are counted by its health, where one that is stuck ends by itself.
    let limits = RateLimits { concurrency: None, ..*limits };
    meter.admit(&limits, now).map_err(|refused| Ineligible::Limited(refused.retry_after_ms))?;
    meter.leave();
    Ok(())
}

/// A credential as the selector sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Whether the next attempt is a probe after a rest.
    pub(crate) half_open: bool,
    /// Uses under way.
    pub(crate) in_flight: u32,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Milliseconds since it was last taken; the most there are where it never was.
    pub(crate) idle_ms: u64,
}

/// Grants uses of credentials.
#[derive(Default)]
pub(crate) struct Credentials {
    shared: Option<Arc<dyn SharedCredentials>>,
}

impl Credentials {
    /// Asks `shared` too, where there is one.
    pub(crate) const fn new(shared: Option<Arc<dyn SharedCredentials>>) -> Self {
        Self { shared }
    }

    /// The state of a credential by what this node knows; nothing is counted.
    ///
    /// # Errors
    /// Why it cannot serve now.
    #[expect(
        clippy::unused_self,
        reason = "who looks at a credential asks the decider, whatever that looks at"
    )]
    pub(crate) fn look(
        &self,
        credential: &Credential,
        (asked, among): (&Asked, Among),
        now: Timestamp,
    ) -> Result<View, Ineligible> {
        let state = credential.live.lock();
        let half_open = state.fit(credential, (asked, among), now)?;
        admit(&credential.limits, &mut state.meter.clone(), now)?;
        let health = &state.health;
        Ok(View {
            half_open,
            in_flight: health.in_flight(now),
            failures: health.failures_for(asked, now),
            idle_ms: health.last_used().map_or(u64::MAX, |last| now.since_ms(last)),
        })
    }

    /// Grants one use of it.
    ///
    /// # Errors
    /// Why it cannot serve now: it may have reached a limit, or its probe may have begun, since it was looked at.
    pub(crate) async fn take(&self, credential: &Arc<Credential>, wanted: Wanted) -> Result<Use, Ineligible> {
        let mut granted = Use::begin(credential, &wanted)?;
        if let Some(shared) = &self.shared {
            // Whatever comes of it, this node's own count is taken back with what is dropped.
            let number = shared.take(credential.id, wanted).await?;
            granted.shared = Some((Arc::clone(shared), number));
        }
        Ok(granted)
    }
}

/// One use of a credential. Dropping it gives the credential back.
pub(crate) struct Use {
    credential: Arc<Credential>,
    asked: Asked,
    lease: Lease,
    taken_at: Timestamp,
    /// Tokens that were counted ahead; `None` once it is known what was used.
    expected: Option<u64>,
    /// Whether a use of a lent one was counted that has not happened yet.
    lent: bool,
    /// The shared decider that granted it too, and its number there.
    shared: Option<(Arc<dyn SharedCredentials>, u64)>,
    left: bool,
}

impl Use {
    fn begin(credential: &Arc<Credential>, wanted: &Wanted) -> Result<Self, Ineligible> {
        let Wanted { asked, among, tokens, now, lease_ms, .. } = *wanted;
        let mut state = credential.live.lock();
        state.fit(credential, (&asked, among), now)?;
        admit(&credential.limits, &mut state.meter, now)?;
        let lent = credential.lender.is_some();
        if lent {
            state.lending.take(now)?;
        }
        let lease = state.health.begin(&asked, now, lease_ms);
        state.meter.expect(tokens, now);
        drop(state);
        let credential = Arc::clone(credential);
        let expected = Some(tokens);
        Ok(Self { credential, asked, lease, taken_at: now, expected, lent, shared: None, left: false })
    }

    /// The credential.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// When it was granted.
    pub(crate) const fn taken_at(&self) -> Timestamp {
        self.taken_at
    }

    /// A request is about to go up: from then on a lent credential counts as used, whatever happens to the request.
    pub(crate) const fn sent(&mut self) {
        self.lent = false;
    }

    /// The attempt worked.
    pub(crate) fn succeed(&self) {
        self.credential.live.succeed(&self.asked);
        if let Some((shared, _)) = &self.shared {
            shared.succeeded(self.credential.id, self.asked);
        }
    }

    /// The attempt failed.
    pub(crate) fn fail(&self, penalty: Penalty, now: Timestamp) {
        self.credential.live.fail(penalty, &self.asked, now);
        if let Some((shared, _)) = &self.shared {
            shared.failed(self.credential.id, self.asked, penalty, now);
        }
    }

    /// The attempt used this many tokens. Later calls change nothing.
    pub(crate) fn settle(&mut self, used: u64) {
        let Some(expected) = self.expected.take() else { return };
        self.credential.live.lock().meter.correct(expected, used, self.taken_at);
        if let Some((shared, _)) = &self.shared {
            shared.correct(self.credential.id, expected, used, self.taken_at);
        }
    }

    /// The answer has ended: others may take the credential. Later calls change nothing.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.credential.live.lock().health.release(self.lease);
            if let Some((shared, number)) = &self.shared {
                shared.leave(self.credential.id, *number);
            }
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.settle(0);
        self.leave();
        if self.lent {
            self.credential.live.lock().lending.give_back(self.taken_at);
        }
    }
}
