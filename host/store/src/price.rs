//! Price tables: published whole, versioned, never changed.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use tollgate_core::price::{ModelPrice, PriceTable, Rates, Tier};
use tollgate_core::time::Timestamp;

use crate::error::{Doing, StoreError};
use crate::open::Store;
use crate::row::{Row, fields};
use crate::sql::{loaded, stored};

impl Store {
    /// Publishes a complete price table and returns its version, which new requests use from then on.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a table that would bill too little: an empty one, a model without a provider or without a
    /// bound on its output, a negative price.
    pub async fn publish_prices(
        &self,
        models: &HashMap<String, ModelPrice>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        check(models)?;
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("publishing prices")?;
        let version: i64 = sqlx::query_scalar(
            "INSERT INTO price_version (version, created_at) \
             SELECT COALESCE(MAX(version), 0) + 1, ? FROM price_version RETURNING version",
        )
        .bind(stored(now.millis()))
        .fetch_one(&mut *tx)
        .await
        .doing("publishing prices")?;
        for (model, price) in models {
            insert(&mut tx, version, model, price, 0, 0, &price.base).await?;
            if let Some(tier) = &price.long_prompt {
                insert(&mut tx, version, model, price, 1, tier.above_tokens, &tier.rates).await?;
            }
        }
        tx.commit().await.doing("publishing prices")?;
        Ok(loaded(version))
    }

    /// A published table; the latest without a `version`, and an empty one of version 0 where none was published.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a version that was never published.
    pub async fn prices(&self, version: Option<u64>) -> Result<PriceTable, StoreError> {
        let mut connection = self.pool().acquire().await.doing("reading prices")?;
        let table = match version {
            Some(version) => table(&mut connection, stored(version)).await?,
            None => return latest(&mut connection).await,
        };
        // An empty table cannot be published, so one that comes back empty does not exist.
        if table.models().next().is_none() { Err(StoreError::NotFound("price version")) } else { Ok(table) }
    }
}

/// The table in force; empty, of version 0, when none was published.
pub(crate) async fn latest(connection: &mut SqliteConnection) -> Result<PriceTable, StoreError> {
    let version = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM price_version")
        .fetch_one(&mut *connection)
        .await
        .doing("reading prices")?;
    table(connection, version).await
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
        if price.output_tokens_max == 0 && price.base.output > 0 {
            return refuse(format!("model `{model}` has no bound on its output, so no hold could cover it"));
        }
        if price.long_prompt.is_some_and(|tier| tier.above_tokens == 0) {
            return refuse(format!("the long-prompt tier of model `{model}` leaves no ordinary request"));
        }
        let tiers = [Some(&price.base), price.long_prompt.as_ref().map(|tier| &tier.rates)];
        if tiers.into_iter().flatten().flat_map(in_order).any(|rate| rate < 0) {
            return refuse(format!("model `{model}` has a negative price"));
        }
    }
    Ok(())
}

fn in_order(rates: &Rates) -> [i64; 8] {
    [
        rates.input,
        rates.cache_read,
        rates.cache_write_short,
        rates.cache_write_long,
        rates.output,
        rates.audio_input,
        rates.audio_output,
        rates.request,
    ]
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
    let mut query = sqlx::query(
        "INSERT INTO price (version, model, tier, provider, above_tokens, output_tokens_max, input, cache_read, \
         cache_write_short, cache_write_long, output, audio_input, audio_output, request) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(version)
    .bind(model)
    .bind(tier)
    .bind(&price.provider)
    .bind(stored(above_tokens))
    .bind(stored(price.output_tokens_max));
    for rate in in_order(rates) {
        query = query.bind(rate);
    }
    query.execute(connection).await.doing("publishing prices")?;
    Ok(())
}

struct PriceRow {
    model: String,
    is_long: bool,
    provider: String,
    above_tokens: u64,
    output_tokens_max: u64,
    rates: Rates,
}

async fn table(connection: &mut SqliteConnection, version: i64) -> Result<PriceTable, StoreError> {
    let rows = sqlx::query(
        "SELECT model, tier, provider, above_tokens, output_tokens_max, input, cache_read, cache_write_short, \
         cache_write_long, output, audio_input, audio_output, request FROM price WHERE version = ? ORDER BY model, tier",
    )
    .bind(version)
    .fetch_all(connection)
    .await
    .doing("reading prices")?;
    let mut models = HashMap::<String, ModelPrice>::with_capacity(rows.len());
    for row in &rows {
        let row = fields("price", row, price_row)?;
        if row.is_long {
            // The ordinary prices of a model come first.
            let price = models.get_mut(&row.model).ok_or(StoreError::Damaged("price"))?;
            price.long_prompt = Some(Tier { above_tokens: row.above_tokens, rates: row.rates });
        } else {
            let PriceRow { provider, rates: base, output_tokens_max, .. } = row;
            models.insert(row.model, ModelPrice { provider, base, long_prompt: None, output_tokens_max });
        }
    }
    Ok(PriceTable::new(loaded(version), models))
}

fn price_row(row: &mut Row<'_>) -> Option<PriceRow> {
    Some(PriceRow {
        model: row.get()?,
        is_long: row.get()?,
        provider: row.get()?,
        above_tokens: row.u64()?,
        output_tokens_max: row.u64()?,
        rates: Rates {
            input: row.get()?,
            cache_read: row.get()?,
            cache_write_short: row.get()?,
            cache_write_long: row.get()?,
            output: row.get()?,
            audio_input: row.get()?,
            audio_output: row.get()?,
            request: row.get()?,
        },
    })
}
