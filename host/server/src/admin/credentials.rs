//! Provider keys over HTTP: a user's own, and the platform's for admins. What was taken in is never shown again, but
//! for its last characters. How a credential is stands here as it is now, not as it was when it last changed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::failure::FailureClass;
use tollgate_core::health::Standing;
use tollgate_core::id::CredentialId;
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use super::ask::{Actor, Ask, Caller, Nothing, Page, window};
use super::error::Problem;
use super::usage;
use crate::clock::now;
use crate::manage::{CredentialEdit, CredentialRow, ManageError, NewCredential, Place, WhichCredentials};
use crate::shared::Shared;
use crate::state::credentials::Live;
use crate::state::secret::has_parts;
use crate::upstream::check::{self, Found, Subject};

/// Whose a credential may be.
const OWNERS: [Owner; 3] = [Owner::User, Owner::Platform, Owner::Shared];
/// Longest name of a credential, in bytes.
const LABEL_BYTES_MAX: usize = 100;
/// Longest key, in bytes: no provider's is near it.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Which credentials.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Those for this provider.
    provider: Option<String>,
    /// Those of this owner: `user` or `platform`.
    owner: Option<String>,
    /// A user's own, by name or id. One's own without it; for an admin, everyone's.
    user: Option<String>,
    /// Those in whose name, provider or last characters this stands, whatever its case.
    search: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// A credential to add. There is no `Debug`: it would show the key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"provider": "openai", "secret": "sk-0123456789abcdef", "label": "main", "check": "deferred"}))]
pub(super) struct NewOne {
    /// The configured provider that it is for.
    provider: String,
    /// The key itself.
    secret: String,
    /// What its owner calls it.
    label: Option<String>,
    /// `platform` for one that serves everyone, by an admin; one's own without it.
    owner: Option<Whose>,
    /// Whose, for an admin; one's own without it.
    user: Option<String>,
    /// Share of the load among credentials of one owner: 1 to 1000, 100 without it.
    weight: Option<u32>,
    /// How much and how often it may serve.
    #[serde(default)]
    limits: Limits,
    /// Whether the provider is asked about the key before it is added. One that it refuses is not added then.
    #[serde(default)]
    check: When,
    /// Where it is good, if not at the provider itself: a platform of its adapter, such as `azure`, `bedrock` or
    /// `vertex`.
    platform: Option<String>,
    /// What the platform has to know, such as `region`.
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

/// Whom a credential serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Whose {
    /// Its user alone.
    User,
    /// Everyone.
    Platform,
}

/// When a credential is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum When {
    /// Before it is added.
    #[default]
    Now,
    /// When it is asked for, or never.
    Deferred,
}

/// What is to change of a credential: what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"label": "spare", "weight": 50, "enabled": true}))]
pub(super) struct Patch {
    /// What its owner calls it.
    label: Option<String>,
    /// Share of the load among credentials of one owner: 1 to 1000.
    weight: Option<u32>,
    /// Whether it serves.
    enabled: Option<bool>,
    /// How much and how often it may serve, as a whole.
    limits: Option<Limits>,
}

/// How much and how often a credential may serve. What is `null` is not limited.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "CredentialLimits")]
pub(super) struct Limits {
    /// Calls a minute.
    requests_per_minute: Option<u64>,
    /// Tokens a minute.
    tokens_per_minute: Option<u64>,
    /// Tokens from midnight to midnight UTC.
    tokens_per_day: Option<u64>,
    /// Calls at a time.
    concurrency: Option<u64>,
}

