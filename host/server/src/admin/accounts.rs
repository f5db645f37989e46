//! Logins over HTTP, and who one is.

use std::net::IpAddr;
use std::sync::Arc;

use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::secret::Secret;
use tollgate_store::User;

use super::error::Problem;
use super::{Admin, Answer, nothing, parse, respond};
use crate::login::{LoginError, Tokens, Visitor};
use crate::shared::now;

/// Longest name that a login may try.
const NAME_BYTES_MAX: usize = 256;

/// A name and a password. There is no `Debug`: it would show the latter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    name: String,
    password: String,
}

/// A refresh token. There is no `Debug`: it would show it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

/// `POST /management/v1/login`
pub(super) async fn log_in(admin: &Arc<Admin>, from: IpAddr, body: &[u8]) -> Result<Answer, Problem> {
    let Credentials { name, password } = parse(body)?;
    let password = Secret::new(password);
    if name.len() > NAME_BYTES_MAX {
        return Err(LoginError::Wrong.into());
    }
    Ok(answer(&admin.logins.log_in(&name, password, from, now()).await?))
}

/// `POST /management/v1/refresh`
pub(super) async fn refresh(admin: &Arc<Admin>, body: &[u8]) -> Result<Answer, Problem> {
    let Refresh { refresh_token } = parse(body)?;
    Ok(answer(&admin.logins.refresh(&Secret::new(refresh_token), now()).await?))
}

/// `POST /management/v1/logout`
pub(super) async fn log_out(admin: &Arc<Admin>, visitor: &Visitor) -> Result<Answer, Problem> {
    admin.logins.log_out(visitor, now()).await?;
    Ok(nothing())
}

/// `GET /management/v1/me`
pub(super) fn me(visitor: &Visitor) -> Answer {
    respond(StatusCode::OK, &user(&visitor.user))
}

fn user(user: &User) -> Value {
    json!({
        "id": user.id.to_string(),
        "name": user.name,
        "role": user.role.name(),
        "enabled": user.enabled,
        "created_at": user.created_at.rfc3339(),
    })
}

fn answer(tokens: &Tokens) -> Answer {
    let body = json!({
        "access_token": tokens.access.expose(),
        "token_type": "Bearer",
        "expires_in": tokens.access_ms / 1000,
        "refresh_token": tokens.refresh.expose(),
        "user": user(&tokens.user),
    });
    let mut response = respond(StatusCode::OK, &body);
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
