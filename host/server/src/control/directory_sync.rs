//! The way from the database to memory: everything at start, and what another process has changed since.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tollgate_core::health::Health;
use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::ledger::{Account, BalanceOverflow};
use tollgate_core::lending::{Lending, Terms};
use tollgate_core::limits::{KeyLimits, RateLimits, RateMeter};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_runtime::Event;
use tollgate_store::{Act, Entry, PluginEvent, Snapshot, Store, StoreError, Writer};

use crate::auth::keys;
use crate::clock::now;
use crate::config::environment::{KeyStorage, Keys};
use crate::config::{Config, Model};
use crate::demo;
use crate::manage::login::Logins;
use crate::manage::{GATEWAY, ManageError, Management, NewCredential};
use crate::shared::Shared;
use crate::state::credentials::Live;
use crate::state::directory::{Caller, Credential, Directory, Lender, Limited, SharedAccount};
use crate::state::limiter::SharedMeter;
use crate::state::platform;

/// The setting that holds the hash of the admin secret.
const ADMIN_SECRET: &str = "admin_secret_sha256";
/// The user of a demonstration, and what it starts with.
const DEMO_USER: &str = "demo";
const DEMO_POINTS: Micropoints = Micropoints::from_points(1_000_000);

/// The weight of a credential for which nobody has said one.
const USUAL_WEIGHT: u32 = 100;

/// What a first start made up.
#[derive(Debug, Clone, Default)]
pub struct FirstStart {
    /// The admin secret.
    pub admin_secret: Option<Secret>,
    /// The key of the demonstration's user.
    pub demo_key: Option<Secret>,
}

