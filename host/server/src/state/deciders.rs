//! What a node asks before it acts: whether a balance carries a hold, a key's limit has room, a credential
//! may be used.
//!
//! A node that serves alone decides all of this in memory: `accounts`, `limiter`, `credentials`, `affinity` and
//! `concurrency` then answer at once, without a box and without a wait. Where several nodes serve one installation,
//! each of them gets the shared deciders, behind the traits of this module.
//!
//! A question is a future; dropping it leaves nothing behind, because the decider takes back what it granted.
//! Notifications need no answer, and come from places that cannot wait, so an implementation queues them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::health::{Among, Asked, Penalty};
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::ledger::{Claim, Held, Insufficient, Settlement};
use tollgate_core::lending::NotLent;
use tollgate_core::limits::{RateLimits, RateStatus, Refused};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

/// An answer that may take a while.
pub type Deciding<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The deciders that several nodes share. Where one is `None`, this node decides alone.
#[derive(Clone, Default)]
pub struct Deciders {
    /// What users may spend.
    pub accounts: Option<Arc<dyn SharedAccounts>>,
    /// What API keys may do now.
    pub limiter: Option<Arc<dyn SharedLimiter>>,
    /// Who may use a credential.
    pub credentials: Option<Arc<dyn SharedCredentials>>,
    /// Which credential a conversation began with.
    pub affinity: Option<Arc<dyn SharedAffinity>>,
    /// How many requests may be under way.
    pub gates: Option<Arc<dyn SharedGates>>,
}

impl fmt::Debug for Deciders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deciders")
            .field("accounts", &self.accounts.is_some())
            .field("limiter", &self.limiter.is_some())
            .field("credentials", &self.credentials.is_some())
            .field("affinity", &self.affinity.is_some())
            .field("gates", &self.gates.is_some())
            .finish()
    }
}

/// Why nothing is reserved for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldRefused {
    /// The balance does not carry it.
    Insufficient(Insufficient),
    /// It is not known whether it does.
    Unavailable,
}

/// Keeps the balances that several nodes spend. Each node writes the decisions to its own journal.
pub trait SharedAccounts: Send + Sync {
    /// Keeps back what a request claims, by the rules of [`tollgate_core::ledger::Account::claim`]. Each hold that was
    /// granted is settled or voided once.
    fn hold(&self, user: UserId, request: RequestId, claim: Claim) -> Deciding<'_, Result<(), HoldRefused>>;

    /// Keeps back `more` for a request that has a hold. What is granted is part of that hold from then on.
    fn grow(
        &self,
        user: UserId,
        request: RequestId,
        more: Micropoints,
    ) -> Deciding<'_, Result<(), HoldRefused>>;

    /// Charges a request against all that is held for it, gives the rest back, and says where the charge came from. It
    /// has to answer in the end: a settlement is never dropped.
    fn settle(
        &self,
        user: UserId,
        request: RequestId,
        held: Held,
        charge: Micropoints,
    ) -> Deciding<'_, Settlement>;

    /// Gives back what was held for a request, without a charge.
    fn void(&self, user: UserId, request: RequestId, held: Held);

    /// A user has earned this much.
    fn credit(&self, user: UserId, amount: Micropoints);
}

/// Counts the calls of limited API keys for several nodes.
pub trait SharedLimiter: Send + Sync {
    /// Lets a call in, which is counted then, and says what is left. Each call that was let in is followed by one
    /// [`SharedLimiter::leave`], and in the end by [`SharedLimiter::correct`] where more than a place was counted.
    fn admit<'a>(
        &'a self,
        key: ApiKeyId,
        rates: &'a RateLimits,
        now: Timestamp,
    ) -> Deciding<'a, Result<RateStatus, (Refused, RateStatus)>>;

    /// A call that was let in at `admitted` is about to use this many tokens.
    fn expect(&self, key: ApiKeyId, tokens: u64, admitted: Timestamp);

    /// A call has ended: its place is free.
    fn leave(&self, key: ApiKeyId);

    /// A call that was expected to use `expected` tokens has used `used`.
    fn correct(&self, key: ApiKeyId, expected: u64, used: u64, admitted: Timestamp);
}

/// Why a credential cannot serve now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ineligible {
    /// It is at a limit, the provider's or its own, for this many milliseconds.
    Limited(u64),
    /// It is out of service, for this many milliseconds, if that is known.
    Down(Option<u64>),
    /// Its owner has taken it back: it counts as missing.
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

/// One use of a credential, as it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// By whom, and for what.
    pub asked: Asked,
    /// Who else could serve.
    pub among: Among,
    /// What its owner or the operator limits it to.
    pub limits: RateLimits,
    /// Tokens that the request is expected to use.
    pub tokens: u64,
    /// Now.
    pub now: Timestamp,
    /// Milliseconds after which the use ends by itself.
    pub lease_ms: u64,
}

/// Decides for several nodes who uses a credential, and remembers how it is. Each node asks only where the
/// credential is fit by what it knows itself.
pub trait SharedCredentials: Send + Sync {
    /// Grants one use, which gets a number. One that is asked for after a rest is the probe, and is granted alone.
    fn take(&self, credential: CredentialId, wanted: Wanted) -> Deciding<'_, Result<u64, Ineligible>>;

    /// An attempt worked.
    fn succeeded(&self, credential: CredentialId, asked: Asked);

    /// An attempt failed.
    fn failed(&self, credential: CredentialId, asked: Asked, penalty: Penalty, now: Timestamp);

    /// The use of this number has ended.
    fn leave(&self, credential: CredentialId, number: u64);

    /// The use that was taken at `taken` was expected to use `expected` tokens, and has used `used`.
    fn correct(&self, credential: CredentialId, expected: u64, used: u64, taken: Timestamp);
}

/// Remembers for several nodes which credential a conversation began with.
pub trait SharedAffinity: Send + Sync {
    /// The secret seed of the names of conversations, the same on all nodes.
    fn seed(&self) -> [u8; 16];

    /// The credential that served a conversation, and what that is worth now, in thousandths.
    fn recall(&self, conversation: u64, now: Timestamp) -> Deciding<'_, Option<(CredentialId, u32)>>;

    /// A credential has served a conversation.
    fn note(&self, conversation: u64, credential: CredentialId, at: Timestamp);
}

/// Something that only a number of requests may pass at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate<'a> {
    /// All requests pass it.
    Whole,
    /// Those to one provider do.
    Provider(&'a str),
}

/// Gives out the places of several nodes.
pub trait SharedGates: Send + Sync {
    /// A place among `places`, which ends when the box is dropped; `None` when there was none in time.
    fn enter<'a>(
        &'a self,
        gate: Gate<'a>,
        places: usize,
        patience: Duration,
    ) -> Deciding<'a, Option<Box<dyn Send>>>;
}
