//! What is on an account, and how it got there.

use async_trait::async_trait;
use tollgate_core::id::{NodeId, RequestId, TransferId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;

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

/// One movement on a user's account. Holds that were released moved nothing and are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    /// Its number in the ledger: later movements have larger ones.
    pub seq: i64,
    /// Its id.
    pub transfer: TransferId,
    /// What it is: `charge`, `grant`, `top-up`, `code`, `refund`, `reward`, `earning` (by a lent credential), or
    /// `other`.
    pub kind: &'static str,
    /// Micro-points: below 0 where they were taken.
    pub amount: Micropoints,
    /// The request that was charged or refunded.
    pub request: Option<RequestId>,
    /// Why management booked it.
    pub reason: Option<String>,
    /// Who booked it.
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

/// What was taken from an account and put on it.
#[async_trait]
pub trait Statements: Send + Sync {
    /// At most `limit` movements on a user's account, newest first, those before `before` where it is given.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn statement(
        &self,
        user: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StatementLine>, StoreError>;
}

/// How long a node counts as alive after its last sign of life, in milliseconds.
pub const LEASE_MS: u64 = 60_000;

/// Open holds: those that a crash left, and those of living nodes.
#[async_trait]
pub trait Sweeps: Send + Sync {
    /// The node that this process serves as. Its id is made once and kept with the data.
    ///
    /// # Errors
    /// As for [`Sweeps::sweep`].
    async fn node(&self) -> Result<NodeId, StoreError>;

    /// Takes this node's lease, and releases the holds that its earlier runs left open and those of nodes whose lease
    /// is over at `now`. Holds of other living nodes stay. A server calls it once, before it serves; doing it again
    /// changes nothing.
    ///
    /// From the first call on, this process is the one that serves from the database: no other may sweep away its
    /// holds.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process serves; otherwise when the database fails.
    async fn sweep(&self, now: Timestamp) -> Result<SweepReport, StoreError>;

    /// Renews this node's lease, and releases the holds of nodes whose lease has ended since. A server calls it well
    /// within [`LEASE_MS`].
    ///
    /// # Errors
    /// As for [`Sweeps::sweep`].
    async fn keep_lease(&self, now: Timestamp) -> Result<SweepReport, StoreError>;
}
