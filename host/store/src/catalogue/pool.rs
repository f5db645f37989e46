//! Credentials that their owners lend to others.

use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

/// A credential that is lent to others, and the consent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// Tells it from earlier loans of the credential: only grows.
    pub number: u64,
    /// How often others may use it from midnight to midnight UTC.
    pub requests_per_day: u64,
    /// Version of the text that was agreed to.
    pub consent: String,
    /// Who agreed: a user's id, or `cli`.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// One use of a lent credential, as its owner may see it: nothing in it leads to who called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUse {
    /// Its place among all uses.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The model that was asked for.
    pub model: String,
    /// How the request ended where this use served it; `None` where it failed and another did, or while it is under way.
    pub outcome: Option<Outcome>,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// What the owner earned.
    pub earned: Micropoints,
}
