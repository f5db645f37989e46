//! Codes that are worth points.

use tollgate_core::id::BatchId;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::entry::Digest;

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
