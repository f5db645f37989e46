//! Logins over HTTP, and who one is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::secret::Secret;

use super::ask::{Ask, Nothing};
use super::audience::Audience;
use super::error::Problem;
use crate::clock::now;
use crate::manage::UserEdit;
use crate::manage::login::{LoginError, Tokens, User};

/// Longest name that a login may try.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// A name and a password. There is no `Debug`: it would show the latter.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "carol", "password": "correct horse battery"}))]
pub(super) struct Login {
    /// The user's name.
    pub(super) name: String,
    /// The user's password.
    pub(super) password: String,
}

/// A refresh token. There is no `Debug`: it would show it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"refresh_token": "tgr_…"}))]
pub(super) struct Refresh {
    /// What the login or the refresh before gave.
    refresh_token: String,
}

/// A password to set. There is no `Debug`: it would show both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"old_password": "correct horse battery", "new_password": "staple horse battery"}))]
pub(super) struct NewPassword {
    /// The password until now.
    old_password: String,
    /// The password from now on: 10 to 1024 bytes.
    new_password: String,
}

/// Who one is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Me {
    /// The user's id.
    id: String,
    /// The user's name.
    name: String,
    /// `admin` or `user`.
    role: String,
    /// Whether calls and logins are taken.
    enabled: bool,
    /// When the user was made, as RFC 3339 writes it.
    created_at: String,
    /// Whether one's own provider keys alone may serve one's calls.
    own_only: bool,
}

/// Who may serve one's calls.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"own_only": false}))]
pub(super) struct OwnOnly {
    /// Whether one's own provider keys alone may: what they cannot serve is refused, and never paid in full.
    own_only: bool,
}

/// A pair of tokens. There is no `Debug`: it would show them.
#[derive(Serialize, JsonSchema)]
pub(super) struct Pair {
    /// Says who one is, as `Authorization: Bearer`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds for which the access token is good.
    expires_in: u64,
    /// Good once, for the next pair.
    refresh_token: String,
    /// Whose they are.
    user: Me,
}

/// `POST /management/v1/login`
pub(super) async fn log_in(ask: Ask<Nothing, Nothing, Login>) -> Result<Pair, Problem> {
    let Login { name, password } = ask.body;
    let password = Secret::new(password);
    if name.len() > NAME_BYTES_MAX {
        return Err(LoginError::Wrong.into());
    }
    let caller = ask.caller;
    let (tokens, refresh) = caller.admin.logins.log_in(&name, password, caller.from, now()).await?;
    Ok(pair(&tokens, &refresh, caller.audience))
}

/// `POST /management/v1/refresh`
pub(super) async fn refresh(ask: Ask<Nothing, Nothing, Refresh>) -> Result<Pair, Problem> {
    let token = Secret::new(ask.body.refresh_token);
    let (tokens, refresh) = ask.caller.admin.logins.refresh(&token, now()).await?;
    Ok(pair(&tokens, &refresh, ask.caller.audience))
}

/// `POST /management/v1/logout`
pub(super) async fn log_out(ask: Ask) -> Result<Nothing, Problem> {
    ask.caller.admin.logins.log_out(ask.caller.actor.visitor()?, now()).await?;
    Ok(Nothing)
}

/// `GET /management/v1/me`
pub(super) async fn me(ask: Ask) -> Result<Me, Problem> {
    Ok(user(&ask.caller.actor.visitor()?.user))
}

/// `POST /management/v1/me/password`
pub(super) async fn change_password(ask: Ask<Nothing, Nothing, NewPassword>) -> Result<Nothing, Problem> {
    let (visitor, logins) = (ask.caller.actor.visitor()?, &ask.caller.admin.logins);
    let (old, new) = (Secret::new(ask.body.old_password), Secret::new(ask.body.new_password));
    let changed = {
        let (management, address) = (&ask.caller.management, ask.caller.from);
        logins.change_password(visitor, (management, address), old, new, now()).await
    };
    changed.map_err(|error| match error {
        LoginError::Wrong => Problem::wrong_password(),
        error => error.into(),
    })?;
    Ok(Nothing)
}

/// `PUT /management/v1/me/own-only`
pub(super) async fn set_own_only(ask: Ask<Nothing, Nothing, OwnOnly>) -> Result<Me, Problem> {
    let own_only = ask.body.own_only;
    let known = &ask.caller.actor.visitor()?.user;
    let edit = UserEdit { own_only: Some(own_only), ..UserEdit::default() };
    ask.caller.management.change_user(known.id, edit).await?;
    Ok(Me { own_only, ..user(known) })
}

/// A user as they see themselves.
pub(super) fn user(user: &User) -> Me {
    Me {
        id: user.id.to_string(),
        name: user.name.clone(),
        role: user.role.name().to_owned(),
        enabled: user.enabled,
        created_at: user.created_at.rfc3339(),
        own_only: user.own_only,
    }
}

fn pair(tokens: &Tokens, refresh: &Secret, audience: Audience) -> Pair {
    Pair {
        access_token: tokens.access.expose().to_owned(),
        token_type: "Bearer",
        expires_in: tokens.access_ms / 1000,
        refresh_token: refresh.expose().to_owned(),
        user: user(&audience.sees(&tokens.user)),
    }
}
