//! Points that are given, taken back and redeemed, what a charge rests on, and the proof that the books are right.

use tollgate_core::id::{BatchId, RequestId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::receipt::Receipt;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{CODES_MAX, CodeBatch, Granted, NewBatch, Refund, StatementLine, VerifyReport};

use super::{ManageError, Management};
use crate::auth::keys;
use crate::clock::now;

/// Signs of a code that stay visible.
const CODE_HINT_SIGNS: usize = 8;

/// A batch of codes to make.
#[derive(Debug)]
pub struct CodeOrder {
    /// What they are for.
    pub label: String,
    /// How many.
    pub count: usize,
    /// What each is worth.
    pub points: Micropoints,
    /// How many users may redeem each.
    pub uses_max: u32,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

impl Management {
    /// Gives a user points.
    ///
    /// # Errors
    /// Without such a user, or for nothing.
    pub async fn grant(&self, user: &str, points: Micropoints, reason: &str) -> Result<(), ManageError> {
        let user = self.user(user).await?;
        self.grant_to(user, points, reason).await?;
        Ok(())
    }

    /// The same by the user's id.
    pub(crate) async fn grant_to(
        &self,
        user: UserId,
        points: Micropoints,
        reason: &str,
    ) -> Result<Granted, ManageError> {
        Ok(self.store.ledger.grant(user, points, reason, self.actor(), now()).await?)
    }

    /// Books what a user has paid; `reference` is the payment's, and books once.
    pub(crate) async fn book_payment(
        &self,
        user: UserId,
        points: Micropoints,
        reference: &str,
        reason: &str,
    ) -> Result<Granted, ManageError> {
        Ok(self.store.ledger.top_up(user, points, reference, reason, self.actor(), now()).await?)
    }

    /// Gives back what a request cost, in part or whole.
    pub(crate) async fn refund(
        &self,
        request: RequestId,
        amount: Option<Micropoints>,
        reason: &str,
        key: Option<&str>,
    ) -> Result<Granted, ManageError> {
        let refund = Refund { request, amount, reason, actor: self.actor(), key };
        Ok(self.store.ledger.refund(&refund, now()).await?)
    }

    /// A user's statement, newest first.
    pub(crate) async fn statement(
        &self,
        user: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StatementLine>, ManageError> {
        Ok(self.store.ledger.statement(user, before, limit).await?)
    }

    /// The id of a user, by name or by id.
    pub(crate) async fn user_id(&self, name_or_id: &str) -> Result<UserId, ManageError> {
        let users = self.store.catalogue.list_users().await?;
        let id = name_or_id.parse().ok();
        let found = users.iter().find(|user| user.name == name_or_id || Some(user.id) == id);
        Ok(found.ok_or_else(|| ManageError::not_found("user", name_or_id))?.id)
    }

    /// Makes a batch of codes. Only their hashes are stored: what is returned is all there will ever be of them.
    pub(crate) async fn create_codes(
        &self,
        order: &CodeOrder,
    ) -> Result<(BatchId, Vec<Secret>), ManageError> {
        if order.count > CODES_MAX {
            return Err(ManageError::invalid(
                "count",
                format!("a batch has between 1 and {CODES_MAX} codes"),
            ));
        }
        let make = |_| keys::redeem_code().map_err(|_| ManageError::Randomness);
        let codes: Vec<Secret> = (0..order.count).map(make).collect::<Result<_, _>>()?;
        let hint = |code: &Secret| code.expose().get(..CODE_HINT_SIGNS).unwrap_or_default().to_owned();
        let stored: Vec<_> = codes.iter().map(|code| (keys::digest(code), hint(code))).collect();
        let CodeOrder { label, points, uses_max, expires_at, .. } = order;
        let (points, uses_max, expires_at) = (*points, *uses_max, *expires_at);
        let new = NewBatch { label, points, uses_max, expires_at, actor: self.actor(), codes: &stored };
        Ok((self.store.ledger.create_codes(&new, now()).await?, codes))
    }

    /// All batches of codes, oldest first.
    pub(crate) async fn code_batches(&self) -> Result<Vec<CodeBatch>, ManageError> {
        Ok(self.store.ledger.code_batches().await?)
    }

    /// Takes the codes of a batch, or does not.
    pub(crate) async fn set_codes_enabled(&self, batch: BatchId, enabled: bool) -> Result<(), ManageError> {
        Ok(self.store.ledger.set_codes_enabled(batch, enabled, now()).await?)
    }

    /// Puts what a code is worth on a user's account.
    pub(crate) async fn redeem(&self, user: UserId, code: &Secret) -> Result<Granted, ManageError> {
        Ok(self.store.ledger.redeem(user, keys::digest(code), now()).await?)
    }

    /// What a charge rests on.
    ///
    /// # Errors
    /// When nothing was charged for such a request.
    pub async fn receipt(&self, request: RequestId) -> Result<Receipt, ManageError> {
        let bytes = self.store.log.receipt(request).await?;
        decoded(&bytes.ok_or_else(|| ManageError::not_found("receipt", request))?)
    }

    /// Receipts of requests that came after `after`, oldest first, at most `limit`: what was held, and the receipt.
    pub(crate) async fn receipts(
        &self,
        after: RequestId,
        limit: u32,
    ) -> Result<Vec<(Micropoints, Receipt)>, ManageError> {
        let rows = self.store.log.receipts(after, limit).await?;
        rows.into_iter().map(|(held, bytes)| Ok((held, decoded(&bytes)?))).collect()
    }

    /// Checks every rule of the books.
    ///
    /// # Errors
    /// When the database fails; what is wrong with the books is in the report.
    pub async fn verify(&self) -> Result<VerifyReport, ManageError> {
        Ok(self.store.ledger.verify().await?)
    }
}

fn decoded(bytes: &[u8]) -> Result<Receipt, ManageError> {
    Receipt::decode(bytes).map_err(|error| ManageError::unreadable("a receipt", error))
}
