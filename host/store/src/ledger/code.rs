//! Codes that are worth points.

use async_trait::async_trait;
use tollgate_core::id::{BatchId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::entry::Digest;
use crate::error::StoreError;
use crate::ledger::booking::Granted;

/// Most codes of a batch.
pub const CODES_MAX: usize = 10_000;

/// Codes to make.
#[derive(Debug, Clone, Copy)]
pub struct NewBatch<'a> {
    /// What they are for; shown in the statements of those who redeem them.
    pub label: &'a str,
    /// What each is worth.
    pub points: Micropoints,
    /// How many users may redeem each.
    pub uses_max: u32,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Who creates them.
    pub actor: &'a str,
    /// SHA-256 and first characters of each.
    pub codes: &'a [(Digest, String)],
}

/// A batch, with what became of its codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeBatch {
    /// Its id.
    pub id: BatchId,
    /// What it is for.
    pub label: String,
    /// What each code is worth.
    pub points: Micropoints,
    /// How many users may redeem each.
    pub uses_max: u32,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Since when they are refused.
    pub disabled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub actor: String,
    /// How many codes it has.
    pub codes: u64,
    /// How often they were redeemed.
    pub redeemed: u64,
}

/// Codes that are worth points.
#[async_trait]
pub trait Codes: Send + Sync {
    /// Creates a batch of codes.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for points or uses that are not above 0, an end that has passed, no codes or too many.
    async fn create_codes(&self, new: &NewBatch<'_>, now: Timestamp) -> Result<BatchId, StoreError>;

    /// A page of batches, oldest first: those made after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    async fn find_code_batches(
        &self,
        after: Option<BatchId>,
        limit: usize,
    ) -> Result<Vec<CodeBatch>, StoreError>;

    /// The batch of this id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a batch.
    async fn code_batch(&self, id: BatchId) -> Result<CodeBatch, StoreError>;

    /// Refuses the codes of a batch from now on, or accepts them again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn set_codes_enabled(
        &self,
        batch: BatchId,
        enabled: bool,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Puts what a code is worth on a user's account, in one transaction: of users who race for its last use, one gets
    /// it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for an unknown code, and for one that is used up, expired, disabled, or already redeemed
    /// by this user.
    async fn redeem(&self, user: UserId, sha256: Digest, now: Timestamp) -> Result<Granted, StoreError>;
}
