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
    /// What they are for; stands in the statements of those who redeem them.
    pub label: &'a str,
    /// What each is worth.
    pub points: Micropoints,
    /// How many users may redeem each.
    pub uses_max: u32,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Who makes them.
    pub actor: &'a str,
    /// SHA-256 and first signs of each.
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
    /// Since when none of them is taken.
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
    /// Makes a batch of codes.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for points or uses that are not above 0, an end that has passed, no codes or too many.
    async fn create_codes(&self, new: &NewBatch<'_>, now: Timestamp) -> Result<BatchId, StoreError>;

    /// All batches, oldest first.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn code_batches(&self) -> Result<Vec<CodeBatch>, StoreError>;

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

    /// Takes no code of a batch any more, or takes them again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn set_codes_enabled(
        &self,
        batch: BatchId,
        enabled: bool,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Puts what a code is worth on a user's account. One transaction: of users who race for its last use, one gets it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for what is no code, and for one that is used up, over, disabled, or has been
    /// redeemed by this user.
    async fn redeem(&self, user: UserId, sha256: Digest, now: Timestamp) -> Result<Granted, StoreError>;
}
