//! Points that are given and given back, statements, and the proof that the ledger is right.

use tollgate_core::id::{RequestId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_store::Refund;

pub use tollgate_store::{Granted, StatementLine, VerifyReport, Violation};

use super::error::Which;
use super::words::seen;
use super::{ManageError, Management, Page, Window};
use crate::clock::now;

impl Management {
    /// Gives a user points.
    ///
    /// # Errors
    /// Without such a user, or for nothing.
    pub async fn grant(
        &self,
        user: UserId,
        points: Micropoints,
        reason: &str,
    ) -> Result<Granted, ManageError> {
        seen("reason", reason)?;
        self.store.ledger.grant(user, points, reason, self.actor(), now()).await.which(user)
    }

    /// Books what a user has paid, once per `reference`, which is the payment's number.
    ///
    /// # Errors
    /// Without such a user, for nothing, and for a reference that another payment has.
    pub async fn top_up(
        &self,
        user: UserId,
        points: Micropoints,
        reference: &str,
        reason: &str,
    ) -> Result<Granted, ManageError> {
        seen("reason", reason)?;
        seen("reference", reference)?;
        self.store.ledger.top_up(user, points, reference, reason, self.actor(), now()).await.which(user)
    }

    /// Gives back what a request cost, in part or whole. A second refund of the request under the same `key` is the
    /// first one.
    ///
    /// # Errors
    /// Without such a request, and for more than is left of what it cost.
    pub async fn refund(
        &self,
        request: RequestId,
        amount: Option<Micropoints>,
        reason: &str,
        key: Option<&str>,
    ) -> Result<Granted, ManageError> {
        seen("reason", reason)?;
        seen("key", key.unwrap_or_default())?;
        let refund = Refund { request, amount, reason, actor: self.actor(), key };
        self.store.ledger.refund(&refund, now()).await.which(request)
    }

    /// A user's statement, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn statement(
        &self,
        user: UserId,
        window: Window<i64>,
    ) -> Result<Page<StatementLine, i64>, ManageError> {
        let asked = u32::try_from(window.limit_and_one()).unwrap_or(u32::MAX);
        let lines = self.store.ledger.statement(user, window.after, asked).await?;
        Ok(Page::new(lines, window.limit, |line| line.seq))
    }

    /// Checks every rule of the ledger.
    ///
    /// # Errors
    /// When the database fails; what is wrong with the ledger is in the report.
    pub async fn verify(&self) -> Result<VerifyReport, ManageError> {
        Ok(self.store.ledger.verify().await?)
    }
}
