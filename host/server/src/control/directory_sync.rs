//! From the database to memory: everything at the start, and later what has changed since.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tollgate_core::id::{CredentialId, UserId};
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_runtime::Event;
use tollgate_store::{Act, Entry, PluginEvent, Store, StoreError, Writer};

use crate::auth::keys;
use crate::clock::now;
use crate::config::environment::{KeyStorage, Keys};
use crate::config::{Config, Grants, Model};
use crate::control::directory_build::Builder;
use crate::control::follower::{FollowError, Follower};
use crate::control::permissions::Permissions;
use crate::demo;
use crate::manage::login::Logins;
use crate::manage::{GATEWAY, ManageError, Management, NewCredential, NewUser, Opening};
use crate::shared::Shared;
use crate::state::directory::Directory;
use crate::telemetry::chain;

/// The setting that holds the hash of the admin secret.
const ADMIN_SECRET: &str = "admin_secret_sha256";
/// The user of a demonstration, and what it starts with.
const DEMO_USER: &str = "demo";
const DEMO_ADMIN: &str = "admin";
const DEMO_POINTS: Micropoints = Micropoints::from_points(1_000_000);

/// Secrets that a first start made.
#[derive(Debug, Clone, Default)]
pub struct FirstStart {
    /// The admin secret.
    pub admin_secret: Option<Secret>,
    /// The key of the demonstration's user.
    pub demo_key: Option<Secret>,
    /// What logs a browser in as the demonstration's operator, once. Each start of a demonstration makes one.
    pub demo_link: Option<Secret>,
}

/// Why memory could not follow the database.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Management could not be opened or called.
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// What the last run left could not be resolved.
    #[error("resolving what the last run left")]
    Sweep(#[source] StoreError),
    /// The store could not be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        Self::Manage(error.into())
    }
}

/// The opened database with what was read from it.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) books: DirectorySync,
    pub(crate) directory: Directory,
    pub(crate) routes: Vec<Model>,
    /// Where components may send keys, by the database.
    pub(crate) granted: Grants,
    /// Goes into the hashes of texts that are refused.
    pub(crate) text_key: Arc<Secret>,
    pub(crate) admin_secret: [u8; 32],
    pub(crate) logins: Logins,
    pub(crate) first_start: FirstStart,
    /// Movements of the books that no balance counts.
    pub(crate) quarantined: u64,
    /// Credentials whose state has changed.
    pub(crate) changed: UnboundedReceiver<CredentialId>,
}

/// What is needed to notice changes.
pub(crate) struct DirectorySync {
    management: Management,
    follower: Follower,
    permissions: Permissions,
}

/// Opens the database, resolves what a crash left, and reads everything into memory.
///
/// # Errors
/// When the database or the master key cannot be used, or another process serves from them.
pub(crate) async fn open(
    config: &Config,
    opening: Opening,
    demo: bool,
    keys: Keys,
) -> Result<Opened, SyncError> {
    let management = Management::open_as(config, opening).await?;
    let mut management = management.acting(Act::new(GATEWAY, None, None));
    keep_keys(&mut management, config, keys).await?;
    let swept = management.store().ledger.sweep(now()).await.map_err(SyncError::Sweep)?;
    if swept.released > 0 {
        tracing::warn!(holds = swept.released, points = %swept.amount, "released holds of a run that did not end well");
    }
    let quarantined = quarantined(&management).await?;
    let mut first_start = FirstStart::default();
    let admin_secret = admin_secret(management.store(), &mut first_start).await?;
    if demo {
        first_start.demo_key = set_up_demo(&management, config).await?;
    }
    let (changes, changed) = unbounded_channel();
    let builder = Builder { master: management.master().clone(), lends: management.lends(), changes };
    let feed = Arc::clone(&management.store().feed);
    let (follower, next) = Follower::start(feed, builder, management.memory(), now()).await?;
    let (directory, routes) = (next.directory, routes(&next.routes.unwrap_or_default()));
    let (store, logins) = (management.store().clone(), Logins::open(management.clone()).await?);
    if demo {
        let admin = demo_admin(&management).await?;
        first_start.demo_link = Some(logins.link(admin, now())?);
    }
    let granted = granted(&management).await?;
    let text_key = Arc::new(management.text_key());
    let books = DirectorySync { management, follower, permissions: Permissions::default() };
    Ok(Opened {
        store,
        books,
        directory,
        routes,
        granted,
        text_key,
        admin_secret,
        logins,
        first_start,
        quarantined,
        changed,
    })
}

/// Counts the movements that no balance counts, and says so.
async fn quarantined(management: &Management) -> Result<u64, SyncError> {
    let movements = management.store().ledger.quarantined().await?;
    if movements > 0 {
        tracing::error!(
            movements,
            "the ledger holds movements that cannot be: no balance counts them, `tollgate ledger verify` names them"
        );
    }
    Ok(movements)
}

/// Decides where provider keys are kept, logs it, and adds those of the environment to memory.
async fn keep_keys(management: &mut Management, config: &Config, keys: Keys) -> Result<(), SyncError> {
    for wrong in &keys.wrong {
        tracing::error!("{wrong}");
    }
    let in_database = management.database_has_credentials().await?;
    if keys.storage(in_database) == KeyStorage::Database {
        let unused = keys.given.len();
        tracing::info!(unused_in_environment = unused, "provider keys: database");
        return Ok(());
    }
    management.keep_in_memory();
    let mut count = 0;
    for (provider, variable, secret) in keys.given {
        if !config.providers.contains_key(provider) {
            tracing::error!("{variable} is for the provider `{provider}`, which is not configured");
            continue;
        }
        count += 1;
        let (provider, label) = (provider.to_owned(), format!("{variable} {count}"));
        let new = NewCredential {
            provider,
            user: None,
            label,
            weight: 100,
            secret,
            limits: RateLimits::default(),
            place: None,
        };
        management.add_credential(new).await?;
    }
    tracing::info!(
        credentials = count,
        unused_in_database = in_database,
        "provider keys: memory, until the end"
    );
    Ok(())
}

