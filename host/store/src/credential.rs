//! Credentials: provider keys, sealed before they touch the database.

use tollgate_core::id::{CredentialId, UserId};
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use crate::error::{Doing, StoreError, is_refusal};
use crate::open::{Store, random};
use crate::row::{Row, fields};
use crate::seal::{MasterKey, Place, SealError, Sealed};
use crate::sql::stored;

/// A provider key, still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Whose it is.
    pub owner: Owner,
    /// The user, unless it is the operator's.
    pub user: Option<UserId>,
    /// Name of the configured provider that it is for.
    pub provider: String,
    /// What its owner calls it.
    pub label: String,
    /// The key itself.
    pub sealed: Sealed,
    /// Its last characters, to tell keys apart.
    pub hint: String,
    /// How much of the traffic it should take: 1 to 1000.
    pub weight: u32,
    /// Whether it may serve.
    pub enabled: bool,
    /// Why not.
    pub disabled_reason: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A provider key to be sealed and stored.
#[derive(Debug, Clone)]
pub struct NewCredential<'a> {
    /// Whose it is.
    pub owner: Owner,
    /// The user: must be there for [`Owner::User`].
    pub user: Option<UserId>,
    /// Name of the configured provider that it is for.
    pub provider: &'a str,
    /// What its owner calls it.
    pub label: &'a str,
    /// 1 to 1000.
    pub weight: u32,
    /// The key itself.
    pub secret: &'a Secret,
}

impl Credential {
    /// The key itself.
    ///
    /// # Errors
    /// [`SealError::Open`] when another master key sealed it, or its row was tampered with.
    pub fn open(&self, key: &MasterKey) -> Result<Secret, SealError> {
        key.open(&Place { id: self.id, owner: self.owner, provider: &self.provider }, &self.sealed)
    }
}

pub(crate) const SELECT: &str = "SELECT id, owner, user_id, provider, label, nonce, sealed, hint, weight, enabled, \
    disabled_reason, created_at FROM credential ORDER BY id";

pub(crate) fn credential(row: &mut Row<'_>) -> Option<Credential> {
    Some(Credential {
        id: CredentialId::from_bytes(row.bytes()?),
        owner: owner(row.get()?)?,
        user: row.bytes_or_null()?.map(UserId::from_bytes),
        provider: row.get()?,
        label: row.get()?,
        sealed: Sealed { nonce: row.bytes()?, bytes: row.get()? },
        hint: row.get()?,
        weight: row.get()?,
        enabled: row.get()?,
        disabled_reason: row.get()?,
        created_at: Timestamp::from_millis(row.u64()?),
    })
}

fn owner(name: &str) -> Option<Owner> {
    [Owner::User, Owner::Platform, Owner::Shared].into_iter().find(|owner| owner.name() == name)
}

impl Store {
    /// Seals a provider key and stores it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a weight out of range or a user's key without a user.
    pub async fn add_credential(
        &self,
        key: &MasterKey,
        new: &NewCredential<'_>,
        now: Timestamp,
    ) -> Result<CredentialId, StoreError> {
        let id = CredentialId::new(now, random()?);
        let sealed = key.seal(&Place { id, owner: new.owner, provider: new.provider }, new.secret)?;
        let inserted = sqlx::query(
            "INSERT INTO credential (id, owner, user_id, provider, label, nonce, sealed, hint, weight, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_bytes().as_slice())
        .bind(new.owner.name())
        .bind(new.user.as_ref().map(|user| user.as_bytes().as_slice()))
        .bind(new.provider)
        .bind(new.label)
        .bind(sealed.nonce.as_slice())
        .bind(sealed.bytes)
        .bind(new.secret.hint())
        .bind(new.weight)
        .bind(stored(now.millis()))
        .execute(self.pool())
        .await;
        match inserted {
            Ok(_) => Ok(id),
            Err(error) if is_refusal(&error) => Err(StoreError::Invalid(
                "a credential has a weight of 1 to 1000, and a user's own credential has a user".to_owned(),
            )),
            Err(error) => Err(error).doing("adding a credential"),
        }
    }

    /// All credentials, oldest first, still sealed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_credentials(&self) -> Result<Vec<Credential>, StoreError> {
        let rows = sqlx::query(SELECT).fetch_all(self.pool()).await.doing("listing credentials")?;
        rows.iter().map(|row| fields("credential", row, credential)).collect()
    }

    /// Lets a credential serve, or not and why.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_credential_enabled(
        &self,
        credential: CredentialId,
        enabled: bool,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE credential SET enabled = ?, disabled_reason = ? WHERE id = ?")
            .bind(enabled)
            .bind(if enabled { None } else { reason })
            .bind(credential.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("changing a credential")?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("credential")) } else { Ok(()) }
    }

    /// Forgets a credential for good.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_credential(&self, credential: CredentialId) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM credential WHERE id = ?")
            .bind(credential.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("removing a credential")?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("credential")) } else { Ok(()) }
    }
}
