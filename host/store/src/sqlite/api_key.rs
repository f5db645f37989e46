//! API keys: stored as SHA-256 only. They are random, so a slow hash is not needed. What was used with them is counted
//! in the same commits as the records (`tally.rs`).

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, SqliteConnection};
use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::{ContextLimit, KeyLimits, RateLimits, Translation};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol;
use tollgate_core::time::Timestamp;

use crate::catalogue::api_key::{ApiKey, ApiKeys, KeyChange, KeyFilter, KeyOrder, KeyUse, NewApiKey};
use crate::catalogue::audit::Note;
use crate::error::StoreError;
use crate::sqlite::amounts::token_classes;
use crate::sqlite::error::{Doing, is_duplicate, is_refusal};
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::{IN_LIST, Row, fields, list, loaded, readable, stored};
use crate::sqlite::sums::sum;

/// A condition follows.
pub(crate) const COLUMNS: &str = "SELECT id, user_id, name, sha256, hint, enabled, created_at, expires_at, \
    protocols, providers, models, requests_per_minute, tokens_per_minute, tokens_per_day, concurrency, context_window, \
    context_management, translation, own_only, keep_bodies FROM api_key";

/// What was used with keys; a condition follows.
fn uses() -> String {
    let classes = token_classes();
    format!(
        "SELECT subject, last_at, requests, (SELECT COALESCE({}, 0) FROM usage_counter_units AS used \
         WHERE used.kind = 4 AND used.subject = usage_counter.subject AND class IN ({classes})), charge \
         FROM usage_counter WHERE kind = 4",
        sum!("units")
    )
}

/// A user's keys that work now, except one: `?1` is the user, `?2` the time, `?3` the other key.
const OTHERS: &str = "(SELECT COUNT(*) FROM api_key WHERE user_id = ?1 AND enabled = 1 \
    AND (expires_at IS NULL OR expires_at > ?2) AND id <> ?3)";

pub(crate) fn api_key(row: &mut Row<'_>) -> Option<ApiKey> {
    Some(ApiKey {
        id: ApiKeyId::from_bytes(row.bytes()?),
        user: UserId::from_bytes(row.bytes()?),
        name: row.get()?,
        sha256: row.bytes()?,
        hint: row.get()?,
        enabled: row.get()?,
        created_at: Timestamp::from_millis(row.u64()?),
        expires_at: row.get::<Option<i64>>()?.map(|at| Timestamp::from_millis(loaded(at))),
        limits: limits(row)?,
        keep_bodies: row.get()?,
    })
}

fn key_use(row: &mut Row<'_>) -> Option<(ApiKeyId, KeyUse)> {
    let key = ApiKeyId::from_bytes(row.bytes()?);
    let last_used = Timestamp::from_millis(row.u64()?);
    let (requests, tokens) = (row.u64()?, row.u64()?);
    Some((key, KeyUse { last_used, requests, tokens, charge: Micropoints::new(row.get()?) }))
}

fn limits(row: &mut Row<'_>) -> Option<KeyLimits> {
    let protocols =
        words(row)?.into_iter().map(|name| Protocol::ALL.into_iter().find(|it| it.name() == name));
    let protocols = protocols.collect::<Option<Vec<_>>>()?;
    let (providers, models) = (words(row)?, words(row)?);
    let mut number = || Some(row.get::<Option<i64>>()?.map(loaded));
    let rates = RateLimits {
        requests_per_minute: number()?,
        tokens_per_minute: number()?,
        tokens_per_day: number()?,
        concurrency: number()?,
    };
    let window = number()?;
    let context = ContextLimit { window, enabled: row.get()? };
    let translation = row.get::<Option<&str>>()?.map_or(Some(Translation::default()), Translation::named)?;
    let own_only = row.get()?;
    Some(KeyLimits { protocols, providers, models, context, translation, own_only, rates })
}

