//! Credentials that their owners lend to others.

use async_trait::async_trait;
use tollgate_core::id::CredentialId;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;

/// A credential that is lent to others, and the consent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// Distinguishes it from earlier loans of the credential; only grows.
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

/// One use of a lent credential, as its owner may see it: nothing in it leads to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LentUse {
    /// Its place among all uses.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The model that was asked for.
    pub model: String,
    /// How the request ended where this use served it; `None` where it failed and another use served, or while it is
    /// under way.
    pub outcome: Option<Outcome>,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// What the owner earned.
    pub earned: Micropoints,
}

/// Credentials that their owners lend to others.
#[async_trait]
pub trait Lending: Send + Sync {
    /// Lends a user's own credential to others, or goes on lending it under another cap. The consent is noted in the
    /// audit log in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a credential, [`StoreError::Exists`] when the same key is lent already,
    /// and [`StoreError::Invalid`] for a cap of 0, for a credential that is not a user's own, and for one on another
    /// platform: there its owner decides where it leads, and others' prompts must not go there.
    async fn lend(
        &self,
        credential: CredentialId,
        requests_per_day: u64,
        consent: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Loan, StoreError>;

    /// Ends the loan of a credential. Returns the number of the loan; `None` where there was none, and then nothing
    /// changes.
    ///
    /// # Errors
    /// When the database fails.
    async fn withdraw(&self, credential: CredentialId, now: Timestamp) -> Result<Option<u64>, StoreError>;

    /// What others used a credential for, newest first: those before the use `before`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    async fn lent_uses(
        &self,
        credential: CredentialId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<LentUse>, StoreError>;
}
