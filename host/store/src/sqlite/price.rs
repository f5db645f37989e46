//! Price tables: published whole, versioned, never changed. A version may be published before it takes effect.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use tollgate_core::price::{ModelPrice, PriceSchedule, PriceTable, Rates, Tier, TierFactors};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Class;

use crate::catalogue::audit::Note;
use crate::catalogue::price::{NewPrices, PriceVersion, Prices};
use crate::error::StoreError;
use crate::sqlite::amounts::{rates_json, rates_of, tiers_json, tiers_of};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, loaded, readable, stored};

#[async_trait]
impl Prices for Database {
    async fn publish_prices(
        &self,
        models: &HashMap<String, ModelPrice>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let new = NewPrices { models, base: None, effective_at: None, actor: "tollgate", note: None };
        self.schedule_prices(&new, now).await
    }

    async fn schedule_prices(&self, new: &NewPrices<'_>, now: Timestamp) -> Result<u64, StoreError> {
        check(new.models)?;
        let effective_at = new.effective_at.unwrap_or(now);
        if effective_at < now {
            return Err(StoreError::Invalid("prices cannot change what has been charged already".to_owned()));
        }
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("publishing prices")?;
        based(&mut tx, new.base, effective_at).await?;
        let version: i64 = sqlx::query_scalar(
            "INSERT INTO price_version (version, created_at, effective_at, actor, note) \
             SELECT COALESCE(MAX(version), 0) + 1, ?, ?, ?, ? FROM price_version RETURNING version",
        )
        .bind(stored(now.millis()))
        .bind(stored(effective_at.millis()))
        .bind(new.actor)
        .bind(new.note)
        .fetch_one(&mut *tx)
        .await
        .doing("publishing prices")?;
        for (model, price) in new.models {
            insert(&mut tx, version, model, price, 0, 0, &price.base).await?;
            if let Some(tier) = &price.long_prompt {
                insert(&mut tx, version, model, price, 1, tier.above_tokens, &tier.rates).await?;
            }
        }
        let detail = json!({"models": new.models.len(), "effective_at_ms": effective_at.millis()});
        let note = Note { action: "price.publish", kind: "price", target: version.to_string(), detail };
        self.note(&mut tx, note, now).await?;
        tx.commit().await.doing("publishing prices")?;
        Ok(loaded(version))
    }

