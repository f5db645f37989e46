//! API keys: stored as SHA-256 only. They are random, so no slow hash is called for. What was used with them is counted in the
//! same commits as the records (`tally.rs`).

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, SqliteConnection};
use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::{ContextLimit, KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol;
use tollgate_core::time::Timestamp;

use crate::catalogue::api_key::{ApiKey, KeyChange, KeyUse, NewApiKey};
use crate::catalogue::audit::Note;
use crate::error::StoreError;
use crate::sqlite::error::{Doing, is_duplicate, is_refusal};
use crate::sqlite::open::{Store, random};
use crate::sqlite::row::{Row, fields};
use crate::sqlite::sql::{loaded, stored};
use crate::sqlite::usage::tokens;

pub(crate) const SELECT: &str = "SELECT id, user_id, name, sha256, hint, enabled, created_at, expires_at, \
    protocols, providers, models, requests_per_minute, tokens_per_minute, tokens_per_day, concurrency, context_window, \
    context_management, keep_bodies FROM api_key ORDER BY id";

/// A user's keys that work now, but for one: `?1` is the user, `?2` the time, `?3` the other key.
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
    Some(KeyLimits { protocols, providers, models, context, rates })
}

fn words(row: &mut Row<'_>) -> Option<Vec<String>> {
    let text = row.get::<Option<&str>>()?.unwrap_or_default();
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// Words as a column holds them: NULL for none.
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
    tokens_per_minute = ?, tokens_per_day = ?, concurrency = ?, context_window = ?, context_management = ? WHERE id = ?";

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
    let query = query.bind(limits.context.enabled).bind(key.as_bytes().as_slice());
    query.execute(connection).await.doing("limiting an API key")?;
    Ok(())
}

impl Store {
    /// Stores a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a user, [`StoreError::Exists`] for a key that is stored already,
    /// [`StoreError::TooMany`] when the user has as many as are allowed, [`StoreError::Invalid`] for limits that cannot be
    /// meant.
    pub async fn create_api_key(&self, key: &NewApiKey<'_>, now: Timestamp) -> Result<ApiKeyId, StoreError> {
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

    /// Changes what its user may change of a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooMany`] when it would work again beside as many as are allowed, and
    /// [`StoreError::Invalid`] for limits that cannot be meant.
    pub async fn change_api_key(
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

    /// Says whether the bodies of a key's calls are kept from now on. Those that are kept stay until their time is over.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_keep_bodies(&self, key: ApiKeyId, keep: bool, now: Timestamp) -> Result<(), StoreError> {
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

    /// What was used with each key, by its counter: a server's last quarter of a second may be missing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_key_use(&self) -> Result<HashMap<ApiKeyId, KeyUse>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT subject, last_at, requests, ",
            tokens!(),
            ", charge FROM usage_counter WHERE kind = 4"
        ))
        .fetch_all(self.pool())
        .await
        .doing("reading what API keys used")?;
        let read = |row: &mut Row<'_>| {
            let key = ApiKeyId::from_bytes(row.bytes()?);
            let last_used = Timestamp::from_millis(row.u64()?);
            let (requests, tokens) = (row.u64()?, row.u64()?);
            Some((key, KeyUse { last_used, requests, tokens, charge: Micropoints::new(row.get()?) }))
        };
        rows.iter().map(|row| fields("counter", row, read)).collect()
    }

    /// Tokens that each key has used since midnight UTC. A server asks at its start, to go on counting.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_key_tokens_today(&self, now: Timestamp) -> Result<HashMap<ApiKeyId, u64>, StoreError> {
        // By user, because the counters are: a look per user, and never at another day.
        let rows = sqlx::query(concat!(
            "SELECT api_key, SUM(",
            tokens!(),
            ") FROM users CROSS JOIN usage_counter ON kind = 1 AND subject = users.id AND day = ? \
             WHERE api_key <> x'' GROUP BY api_key"
        ))
        .bind(stored(now.day()))
        .fetch_all(self.pool())
        .await
        .doing("reading what API keys used today")?;
        let read = |row: &mut Row<'_>| Some((ApiKeyId::from_bytes(row.bytes()?), row.u64()?));
        rows.iter().map(|row| fields("counter", row, read)).collect()
    }

    /// All keys, revoked ones too, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query(SELECT).fetch_all(self.pool()).await.doing("listing API keys")?;
        rows.iter().map(|row| fields("API key", row, api_key)).collect()
    }

    /// Stops a key from working. Its row stays, for the records that name it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn revoke_api_key(&self, key: ApiKeyId, now: Timestamp) -> Result<(), StoreError> {
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

fn noted(action: &'static str, key: ApiKeyId, detail: Value) -> Note<'static> {
    Note { action, kind: "key", target: key.to_string(), detail }
}

fn too_many(max: u32) -> StoreError {
    StoreError::TooMany { what: "API keys", max }
}
