//! What a node asks before it acts: whether a balance carries a hold, a key's limit has room, a credential
//! may be used.
//!
//! A node that serves alone decides all of this in memory: `accounts`, `limiter`, `credentials`, `affinity`
//! and `concurrency` answer at once then, without a box and without a wait. Where several nodes serve one
//! installation, each of them is given the deciders that they have in common, behind the traits of this
//! module.
//!
//! A question is a future, and one that is dropped has asked for nothing that lasts: whoever granted it takes
//! it back. What a node only tells needs no answer, and is told from places that cannot wait; an
//! implementation queues it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::health::Penalty;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::ledger::{Insufficient, Settlement};
use tollgate_core::lending::NotLent;
use tollgate_core::limits::{RateLimits, RateStatus, Refused};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

/// An answer that may take a while.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The deciders that several nodes have in common. What is `None` this node decides alone.
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

/// Why nothing is kept back for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldRefused {
    /// The balance does not carry it.
    Insufficient(Insufficient),
    /// Nobody could say whether it does.
    Unavailable,
}

/// Keeps the balances that several nodes spend. What it decided each node writes to its own journal.
pub trait SharedAccounts: Send + Sync {
    /// Keeps back `amount` for a request. Each hold that was granted is settled or voided once.
    fn hold(
        &self,
        user: UserId,
        request: RequestId,
        amount: Micropoints,
    ) -> Answer<'_, Result<(), HoldRefused>>;

    /// Charges a request against its hold of `held`, gives the rest back, and says where the charge came
    /// from. It has to answer in the end: a settlement is never dropped.
    fn settle(
        &self,
        user: UserId,
        request: RequestId,
        held: Micropoints,
        charge: Micropoints,
    ) -> Answer<'_, Settlement>;

    /// Gives back what was held for a request, without a charge.
    fn void(&self, user: UserId, request: RequestId, held: Micropoints);

    /// A user has earned so much.
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
    ) -> Answer<'a, Result<RateStatus, (Refused, RateStatus)>>;

    /// A call that was let in at `admitted` is about to use so many tokens.
    fn expect(&self, key: ApiKeyId, tokens: u64, admitted: Timestamp);

    /// A call has ended: its place is free.
    fn leave(&self, key: ApiKeyId);

    /// A call that was expected to use so many tokens has used so many.
    fn correct(&self, key: ApiKeyId, expected: u64, used: u64, admitted: Timestamp);
}

/// Why a credential cannot serve now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ineligible {
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

/// One use of a credential, as it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What its owner or the operator limits it to.
    pub limits: RateLimits,
    /// Tokens that the request is expected to use.
    pub tokens: u64,
    /// Now.
    pub now: Timestamp,
    /// After so long the use counts no more, whoever forgot to end it, in milliseconds.
    pub lease_ms: u64,
}

/// Decides for several nodes who uses a credential, and remembers how it is. Each node asks only where the
/// credential is fit by what it knows itself.
pub trait SharedCredentials: Send + Sync {
    /// Grants one use, which gets a number. One that is asked for after a rest is the probe, and is granted alone.
    fn take(&self, credential: CredentialId, wanted: Wanted) -> Answer<'_, Result<u64, Ineligible>>;

    /// An attempt worked.
    fn succeeded(&self, credential: CredentialId);

    /// An attempt failed.
    fn failed(&self, credential: CredentialId, penalty: Penalty, now: Timestamp);

    /// The use of this number has ended.
    fn leave(&self, credential: CredentialId, number: u64);

    /// A use that was taken at `taken` was expected to use so many tokens, and has used so many.
    fn correct(&self, credential: CredentialId, expected: u64, used: u64, taken: Timestamp);
}

/// Remembers for several nodes which credential a conversation began with.
pub trait SharedAffinity: Send + Sync {
    /// What the names of conversations are made with: the same on all nodes, and known to nobody else.
    fn seed(&self) -> [u8; 16];

    /// The credential that served a conversation, and what that is worth now, in thousandths.
    fn recall(&self, conversation: u64, now: Timestamp) -> Answer<'_, Option<(CredentialId, u32)>>;

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
    /// A place among `places`, which ends when the box is dropped; `None` when there was none for so long.
    fn enter<'a>(
        &'a self,
        gate: Gate<'a>,
        places: usize,
        patience: Duration,
    ) -> Answer<'a, Option<Box<dyn Send>>>;
}
