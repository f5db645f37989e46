//! What operators and users do: the one way in for the command line and the management API. It works on the database
//! alone; a running server notices what has changed.
//!
//! Here is what the resources share: [`Management`] is opened once and acts on someone's behalf (`acting`), whom the
//! audit log names with every change. Lists come page by page (`page.rs`), failures as a [`ManageError`] (`error.rs`).
//! The rest is one file a resource. Names are found (`find_user`), ids are trusted to be ids; what a resource shows is
//! a separate row, without what is sealed or hashed. Values that mean the same to the store and to callers (a filter,
//! an amount of usage) are the store's, and are re-exported here, so that no other room has to name the store.

mod amounts;
mod audit;
mod bodies;
mod cells;
mod codes;
pub(crate) mod components;
mod credentials;
mod dry_run;
mod error;
mod grants;
mod idempotency;
mod keys;
mod lending;
mod log_decisions;
mod log_names;
mod log_sums;
pub(crate) mod login;
mod model_routes;
mod page;
mod plugin_events;
mod points;
mod prices;
mod receipts;
mod requests;
mod usage;
mod users;
mod words;

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tollgate_core::secret::Secret;
use tollgate_store::{Durability, MasterKey, Options, Store};

pub(crate) use tollgate_store::Expected;
pub use tollgate_store::{Act, Resealed};
pub(crate) use tollgate_store::{Ended, EndedCalls};

pub use self::amounts::{Prices, Units};
pub use self::audit::{AuditFilter, AuditRow, Edited};
pub use self::bodies::{Bodies, Body};
pub use self::codes::{CodeBatch, CodeOrder};
pub use self::components::ComponentFile;
pub use self::credentials::{
    CheckResult, CredentialEdit, CredentialRow, CredentialState, Loan, NewCredential, WhichCredentials,
};
pub use self::error::ManageError;
pub(crate) use self::idempotency::{Keyed, Known};
pub use self::keys::{KeyEdit, KeyOrder, KeyRow, KeyUse};
pub use self::lending::{CONSENT_TEXT, CONSENT_VERSION, LentUse};
pub use self::log_decisions::{LogChoice, LogDecisions, LogHold, LogOther, LogSeen, LogVerdict};
pub(crate) use self::log_names::LogNames;
pub use self::log_names::LogReader;
pub use self::log_sums::{LogPaces, LogSums, Pace, Percentiles, SumName, SumSlice};
pub use self::model_routes::RouteRow;
pub use self::page::{Page, Window};
pub(crate) use self::plugin_events::PluginEvent;
pub use self::points::{Granted, StatementLine, VerifyReport, Violation};
pub(crate) use self::prices::Here;
pub use self::prices::{Payer, PriceList, PriceVersion};
pub(crate) use self::requests::owner;
pub use self::requests::{
    Export, LogCall, LogEntry, LogShape, LogTry, RequestFilter, RequestRecord, Retention, moment,
};
pub use self::usage::{Days, Slice, UsageCell, UsageCells, UsageOf, UsageSummary, Used};
pub use self::users::{NewUser, UserEdit, UserOrder, UserRow};
use crate::auth::keys::Fingerprints;
use crate::auth::master;
use crate::auth::memory_keys::MemoryKeys;
use crate::config::{self, Config};
pub use crate::state::platform::Place;

/// The actor in the audit log for what is done at a terminal.
const TERMINAL: &str = "cli";
/// The actor in the audit log for what a start does by itself.
pub(crate) const GATEWAY: &str = "gateway";
/// The sealed setting with the key by which provider keys are recognised.
const FINGERPRINT_KEY: &str = "fingerprint_key";

/// What to do where the data directory holds no database, or not all of what it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Make one.
    Make,
    /// Say so: nobody who just asks is given a new one.
    Find,
    /// Make one, and go on with what is left where something was lost.
    AcceptLoss,
}

/// Makes the data directory. It is nobody else's business: the database holds what was called, and the master key lies
/// beside it.
fn make_folder(dir: &Path) -> Result<(), ManageError> {
    let failed = |source| ManageError::File { doing: "creating", path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let mode = std::fs::metadata(dir).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        let (dir, mode) = (dir.display(), format!("{mode:03o}"));
        tracing::warn!(%dir, mode, "others may replace what is in the data directory; take their right to write");
    }
    Ok(())
}

/// The opened database, and whom it is managed for.
#[derive(Clone)]
pub struct Management {
    /// Notes who changes what.
    store: Store,
    act: Arc<Act>,
    master: MasterKey,
    fingerprints: Fingerprints,
    /// The credentials, in a server that keeps them in memory and not in the database.
    memory: Option<Arc<MemoryKeys>>,
    keys_max: u32,
    /// Whether credentials may be lent.
    lends: bool,
}

impl Management {
    /// Opens the database, and creates it if there is none, with the shipped prices, so that no model is free.
    ///
    /// # Errors
    /// When the data directory, the database or the master key cannot be used.
    pub async fn open(config: &Config) -> Result<Self, ManageError> {
        Self::open_as(config, Opening::Make).await
    }

    /// The same where there may be none, or not all of it.
    ///
    /// # Errors
    /// As for [`Management::open`], and [`ManageError::NoData`] where nothing is to be made.
    pub async fn open_as(config: &Config, opening: Opening) -> Result<Self, ManageError> {
        let dir = &config.server.data_dir;
        // What is left of a server tells where its database is missing.
        let is_there = || ["tollgate.db", "tollgate.db.node"].iter().any(|name| dir.join(name).exists());
        if opening == Opening::Find && !is_there() {
            return Err(ManageError::NoData(dir.clone()));
        }
        make_folder(dir)?;
        let accept_loss = opening == Opening::AcceptLoss;
        let sync = match config.store.sync {
            config::Sync::Full => Durability::Full,
            config::Sync::Normal => Durability::Normal,
        };
        let path = dir.join("tollgate.db");
        let store = Store::open(&path, Options { sync, accept_loss }).await;
        let store = store.map_err(|source| ManageError::Open { path, source })?;
        let master = master::load(dir, &store).await?;
        // Kept sealed, so that a change of the master key leaves it as it is.
        let key =
            store.catalogue.secret_setting(&master, FINGERPRINT_KEY, &master.derived("fingerprints")).await?;
        let fingerprints = Fingerprints::new(&key);
        let lends = config.lends();
        let (act, keys_max) = (Act::new(TERMINAL, None, None), config.limits.api_keys_per_user);
        let store = store.acting(Arc::clone(&act));
        let management = Self { store, act, master, fingerprints, memory: None, keys_max, lends };
        management.fingerprint_all().await?;
        management.acting(Act::new(GATEWAY, None, None)).publish_shipped().await?;
        Ok(management)
    }

    /// The same on someone else's behalf, whom the audit log names for every change.
    pub(crate) fn acting(&self, act: Arc<Act>) -> Self {
        Self { store: self.store.acting(Arc::clone(&act)), act, ..self.clone() }
    }

    /// The actor: a user's id, `operator`, `cli` or `gateway`.
    pub(crate) fn actor(&self) -> &str {
        &self.act.actor
    }

    /// The store: for what runs beside the road, which follows it row by row.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The key of the hashes that are kept of refused texts: this installation's own, whatever its master key is.
    pub(crate) fn text_key(&self) -> Secret {
        self.fingerprints.text_key()
    }

    /// The key that seals what is secret.
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

    /// Closes the database.
    pub async fn close(self) {
        self.store.close().await;
    }
}
