//! Users: who they are, what they may do, and what their accounts hold.

use std::cmp::Reverse;
use std::collections::HashMap;

use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{
    Balance, StoreError, UsageLabel, UsageOf, UsageSlice, UsageTable, Used, User, UserChange,
};

use super::error::Which;
use super::words::seen;
use super::{ManageError, Management, Page, Window};
use crate::auth::password::{self, PasswordError};
use crate::clock::now;

/// A user with what the account holds.
#[derive(Debug, Clone)]
pub struct UserRow {
    /// Id.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// Whether calls are accepted.
    pub enabled: bool,
    /// What the user may do through the management API.
    pub role: Role,
    /// When the user was made.
    pub created_at: Timestamp,
    /// Points, without what is reserved.
    pub balance: Micropoints,
    /// Points that calls under way have reserved.
    pub reserved: Micropoints,
    /// The least balance that a reservation may leave.
    pub floor: Micropoints,
    /// Whether the user's own credentials alone may serve.
    pub own_only: bool,
}

/// The order of a list of users, oldest first aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserOrder {
    /// By name.
    Name,
    /// The one with most points first.
    Points,
    /// The one with most calls in this month first.
    Requests,
    /// The one that spent most in this month first.
    Spent,
}

/// How much of a moment is its month.
const MONTH: usize = "2027-01".len();

fn requests(used: &Used) -> i64 {
    i64::try_from(used.requests).unwrap_or(i64::MAX)
}

/// A user to add.
#[derive(Debug, Default)]
pub struct NewUser {
    /// A name that no other user has.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// With one, the user may log in.
    pub password: Option<Secret>,
    /// Points to begin with.
    pub points: Micropoints,
    /// The least balance that a reservation may leave: 0, or a negative overdraft.
    pub floor: Micropoints,
}

/// Changes to a user; `None` leaves a field as it is.
#[derive(Debug, Default)]
pub struct UserEdit {
    /// Whether calls and logins are accepted.
    pub enabled: Option<bool>,
    /// What the user may do.
    pub role: Option<Role>,
    /// A new password, which ends all logins.
    pub password: Option<Secret>,
    /// The least balance that a reservation may leave: 0, or a negative overdraft.
    pub floor: Option<Micropoints>,
    /// Whether the user's own credentials alone may serve.
    pub own_only: Option<bool>,
}

impl Management {
    /// Adds a user with an account, who may log in where there is a password.
    ///
    /// # Errors
    /// When the name is taken or not a name, the password is not one, or the floor is above 0; nothing is added then.
    pub async fn create_user(&self, new: NewUser) -> Result<UserId, ManageError> {
        seen("name", &new.name)?;
        let edit = UserEdit {
            role: Some(new.role).filter(|role| *role != Role::default()),
            floor: Some(new.floor).filter(|floor| *floor != Micropoints::ZERO),
            password: new.password,
            enabled: None,
            own_only: None,
        };
        let change = checked(edit).await?;
        let id = self.store.catalogue.create_user(&new.name, now()).await.which(&new.name)?;
        if new.points > Micropoints::ZERO {
            self.grant(id, new.points, "first points").await?;
        }
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
        self.store.catalogue.change_user(id, &checked(edit).await?, now()).await.which(id)
    }

    /// One user with what the account holds.
    ///
    /// # Errors
    /// Without such a user.
    pub async fn user(&self, id: UserId) -> Result<UserRow, ManageError> {
        let user = self.store.catalogue.user(id).await.which(id)?;
        let balances = self.balances(&[id]).await?;
        Ok(user_row(user, &balances))
    }

