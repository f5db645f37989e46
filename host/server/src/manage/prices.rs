//! What models cost, and what of it each user pays.

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_core::id::UserId;
use tollgate_core::names::NameIndex;
use tollgate_core::price::{ModelPrice, PriceRate, PriceSchedule, PriceTable, defaulted_provider};
use tollgate_core::time::Timestamp;
use tollgate_store::{NewPrices, Payers};

pub use tollgate_store::PriceVersion;

use super::error::Which;
use super::words::{all_seen, seen};
use super::{ManageError, Management, Page, Window};
use crate::clock::now;
use crate::config::{Model, Providers};
use crate::prices::file;
use crate::prices::set::Setting;

/// Model routes that are read at once.
const ROUTES: usize = 500;

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

/// What the configuration file says of providers, and of who serves which model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here<'a> {
    /// Providers.
    pub(crate) providers: &'a Providers,
    /// The entries of `[[models]]`.
    pub(crate) models: &'a [Model],
}

/// The prices of a version with one entry changed.
#[derive(Debug)]
pub(crate) struct Changed {
    /// The version.
    pub(crate) base: u64,
    /// The entry.
    pub(crate) name: String,
    /// Its provider.
    pub(crate) provider: String,
    /// All entries.
    pub(crate) models: HashMap<String, ModelPrice>,
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
        self.publish(list, None).await
    }

    async fn publish(&self, list: &PriceList, base: Option<u64>) -> Result<u64, ManageError> {
        let PriceList { models, effective_at, note } = list;
        let (effective_at, note) = (*effective_at, note.as_deref());
        seen("note", note.unwrap_or_default())?;
        all_seen("model", models.keys().map(String::as_str))?;
        all_seen("provider", models.values().map(|model| model.provider.as_str()))?;
        let new = NewPrices { models, base, effective_at, actor: self.actor(), note };
        Ok(self.store.catalogue.schedule_prices(&new, now()).await?)
    }

    /// The prices at a moment, with one entry given or changed. `here` is what the configuration file says, which may
    /// name who serves the model.
    ///
    /// # Errors
    /// When too little is said, or what is said is no price.
    pub(crate) async fn with_price(
        &self,
        setting: Setting,
        moment: Option<Timestamp>,
        here: Here<'_>,
    ) -> Result<Changed, ManageError> {
        let table = Arc::clone(self.price_schedule().await?.at(moment.unwrap_or_else(now)));
        let mut models: HashMap<String, ModelPrice> =
            table.entries().map(|(name, price)| (name.to_owned(), price.clone())).collect();
        let (setting, provider) = self.named(setting, &models, here).await?;
        let price = setting.over(models.get(&setting.name), &provider);
        let price = price.map_err(|words| ManageError::invalid("prices", words))?;
        models.insert(setting.name.clone(), price);
        Ok(Changed { base: table.version(), name: setting.name, provider, models })
    }

    /// A setting under the name by which it prices something, and the provider of what it prices.
    async fn named(
        &self,
        mut setting: Setting,
        models: &HashMap<String, ModelPrice>,
        here: Here<'_>,
    ) -> Result<(Setting, String), ManageError> {
        let name = setting.name.clone();
        if let Some(provider) = defaulted_provider(&name) {
            return match setting.provider.as_deref() {
                Some(other) if other != provider => Err(ManageError::invalid(
                    "provider",
                    format!("`{name}` is the default of `{provider}`, not of `{other}`"),
                )),
                _ => Ok((setting, provider.to_owned())),
            };
        }
        if name.is_empty() || name.contains('*') {
            let words =
                format!("`{name}` prices nothing: name a model, or all of a provider as `PROVIDER/*`");
            return Err(ManageError::invalid("model", words));
        }
        let known = || models.get(&name).map(|known| known.provider.clone());
        if let Some(provider) = setting.provider.clone().or_else(known) {
            return Ok((setting, provider));
        }
        if let Some(provider) = self.provider_of(&name, here.models).await? {
            return Ok((setting, provider));
        }
        // What goes to a provider by the prefix of its name is priced by what follows.
        match name.split_once('/') {
            Some((provider, rest)) if here.providers.contains_key(provider) => {
                rest.clone_into(&mut setting.name);
                Ok((setting, provider.to_owned()))
            }
            _ => {
                let words = format!("say which provider serves `{name}`: no route does");
                Err(ManageError::invalid("provider", words))
            }
        }
    }

    /// Publishes the prices that [`Self::with_price`] made, unless others were published meanwhile.
    ///
    /// # Errors
    /// As [`Self::publish_prices`], and when another version is in force than the one that was changed.
    pub(crate) async fn publish_changed(&self, list: &PriceList, base: u64) -> Result<u64, ManageError> {
        self.publish(list, Some(base)).await
    }

    /// The provider to which the model's route leads, by the configuration file or the database.
    async fn provider_of(&self, name: &str, models: &[Model]) -> Result<Option<String>, ManageError> {
        let mut routes = models.to_vec();
        let mut after = None;
        loop {
            let page = self.routes(Window { after, limit: ROUTES }).await?;
            routes.extend(page.rows.into_iter().map(|row| row.model));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let names = routes.iter().zip(0..).flat_map(|(model, at)| model.names().map(move |name| (name, at)));
        let found = NameIndex::new(names).find(name).and_then(|found| routes.get(found.at));
        Ok(found.and_then(|model| model.targets.first()).map(|target| target.provider.clone()))
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

    /// What each user whose name has `part` in it pays of the prices. Only for operators.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn price_rates(
        &self,
        part: &str,
        window: Window<UserId>,
    ) -> Result<Page<Payer, UserId>, ManageError> {
        let users = self.store.catalogue.find_users(part, window.after, window.limit_and_one()).await?;
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
