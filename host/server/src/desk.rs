//! What an operator does to the books, whether by the command line or, later, by the management API: names in, checked
//! changes out. Works on the database alone; a running server notices.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, SessionId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceTable};
use tollgate_core::protocol::Owner;
use tollgate_core::receipt::Receipt;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{
    Durability, KeyChange, KeyUse, MasterKey, NewApiKey, Options, RequestFilter, RequestRecord, Rotated,
    Store, StoreError, User, VerifyReport,
};

use crate::config::{self, Config};
use crate::keys;
use crate::password;
use crate::pricefile;
use crate::shared::now;
use crate::token::TokenKey;

/// Who the books name for what is done at a terminal.
const ACTOR: &str = "cli";
/// Signs of an API key that stay visible.
const KEY_HINT_SIGNS: usize = 8;
/// The setting that holds, sealed, what the key of access tokens is made of.
const TOKEN_KEY: &str = "token_key";
/// The environment's way to give the key that seals credentials: 64 hexadecimal digits.
const MASTER_KEY_VARIABLE: &str = "TOLLGATE_MASTER_KEY";

/// The opened books.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    master: MasterKey,
    keys_max: u32,
}

/// A user with what the account holds.
#[derive(Debug, Clone)]
pub struct UserRow {
    /// Id.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// Whether calls are taken.
    pub enabled: bool,
    /// What it may do by the management API.
    pub role: Role,
    /// Points, without what is reserved.
    pub balance: Micropoints,
}

/// An API key as it may be shown.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Id.
    pub id: ApiKeyId,
    /// The first signs.
    pub hint: String,
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user: String,
    /// The key's name.
    pub name: String,
    /// Whether it is taken.
    pub enabled: bool,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// What it may do.
    pub limits: KeyLimits,
    /// What was used with it; `None` before the first call.
    pub used: Option<KeyUse>,
}

impl KeyRow {
    /// The limits as programs read them, on the command line and over HTTP.
    pub(crate) fn limits_json(&self) -> Value {
        let rates = self.limits.rates;
        json!({
            "protocols": self.limits.protocols.iter().map(|protocol| protocol.name()).collect::<Vec<_>>(),
            "models": self.limits.models,
            "requests_per_minute": rates.requests_per_minute,
            "tokens_per_minute": rates.tokens_per_minute,
            "tokens_per_day": rates.tokens_per_day,
            "concurrency": rates.concurrency,
        })
    }
}

/// What changes of an API key: `None` for what stays.
#[derive(Debug, Clone, Default)]
pub struct KeyEdit {
    /// A new name.
    pub name: Option<String>,
    /// Whether it is taken.
    pub enabled: Option<bool>,
    /// When it ends; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// What it may do, as a whole.
    pub limits: Option<KeyLimits>,
}

/// A credential as it may be shown.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// Id.
    pub id: CredentialId,
    /// Provider.
    pub provider: String,
    /// Whose.
    pub owner: Owner,
    /// The user's name, for a user's own.
    pub user: Option<String>,
    /// Name.
    pub label: String,
    /// The last signs.
    pub hint: String,
    /// Weight.
    pub weight: u32,
    /// Whether it is used.
    pub enabled: bool,
}

/// A credential to add.
#[derive(Debug)]
pub struct NewCredential {
    /// The configured provider.
    pub provider: String,
    /// The user whose own it is; `None` for the platform's.
    pub user: Option<String>,
    /// Name.
    pub label: String,
    /// 1 to 1000.
    pub weight: u32,
    /// The key itself.
    pub secret: Secret,
}

impl Desk {
    /// Opens the books, and makes them where there are none: with the shipped prices, so that no model is free.
    ///
    /// # Errors
    /// When the data directory, the database or the master key cannot be used.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let dir = &config.server.data_dir;
        // Nobody else's business: the database holds what was called, and the master key lies beside it.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("creating {}", dir.display()))?;
        let sync = match config.store.sync {
            config::Sync::Full => Durability::Full,
            config::Sync::Normal => Durability::Normal,
        };
        let path = dir.join("tollgate.db");
        let store = Store::open(&path, Options { sync })
            .await
            .with_context(|| format!("opening {}", path.display()))?;
        let master = master_key(&dir.join("master.key")).context("loading the master key")?;
        let desk = Self { store, master, keys_max: config.limits.api_keys_per_user };
        if desk.prices().await?.version() == 0 {
            desk.publish_prices(pricefile::shipped().map_err(anyhow::Error::msg)?).await?;
        }
        Ok(desk)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Closes the books.
    pub async fn close(self) {
        self.store.close().await;
    }

