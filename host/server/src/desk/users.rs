//! Users: who they are, what they may do, and how they log in.

use std::collections::HashMap;

use anyhow::Context;
use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;

use super::{ACTOR, Desk};
use crate::password;
use crate::shared::now;

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

impl Desk {
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
}

/// Hashes a password away from the threads that answer.
async fn hashed(password: Secret) -> anyhow::Result<String> {
    Ok(tokio::task::spawn_blocking(move || password::hash(&password)).await??)
}