fn words(row: &mut Row<'_>) -> Option<Vec<String>> {
    let text = row.get::<Option<&str>>()?.unwrap_or_default();
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// Words as a column keeps them: NULL for none.
fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    Some(words.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

/// Numbers of limits in the order of [`UPDATE_LIMITS`].
fn numbers(limits: &KeyLimits) -> [Option<i64>; 5] {
    let rates = limits.rates;
    let numbers = [
        rates.requests_per_minute,
        rates.tokens_per_minute,
        rates.tokens_per_day,
        rates.concurrency,
        limits.context.window,
    ];
    numbers.map(|number| number.map(stored))
}

const UPDATE_LIMITS: &str = "UPDATE api_key SET protocols = ?, providers = ?, models = ?, requests_per_minute = ?, \
    tokens_per_minute = ?, tokens_per_day = ?, concurrency = ?, context_window = ?, context_management = ?, translation = ?, \
    own_only = ? WHERE id = ?";

async fn write_limits(
    connection: &mut SqliteConnection,
    key: ApiKeyId,
    limits: &KeyLimits,
) -> Result<(), StoreError> {
    let mut query = sqlx::query(UPDATE_LIMITS)
        .bind(joined(limits.protocols.iter().map(|protocol| protocol.name())))
        .bind(joined(limits.providers.iter().map(String::as_str)))
        .bind(joined(limits.models.iter().map(String::as_str)));
    for number in numbers(limits) {
        query = query.bind(number);
    }
    let translation =
        Some(limits.translation.name()).filter(|_| limits.translation != Translation::default());
    let query = query.bind(limits.context.enabled).bind(translation).bind(limits.own_only);
    let query = query.bind(key.as_bytes().as_slice());
    query.execute(connection).await.doing("limiting an API key")?;
    Ok(())
}

#[async_trait]
impl ApiKeys for Database {
    async fn create_api_key(&self, key: &NewApiKey<'_>, now: Timestamp) -> Result<ApiKeyId, StoreError> {
        key.limits.check().map_err(StoreError::Invalid)?;
        let id = ApiKeyId::new(now, random()?);
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("creating an API key")?;
        // One statement, so that two of them cannot both see room for the last key.
        let inserted = sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO api_key (id, user_id, name, sha256, hint, created_at, expires_at) \
             SELECT ?3, ?1, ?4, ?5, ?6, ?2, ?7 WHERE {OTHERS} < ?8"
        )))
        .bind(key.user.as_bytes().as_slice())
        .bind(stored(now.millis()))
        .bind(id.as_bytes().as_slice())
        .bind(key.name)
        .bind(key.sha256.as_slice())
        .bind(key.hint)
        .bind(key.expires_at.map(|at| stored(at.millis())))
        .bind(key.keys_max)
        .execute(&mut *tx)
        .await;
        match inserted {
            Ok(done) if done.rows_affected() == 0 => return Err(too_many(key.keys_max)),
            Ok(_) => {}
            Err(error) if is_duplicate(&error) => return Err(StoreError::Exists("API key")),
            Err(error) if is_refusal(&error) => return Err(StoreError::NotFound("user")),
            Err(error) => return Err(error).doing("creating an API key"),
        }
        write_limits(&mut tx, id, &key.limits).await?;
        let detail = json!({"user": key.user.to_string(), "name": key.name});
        self.note(&mut tx, noted("key.create", id, detail), now).await?;
        tx.commit().await.doing("creating an API key")?;
        Ok(id)
    }

    async fn change_api_key(
        &self,
        key: ApiKeyId,
        change: &KeyChange<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing an API key";
        change.limits.check().map_err(StoreError::Invalid)?;
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let user: Option<Vec<u8>> = sqlx::query_scalar("SELECT user_id FROM api_key WHERE id = ?")
            .bind(key.as_bytes().as_slice())
            .fetch_optional(&mut *tx)
            .await
            .doing(DOING)?;
        let user = user.ok_or(StoreError::NotFound("API key"))?;
        let works = change.enabled && change.expires_at.is_none_or(|at| at > now);
        let others: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {OTHERS}")))
            .bind(user)
            .bind(stored(now.millis()))
            .bind(key.as_bytes().as_slice())
            .fetch_one(&mut *tx)
            .await
            .doing(DOING)?;
        if works && others >= i64::from(change.keys_max) {
            return Err(too_many(change.keys_max));
        }
        sqlx::query("UPDATE api_key SET name = ?, enabled = ?, expires_at = ? WHERE id = ?")
            .bind(change.name)
            .bind(change.enabled)
            .bind(change.expires_at.map(|at| stored(at.millis())))
            .bind(key.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        write_limits(&mut tx, key, change.limits).await?;
        let detail = json!({"name": change.name, "enabled": change.enabled});
        self.note(&mut tx, noted("key.change", key, detail), now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn set_keep_bodies(&self, key: ApiKeyId, keep: bool, now: Timestamp) -> Result<(), StoreError> {
        const DOING: &str = "changing an API key";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let done = sqlx::query("UPDATE api_key SET keep_bodies = ? WHERE id = ?")
            .bind(keep)
            .bind(key.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("API key"));
        }
        self.note(&mut tx, noted("key.keep-bodies", key, json!({"keep": keep})), now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE id = ?")))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("finding an API key")?;
        fields("API key", &row.ok_or(StoreError::NotFound("API key"))?, api_key)
    }

    async fn find_api_keys(&self, filter: &KeyFilter) -> Result<Vec<ApiKey>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        let order = match filter.order {
            KeyOrder::Age => "id",
            KeyOrder::Name => "name, id",
            KeyOrder::LastUse => "used.last_at DESC, id",
            KeyOrder::Requests => "used.requests DESC, id",
            KeyOrder::Charge => "used.charge DESC, id",
        };
        if order.starts_with("used") {
            query.push(
                " LEFT JOIN usage_counter AS used ON used.kind = 4 AND used.subject = api_key.id AND used.day = 0 \
                 AND used.api_key = x'' AND used.model = ''",
            );
        }
        query.push(" WHERE 1");
        if let Some(user) = &filter.user {
            query.push(" AND user_id = ").push_bind(user.as_bytes().to_vec());
        }
        if let Some(after) = filter.after.as_ref().filter(|_| filter.order == KeyOrder::Age) {
            query.push(" AND id > ").push_bind(after.as_bytes().to_vec());
        }
        if !filter.search.is_empty() {
            for (at, column) in ["(instr(lower(name), lower(", "instr(lower(hint), lower("].iter().enumerate()
            {
                query.push(if at == 0 { " AND " } else { " OR " }).push(column);
                query.push_bind(filter.search.clone()).push(")) > 0");
            }
            query.push(" OR user_id IN (SELECT users.id FROM users WHERE instr(lower(users.name), lower(");
            query.push_bind(filter.search.clone()).push(")) > 0))");
        }
        query.push(format!(" ORDER BY {order} LIMIT ")).push_bind(stored(filter.limit as u64));
        if filter.order != KeyOrder::Age {
            query.push(" OFFSET ").push_bind(stored(filter.offset as u64));
        }
        let rows = query.build().fetch_all(self.pool()).await.doing("listing API keys")?;
        Ok(readable("API key", &rows, api_key))
    }

    async fn api_key_names(&self, keys: &[ApiKeyId]) -> Result<HashMap<ApiKeyId, String>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(format!("SELECT id, name FROM api_key WHERE id {IN_LIST}")))
            .bind(list(keys.iter().map(ApiKeyId::as_bytes)))
            .fetch_all(self.pool())
            .await
            .doing("reading the names of API keys")?;
        let read = |row: &mut Row<'_>| Some((ApiKeyId::from_bytes(row.bytes()?), row.get()?));
        Ok(readable("API key", &rows, read))
    }

    async fn api_key_use_of(&self, keys: &[ApiKeyId]) -> Result<HashMap<ApiKeyId, KeyUse>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(format!("{} AND subject {IN_LIST}", uses())))
            .bind(list(keys.iter().map(ApiKeyId::as_bytes)))
            .fetch_all(self.pool())
            .await
            .doing("reading what API keys used")?;
        Ok(readable("counter", &rows, key_use))
    }

    async fn revoke_api_key(&self, key: ApiKeyId, now: Timestamp) -> Result<(), StoreError> {
        const DOING: &str = "revoking an API key";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let done = sqlx::query("UPDATE api_key SET enabled = 0 WHERE id = ?")
            .bind(key.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("API key"));
        }
        self.note(&mut tx, noted("key.revoke", key, Value::Null), now).await?;
        tx.commit().await.doing(DOING)
    }
}

