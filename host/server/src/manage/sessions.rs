//! Logins, as the books keep them.

use tollgate_core::id::{SessionId, UserId};
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{Guessed, Rotated, User, WrongTries};

use super::Management;
use super::users::hashed;
use crate::auth::jwt::TokenKey;
use crate::auth::keys;
use crate::clock::now;
use crate::manage::login::Visitor;

/// The setting that holds, sealed, what the key of access tokens is made of.
const TOKEN_KEY: &str = "token_key";

impl Management {
    /// A user who may log in, with the hash of his password.
    pub(crate) async fn password(&self, name: &str) -> anyhow::Result<Option<(User, String)>> {
        Ok(self.store.password(name).await?)
    }

    /// The key that signs access tokens; the first call makes it.
    pub(crate) async fn token_key(&self) -> anyhow::Result<TokenKey> {
        let made = keys::admin_secret().map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
        let secret = self.store.secret_setting(&self.master, TOKEN_KEY, &made).await?;
        Ok(TokenKey::new(&keys::digest(&secret)))
    }

    pub(crate) async fn begin_session(
        &self,
        user: UserId,
        token: [u8; 32],
        at: Timestamp,
        expires_at: Timestamp,
    ) -> anyhow::Result<SessionId> {
        Ok(self.store.begin_session(user, token, at, expires_at).await?)
    }

    pub(crate) async fn rotate_session(
        &self,
        session: SessionId,
        token: [u8; 32],
        next: [u8; 32],
        at: Timestamp,
        expires_at: Timestamp,
    ) -> anyhow::Result<Rotated> {
        Ok(self.store.rotate_session(session, token, next, at, expires_at).await?)
    }

    pub(crate) async fn session_user(
        &self,
        session: SessionId,
        at: Timestamp,
    ) -> anyhow::Result<Option<User>> {
        Ok(self.store.session_user(session, at).await?)
    }

    pub(crate) async fn end_session(&self, session: SessionId, at: Timestamp) -> anyhow::Result<()> {
        Ok(self.store.end_session(session, at).await?)
    }

    /// Sets a visitor's own password and ends his logins but for this one.
    pub(crate) async fn change_own_password(
        &self,
        visitor: &Visitor,
        new: Secret,
        at: Timestamp,
    ) -> anyhow::Result<()> {
        let hash = hashed(new).await?;
        Ok(self.store.change_own_password(visitor.user.id, &hash, visitor.session, at).await?)
    }

    /// Wrong passwords that were tried before this start.
    pub(crate) async fn lockouts(&self, kind: Guessed) -> anyhow::Result<Vec<WrongTries>> {
        Ok(self.store.lockouts(kind, now()).await?)
    }

    pub(crate) async fn keep_lockout(&self, kind: Guessed, tries: WrongTries) -> anyhow::Result<()> {
        Ok(self.store.keep_lockout(kind, tries).await?)
    }
}