/// Why memory does not hold what the database does.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Management could not be opened or asked.
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// What the last run left could not be resolved.
    #[error("resolving what the last run left")]
    Sweep(#[source] StoreError),
    /// A grant is more than an account can hold.
    #[error("crediting an account")]
    Account(#[from] BalanceOverflow),
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
    pub(crate) admin_secret: [u8; 32],
    pub(crate) logins: Logins,
    pub(crate) first_start: FirstStart,
    /// Credentials whose state has changed.
    pub(crate) changed: UnboundedReceiver<CredentialId>,
}

/// What is needed to notice changes.
pub(crate) struct DirectorySync {
    management: Management,
    revision: i64,
    /// That of credentials in memory.
    in_memory: i64,
    seq: i64,
    changes: UnboundedSender<CredentialId>,
}

/// Opens the database, resolves what a crash left, and reads everything into memory.
///
/// # Errors
/// When the database or the master key cannot be used, or another process serves from them.
pub(crate) async fn open(config: &Config, demo: bool, keys: Keys) -> Result<Opened, SyncError> {
    let mut management = Management::open(config).await?.acting(Act::new(GATEWAY, None, None));
    keep_keys(&mut management, config, keys).await?;
    let swept = management.store().ledger.sweep(now()).await.map_err(SyncError::Sweep)?;
    if swept.released > 0 {
        tracing::warn!(holds = swept.released, points = %swept.amount, "released holds of a run that did not end well");
    }
    let mut first_start = FirstStart::default();
    let admin_secret = admin_secret(management.store(), &mut first_start).await?;
    if demo {
        first_start.demo_key = set_up_demo(&management, config).await?;
    }
    let mut snapshot = management.store().feed.load(now()).await?;
    snapshot.credentials = management.kept().await?;
    let (revision, seq) = (snapshot.revision, snapshot.seq);
    let routes = routes(&snapshot.routes);
    let used = tokens_today(management.store(), &snapshot, &Directory::default()).await?;
    let (changes, changed) = unbounded_channel();
    let directory = directory(&management, snapshot, &Directory::default(), &used, &changes);
    let (store, logins) = (management.store().clone(), Logins::open(management.clone()).await?);
    let in_memory = management.memory_revision();
    let books = DirectorySync { management, revision, in_memory, seq, changes };
    Ok(Opened { store, books, directory, routes, admin_secret, logins, first_start, changed })
}

/// Decides where provider keys are kept, says so, and takes in those that the environment gives to memory.
async fn keep_keys(management: &mut Management, config: &Config, keys: Keys) -> Result<(), SyncError> {
    for wrong in &keys.wrong {
        tracing::error!("{wrong}");
    }
    let in_database = management.kept().await?.len();
    if keys.storage(in_database > 0) == KeyStorage::Database {
        let unused = keys.given.len();
        tracing::info!(credentials = in_database, unused_in_environment = unused, "provider keys: database");
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
        let new =
            NewCredential { provider, user: None, label, weight: 100, secret, limits: RateLimits::default() };
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
    /// The desk that the books are read at.
    pub(crate) const fn management(&self) -> &Management {
        &self.management
    }

    /// Takes up what another process has changed: users, keys, credentials, prices, grants.
    ///
    /// # Errors
    /// When the database fails; memory is as it was then.
    pub(crate) async fn refresh(&mut self, shared: &Shared) -> Result<(), SyncError> {
        let store = self.management.store();
        let in_memory = self.management.memory_revision();
        if store.feed.revision().await? == self.revision && in_memory == self.in_memory {
            return Ok(());
        }
        let mut snapshot = store.feed.load(now()).await?;
        snapshot.credentials = self.management.kept().await?;
        let (revision, read_up_to) = (snapshot.revision, snapshot.seq);
        let routes = routes(&snapshot.routes);
        let old = shared.directory.load();
        let used = tokens_today(store, &snapshot, &old).await?;
        let new = directory(&self.management, snapshot, &old, &used, &self.changes);
        for credit in store.feed.transfers_since(self.seq).await? {
            self.seq = credit.seq;
            // The account of a new user came with its balance, and with the grants that are part of it.
            let known = old.accounts.contains_key(&credit.user) || credit.seq > read_up_to;
            if let Some(account) = new.accounts.get(&credit.user).filter(|_| known) {
                account.lock().credit(credit.amount)?;
            }
        }
        (self.revision, self.in_memory) = (revision, in_memory);
        shared.directory.store(Arc::new(new));
        // Nothing is awaited in between: the file's half, which the same thread replaces, is the newest.
        if let Some(upstreams) = shared.upstreams.load().with_stored(routes) {
            shared.upstreams.store(upstreams);
        }
        Ok(())
    }
}

/// Model routes as they are compiled. One that this version cannot read is left out, loudly: the rest of the gateway works.
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

/// Tokens that were used since midnight UTC.
struct UsedToday {
    keys: HashMap<ApiKeyId, u64>,
    credentials: HashMap<CredentialId, u64>,
    /// Not tokens but requests of others.
    lent: HashMap<CredentialId, u64>,
}

/// Tokens that keys and credentials have used since midnight UTC, where one is limited and nobody has counted for it yet. The
/// records are not read otherwise.
async fn tokens_today(store: &Store, snapshot: &Snapshot, old: &Directory) -> Result<UsedToday, StoreError> {
    let counted = |credential: &tollgate_store::Credential| {
        credential.limits.tokens_per_day.is_none() || old.live.contains_key(&credential.id)
    };
    let credentials = if snapshot.credentials.iter().all(counted) {
        HashMap::new()
    } else {
        store.feed.credential_tokens_today(now()).await?
    };
    // At a start; later all are known, and what is new was not used.
    let known = |credential: &tollgate_store::Credential| old.live.contains_key(&credential.id);
    let lent = if snapshot.credentials.iter().any(known) {
        HashMap::new()
    } else {
        store.feed.lent_today(now()).await?
    };
    Ok(UsedToday { keys: key_tokens_today(store, snapshot, old).await?, credentials, lent })
}

async fn key_tokens_today(
    store: &Store,
    snapshot: &Snapshot,
    old: &Directory,
) -> Result<HashMap<ApiKeyId, u64>, StoreError> {
    let counted = |key: &tollgate_store::ApiKey| key.limits.is_empty() || old.meters.contains_key(&key.id);
    if snapshot.api_keys.iter().all(counted) {
        return Ok(HashMap::new());
    }
    store.feed.api_key_tokens_today(now()).await
}

/// Builds the directory of a snapshot. Accounts, credentials' health and what keys have used are taken over from the one
/// before, because requests under way hold them.
fn directory(
    management: &Management,
    snapshot: Snapshot,
    old: &Directory,
    used: &UsedToday,
    changes: &UnboundedSender<CredentialId>,
) -> Directory {
    let mut new = Directory {
        prices: Arc::new(snapshot.prices),
        meters: meters(&snapshot.api_keys, old, &used.keys),
        ..Directory::default()
    };
    for balance in snapshot.balances {
        let known = old.accounts.get(&balance.user).map(Arc::clone);
        if let Some(account) = &known {
            account.lock().set_floor(balance.floor);
        }
        let account =
            known.unwrap_or_else(|| SharedAccount::new(Account::new(balance.posted, balance.floor)));
        new.accounts.insert(balance.user, account);
    }
    let enabled: HashSet<UserId> =
        snapshot.users.iter().filter(|user| user.enabled).map(|user| user.id).collect();
    let mut own: HashMap<UserId, Vec<Arc<Credential>>> = HashMap::new();
    for row in snapshot.credentials {
        let live = live(&row, old, used, changes);
        live.agree(management.lends().then(|| terms(&row)).flatten());
        new.live.insert(row.id, Arc::clone(&live));
        if !row.enabled {
            continue;
        }
        let Some(credential) = opened(management, &row, live) else { continue };
        match (row.owner, row.user) {
            (Owner::Platform, _) => new.platform.push(credential),
            (Owner::User, Some(user)) => {
                if management.lends() && row.loan.is_some() && enabled.contains(&user) {
                    new.pool.extend(lent(&credential, user, &new.accounts));
                }
                own.entry(user).or_default().push(credential);
            }
            // What is lent stays its user's in the books.
            (Owner::Shared, _) | (Owner::User, None) => {}
        }
    }
    new.own = own.into_iter().map(|(user, list)| (user, list.into())).collect();
    for key in snapshot.api_keys.into_iter().filter(|key| key.enabled && enabled.contains(&key.user)) {
        let Some(account) = new.accounts.get(&key.user) else { continue };
        let caller = Caller {
            user: key.user,
            api_key: key.id,
            account: Arc::clone(account),
            price_rate: snapshot.price_rates.get(&key.user).copied().unwrap_or_default(),
            own: new.own.get(&key.user).map(Arc::clone).unwrap_or_default(),
            expires_at: key.expires_at,
            keep_bodies: key.keep_bodies,
            limited: limited(&new, key.id, key.limits),
            restriction: None,
        };
        new.callers.insert(key.sha256, Arc::new(caller));
    }
    new
}

/// What a credential's owner agreed to, where he lends it.
fn terms(row: &tollgate_store::Credential) -> Option<Terms> {
    let loan = row.loan.as_ref()?;
    Some(Terms { number: loan.number, requests_per_day: loan.requests_per_day })
}

/// A credential as others may use it. The weight is the usual one: an owner's own does not make him earn more.
fn lent(
    own: &Credential,
    user: UserId,
    accounts: &HashMap<UserId, Arc<SharedAccount>>,
) -> Option<Arc<Credential>> {
    // One that its owner leads elsewhere would take others' prompts there: the store lends none, and neither is one used.
    if own.place.is_some() {
        return None;
    }
    let lender = Lender { user, account: Arc::clone(accounts.get(&user)?) };
    Some(Arc::new(Credential {
        id: own.id,
        owner: Owner::Shared,
        provider: own.provider.clone(),
        label: own.label.clone(),
        secret: own.secret.clone(),
        place: None,
        weight: USUAL_WEIGHT,
        limits: own.limits,
        lender: Some(lender),
        live: Arc::clone(&own.live),
    }))
}

/// A meter for each key that is limited: the one that counted before, or one that begins with what was used today.
fn meters(
    keys: &[tollgate_store::ApiKey],
    old: &Directory,
    used: &HashMap<ApiKeyId, u64>,
) -> HashMap<ApiKeyId, Arc<SharedMeter>> {
    keys.iter()
        .filter(|key| !key.limits.is_empty())
        .map(|key| {
            let known = old.meters.get(&key.id).map(Arc::clone);
            let fresh = || SharedMeter::new(RateMeter::new(used.get(&key.id).copied().unwrap_or(0), now()));
            (key.id, known.unwrap_or_else(fresh))
        })
        .collect()
}

fn limited(new: &Directory, key: ApiKeyId, limits: KeyLimits) -> Option<Limited> {
    let meter = Arc::clone(new.meters.get(&key)?);
    Some(Limited { limits, meter })
}

/// How a credential is: as requests under way know it, or else as it was left.
fn live(
    row: &tollgate_store::Credential,
    old: &Directory,
    used: &UsedToday,
    changes: &UnboundedSender<CredentialId>,
) -> Arc<Live> {
    old.live.get(&row.id).map(Arc::clone).unwrap_or_else(|| {
        let health = Health::restored(row.state.condition, row.state.failures);
        let meter = RateMeter::new(used.credentials.get(&row.id).copied().unwrap_or(0), now());
        let lending = Lending::new(used.lent.get(&row.id).copied().unwrap_or(0), now());
        Live::new(row.id, health, meter, lending, changes.clone())
    })
}

/// Opens a sealed credential. One that cannot be opened is left out, loudly: the rest of the gateway works.
fn opened(
    management: &Management,
    row: &tollgate_store::Credential,
    live: Arc<Live>,
) -> Option<Arc<Credential>> {
    match row.open(management.master()) {
        Ok(secret) => Some(Arc::new(Credential {
            id: row.id,
            owner: row.owner,
            provider: row.provider.clone(),
            label: row.label.clone(),
            place: platform::place(row)?,
            secret,
            weight: row.weight,
            limits: row.limits,
            lender: None,
            live,
        })),
        Err(error) => {
            tracing::error!(credential = %row.id, %error, "a credential cannot be opened and is left out");
            None
        }
    }
}

/// The hash of the admin secret; a first start makes one up.
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

/// A user with points, and platform credentials that the simulator takes. Returns the user's key when it was made now.
async fn set_up_demo(management: &Management, config: &Config) -> Result<Option<Secret>, ManageError> {
    if management.users().await?.iter().any(|user| user.name == DEMO_USER) {
        return Ok(None);
    }
    management.add_user(DEMO_USER, DEMO_POINTS).await?;
    for provider in config.providers.keys() {
        management
            .add_credential(NewCredential {
                provider: provider.clone(),
                user: None,
                label: "demo".to_owned(),
                weight: 100,
                secret: Secret::new(format!("{}{provider}", demo::CREDENTIAL_PREFIX)),
                limits: RateLimits::default(),
            })
            .await?;
    }
    let (_, key) = management.create_key(DEMO_USER, "demo", None, KeyLimits::default()).await?;
    Ok(Some(key))
}

/// Keeps what happened to a component. Called on the thread where it happened, so it never waits: under a flood of faults
/// the metric counts them all, and the table keeps those that there is room for.
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
