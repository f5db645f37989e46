//! API keys over HTTP: a user's own, and everyone's for an admin. A key that is somebody else's is not there.

use http::{StatusCode, header};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tollgate_core::id::ApiKeyId;
use tollgate_core::limits::{KeyLimits, Rates};
use tollgate_core::protocol::Protocol;
use tollgate_core::role::Role;
use tollgate_core::time::Timestamp;

use super::error::Problem;
use super::{Answer, nothing, parse, respond};
use crate::desk::{Desk, KeyEdit, KeyRow};
use crate::login::Visitor;

/// Keys of a page, unless the caller asks for fewer.
const PAGE: usize = 100;

/// A key to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    /// Whose, for an admin; one's own without it.
    user: Option<String>,
    expires_at_ms: Option<u64>,
    #[serde(default)]
    limits: Limits,
}

/// What is to change of a key: what is left out stays, and `null` lifts what can be lifted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    name: Option<String>,
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    expires_at_ms: Option<Option<u64>>,
    limits: Option<Limits>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    protocols: Vec<String>,
    models: Vec<String>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    tokens_per_day: Option<u64>,
    concurrency: Option<u64>,
}

/// Tells `null` from a member that is not there.
#[expect(clippy::option_option, reason = "the outer one is a member that is not there")]
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl Limits {
    fn limits(self) -> Result<KeyLimits, Problem> {
        let known = |name: &String| Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
        let protocols = self.protocols.iter().map(known).collect::<Option<Vec<_>>>();
        let limits = KeyLimits {
            protocols: protocols.ok_or_else(|| Problem::bad_request("A protocol is not known."))?,
            models: self.models,
            rates: Rates {
                requests_per_minute: self.requests_per_minute,
                tokens_per_minute: self.tokens_per_minute,
                tokens_per_day: self.tokens_per_day,
                concurrency: self.concurrency,
            },
        };
        limits.check().map_err(Problem::bad_request)?;
        Ok(limits)
    }
}

/// `GET /management/v1/keys`: oldest first, from behind `cursor`.
pub(super) async fn list(desk: &Desk, visitor: &Visitor, query: &str) -> Result<Answer, Problem> {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let after: Option<ApiKeyId> = value("cursor")
        .map(str::parse)
        .transpose()
        .map_err(|_| Problem::bad_request("The cursor is not one."))?;
    let limit: usize = value("limit").map_or(Ok(PAGE), str::parse).unwrap_or(0);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is a number between 1 and {PAGE}.")));
    }
    let mut keys = desk.keys().await?;
    keys.retain(|key| visible(key, visitor) && after.is_none_or(|after| key.id > after));
    let next = (keys.len() > limit).then(|| keys[limit - 1].id.to_string());
    let data: Vec<Value> = keys.iter().take(limit).map(shown).collect();
    Ok(respond(StatusCode::OK, &json!({"data": data, "next_cursor": next})))
}

/// `POST /management/v1/keys`
pub(super) async fn create(desk: &Desk, visitor: &Visitor, body: &[u8]) -> Result<Answer, Problem> {
    let new: New = parse(body)?;
    let user = match new.user {
        Some(name) if name != visitor.user.name && visitor.user.role != Role::Admin => {
            return Err(Problem::forbidden());
        }
        Some(name) => name,
        None => visitor.user.name.clone(),
    };
    let expires_at = new.expires_at_ms.map(Timestamp::from_millis);
    let (id, secret) = desk.create_key(&user, &new.name, expires_at, new.limits.limits()?).await?;
    let mut key = shown(&find(desk, visitor, id).await?);
    key["key"] = secret.expose().into();
    let mut response = respond(StatusCode::CREATED, &key);
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /management/v1/keys/{id}`
pub(super) async fn show(desk: &Desk, visitor: &Visitor, id: &str) -> Result<Answer, Problem> {
    Ok(respond(StatusCode::OK, &shown(&find(desk, visitor, named(id)?).await?)))
}

/// `PATCH /management/v1/keys/{id}`
pub(super) async fn change(desk: &Desk, visitor: &Visitor, id: &str, body: &[u8]) -> Result<Answer, Problem> {
    let id = find(desk, visitor, named(id)?).await?.id;
    let Edit { name, enabled, expires_at_ms, limits } = parse(body)?;
    let edit = KeyEdit {
        name,
        enabled,
        expires_at: expires_at_ms.map(|at| at.map(Timestamp::from_millis)),
        limits: limits.map(Limits::limits).transpose()?,
    };
    desk.change_key(id, edit).await?;
    Ok(respond(StatusCode::OK, &shown(&find(desk, visitor, id).await?)))
}

/// `DELETE /management/v1/keys/{id}`: the key is refused from now on; what was used with it stays known.
pub(super) async fn revoke(desk: &Desk, visitor: &Visitor, id: &str) -> Result<Answer, Problem> {
    desk.revoke_key(find(desk, visitor, named(id)?).await?.id).await?;
    Ok(nothing())
}

fn named(id: &str) -> Result<ApiKeyId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

async fn find(desk: &Desk, visitor: &Visitor, id: ApiKeyId) -> Result<KeyRow, Problem> {
    let found = desk.keys().await?.into_iter().find(|key| key.id == id && visible(key, visitor));
    found.ok_or_else(Problem::not_found)
}

fn visible(key: &KeyRow, visitor: &Visitor) -> bool {
    visitor.user.role == Role::Admin || key.user_id == visitor.user.id
}

fn shown(key: &KeyRow) -> Value {
    let used = key.used.unwrap_or_default();
    json!({
        "id": key.id.to_string(),
        "hint": key.hint,
        "user": key.user,
        "name": key.name,
        "enabled": key.enabled,
        "expires_at_ms": key.expires_at.map(Timestamp::millis),
        "limits": key.limits_json(),
        "last_used_ms": key.used.map(|used| used.last_used.millis()),
        "requests": used.requests,
        "tokens": used.tokens,
        "points": used.charge.to_string(),
    })
}
