//! Users over HTTP: an admin makes, finds and changes them; each sees their own row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;

use super::ask::{Ask, Nothing, Page, window};
use super::error::Problem;
use super::keys::{self, Key};
use crate::manage::{self, UserEdit, UserOrder, UserRow};

/// Which users.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// A part of the name, whatever its case.
    search: Option<String>,
    /// In which order: oldest first without it.
    #[serde(default)]
    sort: Sort,
    /// `next_cursor` of the page before, in the same order.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// The order of a list of users.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "UserSort")]
enum Sort {
    /// Oldest first.
    #[default]
    Created,
    /// By name.
    Name,
    /// The one with most points first.
    Points,
    /// The one with most calls in this month (UTC) first.
    Requests,
    /// The one that spent most in this month first.
    Spent,
}

impl Sort {
    const fn order(self) -> Option<UserOrder> {
        match self {
            Self::Created => None,
            Self::Name => Some(UserOrder::Name),
            Self::Points => Some(UserOrder::Points),
            Self::Requests => Some(UserOrder::Requests),
            Self::Spent => Some(UserOrder::Spent),
        }
    }
}

/// A page of something that one user has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// What a user may do beyond their own things.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Role")]
pub(super) enum RoleName {
    /// Everything, to everyone's things.
    Admin,
    /// Their own things.
    User,
}

/// A user to make. There is no `Debug`: it would show the password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "erin", "role": "user", "password": "correct horse battery", "points": "12.5"}))]
pub(super) struct NewUser {
    /// A name that no other user has.
    name: String,
    /// `user` without it.
    role: Option<RoleName>,
    /// With one, the user may log in.
    password: Option<String>,
    /// Points to begin with.
    points: Option<String>,
    /// The least balance that a reservation may leave: 0, which is the default, or a negative overdraft.
    floor: Option<String>,
}

/// What is to change of a user: what is left out stays. There is no `Debug`: it would show the password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"enabled": true, "floor": "-10"}))]
pub(super) struct UserPatch {
    /// Whether calls and logins are taken. Logins that are open end.
    enabled: Option<bool>,
    /// What the user may do.
    role: Option<RoleName>,
    /// A new password. Logins that are open end.
    password: Option<String>,
    /// The least balance that a reservation may leave: 0, or a negative overdraft.
    floor: Option<String>,
    /// Whether the user's own provider keys alone may serve the user's calls.
    own_only: Option<bool>,
}

/// A user.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct User {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// What it may do.
    role: RoleName,
    /// Whether calls and logins are taken.
    enabled: bool,
    /// When it was made.
    created_at_ms: u64,
    /// What the account holds, without what is reserved.
    points: String,
    /// What calls under way have reserved.
    reserved: String,
    /// The least balance that a reservation may leave.
    floor: String,
    /// Whether the user's own provider keys alone may serve the user's calls.
    own_only: bool,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::User => Self::User,
        }
    }
}

/// `GET /management/v1/users`
pub(super) async fn list(ask: Ask<Nothing, Which>) -> Result<Page<User>, Problem> {
    let Which { search, sort, cursor, limit } = ask.query;
    let (management, search) = (&ask.caller.management, search.unwrap_or_default());
    if let Some(order) = sort.order() {
        let page = management.users_by(&search, order, window(cursor.as_deref(), limit)?).await?;
        return Ok(Page::shown(page, |user| shown(&user)));
    }
    let page = management.users(&search, window(cursor.as_deref(), limit)?).await?;
    Ok(Page::shown(page, |user| shown(&user)))
}

/// `POST /management/v1/users`
pub(super) async fn create(ask: Ask<Nothing, Nothing, NewUser>) -> Result<User, Problem> {
    let (management, new) = (&ask.caller.management, ask.body);
    let points = new.points.as_deref().map(points).transpose()?.unwrap_or_default();
    if points < Micropoints::ZERO {
        return Err(Problem::bad_request("A user begins with 0 points or more."));
    }
    let new = manage::NewUser {
        name: new.name,
        role: new.role.map_or(Role::User, Role::from),
        password: new.password.map(Secret::new),
        points,
        floor: new.floor.as_deref().map(self::points).transpose()?.unwrap_or_default(),
    };
    let id = management.create_user(new).await?;
    Ok(shown(&management.user(id).await?))
}

/// `GET /management/v1/users/{user}`
pub(super) async fn show(ask: Ask<UserId>) -> Result<User, Problem> {
    visible(&ask)?;
    Ok(shown(&ask.caller.management.user(ask.path).await?))
}

/// `PATCH /management/v1/users/{user}`
pub(super) async fn change(ask: Ask<UserId, Nothing, UserPatch>) -> Result<User, Problem> {
    let UserPatch { enabled, role, password, floor, own_only } = ask.body;
    let floor = floor.as_deref().map(points).transpose()?;
    let (role, password) = (role.map(Role::from), password.map(Secret::new));
    let edit = UserEdit { enabled, role, password, floor, own_only };
    ask.caller.management.change_user(ask.path, edit).await?;
    Ok(shown(&ask.caller.management.user(ask.path).await?))
}

/// `GET /management/v1/users/{user}/keys`
pub(super) async fn keys(ask: Ask<UserId, Part>) -> Result<Page<Key>, Problem> {
    visible(&ask)?;
    // Without such a user there is no list either.
    ask.caller.management.user(ask.path).await?;
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    keys::page(&ask.caller.management, Some(ask.path), window).await
}

fn visible<Q, B>(ask: &Ask<UserId, Q, B>) -> Result<(), Problem> {
    if ask.caller.actor.may_see(ask.path) { Ok(()) } else { Err(Problem::not_found()) }
}

fn points(text: &str) -> Result<Micropoints, Problem> {
    Micropoints::parse_points(text).ok_or_else(|| {
        Problem::bad_request("Points are a decimal number with at most six places, in a string.")
    })
}

fn shown(user: &UserRow) -> User {
    User {
        id: user.id.to_string(),
        name: user.name.clone(),
        role: match user.role {
            Role::Admin => RoleName::Admin,
            Role::User => RoleName::User,
        },
        enabled: user.enabled,
        created_at_ms: user.created_at.millis(),
        points: user.balance.to_string(),
        reserved: user.reserved.to_string(),
        floor: user.floor.to_string(),
        own_only: user.own_only,
    }
}