/// A credential as it may be shown.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Credential {
    /// Its id.
    id: String,
    /// The configured provider that it is for.
    provider: String,
    /// `user` or `platform`.
    owner: &'static str,
    /// Its user's name.
    user: Option<String>,
    /// What its owner calls it.
    label: String,
    /// The last four characters of the key.
    hint: String,
    /// Share of the load among credentials of one owner.
    weight: u32,
    /// Whether it serves at all.
    enabled: bool,
    /// Why not, where it does not.
    disabled_reason: Option<String>,
    /// How much and how often it may serve.
    limits: Limits,
    /// When it was added.
    created_at_ms: u64,
    /// `available`, `in-use`, `cooling`, `half-open` (its rest is over, and one call at a time tries it), `disabled` by
    /// what the provider said, or `off` by its owner.
    state: &'static str,
    /// Why it cools or is disabled: `rate-limited`, `faults`, `refused`, `invalid-key`, `quota-gone`.
    reason: Option<&'static str>,
    /// When its rest ends, or when it is checked again.
    until_ms: Option<u64>,
    /// Calls that it is serving.
    in_flight: u32,
    /// Failures in a row.
    failures: u32,
    /// When it last served, since the gateway started.
    last_used_ms: Option<u64>,
    /// What the last check found.
    check: Option<Check>,
    /// Under what terms others may use it, where its owner lends it.
    shared: Option<Lent>,
    /// Whether it, and every change of it, is gone when the gateway ends: keys are kept in memory.
    temporary: bool,
}

/// How a credential is lent.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Lent {
    /// Version of the text that its owner agreed to.
    consent: String,
    /// When the owner agreed.
    at_ms: u64,
    /// How often others may use it from midnight to midnight UTC.
    requests_per_day: u64,
    /// How often they have today.
    used_today: u64,
}

/// What a check found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Check {
    /// When.
    at_ms: u64,
    /// `good`, or what was wrong: `invalid-credential`, `quota-exhausted`, `transient` where the provider did not
    /// answer, …
    result: &'static str,
    /// The provider's HTTP status.
    status: Option<u16>,
}

/// A credential that has just been added or checked.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checked {
    #[serde(flatten)]
    credential: Credential,
    /// Points that its user got, because it is the first good one of its account.
    reward: Option<String>,
    /// Why the provider was not asked, where it was to be.
    unchecked: Option<String>,
}

impl Limits {
    fn rates(self) -> Result<RateLimits, Problem> {
        let rates = RateLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            tokens_per_day: self.tokens_per_day,
            concurrency: self.concurrency,
        };
        KeyLimits { rates, ..KeyLimits::default() }.check().map_err(Problem::bad_request)?;
        Ok(rates)
    }

    const fn shown(rates: &RateLimits) -> Self {
        Self {
            requests_per_minute: rates.requests_per_minute,
            tokens_per_minute: rates.tokens_per_minute,
            tokens_per_day: rates.tokens_per_day,
            concurrency: rates.concurrency,
        }
    }
}

/// `GET /management/v1/credentials`
pub(super) async fn list(ask: Ask<Nothing, Which>) -> Result<Page<Credential>, Problem> {
    let Which { provider, owner, user, search, cursor, limit } = ask.query;
    let window = window(cursor.as_deref(), limit)?;
    let caller = &ask.caller;
    let user = match user.as_deref() {
        None => caller.actor.scope()?,
        named => Some(usage::named(&caller.management, &caller.actor, named).await?),
    };
    let owner = match owner.as_deref().map(|name| OWNERS.into_iter().find(|owner| owner.name() == name)) {
        // Nothing is of an owner that there is not.
        Some(None) => return Ok(Page { data: Vec::new(), next_cursor: None }),
        owner => owner.flatten(),
    };
    let which = WhichCredentials { provider, owner, user, search: search.unwrap_or_default() };
    let page = caller.management.credentials(&which, window).await?;
    Ok(Page::shown(page, |row| shown(&caller.admin.shared, &row)))
}