    /// Users whose name contains `search`, whatever its case, with what their accounts hold: oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(
        &self,
        search: &str,
        window: Window<UserId>,
    ) -> Result<Page<UserRow, UserId>, ManageError> {
        let users = self.store.catalogue.find_users(search, window.after, window.limit_and_one()).await?;
        let page = Page::new(users, window.limit, |user| user.id);
        let ids: Vec<UserId> = page.rows.iter().map(|user| user.id).collect();
        let balances = self.balances(&ids).await?;
        Ok(page.map(|user| user_row(user, &balances)))
    }

    /// The same in another order; a page begins after so many of them. All users are looked at for it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users_by(
        &self,
        search: &str,
        order: UserOrder,
        window: Window<usize>,
    ) -> Result<Page<UserRow, usize>, ManageError> {
        let mut users = self.store.catalogue.find_users(search, None, usize::MAX).await?;
        match order {
            UserOrder::Name => users.sort_by_cached_key(|user| user.name.to_lowercase()),
            UserOrder::Points => {
                let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
                let balances = self.balances(&ids).await?;
                let points = |user: &User| balances.get(&user.id).map(|balance| Reverse(balance.posted));
                users.sort_by_key(|user| (points(user).is_none(), points(user)));
            }
            UserOrder::Requests | UserOrder::Spent => {
                let used = self.used_this_month().await?;
                let most = |user: &User| {
                    let used = used.get(&user.id).copied().unwrap_or_default();
                    Reverse(if order == UserOrder::Spent { used.charge.get() } else { requests(&used) })
                };
                users.sort_by_key(most);
            }
        }
        let offset = window.after.unwrap_or_default();
        let rows: Vec<User> = users.into_iter().skip(offset).take(window.limit_and_one()).collect();
        let page = Page::new(rows, window.limit, |_| offset.saturating_add(window.limit));
        let ids: Vec<UserId> = page.rows.iter().map(|user| user.id).collect();
        let balances = self.balances(&ids).await?;
        Ok(page.map(|user| user_row(user, &balances)))
    }

    /// What users used in this month (UTC).
    async fn used_this_month(&self) -> Result<HashMap<UserId, Used>, ManageError> {
        let (today, moment) = (now().day(), now().rfc3339());
        let month = moment.get(..MONTH).unwrap_or_default();
        let first = Timestamp::parse_date(&format!("{month}-01")).map_or(today, Timestamp::day);
        let table = UsageTable {
            of: UsageOf::Everyone,
            from_day: first,
            until_day: today,
            by: vec![UsageSlice::User],
            offset: 0,
            limit: usize::MAX,
        };
        let rows = self.store.log.usage_table(&table).await?;
        let user = |(labels, used): (Vec<UsageLabel>, Used)| match labels.first() {
            Some(UsageLabel::Id(Some(id))) => Some((UserId::from_bytes(*id), used)),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(user).collect())
    }

    /// The id of a user, by name or by id.
    ///
    /// # Errors
    /// Without such a user.
    pub async fn find_user(&self, name_or_id: &str) -> Result<UserId, ManageError> {
        if let Ok(id) = name_or_id.parse::<UserId>() {
            match self.store.catalogue.user(id).await {
                Ok(user) => return Ok(user.id),
                // A name may look like an id.
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.store.catalogue.find_user(name_or_id).await.which(name_or_id)?.id)
    }

    /// The names of some users.
    pub(crate) async fn user_names(
        &self,
        ids: impl IntoIterator<Item = UserId>,
    ) -> Result<HashMap<UserId, String>, ManageError> {
        let mut ids: Vec<UserId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let users = self.store.catalogue.users(&ids).await?;
        Ok(users.into_iter().map(|user| (user.id, user.name)).collect())
    }

    async fn balances(&self, of: &[UserId]) -> Result<HashMap<UserId, Balance>, ManageError> {
        let balances = self.store.ledger.balances_of(of).await?;
        Ok(balances.into_iter().map(|balance| (balance.user, balance)).collect())
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
        own_only: user.own_only,
    }
}

/// The stored row after an edit, once everything in the edit has been checked.
async fn checked(edit: UserEdit) -> Result<UserChange, ManageError> {
    if edit.floor.is_some_and(|floor| floor > Micropoints::ZERO) {
        return Err(ManageError::invalid("floor", "the floor of an account is 0 or less"));
    }
    let password = match edit.password {
        Some(password) => Some(hashed(password).await?),
        None => None,
    };
    let UserEdit { enabled, role, floor, own_only, .. } = edit;
    Ok(UserChange { enabled, role, floor, own_only, password })
}

/// Hashes a password away from the threads that answer.
pub(super) async fn hashed(password: Secret) -> Result<String, ManageError> {
    let hash = tokio::task::spawn_blocking(move || password::hash(&password)).await;
    hash.map_err(|_| ManageError::Ended)?.map_err(|error| match error {
        PasswordError::Length => ManageError::invalid("password", error.to_string()),
        PasswordError::Hash => ManageError::Hash,
    })
}
