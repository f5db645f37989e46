//! What an operator does to the books, whether by the command line or by the management API: names in, checked changes out.
//! Works on the database alone; a running server notices. One file a resource; here is what they share.

mod amounts;
mod audit;
mod bodies;
mod credentials;
mod error;
mod keys;
mod ledger;
pub(crate) mod login;
mod pool;
mod prices;
mod records;
mod routes;
mod trials;
mod usage;
mod users;

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use serde_json::Value;
use tollgate_core::id::UserId;
use tollgate_store::{Act, Durability, MasterKey, Note, Options, Resealed, Store};

pub use self::amounts::{Prices, Units};
pub use self::credentials::{CredentialEdit, CredentialRow, NewCredential};
pub use self::error::ManageError;
use self::error::Which;
pub use self::keys::{KeyEdit, KeyRow};
pub use self::ledger::CodeOrder;
pub use self::pool::{CONSENT_TEXT, CONSENT_VERSION};
pub use self::prices::PriceList;
pub(crate) use self::records::owner;
pub use self::records::{Export, LogCall, LogEntry, LogShape, LogTry, moment};
pub use self::routes::RouteRow;
pub use self::usage::{Days, Slice, UsageSummary};
pub use self::users::{NewUser, UserEdit, UserRow};
use crate::auth::keys::Fingerprints;
use crate::auth::master;
use crate::auth::memory_keys::MemoryKeys;
use crate::clock::now;
use crate::config::{self, Config};
pub use crate::state::platform::Place;

/// Who the books name for what is done at a terminal.
const TERMINAL: &str = "cli";
/// Who the books name for what a start does by itself.
pub(crate) const GATEWAY: &str = "gateway";
/// The setting that holds, sealed, the key by which provider keys are known again.
const FINGERPRINT_KEY: &str = "fingerprint_key";

/// The opened books.
#[derive(Clone)]
pub struct Management {
    /// Knows who works at the desk.
    store: Store,
    act: Arc<Act>,
    master: MasterKey,
    fingerprints: Fingerprints,
    /// Where credentials are instead of the database, in a server that keeps them in memory.
    memory: Option<Arc<MemoryKeys>>,
    keys_max: u32,
    /// Whether credentials may be lent.
    lends: bool,
}

impl Management {
    /// Opens the books, and makes them where there are none: with the shipped prices, so that no model is free.
    ///
    /// # Errors
    /// When the data directory, the database or the master key cannot be used.
    pub async fn open(config: &Config) -> Result<Self, ManageError> {
        let dir = &config.server.data_dir;
        // Nobody else's business: the database holds what was called, and the master key lies beside it.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| ManageError::File { doing: "creating", path: dir.clone(), source })?;
        let sync = match config.store.sync {
            config::Sync::Full => Durability::Full,
            config::Sync::Normal => Durability::Normal,
        };
        let path = dir.join("tollgate.db");
        let store = Store::open(&path, Options { sync }).await;
        let store = store.map_err(|source| ManageError::Open { path, source })?;
        let master = master::load(dir, &store).await?;
        // Kept sealed, so that a change of the master key leaves it as it is.
        let key =
            store.catalogue.secret_setting(&master, FINGERPRINT_KEY, &master.derived("fingerprints")).await?;
        let fingerprints = Fingerprints::new(&key);
        let lends = config.pool.enabled;
        let (act, keys_max) = (Act::new(TERMINAL, None, None), config.limits.api_keys_per_user);
        let store = store.acting(Arc::clone(&act));
        let management = Self { store, act, master, fingerprints, memory: None, keys_max, lends };
        management.fingerprint_all().await?;
        management.acting(Act::new(GATEWAY, None, None)).publish_shipped().await?;
        Ok(management)
    }

    /// The same desk for someone else: what is changed at it is put down to him.
    pub(crate) fn acting(&self, act: Arc<Act>) -> Self {
        Self { store: self.store.acting(Arc::clone(&act)), act, ..self.clone() }
    }

    /// Who works at it: a user's id, `operator` or `cli`.
    pub(crate) fn actor(&self) -> &str {
        &self.act.actor
    }

    /// Notes in the audit log what no transaction of the store has noted.
    pub(crate) async fn note(&self, action: &str, target: String, detail: Value) -> Result<(), ManageError> {
        let kind = action.split('.').next().unwrap_or_default();
        Ok(self.store.catalogue.note_done(Note { action, kind, target, detail }, now()).await?)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Seals everything with a new master key.
    ///
    /// # Errors
    /// While a server runs, and when a key cannot be written or does not open what is sealed.
    pub(crate) async fn reseal(&self, config: &Config) -> Result<Resealed, ManageError> {
        let resealed = master::reseal(&config.server.data_dir, &self.store, &self.master).await?;
        self.note("credential.reseal", String::new(), Value::Null).await?;
        Ok(resealed)
    }

    /// Closes the books.
    pub async fn close(self) {
        self.store.close().await;
    }

    async fn user(&self, name: &str) -> Result<UserId, ManageError> {
        Ok(self.store.catalogue.find_user(name).await.which(name)?.id)
    }

    pub(crate) async fn user_names(&self) -> Result<HashMap<UserId, String>, ManageError> {
        Ok(self.store.catalogue.list_users().await?.into_iter().map(|user| (user.id, user.name)).collect())
    }
}
