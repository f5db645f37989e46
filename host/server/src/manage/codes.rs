//! Codes that are worth points, made in batches and redeemed by users.

use tollgate_core::id::{BatchId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{CODES_MAX, Granted, NewBatch};

pub use tollgate_store::CodeBatch;

use super::error::Which;
use super::words::seen;
use super::{ManageError, Management, Page, Window};
use crate::auth::keys;
use crate::clock::now;

/// Characters of a code that stay visible.
const CODE_HINT_LENGTH: usize = 8;

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
    /// Makes a batch of codes. Only their hashes are stored: what is returned is all there will ever be of them.
    ///
    /// # Errors
    /// For an invalid count, worth, number of uses or end.
    pub async fn create_codes(&self, order: &CodeOrder) -> Result<(BatchId, Vec<Secret>), ManageError> {
        if order.count > CODES_MAX {
            return Err(ManageError::invalid(
                "count",
                format!("a batch has between 1 and {CODES_MAX} codes"),
            ));
        }
        seen("label", &order.label)?;
        let make = |_| keys::redeem_code().map_err(|_| ManageError::Randomness);
        let codes: Vec<Secret> = (0..order.count).map(make).collect::<Result<_, _>>()?;
        let hint = |code: &Secret| code.expose().get(..CODE_HINT_LENGTH).unwrap_or_default().to_owned();
        let stored: Vec<_> = codes.iter().map(|code| (keys::digest(code), hint(code))).collect();
        let CodeOrder { label, points, uses_max, expires_at, .. } = order;
        let (points, uses_max, expires_at) = (*points, *uses_max, *expires_at);
        let new = NewBatch { label, points, uses_max, expires_at, actor: self.actor(), codes: &stored };
        Ok((self.store.ledger.create_codes(&new, now()).await?, codes))
    }

    /// A batch of codes.
    ///
    /// # Errors
    /// Without such a batch.
    pub async fn code_batch(&self, id: BatchId) -> Result<CodeBatch, ManageError> {
        self.store.ledger.code_batch(id).await.which(id)
    }

    /// Batches of codes, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn code_batches(
        &self,
        window: Window<BatchId>,
    ) -> Result<Page<CodeBatch, BatchId>, ManageError> {
        let batches = self.store.ledger.find_code_batches(window.after, window.limit_and_one()).await?;
        Ok(Page::new(batches, window.limit, |batch| batch.id))
    }

    /// Accepts the codes of a batch, or refuses them.
    ///
    /// # Errors
    /// Without such a batch.
    pub async fn set_codes_enabled(&self, id: BatchId, enabled: bool) -> Result<(), ManageError> {
        self.store.ledger.set_codes_enabled(id, enabled, now()).await.which(id)
    }

    /// Puts what a code is worth on a user's account.
    ///
    /// # Errors
    /// For an unknown code, and for one that is used up, expired, disabled, or already redeemed by this user.
    pub async fn redeem_code(&self, user: UserId, code: &Secret) -> Result<Granted, ManageError> {
        Ok(self.store.ledger.redeem(user, keys::digest(code), now()).await?)
    }
}