    async fn withdraw_prices(&self, version: u64, now: Timestamp) -> Result<(), StoreError> {
        const DOING: &str = "withdrawing prices";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let known: Option<Option<i64>> =
            sqlx::query_scalar("SELECT withdrawn_at FROM price_version WHERE version = ?")
                .bind(stored(version))
                .fetch_optional(&mut *tx)
                .await
                .doing(DOING)?;
        if known.ok_or(StoreError::NotFound("price version"))?.is_some() {
            return Ok(());
        }
        let done = sqlx::query(
            "UPDATE price_version SET withdrawn_at = ?1 WHERE version = ?2 AND effective_at > ?1",
        )
        .bind(stored(now.millis()))
        .bind(stored(version))
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Refused(
                "a version that is in force is replaced, not withdrawn".to_owned(),
            ));
        }
        let (target, detail) = (version.to_string(), Value::Null);
        self.note(&mut tx, Note { action: "price.withdraw", kind: "price", target, detail }, now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn find_price_versions(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<PriceVersion>, StoreError> {
        let rows = sqlx::query(
            "SELECT version, created_at, effective_at, withdrawn_at, actor, note, \
             (SELECT COUNT(*) FROM price WHERE price.version = price_version.version AND tier = 0) \
             FROM price_version WHERE version < ? ORDER BY version DESC LIMIT ?",
        )
        .bind(before.map_or(i64::MAX, stored))
        .bind(stored(limit as u64))
        .fetch_all(self.pool())
        .await
        .doing("listing prices")?;
        Ok(readable("price version", &rows, price_version))
    }

    async fn prices(&self, version: u64) -> Result<PriceTable, StoreError> {
        let mut connection = self.pool().acquire().await.doing("reading prices")?;
        let known: Option<i64> =
            sqlx::query_scalar("SELECT effective_at FROM price_version WHERE version = ?")
                .bind(stored(version))
                .fetch_optional(&mut *connection)
                .await
                .doing("reading prices")?;
        let effective_at = known.ok_or(StoreError::NotFound("price version"))?;
        table(&mut connection, stored(version), effective_at).await
    }

    async fn find_prices(
        &self,
        version: u64,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, ModelPrice)>, StoreError> {
        // A model has a row for each of its tiers, the ordinary one first.
        let rows = sqlx::query(
            "SELECT model, tier, provider, above_tokens, output_tokens_max, rates, request, service_tiers \
             FROM price WHERE version = ?1 AND model IN (SELECT model FROM price WHERE version = ?1 AND tier = 0 \
             AND model > ?2 ORDER BY model LIMIT ?3) ORDER BY model, tier",
        )
        .bind(stored(version))
        .bind(after)
        .bind(stored(limit as u64))
        .fetch_all(self.pool())
        .await
        .doing("reading prices")?;
        let mut models = Vec::<(String, ModelPrice)>::with_capacity(rows.len());
        for row in &rows {
            let row = fields("price", row, price_row)?;
            match models.last_mut() {
                Some((model, price)) if row.is_long && *model == row.model => {
                    price.long_prompt = Some(Tier { above_tokens: row.above_tokens, rates: row.rates });
                }
                _ => models.push(row.ordinary()),
            }
        }
        Ok(models)
    }

    async fn price_schedule(&self, now: Timestamp) -> Result<PriceSchedule, StoreError> {
        let mut connection = self.pool().acquire().await.doing("reading prices")?;
        schedule(&mut connection, now).await
    }
}

/// Refuses what changes another version than the one that would be in force at `moment`: somebody was faster.
async fn based(
    connection: &mut SqliteConnection,
    base: Option<u64>,
    moment: Timestamp,
) -> Result<(), StoreError> {
    let Some(base) = base else { return Ok(()) };
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT version FROM price_version WHERE effective_at <= ? AND withdrawn_at IS NULL \
         ORDER BY effective_at DESC, version DESC LIMIT 1",
    )
    .bind(stored(moment.millis()))
    .fetch_optional(connection)
    .await
    .doing("publishing prices")?;
    if found.map_or(0, loaded) == base {
        return Ok(());
    }
    Err(StoreError::Refused("other prices have been published meanwhile: try again".to_owned()))
}

/// What is in force at `now`, and what is to come.
pub(crate) async fn schedule(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<PriceSchedule, StoreError> {
    let versions: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT version, effective_at FROM (SELECT version, effective_at FROM price_version \
         WHERE effective_at <= ?1 AND withdrawn_at IS NULL ORDER BY effective_at DESC, version DESC LIMIT 1) \
         UNION ALL SELECT version, effective_at FROM price_version \
         WHERE effective_at > ?1 AND withdrawn_at IS NULL",
    )
    .bind(stored(now.millis()))
    .fetch_all(&mut *connection)
    .await
    .doing("reading prices")?;
    let mut tables = Vec::with_capacity(versions.len());
    for (version, effective_at) in versions {
        tables.push(Arc::new(table(connection, version, effective_at).await?));
    }
    Ok(PriceSchedule::new(tables))
}

fn price_version(row: &mut Row<'_>) -> Option<PriceVersion> {
    Some(PriceVersion {
        version: row.u64()?,
        created_at: Timestamp::from_millis(row.u64()?),
        effective_at: Timestamp::from_millis(row.u64()?),
        withdrawn_at: row.get::<Option<i64>>()?.map(|at| Timestamp::from_millis(loaded(at))),
        actor: row.get()?,
        note: row.get()?,
        models: row.u64()?,
    })
}

