//! What models cost, and what of it each user pays.

use std::collections::HashMap;

use tollgate_core::id::UserId;
use tollgate_core::price::{ModelPrice, PriceRate, PriceSchedule, PriceTable};
use tollgate_core::time::Timestamp;
use tollgate_store::{NewPrices, Payers};

pub use tollgate_store::PriceVersion;

use super::error::Which;
use super::words::{all_seen, seen};
use super::{ManageError, Management, Page, Window};
use crate::clock::now;
use crate::prices::file;

/// A price list to publish.
#[derive(Debug)]
pub struct PriceList {
    /// Prices by model.
    pub models: HashMap<String, ModelPrice>,
    /// From when on; at once without it.
    pub effective_at: Option<Timestamp>,
    /// What for.
    pub note: Option<String>,
}

/// What one user pays of the prices.
#[derive(Debug, Clone)]
pub struct Payer {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user: String,
    /// The part of the prices that the user pays.
    pub rate: PriceRate,
}

impl Management {
    /// The prices in force now, and those that are to come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn price_schedule(&self) -> Result<PriceSchedule, ManageError> {
        Ok(self.store.catalogue.price_schedule(now()).await?)
    }

    /// The prices of a version.
    ///
    /// # Errors
    /// Without such a version.
    pub async fn prices(&self, version: u64) -> Result<PriceTable, ManageError> {
        self.store.catalogue.prices(version).await.which(version)
    }

    /// What models cost in a version, by their names.
    ///
    /// # Errors
    /// Without such a version.
    pub async fn model_prices(
        &self,
        version: u64,
        window: Window<String>,
    ) -> Result<Page<(String, ModelPrice), String>, ManageError> {
        let after = window.after.as_deref().unwrap_or_default();
        let models = self.store.catalogue.find_prices(version, after, window.limit_and_one()).await?;
        if models.is_empty() {
            self.price_version(version).await?;
        }
        Ok(Page::new(models, window.limit, |(name, _)| name.clone()))
    }

    /// A version of the prices.
    ///
    /// # Errors
    /// Without such a version.
    pub async fn price_version(&self, version: u64) -> Result<PriceVersion, ManageError> {
        // The last version before the next number, if it is this one.
        let found = self.store.catalogue.find_price_versions(version.checked_add(1), 1).await?;
        let found = found.into_iter().find(|known| known.version == version);
        found.ok_or_else(|| ManageError::not_found("price version", version))
    }

    /// Versions of the prices, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn price_versions(&self, window: Window<u64>) -> Result<Page<PriceVersion, u64>, ManageError> {
        let versions = self.store.catalogue.find_price_versions(window.after, window.limit_and_one()).await?;
        Ok(Page::new(versions, window.limit, |version| version.version))
    }

    /// Publishes a price list as a new version and returns its number.
    ///
    /// # Errors
    /// When it is not complete, or its moment has passed.
    pub async fn publish_prices(&self, list: &PriceList) -> Result<u64, ManageError> {
        let PriceList { models, effective_at, note } = list;
        seen("note", note.as_deref().unwrap_or_default())?;
        all_seen("model", models.keys().map(String::as_str))?;
        all_seen("provider", models.values().map(|model| model.provider.as_str()))?;
        let new =
            NewPrices { models, effective_at: *effective_at, actor: self.actor(), note: note.as_deref() };
        Ok(self.store.catalogue.schedule_prices(&new, now()).await?)
    }

    /// Withdraws a version that is not in force yet.
    ///
    /// # Errors
    /// Without such a version, or when it is in force.
    pub async fn withdraw_prices(&self, version: u64) -> Result<(), ManageError> {
        self.store.catalogue.withdraw_prices(version, now()).await.which(version)
    }

    /// Sets what users pay of the prices; all of them where `names` is `None`. Returns the number of users for whom it
    /// was set.
    ///
    /// # Errors
    /// When one of them does not exist: then for none.
    pub async fn set_price_rate(
        &self,
        names: Option<&[String]>,
        rate: PriceRate,
    ) -> Result<u64, ManageError> {
        let mut users = Vec::new();
        for name in names.unwrap_or_default() {
            users.push(self.find_user(name).await?);
        }
        let payers = names.map_or(Payers::All, |_| Payers::Some(&users));
        Ok(self.store.catalogue.set_price_rate(payers, rate, self.actor(), now()).await?)
    }

    /// What each user pays of the prices. Only for operators.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn price_rates(&self, window: Window<UserId>) -> Result<Page<Payer, UserId>, ManageError> {
        let users = self.store.catalogue.find_users("", window.after, window.limit_and_one()).await?;
        let page = Page::new(users, window.limit, |user| user.id);
        let ids: Vec<UserId> = page.rows.iter().map(|user| user.id).collect();
        let rates = self.store.catalogue.price_rates_of(&ids).await?;
        Ok(page.map(|user| Payer {
            rate: rates.get(&user.id).copied().unwrap_or_default(),
            user_id: user.id,
            user: user.name,
        }))
    }

    /// The prices that a new database begins with.
    pub(super) async fn publish_shipped(&self) -> Result<(), ManageError> {
        if !self.store.catalogue.find_price_versions(None, 1).await?.is_empty() {
            return Ok(());
        }
        let models =
            file::shipped().map_err(|reason| ManageError::unreadable("the shipped prices", reason))?;
        self.publish_prices(&PriceList { models, effective_at: None, note: Some("shipped".to_owned()) })
            .await?;
        Ok(())
    }
}
