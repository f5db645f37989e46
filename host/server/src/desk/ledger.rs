//! Points that are given, what a charge rests on, and the proof that the books are right.

use anyhow::Context;
use serde_json::json;
use tollgate_core::id::RequestId;
use tollgate_core::points::Micropoints;
use tollgate_core::receipt::Receipt;
use tollgate_store::VerifyReport;

use super::Desk;
use crate::shared::now;

impl Desk {
    /// Gives a user points.
    ///
    /// # Errors
    /// Without such a user, or for nothing.
    pub async fn grant(&self, user: &str, points: Micropoints, reason: &str) -> anyhow::Result<()> {
        let user = self.user(user).await?;
        self.store.grant(user, points, reason, self.actor(), now()).await?;
        let detail = json!({"points": points.to_string(), "reason": reason});
        self.note("user.grant", user.to_string(), detail).await
    }

    /// What a charge rests on.
    ///
    /// # Errors
    /// When nothing was charged for such a request.
    pub async fn receipt(&self, request: RequestId) -> anyhow::Result<Receipt> {
        let bytes = self.store.receipt(request).await?.context("this request was never charged")?;
        Ok(Receipt::decode(&bytes)?)
    }

    /// Checks every rule of the books.
    ///
    /// # Errors
    /// When the database fails; what is wrong with the books is in the report.
    pub async fn verify(&self) -> anyhow::Result<VerifyReport> {
        Ok(self.store.verify().await?)
    }
}
