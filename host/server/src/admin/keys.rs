//! API keys over HTTP: a user's own, and everyone's for an admin. A key that is somebody else's is not there.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::{ContextLimit, KeyLimits, RateLimits, Translation};
use tollgate_core::protocol::Protocol;
use tollgate_core::time::Timestamp;

use super::ask::{Actor, Ask, Caller, Nothing, Page, window};
use super::error::Problem;
use super::usage::named;
use crate::manage::{KeyEdit, KeyOrder, KeyRow, Management, Window};

/// Which keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// A user's, by name or id; for an admin, everyone's without it.
    user: Option<String>,
    /// Those in whose name, first characters or user's name this stands, whatever its case.
    search: Option<String>,
    /// In which order: oldest first without it.
    #[serde(default)]
    sort: Sort,
    /// `next_cursor` of the page before, in the same order.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// The order of a list of keys.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "KeySort")]
enum Sort {
    /// Oldest first.
    #[default]
    Created,
    /// By name.
    Name,
    /// The one that was used last first.
    LastUsed,
    /// The one with most calls first.
    Requests,
    /// The one that cost most first.
    Points,
}

impl Sort {
    const fn order(self) -> KeyOrder {
        match self {
            Self::Created => KeyOrder::Age,
            Self::Name => KeyOrder::Name,
            Self::LastUsed => KeyOrder::LastUse,
            Self::Requests => KeyOrder::Requests,
            Self::Points => KeyOrder::Charge,
        }
    }
}

/// A key to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "laptop", "limits": {"models": ["gpt-4o*"], "requests_per_minute": 60}}))]
pub(super) struct NewKey {
    /// What its user calls it.
    name: String,
    /// Whose, for an admin; one's own without it.
    user: Option<String>,
    /// When it stops working.
    expires_at_ms: Option<u64>,
    /// What it may do; everything without it.
    #[serde(default)]
    limits: Limits,
}

/// What is to change of a key: what is left out stays, and `null` lifts what can be lifted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "desk", "expires_at_ms": null}))]
pub(super) struct KeyPatch {
    /// What its user calls it.
    name: Option<String>,
    /// Whether it is taken.
    enabled: Option<bool>,
    /// When it stops working; `null` for never.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<u64>")]
    expires_at_ms: Option<Option<u64>>,
    /// What it may do, as a whole.
    limits: Option<Limits>,
}

/// What a key may do, and how much of it. What is `null` is not limited.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Wire formats that it may speak; all where there are none.
    protocols: Vec<String>,
    /// Providers that may serve it, by the configuration's names; all where there are none.
    providers: Vec<String>,
    /// Models that it may call, as patterns with `*`; all where there are none.
    models: Vec<String>,
    /// Calls a minute.
    requests_per_minute: Option<u64>,
    /// Tokens a minute.
    tokens_per_minute: Option<u64>,
    /// Tokens from midnight to midnight UTC.
    tokens_per_day: Option<u64>,
    /// Calls at a time.
    concurrency: Option<u64>,
    /// Whether the oldest turns of a conversation that is longer than `context_window` are left out.
    enable_context_management: bool,
    /// Tokens of a conversation that are sent on, estimated as a quarter of its bytes.
    context_window: Option<u64>,
    /// Whether its user's own provider keys alone may serve its calls: what they cannot serve is refused, and never
    /// paid in full.
    own_only: bool,
    /// What becomes of hints that a provider's protocol lacks: `lenient`, they are left out and named in
    /// `x-tollgate-left-out`; `strict`, the request is refused. `lenient` where it is `null`.
    translation: Option<String>,
}

/// An API key as it may be shown.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Key {
    /// Its id.
    id: String,
    /// Its first characters.
    hint: String,
    /// Its user's name.
    user: String,
    /// What its user calls it.
    name: String,
    /// Whether it is taken.
    enabled: bool,
    /// When it stops working.
    expires_at_ms: Option<u64>,
    /// What it may do.
    limits: Limits,
    /// Whether an operator has the bodies of its calls kept, redacted and sealed, for a time.
    keep_bodies: bool,
    /// When the last call came.
    last_used_ms: Option<u64>,
    /// Calls, refused ones too.
    requests: u64,
    /// Tokens of billed calls.
    tokens: u64,
    /// What they cost.
    points: String,
}

/// A key that has just been made. There is no `Debug`: it would show it.
#[derive(Serialize, JsonSchema)]
pub(super) struct FreshKey {
    /// The key itself: all there will ever be of it.
    key: String,
    #[serde(flatten)]
    shown: Key,
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
        let translation = match self.translation.as_deref() {
            None => Translation::default(),
            Some(name) => Translation::named(name)
                .ok_or_else(|| Problem::bad_request("`translation` is `lenient` or `strict`."))?,
        };
        let limits = KeyLimits {
            protocols: protocols.ok_or_else(|| Problem::bad_request("A protocol is not known."))?,
            providers: self.providers,
            models: self.models,
            context: ContextLimit { enabled: self.enable_context_management, window: self.context_window },
            translation,
            own_only: self.own_only,
            rates: RateLimits {
                requests_per_minute: self.requests_per_minute,
                tokens_per_minute: self.tokens_per_minute,
                tokens_per_day: self.tokens_per_day,
                concurrency: self.concurrency,
            },
        };
        limits.check().map_err(Problem::bad_request)?;
        Ok(limits)
    }

    fn shown(limits: &KeyLimits) -> Self {
        Self {
            protocols: limits.protocols.iter().map(|protocol| protocol.name().to_owned()).collect(),
            providers: limits.providers.clone(),
            models: limits.models.clone(),
            enable_context_management: limits.context.enabled,
            context_window: limits.context.window,
            translation: Some(limits.translation.name().to_owned()),
            own_only: limits.own_only,
            requests_per_minute: limits.rates.requests_per_minute,
            tokens_per_minute: limits.rates.tokens_per_minute,
            tokens_per_day: limits.rates.tokens_per_day,
            concurrency: limits.rates.concurrency,
        }
    }
}

