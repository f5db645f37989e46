//! What models cost.

use std::collections::HashMap;

use serde_json::json;
use tollgate_core::price::{ModelPrice, PriceTable};

use super::Desk;
use crate::shared::now;

impl Desk {
    /// The prices in force.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prices(&self) -> anyhow::Result<PriceTable> {
        Ok(self.store.prices(None).await?)
    }

    /// Publishes a price list as a new version.
    ///
    /// # Errors
    /// When it is not complete.
    pub async fn publish_prices(&self, prices: HashMap<String, ModelPrice>) -> anyhow::Result<u64> {
        let version = self.store.publish_prices(&prices, now()).await?;
        self.note("price.publish", version.to_string(), json!({"models": prices.len()})).await?;
        Ok(version)
    }
}
