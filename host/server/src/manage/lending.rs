//! Lending: users lend their own credentials to others, by a recorded agreement, and take them back.

use tollgate_core::id::CredentialId;
use tollgate_store::Loan;

pub use tollgate_store::LentUse;

use super::error::Which;
use super::{ManageError, Management, Page, Window};
use crate::clock::now;

/// Version of [`CONSENT_TEXT`]: lenders name the one that they have read.
pub const CONSENT_VERSION: &str = "1";
/// What a lender agrees to.
pub const CONSENT_TEXT: &str = include_str!("../lending_terms.txt");

impl Management {
    /// Whether the operator has switched lending on.
    pub(crate) const fn lends(&self) -> bool {
        self.lends
    }

    /// Lends a user's own credential to others, this often a day. The actor consents; `consent` is the version of the
    /// text that they have read.
    ///
    /// # Errors
    /// Where lending is switched off, for another version than the one in force, and as the store refuses it.
    pub async fn share_credential(
        &self,
        id: CredentialId,
        requests_per_day: u64,
        consent: &str,
    ) -> Result<Loan, ManageError> {
        let refuse = |field, why: &str| Err(ManageError::invalid(field, why));
        if !self.lends {
            return refuse("", "lending is switched off");
        }
        if self.memory.is_some() {
            return refuse("", "a credential that is kept in memory cannot be lent");
        }
        if consent != CONSENT_VERSION {
            return refuse("consent", "this is not the version of the text that is in force");
        }
        self.store.catalogue.lend(id, requests_per_day, consent, self.actor(), now()).await.which(id)
    }

    /// Takes a credential back. Returns the number of the loan that has ended, if there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unshare_credential(&self, id: CredentialId) -> Result<Option<u64>, ManageError> {
        Ok(self.store.catalogue.withdraw(id, now()).await?)
    }

    /// What others used a credential for, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_uses(
        &self,
        id: CredentialId,
        window: Window<u64>,
    ) -> Result<Page<LentUse, u64>, ManageError> {
        let uses = self.store.catalogue.lent_uses(id, window.after, window.limit_and_one()).await?;
        Ok(Page::new(uses, window.limit, |used| used.number))
    }
}
