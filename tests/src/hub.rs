//! The shared state of several nodes, as a thread of the test's process that answers questions one by one, each after a
//! while. It is the second implementation of the gateway's deciders, and decides by the arithmetic of `tollgate-core`,
//! like a node that serves alone.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tollgate_core::affinity::Affinities;
use tollgate_core::health::{Asked, Health, Lease, Penalty, Standing};
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::ledger::{Account, Claim, Held, Settlement};
use tollgate_core::limits::{RateLimits, RateMeter, RateStatus, Refused};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_server::deciders::{
    Deciders, Deciding, Gate, HoldRefused, Ineligible, SharedAccounts, SharedAffinity, SharedCredentials,
    SharedGates, SharedLimiter, Wanted,
};

/// How long a question is under way.
const AWAY: Duration = Duration::from_millis(2);
/// How long a call waits for a place at a busy credential, as far as anyone can say.
const BUSY_MS: u64 = 1000;

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// The handle. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub struct Hub {
    jobs: mpsc::Sender<Job>,
}

struct State {
    /// The accounts of users: they have only what a test gives them.
    accounts: HashMap<UserId, Account>,
    keys: HashMap<ApiKeyId, RateMeter>,
    credentials: HashMap<CredentialId, Credential>,
    conversations: Affinities,
    gates: HashMap<String, Arc<Semaphore>>,
}

#[derive(Default)]
struct Credential {
    health: Health,
    meter: Option<RateMeter>,
    uses: HashMap<u64, Lease>,
    last_use: u64,
}

impl Default for Hub {
    fn default() -> Self {
        let (jobs, wanted) = mpsc::channel::<Job>();
        let mut state = State {
            accounts: HashMap::new(),
            keys: HashMap::new(),
            credentials: HashMap::new(),
            conversations: Affinities::new(64),
            gates: HashMap::new(),
        };
        std::thread::spawn(move || {
            for job in wanted {
                std::thread::sleep(AWAY);
                job(&mut state);
            }
        });
        Self { jobs }
    }
}

impl Hub {
    /// All deciders of a gateway.
    #[must_use]
    pub fn deciders(&self) -> Deciders {
        Deciders {
            accounts: Some(Arc::new(self.clone())),
            limiter: Some(Arc::new(self.clone())),
            credentials: Some(Arc::new(self.clone())),
            affinity: Some(Arc::new(self.clone())),
            gates: Some(Arc::new(self.clone())),
        }
    }

    /// Gives a user points, and no overdraft.
    pub fn fund(&self, user: UserId, points: Micropoints) {
        self.tell(move |state| {
            state.accounts.insert(user, Account::new(points, Micropoints::ZERO));
        });
    }

    /// A user's account, after everything that was sent before has been applied.
    pub async fn account(&self, user: UserId) -> Account {
        self.ask(move |state| *state.account(user), |_, _| {}).await
    }

    fn tell(&self, job: impl FnOnce(&mut State) + Send + 'static) {
        // The thread lives as long as any handle.
        let _gone = self.jobs.send(Box::new(job));
    }

    /// Asks a question; if the caller stops waiting for the answer, `undo` reverts it.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut State) -> T + Send + 'static,
        undo: impl FnOnce(&mut State, T) + Send + 'static,
    ) -> Deciding<'static, T> {
        let (answer, answered) = oneshot::channel();
        self.tell(move |state| {
            if let Err(unheard) = answer.send(question(state)) {
                undo(state, unheard);
            }
        });
        Box::pin(async { answered.await.expect("every question is answered") })
    }
}

impl State {
    fn account(&mut self, user: UserId) -> &mut Account {
        let nothing = Account::new(Micropoints::ZERO, Micropoints::ZERO);
        self.accounts.entry(user).or_insert(nothing)
    }

    fn key(&mut self, key: ApiKeyId, now: Timestamp) -> &mut RateMeter {
        self.keys.entry(key).or_insert_with(|| RateMeter::new(0, now))
    }

    fn credential(&mut self, id: CredentialId) -> &mut Credential {
        self.credentials.entry(id).or_default()
    }
}

impl Credential {
    fn meter(&mut self, now: Timestamp) -> &mut RateMeter {
        self.meter.get_or_insert_with(|| RateMeter::new(0, now))
    }

    fn take(&mut self, wanted: Wanted) -> Result<u64, Ineligible> {
        let Wanted { asked, among, limits, tokens, now, lease_ms } = wanted;
        match self.health.standing_among(among, &asked, now) {
            Standing::Available | Standing::HalfOpen => {}
            Standing::Cooling { remaining_ms, .. } => return Err(Ineligible::Limited(remaining_ms)),
            Standing::Disabled { recheck_ms, .. } => return Err(Ineligible::Down(Some(recheck_ms))),
        }
        if limits.concurrency.is_some_and(|most| u64::from(self.health.in_flight(now)) >= most) {
            return Err(Ineligible::Limited(BUSY_MS));
        }
        let rates = RateLimits { concurrency: None, ..limits };
        let meter = self.meter(now);
        meter.admit(&rates, now).map_err(|refused| Ineligible::Limited(refused.retry_after_ms))?;
        meter.leave();
        meter.expect(tokens, now);
        let lease = self.health.begin(&asked, now, lease_ms);
        self.last_use += 1;
        self.uses.insert(self.last_use, lease);
        Ok(self.last_use)
    }

