//! What models cost, and what of it a user pays.

use std::collections::HashMap;

use tollgate_core::id::UserId;
use tollgate_core::price::{ModelPrice, PriceRate, PriceSchedule, PriceTable};
use tollgate_core::time::Timestamp;
use tollgate_store::{NewPrices, Payers, PriceVersion};

use super::{ManageError, Management};
use crate::clock::now;

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
        Ok(self.store.catalogue.prices(version).await?)
    }

    /// All versions, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn price_versions(&self) -> Result<Vec<PriceVersion>, ManageError> {
        Ok(self.store.catalogue.price_versions().await?)
    }

    /// Publishes a price list as a new version and returns its number.
    ///
    /// # Errors
    /// When it is not complete, or its moment has passed.
    pub async fn publish_prices(&self, list: &PriceList) -> Result<u64, ManageError> {
        let PriceList { models, effective_at, note } = list;
        let new =
            NewPrices { models, effective_at: *effective_at, actor: self.actor(), note: note.as_deref() };
        Ok(self.store.catalogue.schedule_prices(&new, now()).await?)
    }

    /// Takes back a version that is still to come.
    ///
    /// # Errors
    /// Without such a version, or when it is in force.
    pub async fn withdraw_prices(&self, version: u64) -> Result<(), ManageError> {
        Ok(self.store.catalogue.withdraw_prices(version, now()).await?)
    }

    /// Sets what users pay of the prices; all of them where `names` is `None`. Returns for how many it was set.
    ///
    /// # Errors
    /// When one of them does not exist: then for none.
    pub async fn set_price_rate(
        &self,
        names: Option<&[String]>,
        rate: PriceRate,
    ) -> Result<u64, ManageError> {
        let Some(names) = names else {
            return Ok(self.store.catalogue.set_price_rate(Payers::All, rate, self.actor(), now()).await?);
        };
        let mut users = Vec::with_capacity(names.len());
        for name in names {
            users.push(self.user(name).await?);
        }
        Ok(self.store.catalogue.set_price_rate(Payers::Some(&users), rate, self.actor(), now()).await?)
    }

    /// What each user pays of the prices. For operators alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn price_rates(&self) -> Result<Vec<(UserId, String, PriceRate)>, ManageError> {
        let rates = self.store.catalogue.price_rates().await?;
        let users = self.store.catalogue.list_users().await?.into_iter();
        Ok(users.map(|user| (user.id, user.name, rates.get(&user.id).copied().unwrap_or_default())).collect())
    }

    /// The prices that a new database begins with.
    pub(super) async fn publish_shipped(&self) -> Result<(), ManageError> {
        if self.store.catalogue.price_versions().await?.is_empty() {
            let models = crate::prices::file::shipped();
            let models = models.map_err(|reason| ManageError::unreadable("the shipped prices", reason))?;
            let list = PriceList { models, effective_at: None, note: Some("shipped".to_owned()) };
            self.publish_prices(&list).await?;
        }
        Ok(())
    }
}