fn check(models: &HashMap<String, ModelPrice>) -> Result<(), StoreError> {
    let refuse = |text: String| Err(StoreError::Invalid(text));
    if models.is_empty() {
        return refuse("a price table without models".to_owned());
    }
    for (model, price) in models {
        if model.is_empty() || price.provider.is_empty() {
            return refuse(format!("model `{model}` has no name or no provider"));
        }
        // Without output (embeddings) there is nothing to bound.
        if price.output_tokens_max == 0 && price.base[Class::Output] > 0 {
            return refuse(format!("model `{model}` has no bound on its output, so no hold could cover it"));
        }
        if price.long_prompt.is_some_and(|tier| tier.above_tokens == 0) {
            return refuse(format!("the long-prompt tier of model `{model}` leaves no ordinary request"));
        }
        let tiers = [Some(&price.base), price.long_prompt.as_ref().map(|tier| &tier.rates)];
        if tiers.into_iter().flatten().any(Rates::any_negative) {
            return refuse(format!("model `{model}` has a negative price"));
        }
    }
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    version: i64,
    model: &str,
    price: &ModelPrice,
    tier: i64,
    above_tokens: u64,
    rates: &Rates,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO price (version, model, tier, provider, above_tokens, output_tokens_max, rates, request, \
         service_tiers) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(version)
    .bind(model)
    .bind(tier)
    .bind(&price.provider)
    .bind(stored(above_tokens))
    .bind(stored(price.output_tokens_max))
    .bind(rates_json(rates))
    .bind(rates.request)
    .bind(tiers_json(&price.tiers))
    .execute(connection)
    .await
    .doing("publishing prices")?;
    Ok(())
}

/// Rows of prices, whatever their version.
pub(crate) const ROWS: &str =
    "SELECT model, tier, provider, above_tokens, output_tokens_max, rates, request, service_tiers FROM price";
const OF_VERSION: &str = "SELECT model, tier, provider, above_tokens, output_tokens_max, rates, request, service_tiers FROM price \
     WHERE version = ? ORDER BY model, tier";

pub(crate) struct PriceRow {
    model: String,
    is_long: bool,
    provider: String,
    above_tokens: u64,
    output_tokens_max: u64,
    rates: Rates,
    tiers: TierFactors,
}

impl PriceRow {
    /// The model with its ordinary prices alone.
    fn ordinary(self) -> (String, ModelPrice) {
        let Self { model, provider, rates: base, output_tokens_max, tiers, .. } = self;
        (model, ModelPrice { provider, base, long_prompt: None, output_tokens_max, tiers })
    }
}

/// The prices of a version, whether or not it is in force.
pub(crate) async fn table(
    connection: &mut SqliteConnection,
    version: i64,
    effective_at: i64,
) -> Result<PriceTable, StoreError> {
    let rows = sqlx::query(OF_VERSION).bind(version).fetch_all(connection).await.doing("reading prices")?;
    let mut models = HashMap::<String, ModelPrice>::with_capacity(rows.len());
    let mut damaged = Vec::new();
    for row in &rows {
        let row = match fields("price", row, price_row) {
            Ok(row) => row,
            Err(error) => {
                tracing::error!(version, %error);
                damaged.extend(fields("price", row, |row| row.get::<String>()));
                continue;
            }
        };
        if row.is_long {
            // The ordinary prices of a model come first.
            if let Some(price) = models.get_mut(&row.model) {
                price.long_prompt = Some(Tier { above_tokens: row.above_tokens, rates: row.rates });
            }
        } else {
            let PriceRow { provider, rates: base, output_tokens_max, tiers, .. } = row;
            let price = ModelPrice { provider, base, long_prompt: None, output_tokens_max, tiers };
            models.insert(row.model, price);
        }
    }
    // A model of which a part of the prices cannot be read has none: it is not served for less.
    for model in &damaged {
        models.remove(model);
    }
    Ok(PriceTable::new(loaded(version), Timestamp::from_millis(loaded(effective_at)), models))
}

pub(crate) fn price_row(row: &mut Row<'_>) -> Option<PriceRow> {
    Some(PriceRow {
        model: row.get()?,
        is_long: row.get()?,
        provider: row.get()?,
        above_tokens: row.u64()?,
        output_tokens_max: row.u64()?,
        rates: {
            let (rates, request) = (row.get()?, row.get()?);
            rates_of(request, rates)?
        },
        tiers: tiers_of(row.get()?)?,
    })
}