    fn leave(&mut self, number: u64) {
        if let Some(lease) = self.uses.remove(&number) {
            self.health.release(lease);
        }
    }
}

impl SharedAccounts for Hub {
    fn hold(&self, user: UserId, _request: RequestId, claim: Claim) -> Deciding<'_, Result<(), HoldRefused>> {
        let Claim { amount, unsecured, .. } = claim;
        self.ask(
            move |state| state.account(user).claim(&claim).map_err(HoldRefused::Insufficient),
            move |state, held| {
                if held.is_ok() {
                    state.account(user).void_held(Held { amount, unsecured });
                }
            },
        )
    }

    fn grow(
        &self,
        user: UserId,
        request: RequestId,
        more: Micropoints,
    ) -> Deciding<'_, Result<(), HoldRefused>> {
        self.hold(user, request, Claim::of(more))
    }

    fn settle(
        &self,
        user: UserId,
        _request: RequestId,
        held: Held,
        charge: Micropoints,
    ) -> Deciding<'_, Settlement> {
        self.ask(move |state| state.account(user).settle_held(held, charge), |_, _| {})
    }

    fn void(&self, user: UserId, _request: RequestId, held: Held) {
        self.tell(move |state| state.account(user).void_held(held));
    }

    fn credit(&self, user: UserId, amount: Micropoints) {
        self.tell(move |state| state.account(user).credit(amount).expect("a balance of a test"));
    }
}

impl SharedLimiter for Hub {
    fn admit<'a>(
        &'a self,
        key: ApiKeyId,
        rates: &'a RateLimits,
        now: Timestamp,
    ) -> Deciding<'a, Result<RateStatus, (Refused, RateStatus)>> {
        let rates = *rates;
        self.ask(
            move |state| {
                let meter = state.key(key, now);
                let admitted = meter.admit(&rates, now);
                let left = meter.standing(&rates);
                admitted.map(|()| left).map_err(|refused| (refused, left))
            },
            move |state, admitted| {
                if admitted.is_ok() {
                    state.key(key, now).leave();
                }
            },
        )
    }

    fn expect(&self, key: ApiKeyId, tokens: u64, admitted: Timestamp) {
        self.tell(move |state| state.key(key, admitted).expect(tokens, admitted));
    }

    fn leave(&self, key: ApiKeyId) {
        self.tell(move |state| {
            if let Some(meter) = state.keys.get_mut(&key) {
                meter.leave();
            }
        });
    }

    fn correct(&self, key: ApiKeyId, expected: u64, used: u64, admitted: Timestamp) {
        self.tell(move |state| state.key(key, admitted).correct(expected, used, admitted));
    }
}

impl SharedCredentials for Hub {
    fn take(&self, credential: CredentialId, wanted: Wanted) -> Deciding<'_, Result<u64, Ineligible>> {
        self.ask(
            move |state| state.credential(credential).take(wanted),
            move |state, taken| {
                if let Ok(number) = taken {
                    state.credential(credential).leave(number);
                }
            },
        )
    }

    fn succeeded(&self, credential: CredentialId, asked: Asked) {
        self.tell(move |state| {
            state.credential(credential).health.succeed(&asked);
        });
    }

    fn failed(&self, credential: CredentialId, asked: Asked, penalty: Penalty, now: Timestamp) {
        self.tell(move |state| {
            state.credential(credential).health.fail(penalty, &asked, now, 0);
        });
    }

    fn leave(&self, credential: CredentialId, number: u64) {
        self.tell(move |state| state.credential(credential).leave(number));
    }

    fn correct(&self, credential: CredentialId, expected: u64, used: u64, taken: Timestamp) {
        self.tell(move |state| state.credential(credential).meter(taken).correct(expected, used, taken));
    }
}

impl SharedAffinity for Hub {
    fn seed(&self) -> [u8; 16] {
        [7; 16]
    }

    fn recall(&self, conversation: u64, now: Timestamp) -> Deciding<'_, Option<(CredentialId, u32)>> {
        self.ask(move |state| state.conversations.recall(conversation, now), |_, _| {})
    }

    fn note(&self, conversation: u64, credential: CredentialId, at: Timestamp) {
        self.tell(move |state| state.conversations.note(conversation, credential, at));
    }
}

impl SharedGates for Hub {
    fn enter<'a>(
        &'a self,
        gate: Gate<'a>,
        places: usize,
        patience: Duration,
    ) -> Deciding<'a, Option<Box<dyn Send>>> {
        let name = format!("{gate:?}");
        let found = self.ask(
            move |state| {
                Arc::clone(state.gates.entry(name).or_insert_with(|| Arc::new(Semaphore::new(places))))
            },
            |_, _| {},
        );
        Box::pin(async move {
            let entered = tokio::time::timeout(patience, found.await.acquire_owned()).await.ok()?.ok()?;
            Some(Box::new(entered) as Box<dyn Send>)
        })
    }
}
