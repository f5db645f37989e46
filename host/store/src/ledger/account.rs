//! What is on an account, and how it came there.

use tollgate_core::id::{RequestId, TransferId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

/// What a user's account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Whose account it is.
    pub user: UserId,
    /// Credits minus debits, in micro-points.
    pub posted: Micropoints,
    /// The sum of holds that nothing has resolved.
    pub pending: Micropoints,
    /// The least balance that holds may leave.
    pub floor: Micropoints,
}

/// One movement on a user's account. What was held and released again moved nothing and is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    /// Its place in the ledger: later movements have larger ones.
    pub seq: i64,
    /// Its id.
    pub transfer: TransferId,
    /// What it is: `charge`, `grant`, `top-up`, `code`, `refund`, `reward`, `earning` (by a lent credential), or `other`.
    pub kind: &'static str,
    /// Micro-points: below 0 where they were taken.
    pub amount: Micropoints,
    /// The request that was charged or refunded.
    pub request: Option<RequestId>,
    /// Why management booked it.
    pub reason: Option<String>,
    /// Who did.
    pub actor: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Holds that were released.
    pub released: usize,
    /// What they had reserved, in micro-points.
    pub amount: Micropoints,
}