/// `GET /management/v1/keys`
pub(super) async fn list(ask: Ask<Nothing, Which>) -> Result<Page<Key>, Problem> {
    let Which { user, search, sort, cursor, limit } = ask.query;
    let (management, actor, search) = (&ask.caller.management, &ask.caller.actor, search.unwrap_or_default());
    let of = match user {
        Some(user) => Some(named(management, actor, Some(&user)).await?),
        None => actor.scope()?,
    };
    if sort.order() == KeyOrder::Age {
        let page = management.keys_found(of, &search, window(cursor.as_deref(), limit)?).await?;
        return Ok(Page::shown(page, |key| shown(&key)));
    }
    let page = management.keys_by((of, &search), sort.order(), window(cursor.as_deref(), limit)?).await?;
    Ok(Page::shown(page, |key| shown(&key)))
}

/// A page of one user's keys, or of everyone's.
pub(super) async fn page(
    management: &Management,
    of: Option<UserId>,
    window: Window<ApiKeyId>,
) -> Result<Page<Key>, Problem> {
    Ok(Page::shown(management.keys(of, window).await?, |key| shown(&key)))
}

/// `POST /management/v1/keys`
pub(super) async fn create(ask: Ask<Nothing, Nothing, NewKey>) -> Result<FreshKey, Problem> {
    let (management, actor, new) = (&ask.caller.management, &ask.caller.actor, ask.body);
    let own = actor.user();
    let user = match new.user.filter(|name| own.is_none_or(|own| own.name != *name)) {
        Some(_) if !actor.is_admin() => return Err(Problem::forbidden()),
        Some(name) => name,
        None => {
            let own = own.map(|user| user.id.to_string());
            own.ok_or_else(|| Problem::bad_request("`user` says whose the key shall be."))?
        }
    };
    let expires_at = new.expires_at_ms.map(Timestamp::from_millis);
    let (id, secret) = management.create_key(&user, &new.name, expires_at, new.limits.limits()?).await?;
    let shown = shown(&find(management, actor, id).await?);
    Ok(FreshKey { key: secret.expose().to_owned(), shown })
}

/// `GET /management/v1/keys/{key}`
pub(super) async fn show(ask: Ask<ApiKeyId>) -> Result<Key, Problem> {
    shown_of(&ask.caller, ask.path).await
}

/// `PATCH /management/v1/keys/{key}`
pub(super) async fn change(ask: Ask<ApiKeyId, Nothing, KeyPatch>) -> Result<Key, Problem> {
    let (management, actor) = (&ask.caller.management, &ask.caller.actor);
    let id = find(management, actor, ask.path).await?.id;
    let KeyPatch { name, enabled, expires_at_ms, limits } = ask.body;
    let edit = KeyEdit {
        name,
        enabled,
        expires_at: expires_at_ms.map(|at| at.map(Timestamp::from_millis)),
        limits: limits.map(Limits::limits).transpose()?,
    };
    management.change_key(id, edit).await?;
    Ok(shown(&find(management, actor, id).await?))
}

/// `DELETE /management/v1/keys/{key}`
pub(super) async fn revoke(ask: Ask<ApiKeyId>) -> Result<Nothing, Problem> {
    let management = &ask.caller.management;
    management.revoke_key(find(management, &ask.caller.actor, ask.path).await?.id).await?;
    Ok(Nothing)
}

/// A key as its caller may see it.
pub(super) async fn shown_of(caller: &Caller, id: ApiKeyId) -> Result<Key, Problem> {
    Ok(shown(&find(&caller.management, &caller.actor, id).await?))
}

async fn find(management: &Management, actor: &Actor, id: ApiKeyId) -> Result<KeyRow, Problem> {
    actor.own(management.key(id).await, |key| key.user_id)
}

fn shown(key: &KeyRow) -> Key {
    let used = key.used.unwrap_or_default();
    Key {
        id: key.id.to_string(),
        hint: key.hint.clone(),
        user: key.user.clone(),
        name: key.name.clone(),
        enabled: key.enabled,
        expires_at_ms: key.expires_at.map(Timestamp::millis),
        limits: Limits::shown(&key.limits),
        keep_bodies: key.keep_bodies,
        last_used_ms: key.used.map(|used| used.last_used.millis()),
        requests: used.requests,
        tokens: used.tokens,
        points: used.charge.to_string(),
    }
}
