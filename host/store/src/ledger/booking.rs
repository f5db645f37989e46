//! Points that management puts on accounts.

use tollgate_core::id::{RequestId, TransferId, UserId};
use tollgate_core::points::Micropoints;

use crate::entry::Digest;

/// Points that are on an account, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Its place in the ledger.
    pub seq: i64,
    /// Its id.
    pub transfer: TransferId,
    /// How many, in micro-points.
    pub amount: Micropoints,
    /// Whether it had been booked before under the same reference, and nothing was done now.
    pub repeated: bool,
}

/// A movement that management made, to be applied to the balances in a server's memory, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// Its place in the ledger.
    pub seq: i64,
    /// Whose account it is.
    pub user: UserId,
    /// What it adds, in micro-points.
    pub amount: Micropoints,
}

/// A refund to make.
#[derive(Debug, Clone, Copy)]
pub struct Refund<'a> {
    /// The request.
    pub request: RequestId,
    /// How much; all that is left without one.
    pub amount: Option<Micropoints>,
    /// Why.
    pub reason: &'a str,
    /// Who does it.
    pub actor: &'a str,
    /// What makes it happen once: a second refund of this request under the same key is the first one.
    pub key: Option<&'a str>,
}

/// A key that a provider has taken, and what it is worth.
#[derive(Debug, Clone, Copy)]
pub struct Reward<'a> {
    /// Who brought it.
    pub user: UserId,
    /// The configured provider.
    pub provider: &'a str,
    /// Of the key and, where the provider names it, of its account.
    pub fingerprints: &'a [Digest],
    /// Micro-points, as the pricing policy decides.
    pub amount: Micropoints,
}