impl DirectorySync {
    /// The follower that reads the store.
    pub(crate) const fn management(&self) -> &Management {
        &self.management
    }

    /// Applies what another process has changed: users, keys, credentials, prices, grants.
    ///
    /// # Errors
    /// When the database fails; then memory stays as it was.
    pub(crate) async fn refresh(&mut self, shared: &Shared) -> Result<(), SyncError> {
        let granted = granted(&self.management).await?;
        if let Some(upstreams) = shared.upstreams.load().with_granted(&granted) {
            shared.upstreams.store(upstreams);
        }
        self.permissions.look(shared);
        let old = shared.directory.load_full();
        let Some(next) = self.follower.follow(&old, now()).await? else { return Ok(()) };
        shared.directory.store(Arc::new(next.directory));
        // Nothing is awaited in between, so the file's half, which the same thread replaces, is the newest.
        let stored = next.routes.and_then(|stored| shared.upstreams.load().with_stored(routes(&stored)));
        if let Some(upstreams) = stored {
            shared.upstreams.store(upstreams);
        }
        Ok(())
    }
}

/// Where components may send keys. What this version cannot read is no word of anybody's, and said loudly.
async fn granted(management: &Management) -> Result<Grants, ManageError> {
    match management.grants().await {
        Err(error @ ManageError::Unreadable { .. }) => {
            tracing::error!(error = chain(&error), "no host is allowed to components");
            Ok(Grants::default())
        }
        found => found,
    }
}

/// Model routes as they are compiled. One that this version cannot read is left out, with an error in the log; the rest
/// of the gateway works.
fn routes(stored: &[tollgate_store::ModelRoute]) -> Vec<Model> {
    let read = |route: &tollgate_store::ModelRoute| match serde_json::from_str(&route.definition) {
        Ok(model) => Some(model),
        Err(error) => {
            tracing::error!(route = %route.id, %error, "a model route cannot be read and is left out");
            None
        }
    };
    stored.iter().filter_map(read).collect()
}

/// The hash of the admin secret; a first start generates the secret.
async fn admin_secret(store: &Store, first_start: &mut FirstStart) -> Result<[u8; 32], SyncError> {
    if let Some(digest) = store.catalogue.setting(ADMIN_SECRET).await?.as_deref().and_then(from_hex) {
        return Ok(digest);
    }
    let secret = keys::admin_secret().map_err(|_| ManageError::Randomness)?;
    let digest: [u8; 32] = Sha256::digest(secret.expose().as_bytes()).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    store.catalogue.set_setting(ADMIN_SECRET, &hex).await?;
    first_start.admin_secret = Some(secret);
    Ok(digest)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// A user with points, and platform credentials that the simulator accepts. Returns the user's key when it was made
/// now.
async fn set_up_demo(management: &Management, config: &Config) -> Result<Option<Secret>, ManageError> {
    match management.find_user(DEMO_USER).await {
        Ok(_) => return Ok(None),
        Err(ManageError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let (name, points) = (DEMO_USER.to_owned(), DEMO_POINTS);
    management.create_user(NewUser { name, points, ..NewUser::default() }).await?;
    for provider in config.providers.keys() {
        management
            .add_credential(NewCredential {
                provider: provider.clone(),
                user: None,
                label: "demo".to_owned(),
                weight: 100,
                secret: Secret::new(format!("{}{provider}", demo::CREDENTIAL_PREFIX)),
                limits: RateLimits::default(),
                place: None,
            })
            .await?;
    }
    let (_, key) = management.create_key(DEMO_USER, "demo", None, KeyLimits::default()).await?;
    Ok(Some(key))
}

/// The operator of a demonstration, who has no password.
async fn demo_admin(management: &Management) -> Result<UserId, ManageError> {
    match management.find_user(DEMO_ADMIN).await {
        Err(ManageError::NotFound { .. }) => {}
        found => return found,
    }
    let admin = NewUser { name: DEMO_ADMIN.to_owned(), role: Role::Admin, ..NewUser::default() };
    management.create_user(admin).await
}

/// Keeps what happened to a component. Called on the thread where it happened, so it never waits: in a flood of faults
/// the metric counts all of them, and the table keeps those for which there is room.
pub(crate) fn note(writer: &Writer, event: &Event) {
    let row = |component: &str, digest: Option<[u8; 32]>, event: &str, detail: Option<String>| PluginEvent {
        at: now(),
        component: component.to_owned(),
        kind: "component".to_owned(),
        digest,
        event: event.to_owned(),
        detail,
    };
    let row = match event {
        Event::Published { generation, changed } => {
            row(&changed.join(","), None, "published", Some(format!("generation {generation}")))
        }
        Event::Refused { name, reason } => row(name, None, "refused", Some(reason.clone())),
        Event::RolledBack { name, from, to, .. } => {
            row(name, Some(*from.as_bytes()), "rolled-back", Some(format!("to {to}")))
        }
        Event::Fault(error) => {
            row(&error.name, Some(*error.digest.as_bytes()), error.kind.name(), Some(error.detail.clone()))
        }
        Event::Tripped { name, digest } => row(name, Some(*digest.as_bytes()), "tripped", None),
        Event::Recovered { name, digest } => row(name, Some(*digest.as_bytes()), "recovered", None),
    };
    if writer.post(Entry::Event(row)).is_err() {
        tracing::debug!("a component's event was not kept");
    }
}