    /// Adds a user with an account.
    ///
    /// # Errors
    /// When the name is taken or not a name.
    pub async fn add_user(&self, name: &str, points: Micropoints) -> anyhow::Result<UserId> {
        let id =
            self.store.create_user(name, now()).await.with_context(|| format!("adding user `{name}`"))?;
        if points > Micropoints::ZERO {
            self.store.grant(id, points, "first points", ACTOR, now()).await?;
        }
        Ok(id)
    }

    /// Adds a user with a role, who may log in where there is a password.
    ///
    /// # Errors
    /// When the name is taken or not a name, or the password is not one; nothing is added then.
    pub async fn add_account(
        &self,
        name: &str,
        role: Role,
        password: Option<Secret>,
        points: Micropoints,
    ) -> anyhow::Result<UserId> {
        let hash = match password {
            Some(password) => Some(hashed(password).await?),
            None => None,
        };
        let id = self.add_user(name, points).await?;
        self.store.set_role(id, role).await?;
        if let Some(hash) = hash {
            self.store.set_password(id, &hash, now()).await?;
        }
        Ok(id)
    }

    /// Sets a user's password and ends all of his logins.
    ///
    /// # Errors
    /// Without such a user, or when the password is not one.
    pub async fn set_password(&self, name: &str, password: Secret) -> anyhow::Result<()> {
        let id = self.user(name).await?;
        Ok(self.store.set_password(id, &hashed(password).await?, now()).await?)
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// Without such a user.
    pub async fn set_role(&self, name: &str, role: Role) -> anyhow::Result<()> {
        let id = self.user(name).await?;
        Ok(self.store.set_role(id, role).await?)
    }

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

    async fn user(&self, name: &str) -> anyhow::Result<UserId> {
        Ok(self.store.find_user(name).await.with_context(|| format!("looking for user `{name}`"))?.id)
    }

    async fn user_names(&self) -> anyhow::Result<HashMap<UserId, String>> {
        Ok(self.store.list_users().await?.into_iter().map(|user| (user.id, user.name)).collect())
    }

    /// All users with their balances.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self) -> anyhow::Result<Vec<UserRow>> {
        let balances: HashMap<_, _> =
            self.store.balances().await?.into_iter().map(|balance| (balance.user, balance.posted)).collect();
        let row = |user: tollgate_store::User| UserRow {
            balance: balances.get(&user.id).copied().unwrap_or_default(),
            id: user.id,
            name: user.name,
            enabled: user.enabled,
            role: user.role,
        };
        Ok(self.store.list_users().await?.into_iter().map(row).collect())
    }

    /// Takes or refuses a user's calls.
    ///
    /// # Errors
    /// Without such a user.
    pub async fn set_user_enabled(&self, name: &str, enabled: bool) -> anyhow::Result<()> {
        let id = self.user(name).await?;
        Ok(self.store.set_user_enabled(id, enabled).await?)
    }

    /// Makes an API key. Only its hash is stored: what is returned is all there will ever be of it.
    ///
    /// # Errors
    /// Without such a user, when he has as many as he may, or for limits that cannot be meant.
    pub async fn create_key(
        &self,
        user: &str,
        name: &str,
        expires_at: Option<Timestamp>,
        limits: KeyLimits,
    ) -> anyhow::Result<(ApiKeyId, Secret)> {
        let user = self.user(user).await?;
        let key = keys::api_key().map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
        let hint = key.expose().get(..KEY_HINT_SIGNS).unwrap_or_default();
        let sha256 = keys::digest(&key);
        let keys_max = self.keys_max;
        let new = NewApiKey { user, name, sha256, hint, expires_at, limits, keys_max };
        let id = self.store.create_api_key(&new, now()).await?;
        Ok((id, key))
    }