/// `POST /management/v1/credentials`
pub(super) async fn add(ask: Ask<Nothing, Nothing, NewOne>) -> Result<Checked, Problem> {
    let (caller, new) = (ask.caller, ask.body);
    let user = owner(&caller.actor, new.owner, new.user)?;
    let shared = &caller.admin.shared;
    if !shared.upstreams.load().providers.contains_key(&new.provider) {
        return Err(Problem::bad_request("There is no such provider."));
    }
    let secret = Secret::new(new.secret.trim().to_owned());
    let place = new.platform.map(|platform| Place { platform, settings: new.settings });
    // A secret of several parts is JSON; anything else goes into a header as it is.
    let parts = place.is_some() && has_parts(&secret);
    let sendable = parts || secret.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if !sendable || secret.expose().is_empty() || secret.expose().len() > SECRET_BYTES_MAX {
        return Err(Problem::bad_request("The key is empty or holds signs that no header can carry."));
    }
    if let Some(place) = &place {
        // Before anything is sent anywhere.
        place.check(user.is_none()).map_err(Problem::bad_request)?;
    }
    let found = match new.check {
        When::Now => {
            let (provider, place, secret) = (new.provider.clone(), place.clone(), secret.clone());
            Some(shared.check(Subject { provider, place, secret }, None).await)
        }
        When::Deferred => None,
    };
    if found.as_ref().is_some_and(Found::is_invalid) {
        return Err(Problem::refused("The provider refuses this key. Nothing was added."));
    }
    let secret = found.as_ref().and_then(|found| found.renewed.clone()).unwrap_or(secret);
    let new = NewCredential {
        provider: new.provider,
        user,
        label: label(new.label.unwrap_or_else(|| "default".to_owned()))?,
        weight: new.weight.unwrap_or(100),
        secret,
        limits: new.limits.rates()?,
        place,
    };
    let id = caller.management.add_credential(new).await?;
    let reward = match &found {
        Some(found) => learned(&caller, id, found).await?,
        None => None,
    };
    answer(&caller, id, reward, found).await
}

/// `GET /management/v1/credentials/{credential}`
pub(super) async fn show(ask: Ask<CredentialId>) -> Result<Credential, Problem> {
    Ok(shown(&ask.caller.admin.shared, &find(&ask.caller, ask.path).await?))
}

/// `PATCH /management/v1/credentials/{credential}`
pub(super) async fn change(ask: Ask<CredentialId, Nothing, Patch>) -> Result<Credential, Problem> {
    let id = find(&ask.caller, ask.path).await?.id;
    let edit = CredentialEdit {
        label: ask.body.label.map(label).transpose()?,
        weight: ask.body.weight,
        enabled: ask.body.enabled,
        limits: ask.body.limits.map(Limits::rates).transpose()?,
    };
    ask.caller.management.change_credential(id, edit).await?;
    Ok(shown(&ask.caller.admin.shared, &find(&ask.caller, id).await?))
}

/// `DELETE /management/v1/credentials/{credential}`
pub(super) async fn remove(ask: Ask<CredentialId>) -> Result<Nothing, Problem> {
    let row = find(&ask.caller, ask.path).await?;
    ask.caller.management.remove_credential(row.id).await?;
    if let Some(loan) = row.loan
        && let Some(live) = ask.caller.admin.shared.directory.load().live.get(&row.id)
    {
        live.withdraw(loan.number);
    }
    Ok(Nothing)
}

/// `POST /management/v1/credentials/{credential}/check`: one that was refused and is good now serves again at once.
pub(super) async fn check(ask: Ask<CredentialId>) -> Result<Checked, Problem> {
    let id = find(&ask.caller, ask.path).await?.id;
    let subject = ask.caller.management.open_credential(id).await?;
    let found = ask.caller.admin.shared.check(subject, Some(id)).await;
    if let Some(renewed) = &found.renewed {
        ask.caller.management.renew_credential(id, renewed).await?;
    }
    let reward = learned(&ask.caller, id, &found).await?;
    answer(&ask.caller, id, reward, Some(found)).await
}

/// Whose a new credential is: a user by name or id, or nobody's for the platform's.
fn owner(actor: &Actor, owner: Option<Whose>, user: Option<String>) -> Result<Option<String>, Problem> {
    let own = actor.user().map(|user| user.id.to_string());
    // Oneself may be named, too.
    let user = user.filter(|name| actor.user().is_none_or(|own| own.name != *name));
    let foreign = user.as_ref().is_some_and(|name| own.as_ref() != Some(name));
    if (foreign || owner == Some(Whose::Platform)) && !actor.is_admin() {
        return Err(Problem::forbidden());
    }
    match (owner, user.or(own)) {
        (Some(Whose::Platform), _) | (None, None) => Ok(None),
        (Some(Whose::User) | None, Some(name)) => Ok(Some(name)),
        (Some(Whose::User), None) => Err(Problem::bad_request("`user` says whose the credential shall be.")),
    }
}

fn label(label: String) -> Result<String, Problem> {
    let fits = !label.is_empty() && label.len() <= LABEL_BYTES_MAX && !label.chars().any(char::is_control);
    if fits { Ok(label) } else { Err(Problem::bad_request("A label has 1 to 100 bytes, all to be seen.")) }
}

