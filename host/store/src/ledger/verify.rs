//! What a check of the ledger finds.

use async_trait::async_trait;

use crate::error::StoreError;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one, as a stable word.
    pub rule: &'static str,
    /// What broke it: ids and amounts.
    pub detail: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Transfers that were looked at.
    pub transfers: u64,
    /// Points in circulation: issued and not yet spent, in micro-points.
    pub outstanding: i64,
    /// What is wrong; empty when the ledger is right. At most [`VIOLATIONS_MAX`] per rule.
    pub violations: Vec<Violation>,
    /// Rows that cannot be, or cannot be read: they are left out wherever they would count, and everything else serves.
    /// At most [`VIOLATIONS_MAX`] of a kind.
    pub quarantined: Vec<Violation>,
}

/// Violations of one rule that a report names.
pub const VIOLATIONS_MAX: usize = 20;

/// Checks the ledger against its invariants.
#[async_trait]
pub trait Verification: Send + Sync {
    /// Recomputes the usage counters from the records, and compares: the part of [`Verification::verify`] that is about
    /// them.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn verify_usage(&self) -> Result<Vec<Violation>, StoreError>;

    /// Recomputes the ledger and compares. Reads all of history; a server may go on serving meanwhile.
    ///
    /// # Errors
    /// When the database cannot be read. Broken invariants are not an error: they are in the report.
    async fn verify(&self) -> Result<VerifyReport, StoreError>;

    /// How many movements no balance counts, because they cannot be: damage of version 0.1.0, which believed any count
    /// of a provider. Reads an index of those alone.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn quarantined(&self) -> Result<u64, StoreError>;
}
