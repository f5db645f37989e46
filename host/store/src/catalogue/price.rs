//! Price tables, and what users pay of them.

use std::collections::HashMap;

use async_trait::async_trait;
use tollgate_core::id::UserId;
use tollgate_core::price::{ModelPrice, PriceRate, PriceSchedule, PriceTable};
use tollgate_core::time::Timestamp;

use crate::error::StoreError;

/// A version to publish.
#[derive(Debug, Clone, Copy)]
pub struct NewPrices<'a> {
    /// Prices by model.
    pub models: &'a HashMap<String, ModelPrice>,
    /// The version that it changes a part of: it is refused where another one would be in force at its moment.
    pub base: Option<u64>,
    /// From when on it is in force; at once where there is none.
    pub effective_at: Option<Timestamp>,
    /// Who publishes it.
    pub actor: &'a str,
    /// What for.
    pub note: Option<&'a str>,
}

/// What is known of a version, its prices aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// Counts up from 1.
    pub version: u64,
    /// When it was published.
    pub created_at: Timestamp,
    /// From when on it is in force.
    pub effective_at: Timestamp,
    /// When it was withdrawn, before it took effect.
    pub withdrawn_at: Option<Timestamp>,
    /// Who published it; `None` for a version older than the column.
    pub actor: Option<String>,
    /// What for.
    pub note: Option<String>,
    /// How many models it prices.
    pub models: u64,
}

/// Users whose rate is to change.
#[derive(Debug, Clone, Copy)]
pub enum Payers<'a> {
    /// These.
    Some(&'a [UserId]),
    /// All users.
    All,
}

/// Price tables.
#[async_trait]
pub trait Prices: Send + Sync {
    /// Publishes a complete price table that is in force at once, and returns its version.
    ///
    /// # Errors
    /// As [`Self::schedule_prices`].
    async fn publish_prices(
        &self,
        models: &HashMap<String, ModelPrice>,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Publishes a complete price table and returns its version. A running server switches to it at its moment.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a moment that has passed, and for a table that would bill too little: an empty one,
    /// a model without a provider or without a bound on its output, a negative price. [`StoreError::Refused`] where
    /// another version than [`NewPrices::base`] is in force at its moment.
    async fn schedule_prices(&self, new: &NewPrices<'_>, now: Timestamp) -> Result<u64, StoreError>;

    /// Withdraws a version that is not yet in force: the one in force stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a version that does not exist, [`StoreError::Refused`] for one that is already in
    /// force.
    async fn withdraw_prices(&self, version: u64, now: Timestamp) -> Result<(), StoreError>;

    /// A page of versions, the latest first: those before `before`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn find_price_versions(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<PriceVersion>, StoreError>;

    /// A published table, in force or not.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a version that was never published.
    async fn prices(&self, version: u64) -> Result<PriceTable, StoreError>;

    /// Prices of models in a version, by their names: those after `after`, at most `limit`. None for a version that was
    /// never published.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn find_prices(
        &self,
        version: u64,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, ModelPrice)>, StoreError>;

    /// The table in force at `now` and those to come; an empty one where nothing is in force.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn price_schedule(&self, now: Timestamp) -> Result<PriceSchedule, StoreError>;
}

/// What users pay of the prices.
#[async_trait]
pub trait PriceRates: Send + Sync {
    /// Sets what users pay of the prices: for all of `payers` or, where one of them does not exist, for none. It
    /// applies to requests that are admitted from now on; those under way keep the rate of their admission.
    ///
    /// Returns the number of users for whom it was set.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where a user does not exist.
    async fn set_price_rate(
        &self,
        payers: Payers<'_>,
        rate: PriceRate,
        actor: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// The same of these users alone.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn price_rates_of(&self, users: &[UserId]) -> Result<HashMap<UserId, PriceRate>, StoreError>;
}