/// Takes in what a check found: for the credential that serves, for the database, and for whoever brought it.
async fn learned(caller: &Caller, id: CredentialId, found: &Found) -> Result<Option<Micropoints>, Problem> {
    let shared = &caller.admin.shared;
    let reward = check::FirstCredential::of(&shared.runtime);
    let granted = caller.management.keep_finding(id, found, &reward).await?;
    if let Some(live) = shared.directory.load().live.get(&id)
        && let Some(result) = found.result
    {
        live.learn(result.failure, result.at);
    }
    Ok(granted)
}

async fn answer(
    caller: &Caller,
    id: CredentialId,
    reward: Option<Micropoints>,
    found: Option<Found>,
) -> Result<Checked, Problem> {
    let credential = shown(&caller.admin.shared, &find(caller, id).await?);
    let unchecked = found.and_then(|found| found.unasked);
    Ok(Checked { credential, reward: reward.map(|points| points.to_string()), unchecked })
}

pub(super) async fn find(caller: &Caller, id: CredentialId) -> Result<CredentialRow, Problem> {
    match caller.management.credential(id).await {
        Ok(row) if visible(&caller.actor, &row) => Ok(row),
        Ok(_) | Err(ManageError::NotFound { .. }) => Err(Problem::not_found()),
        Err(error) => Err(error.into()),
    }
}

/// The platform's are for admins.
fn visible(actor: &Actor, row: &CredentialRow) -> bool {
    match (row.owner, row.user_id) {
        (Owner::Platform, _) | (_, None) => actor.is_admin(),
        (_, Some(user)) => actor.may_see(user),
    }
}

pub(super) fn shown(shared: &Shared, row: &CredentialRow) -> Credential {
    let at = now();
    let live = shared.directory.load().live.get(&row.id).cloned();
    let health = live.as_deref().map(Live::health);
    let standing = health.as_ref().map(|health| health.standing(at));
    let in_flight = health.as_ref().map_or(0, |health| health.in_flight(at));
    let (state, reason, until_ms) = state(row.enabled, standing, in_flight, at);
    Credential {
        id: row.id.to_string(),
        provider: row.provider.clone(),
        owner: row.owner.name(),
        user: row.user.clone(),
        label: row.label.clone(),
        hint: row.hint.clone(),
        weight: row.weight,
        enabled: row.enabled,
        disabled_reason: row.disabled_reason.clone(),
        limits: Limits::shown(&row.limits),
        created_at_ms: row.created_at.millis(),
        state,
        reason,
        until_ms,
        in_flight,
        failures: health.as_ref().map_or(row.state.failures, |health| health.failures()),
        last_used_ms: health.as_ref().and_then(|health| health.last_used()).map(Timestamp::millis),
        check: row.check.map(|check| Check {
            at_ms: check.at.millis(),
            result: check.failure.map_or("good", FailureClass::name),
            status: check.status,
        }),
        shared: row.loan.as_ref().map(|loan| Lent {
            consent: loan.consent.clone(),
            at_ms: loan.at.millis(),
            requests_per_day: loan.requests_per_day,
            used_today: live.as_deref().map_or(0, |live| live.uses_today(at)),
        }),
        temporary: row.temporary,
    }
}

/// A credential's state in words, why, and until when.
pub(super) fn state(
    enabled: bool,
    standing: Option<Standing>,
    in_flight: u32,
    at: Timestamp,
) -> (&'static str, Option<&'static str>, Option<u64>) {
    if !enabled {
        return ("off", None, None);
    }
    match standing {
        Some(Standing::Available) | None if in_flight > 0 => ("in-use", None, None),
        Some(Standing::Available) | None => ("available", None, None),
        Some(Standing::HalfOpen) => ("half-open", None, None),
        Some(Standing::Cooling { why, remaining_ms }) => {
            ("cooling", Some(why.name()), Some(at.plus_ms(remaining_ms).millis()))
        }
        Some(Standing::Disabled { why, recheck_ms }) => {
            ("disabled", Some(why.name()), Some(at.plus_ms(recheck_ms).millis()))
        }
    }
}
