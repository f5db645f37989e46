//! Users: who they are, what they may do, and how they log in.

use std::collections::HashMap;

use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{Balance, User, UserChange};

use super::error::Which;
use super::{ManageError, Management};
use crate::auth::password::{self, PasswordError};
use crate::clock::now;

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
    /// When it was made.
    pub created_at: Timestamp,
    /// Points, without what is reserved.
    pub balance: Micropoints,
    /// Points that calls under way have reserved.
    pub reserved: Micropoints,
    /// The least balance that a reservation may leave.
    pub floor: Micropoints,
}

/// A user to add.
#[derive(Debug, Default)]
pub struct NewUser {
    /// A name that no other user has.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// With one, the user may log in.
    pub password: Option<Secret>,
    /// Points to begin with.
    pub points: Micropoints,
    /// The least balance that a reservation may leave: 0, or a negative overdraft.
    pub floor: Micropoints,
}

/// What changes of a user: `None` for what stays.
#[derive(Debug, Default)]
pub struct UserEdit {
    /// Whether calls and logins are taken.
    pub enabled: Option<bool>,
    /// What it may do.
    pub role: Option<Role>,
    /// A new password, which ends all logins.
    pub password: Option<Secret>,
    /// The least balance that a reservation may leave: 0, or a negative overdraft.
    pub floor: Option<Micropoints>,
}

impl Management {
    /// Adds a user with an account.
    ///
    /// # Errors
    /// When the name is taken or not a name.
    pub async fn add_user(&self, name: &str, points: Micropoints) -> Result<UserId, ManageError> {
        let id = self.store.catalogue.create_user(name, now()).await.which(name)?;
        if points > Micropoints::ZERO {
            self.store.ledger.grant(id, points, "first points", self.actor(), now()).await?;
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
    ) -> Result<UserId, ManageError> {
        self.create_user(NewUser { name: name.to_owned(), role, password, points, ..NewUser::default() })
            .await
    }

    /// Adds a user.
    ///
    /// # Errors
    /// As [`Management::add_account`], and for a floor above 0; nothing is added then.
    pub async fn create_user(&self, new: NewUser) -> Result<UserId, ManageError> {
        let edit = UserEdit {
            role: Some(new.role).filter(|role| *role != Role::default()),
            floor: Some(new.floor).filter(|floor| *floor != Micropoints::ZERO),
            password: new.password,
            enabled: None,
        };
        let change = checked(edit).await?;
        let id = self.add_user(&new.name, new.points).await?;
        if change != UserChange::default() {
            self.store.catalogue.change_user(id, &change, now()).await?;
        }
        Ok(id)
    }

    /// Changes a user, all of it or nothing.
    ///
    /// # Errors
    /// Without such a user, when the password or the floor is not one, or when no enabled admin would be left.
    pub async fn change_user(&self, id: UserId, edit: UserEdit) -> Result<(), ManageError> {
        Ok(self.store.catalogue.change_user(id, &checked(edit).await?, now()).await?)
    }

    /// Sets a user's password and ends all of his logins.
    ///
    /// # Errors
    /// Without such a user, or when the password is not one.
    pub async fn set_password(&self, name: &str, password: Secret) -> Result<(), ManageError> {
        self.change_named(name, UserEdit { password: Some(password), ..UserEdit::default() }).await
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// Without such a user, or when no enabled admin would be left.
    pub async fn set_role(&self, name: &str, role: Role) -> Result<(), ManageError> {
        self.change_named(name, UserEdit { role: Some(role), ..UserEdit::default() }).await
    }

    /// Takes or refuses a user's calls and logins.
    ///
    /// # Errors
    /// Without such a user, or when no enabled admin would be left.
    pub async fn set_user_enabled(&self, name: &str, enabled: bool) -> Result<(), ManageError> {
        self.change_named(name, UserEdit { enabled: Some(enabled), ..UserEdit::default() }).await
    }

    async fn change_named(&self, name: &str, edit: UserEdit) -> Result<(), ManageError> {
        self.change_user(self.user(name).await?, edit).await
    }

    /// All users with their balances.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self) -> Result<Vec<UserRow>, ManageError> {
        self.with_balances(self.store.catalogue.list_users().await?).await
    }

    /// Users whose name contains `search`, in the order of their making: those after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_users(
        &self,
        search: &str,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserRow>, ManageError> {
        self.with_balances(self.store.catalogue.find_users(search, after, limit).await?).await
    }

    /// One user with what the account holds.
    ///
    /// # Errors
    /// Without such a user.
    pub async fn user_row(&self, id: UserId) -> Result<UserRow, ManageError> {
        let rows = self.with_balances(vec![self.store.catalogue.user(id).await?]).await?;
        rows.into_iter().next().ok_or_else(|| ManageError::not_found("user", id))
    }

    async fn with_balances(&self, users: Vec<User>) -> Result<Vec<UserRow>, ManageError> {
        let balances: HashMap<_, _> =
            self.store.ledger.balances().await?.into_iter().map(|balance| (balance.user, balance)).collect();
        Ok(users.into_iter().map(|user| user_row(user, &balances)).collect())
    }
}

fn user_row(user: User, balances: &HashMap<UserId, Balance>) -> UserRow {
    let balance = balances.get(&user.id);
    UserRow {
        id: user.id,
        name: user.name,
        enabled: user.enabled,
        role: user.role,
        created_at: user.created_at,
        balance: balance.map_or(Micropoints::ZERO, |balance| balance.posted),
        reserved: balance.map_or(Micropoints::ZERO, |balance| balance.pending),
        floor: balance.map_or(Micropoints::ZERO, |balance| balance.floor),
    }
}

/// What an edit makes of the stored row, once everything in it has been found good.
async fn checked(edit: UserEdit) -> Result<UserChange, ManageError> {
    if edit.floor.is_some_and(|floor| floor > Micropoints::ZERO) {
        return Err(ManageError::invalid("floor", "the floor of an account is 0 or less"));
    }
    let password = match edit.password {
        Some(password) => Some(hashed(password).await?),
        None => None,
    };
    Ok(UserChange { enabled: edit.enabled, role: edit.role, floor: edit.floor, password })
}

/// Hashes a password away from the threads that answer.
pub(super) async fn hashed(password: Secret) -> Result<String, ManageError> {
    let hash = tokio::task::spawn_blocking(move || password::hash(&password)).await;
    hash.map_err(|_| ManageError::Ended)?.map_err(|error| match error {
        PasswordError::Length => ManageError::invalid("password", error.to_string()),
        PasswordError::Hash => ManageError::Hash,
    })
}
