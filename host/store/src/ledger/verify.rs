//! What a check of the books finds.

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
    /// What is wrong; empty when the books are right. At most [`VIOLATIONS_MAX`] per rule.
    pub violations: Vec<Violation>,
}

/// Violations of one rule that a report names.
pub const VIOLATIONS_MAX: usize = 20;