    /// All API keys with what was used of them, by the records in the tables.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(&self) -> anyhow::Result<Vec<KeyRow>> {
        let names = self.user_names().await?;
        let used = self.store.api_key_use().await?;
        let row = |key: tollgate_store::ApiKey| KeyRow {
            user: names.get(&key.user).cloned().unwrap_or_default(),
            user_id: key.user,
            id: key.id,
            hint: key.hint,
            name: key.name,
            enabled: key.enabled,
            expires_at: key.expires_at,
            limits: key.limits,
            used: used.get(&key.id).copied(),
        };
        Ok(self.store.list_api_keys().await?.into_iter().map(row).collect())
    }

    /// An API key's limits.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn key_limits(&self, id: ApiKeyId) -> anyhow::Result<KeyLimits> {
        Ok(self.stored_key(id).await?.limits)
    }

    async fn stored_key(&self, id: ApiKeyId) -> anyhow::Result<tollgate_store::ApiKey> {
        let found = self.store.list_api_keys().await?.into_iter().find(|key| key.id == id);
        Ok(found.ok_or(StoreError::NotFound("API key"))?)
    }

    /// Changes an API key.
    ///
    /// # Errors
    /// Without such a key, when it would be one more than its user may have, or for limits that cannot be meant.
    pub async fn change_key(&self, id: ApiKeyId, edit: KeyEdit) -> anyhow::Result<()> {
        let key = self.stored_key(id).await?;
        let change = KeyChange {
            name: edit.name.as_deref().unwrap_or(&key.name),
            enabled: edit.enabled.unwrap_or(key.enabled),
            expires_at: edit.expires_at.unwrap_or(key.expires_at),
            limits: edit.limits.as_ref().unwrap_or(&key.limits),
            keys_max: self.keys_max,
        };
        Ok(self.store.change_api_key(id, &change, now()).await?)
    }

    /// Refuses an API key from now on.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn revoke_key(&self, id: ApiKeyId) -> anyhow::Result<()> {
        Ok(self.store.revoke_api_key(id).await?)
    }

    /// Seals a provider key and stores it.
    ///
    /// # Errors
    /// Without such a user, or for a weight that is none.
    pub async fn add_credential(&self, new: NewCredential) -> anyhow::Result<CredentialId> {
        let user = match &new.user {
            Some(name) => Some(self.user(name).await?),
            None => None,
        };
        let owner = if user.is_some() { Owner::User } else { Owner::Platform };
        let new = tollgate_store::NewCredential {
            owner,
            user,
            provider: &new.provider,
            label: &new.label,
            weight: new.weight,
            secret: &new.secret,
        };
        Ok(self.store.add_credential(&self.master, &new, now()).await?)
    }

    /// All credentials, without their secrets.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials(&self) -> anyhow::Result<Vec<CredentialRow>> {
        let names = self.user_names().await?;
        let row = |credential: tollgate_store::Credential| CredentialRow {
            user: credential.user.and_then(|user| names.get(&user).cloned()),
            id: credential.id,
            provider: credential.provider,
            owner: credential.owner,
            label: credential.label,
            hint: credential.hint,
            weight: credential.weight,
            enabled: credential.enabled,
        };
        Ok(self.store.list_credentials().await?.into_iter().map(row).collect())
    }

    /// Uses a credential or does not.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn set_credential_enabled(&self, id: CredentialId, enabled: bool) -> anyhow::Result<()> {
        Ok(self.store.set_credential_enabled(id, enabled, Some("disabled by the operator")).await?)
    }

    /// Forgets a credential.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn remove_credential(&self, id: CredentialId) -> anyhow::Result<()> {
        Ok(self.store.remove_credential(id).await?)
    }

    /// Gives a user points.
    ///
    /// # Errors
    /// Without such a user, or for nothing.
    pub async fn grant(&self, user: &str, points: Micropoints, reason: &str) -> anyhow::Result<()> {
        let user = self.user(user).await?;
        self.store.grant(user, points, reason, ACTOR, now()).await?;
        Ok(())
    }

    /// The prices in force.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prices(&self) -> anyhow::Result<PriceTable> {
        Ok(self.store.prices(None).await?)
    }

    /// Publishes a price list as a new version.
    ///
    /// # Errors
    /// When it is not complete.
    pub async fn publish_prices(&self, prices: HashMap<String, ModelPrice>) -> anyhow::Result<u64> {
        Ok(self.store.publish_prices(&prices, now()).await?)
    }

    /// What was called, newest first.
    ///
    /// # Errors
    /// Without such a user.
    pub async fn requests(&self, user: Option<&str>, limit: u32) -> anyhow::Result<Vec<RequestRecord>> {
        let user = match user {
            Some(name) => Some(self.user(name).await?),
            None => None,
        };
        Ok(self.store.requests(&RequestFilter { user, limit, ..RequestFilter::default() }).await?)
    }

    /// What a charge rests on.
    ///
    /// # Errors
    /// When nothing was charged for such a request.
    pub async fn receipt(&self, request: RequestId) -> anyhow::Result<Receipt> {
        let bytes = self.store.receipt(request).await?.context("this request was never charged")?;
        Ok(Receipt::decode(&bytes)?)
    }

    /// Checks every rule of the books.
    ///
    /// # Errors
    /// When the database fails; what is wrong with the books is in the report.
    pub async fn verify(&self) -> anyhow::Result<VerifyReport> {
        Ok(self.store.verify().await?)
    }
}

/// Hashes a password away from the threads that answer.
async fn hashed(password: Secret) -> anyhow::Result<String> {
    Ok(tokio::task::spawn_blocking(move || password::hash(&password)).await??)
}

fn master_key(path: &Path) -> anyhow::Result<MasterKey> {
    match std::env::var(MASTER_KEY_VARIABLE) {
        Ok(hex) => Ok(MasterKey::from_hex(&Secret::new(hex))?),
        Err(_) => Ok(MasterKey::load_or_create(path)?),
    }
}
