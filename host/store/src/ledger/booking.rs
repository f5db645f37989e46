//! Points that management puts on accounts.

use async_trait::async_trait;
use tollgate_core::id::{RequestId, TransferId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::entry::Digest;
use crate::error::StoreError;

/// Points that were put on an account, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Its number in the ledger.
    pub seq: i64,
    /// Its id.
    pub transfer: TransferId,
    /// How many, in micro-points.
    pub amount: Micropoints,
    /// Whether it had been booked before under the same reference, so that nothing was done now.
    pub repeated: bool,
}

/// A movement that management made, to be applied to the balances in a server's memory, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// Its number in the ledger.
    pub seq: i64,
    /// Whose account it is.
    pub user: UserId,
    /// What it adds, in micro-points.
    pub amount: Micropoints,
}

/// A refund to be made.
#[derive(Debug, Clone, Copy)]
pub struct Refund<'a> {
    /// The request.
    pub request: RequestId,
    /// How much; all that is left without one.
    pub amount: Option<Micropoints>,
    /// Why.
    pub reason: &'a str,
    /// Who makes it.
    pub actor: &'a str,
    /// Makes it happen once: a second refund of this request under the same key is the first one.
    pub key: Option<&'a str>,
}

/// A key that a provider has accepted, and what it is worth.
#[derive(Debug, Clone, Copy)]
pub struct Reward<'a> {
    /// Who brought it.
    pub user: UserId,
    /// The configured provider.
    pub provider: &'a str,
    /// Fingerprints of the key and, where the provider names it, of its account.
    pub fingerprints: &'a [Digest],
    /// Whether the provider named the account. Where it did not, several keys may be of one account, and a user is
    /// rewarded once at that provider.
    pub account_named: bool,
    /// Micro-points, as the pricing policy decides.
    pub amount: Micropoints,
}

/// Points that management puts on accounts.
#[async_trait]
pub trait Grants: Send + Sync {
    /// Puts `amount` on a user's account. A running server, in this process or another, credits it in memory once the
    /// feed announces it: see [`Feed::transfers_since`](crate::Feed::transfers_since).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a user, [`StoreError::Invalid`] for an amount that is not above 0 or
    /// absurd, or a text that is too long.
    async fn grant(
        &self,
        user: UserId,
        amount: Micropoints,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Granted, StoreError>;

    /// Puts what a user has paid for on their account. `reference` is the payment's own number: the same payment is
    /// booked once, however often it is reported.
    ///
    /// # Errors
    /// As [`Grants::grant`], and [`StoreError::Exists`] where another payment was booked under this reference.
    async fn top_up(
        &self,
        user: UserId,
        amount: Micropoints,
        reference: &str,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Granted, StoreError>;
}

/// Points of a request that are given back.
#[async_trait]
pub trait Refunds: Send + Sync {
    /// Gives back what a request took from its user's account, in part or in whole. What the account could not pay (bad
    /// debt) was never taken, and is not given back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a request that was never settled, [`StoreError::Refused`] where less is left than
    /// is asked for, [`StoreError::Exists`] where another refund was made under this key.
    async fn refund(&self, refund: &Refund<'_>, now: Timestamp) -> Result<Granted, StoreError>;
}

/// Points for bringing a provider key.
#[async_trait]
pub trait Rewards: Send + Sync {
    /// Grants a reward, unless one of the fingerprints had one before. Says what was granted.
    ///
    /// All fingerprints are known from then on, so a new key of a known account earns nothing, and neither does a known
    /// key whose account is named for the first time.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a user.
    async fn reward(&self, reward: &Reward<'_>, now: Timestamp) -> Result<Option<Granted>, StoreError>;
}
