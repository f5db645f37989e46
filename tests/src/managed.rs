//! What tests often do with management: whole lists, and changes by a user's name.

use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_server::manage::{
    CredentialRow, KeyRow, ManageError, Management, NewUser, RequestFilter, RequestRecord, UserEdit, UserRow,
    WhichCredentials, Window,
};

/// More entries than any list of a test has.
const ALL: usize = 1_000_000;

/// Adds a user with points.
///
/// # Errors
/// As [`Management::create_user`].
pub async fn add_user(desk: &Management, name: &str, points: Micropoints) -> Result<UserId, ManageError> {
    desk.create_user(NewUser { name: name.to_owned(), points, ..NewUser::default() }).await
}

/// Adds a user with a role, who may log in where there is a password.
///
/// # Errors
/// As [`Management::create_user`].
pub async fn add_account(
    desk: &Management,
    name: &str,
    role: Role,
    password: Option<Secret>,
    points: Micropoints,
) -> Result<UserId, ManageError> {
    desk.create_user(NewUser { name: name.to_owned(), role, password, points, ..NewUser::default() }).await
}

/// Sets a user's password.
///
/// # Errors
/// As [`Management::change_user`].
pub async fn set_password(desk: &Management, name: &str, password: Secret) -> Result<(), ManageError> {
    change(desk, name, UserEdit { password: Some(password), ..UserEdit::default() }).await
}

/// Gives a user a role.
///
/// # Errors
/// As [`Management::change_user`].
pub async fn set_role(desk: &Management, name: &str, role: Role) -> Result<(), ManageError> {
    change(desk, name, UserEdit { role: Some(role), ..UserEdit::default() }).await
}

/// Enables or disables a user.
///
/// # Errors
/// As [`Management::change_user`].
pub async fn set_user_enabled(desk: &Management, name: &str, enabled: bool) -> Result<(), ManageError> {
    change(desk, name, UserEdit { enabled: Some(enabled), ..UserEdit::default() }).await
}

async fn change(desk: &Management, name: &str, edit: UserEdit) -> Result<(), ManageError> {
    desk.change_user(desk.find_user(name).await?, edit).await
}

/// Gives a user points.
///
/// # Errors
/// As [`Management::grant`].
pub async fn grant(
    desk: &Management,
    name: &str,
    points: Micropoints,
    reason: &str,
) -> Result<(), ManageError> {
    desk.grant(desk.find_user(name).await?, points, reason).await.map(drop)
}

/// All users.
///
/// # Errors
/// When the database fails.
pub async fn users(desk: &Management) -> Result<Vec<UserRow>, ManageError> {
    Ok(desk.users("", Window::first(ALL)).await?.rows)
}

/// All API keys.
///
/// # Errors
/// When the database fails.
pub async fn keys(desk: &Management) -> Result<Vec<KeyRow>, ManageError> {
    Ok(desk.keys(None, Window::first(ALL)).await?.rows)
}

/// All credentials.
///
/// # Errors
/// When the database fails.
pub async fn credentials(desk: &Management) -> Result<Vec<CredentialRow>, ManageError> {
    Ok(desk.credentials(&WhichCredentials::default(), Window::first(ALL)).await?.rows)
}

/// The last requests, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn requests(desk: &Management, limit: u32) -> Result<Vec<RequestRecord>, ManageError> {
    let mut filter = RequestFilter { limit, ..RequestFilter::default() };
    let mut records = Vec::new();
    loop {
        let page = desk.requests(&filter).await?;
        records.extend(page.rows);
        filter.before = page.next;
        if filter.before.is_none() || records.len() >= limit as usize {
            records.truncate(limit as usize);
            return Ok(records);
        }
    }
}
