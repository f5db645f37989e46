//! Which calls a list, a tail, an export or a sum is about: the same members of the query for all of them.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::UserId;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};

use super::ask::{Caller, Query};
use super::error::Problem;
use super::usage::named;
use crate::manage::{RequestFilter, moment};

/// Which calls. What is left out does not matter; a member that stands there several times allows each of its values.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filter {
    /// A user's, by name or id. One's own without it; for an admin, everyone's.
    user: Vec<String>,
    /// Not this user's, by name or id.
    exclude_user: Vec<String>,
    /// Whether the calls of dry runs are among them: they are, unless this is `false`.
    trials: Option<bool>,
    /// Called with this API key, by its id.
    key: Vec<String>,
    /// Served last by this credential, by its id.
    credential: Vec<String>,
    /// The wire format of the client.
    protocol: Vec<String>,
    /// What was asked for, such as `generate`.
    operation: Vec<String>,
    /// Who served it.
    provider: Vec<String>,
    /// The model that was named.
    model: Vec<String>,
    /// What the name of the model has in it, in any case.
    model_part: Option<String>,
    /// How it ended, such as `ok`.
    outcome: Vec<String>,
    /// The HTTP status of the answer.
    status: Vec<u16>,
    /// How an attempt failed, such as `rate-limited`, whether or not another one went well.
    failure: Vec<String>,
    /// A component that took part, by its SHA-256.
    component: Vec<String>,
    /// At least so many attempts.
    attempts_min: Option<u32>,
    /// At least so many milliseconds to the end.
    latency_ms_min: Option<u64>,
    /// At least so many milliseconds to the first byte.
    ttft_ms_min: Option<u64>,
    /// At least so many tokens.
    tokens_min: Option<u64>,
    /// At least so many points.
    points_min: Option<String>,
    /// Since this date (UTC), or moment in milliseconds.
    from: Option<String>,
    /// Before this date, or moment in milliseconds.
    until: Option<String>,
    /// `next_cursor` of the page before. A page may be short, even empty, and still have a next one.
    pub(super) cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default. An export has no pages.
    pub(super) limit: Option<usize>,
}

/// The members of a filter, with others beside them.
pub(super) struct With<T> {
    /// Which calls.
    pub(super) filter: Filter,
    /// The others.
    pub(super) other: T,
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Query for With<T> {
    fn read(query: &str) -> Result<Self, Problem> {
        let pairs = <Vec<(String, String)> as Query>::read(query)?;
        let others = T::json_schema(&mut SchemaGenerator::default());
        let others = others.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let (others, filter): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| others.contains_key(name));
        let written = |pairs: &Vec<(String, String)>| {
            serde_html_form::to_string(pairs).map_err(|error| Problem::failed(&error))
        };
        Ok(Self { filter: Query::read(&written(&filter)?)?, other: Query::read(&written(&others)?)? })
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        let mut schema = generator.root_schema_for::<Filter>();
        let others = generator.root_schema_for::<T>();
        let others = others.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(Value::Object(members)) = schema.get_mut("properties") {
            members.extend(others);
        }
        Some(schema)
    }
}

impl Filter {
    /// What it means to its caller; a user's covers that user's own calls.
    ///
    /// # Errors
    /// 400 for what is no such value, and 404 for users who are not the caller's to see.
    pub(super) async fn read(self, caller: &Caller) -> Result<RequestFilter, Problem> {
        let users = self.users(caller).await?;
        let not_users = self.not_users(caller).await?;
        let points = self.points_min.as_deref().map(|text| {
            let wrong = || Problem::bad_request("`points_min` is a decimal number.");
            Micropoints::parse_points(text).ok_or_else(wrong)
        });
        let known_protocol = |text: &str| Protocol::ALL.into_iter().find(|it| it.name() == text);
        let known_operation = |text: &str| Operation::ALL.into_iter().find(|it| it.name() == text);
        let known_outcome = |text: &str| Outcome::ALL.into_iter().find(|it| it.name() == text);
        let known_failure = |text: &str| FailureClass::ALL.into_iter().find(|it| it.name() == text);
        Ok(RequestFilter {
            users,
            not_users,
            api_keys: each(&self.key, "key", |text| text.parse().ok())?,
            credentials: each(&self.credential, "credential", |text| text.parse().ok())?,
            protocols: each(&self.protocol, "protocol", known_protocol)?,
            operations: each(&self.operation, "operation", known_operation)?,
            outcomes: each(&self.outcome, "outcome", known_outcome)?,
            failures: each(&self.failure, "failure", known_failure)?,
            components: each(&self.component, "component", digest)?,
            providers: self.provider,
            models: self.model,
            model_part: self.model_part.filter(|part| !part.is_empty()),
            statuses: self.status,
            attempts_min: self.attempts_min,
            latency_ms_min: self.latency_ms_min,
            ttft_ms_min: self.ttft_ms_min,
            tokens_min: self.tokens_min,
            charge_min: points.transpose()?,
            from: read(self.from.as_deref(), "from", |text| moment(text).ok())?,
            until: read(self.until.as_deref(), "until", |text| moment(text).ok())?,
            before: read(self.cursor.as_deref(), "cursor", |text| text.parse().ok())?,
            ..RequestFilter::default()
        })
    }

    async fn users(&self, caller: &Caller) -> Result<Vec<UserId>, Problem> {
        if self.user.is_empty() && !caller.actor.is_admin() {
            return Ok(vec![named(&caller.management, &caller.actor, None).await?]);
        }
        let mut users = Vec::new();
        for user in &self.user {
            users.push(named(&caller.management, &caller.actor, Some(user)).await?);
        }
        Ok(users)
    }

    async fn not_users(&self, caller: &Caller) -> Result<Vec<UserId>, Problem> {
        let mut users = Vec::new();
        for user in &self.exclude_user {
            users.push(named(&caller.management, &caller.actor, Some(user)).await?);
        }
        if self.trials == Some(false) && caller.actor.is_admin() {
            users.extend(caller.management.trials().await?);
        }
        Ok(users)
    }
}

/// The values of a member of the query.
fn each<T>(texts: &[String], name: &str, reader: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Problem> {
    let one = |text: &String| reader(text).ok_or_else(|| wrong(name));
    texts.iter().map(one).collect()
}

/// A member of the query by its reader.
fn read<T>(
    text: Option<&str>,
    name: &str,
    reader: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    reader(text).map(Some).ok_or_else(|| wrong(name))
}

fn wrong(name: &str) -> Problem {
    Problem::bad_request(format!("`{name}` is not one."))
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}