impl Database {
    /// Tokens that each key has used since midnight UTC. A server asks at its start, to go on counting.
    pub(crate) async fn api_key_tokens_today(
        &self,
        now: Timestamp,
    ) -> Result<HashMap<ApiKeyId, u64>, StoreError> {
        // By user, because the counters are: one lookup per user, and never another day.
        let classes = token_classes();
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT api_key, {} FROM users CROSS JOIN usage_counter_units \
             ON kind = 1 AND subject = users.id AND day = ? \
             WHERE api_key <> x'' AND class IN ({classes}) GROUP BY api_key",
            sum!("units")
        )))
        .bind(stored(now.day()))
        .fetch_all(self.pool())
        .await
        .doing("reading what API keys used today")?;
        let read = |row: &mut Row<'_>| Some((ApiKeyId::from_bytes(row.bytes()?), row.u64()?));
        Ok(readable("counter", &rows, read))
    }

    /// The same, of these keys only.
    pub(crate) async fn tokens_today_of(
        &self,
        keys: &[ApiKeyId],
        now: Timestamp,
    ) -> Result<HashMap<ApiKeyId, u64>, StoreError> {
        let classes = token_classes();
        let query = format!(
            "SELECT api_key.id, {} FROM api_key CROSS JOIN usage_counter_units ON kind = 1 \
             AND subject = api_key.user_id AND day = ? AND usage_counter_units.api_key = api_key.id \
             WHERE api_key.id {IN_LIST} AND class IN ({classes}) GROUP BY api_key.id",
            sum!("units")
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(stored(now.day()))
            .bind(list(keys.iter().map(ApiKeyId::as_bytes)))
            .fetch_all(self.pool())
            .await
            .doing("reading what API keys used today")?;
        let read = |row: &mut Row<'_>| Some((ApiKeyId::from_bytes(row.bytes()?), row.u64()?));
        Ok(readable("counter", &rows, read))
    }
}

fn noted(action: &'static str, key: ApiKeyId, detail: Value) -> Note<'static> {
    Note { action, kind: "key", target: key.to_string(), detail }
}

fn too_many(max: u32) -> StoreError {
    StoreError::TooMany { what: "API keys", max }
}
