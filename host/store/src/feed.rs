//! What a server follows: everything at its start, and then each change.
//!
//! Each transaction that changes something writes rows into the feed: what kind of thing has changed, and which one. A
//! server reads the new rows and then only the things that they name.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use async_trait::async_trait;
use tollgate_core::id::{ApiKeyId, CredentialId, RouteId, UserId};
use tollgate_core::price::{PriceRate, PriceSchedule};
use tollgate_core::time::Timestamp;

use crate::catalogue::api_key::ApiKey;
use crate::catalogue::credential::Credential;
use crate::catalogue::model_route::ModelRoute;
use crate::catalogue::user::User;
use crate::error::StoreError;
use crate::ledger::account::Balance;
use crate::ledger::booking::Credit;
use crate::snapshot::Snapshot;

/// A change that a server must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Its place in the feed: only grows, by one from change to change.
    pub seq: u64,
    /// What has changed.
    pub what: Changed,
}

/// What has changed. Creation and deletion are changes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Unknown: everything must be read.
    Everything,
    /// A user: their name, whether they may call, the floor of their account, what they pay of the prices.
    User(UserId),
    /// An API key.
    ApiKey(ApiKeyId),
    /// A credential or its loan. Not its health, which the server itself writes.
    Credential(CredentialId),
    /// Price tables.
    Prices,
    /// A model route.
    ModelRoute(RouteId),
    /// Management moved points of a user: see [`Feed::transfers_since`].
    Points(UserId),
}

/// An answer of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// These changes, in their order; none where nothing has changed.
    Changes(Vec<Change>),
    /// The feed does not go back that far: everything must be read.
    Gap,
}

/// What to read again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Users, with their account, their price rate and all of their keys.
    pub users: BTreeSet<UserId>,
    /// Keys, without the others of their users.
    pub api_keys: BTreeSet<ApiKeyId>,
    /// Credentials, with all keys of their users: a key in memory knows its user's credentials.
    pub credentials: BTreeSet<CredentialId>,
    /// The price tables.
    pub prices: bool,
    /// Model routes.
    pub routes: BTreeSet<RouteId>,
}

impl Wanted {
    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A part of what a server decides from, at one moment. What was asked for and is missing no longer exists.
#[derive(Debug, Default)]
pub struct Part {
    /// The last transfer that the balances contain.
    pub seq: i64,
    /// The users that were asked for, and those to whom the keys and credentials belong.
    pub users: Vec<User>,
    /// Keys, revoked and expired ones too.
    pub api_keys: Vec<ApiKey>,
    /// Credentials, disabled ones too, still sealed.
    pub credentials: Vec<Credential>,
    /// What those users pay of the prices, for those who do not pay them in full.
    pub price_rates: HashMap<UserId, PriceRate>,
    /// The balances of the users that were asked for.
    pub balances: Vec<Balance>,
    /// The price tables, where they were asked for.
    pub prices: Option<PriceSchedule>,
    /// The model routes that were asked for.
    pub routes: Vec<ModelRoute>,
}

/// What a server follows: everything at its start, and then each change.
#[async_trait]
pub trait Feed: Debug + Send + Sync {
    /// Reads everything, prices as of `now`. A server calls it at its start, after the sweep, and where the feed has a
    /// gap.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn load(&self, now: Timestamp) -> Result<Snapshot, StoreError>;

    /// What has changed after `seq`, at most `limit` changes: a change appears only after all before it. A server asks
    /// all the time, so this reads a single row where nothing has changed.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn changes_since(&self, seq: u64, limit: u32) -> Result<News, StoreError>;

    /// Reads a part of what [`Feed::load`] reads, all of it at one moment, prices as of `now`.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn read(&self, wanted: &Wanted, now: Timestamp) -> Result<Part, StoreError>;

    /// What management moved on users' accounts after transfer `seq`, in order. A server calls it when somebody's
    /// points have changed, with the last `seq` that it applied, first that of its [`Snapshot`].
    ///
    /// # Errors
    /// When the database fails.
    async fn transfers_since(&self, seq: i64) -> Result<Vec<Credit>, StoreError>;

    /// Tokens that each key has used since midnight UTC; only these keys where some are named. A server asks when it
    /// begins to count for a key.
    ///
    /// # Errors
    /// When the database fails.
    async fn api_key_tokens_today(
        &self,
        of: Option<&[ApiKeyId]>,
        now: Timestamp,
    ) -> Result<HashMap<ApiKeyId, u64>, StoreError>;

    /// Tokens that credentials have served since midnight UTC. A server asks at its start, to go on counting.
    ///
    /// # Errors
    /// When the database fails.
    async fn credential_tokens_today(&self, now: Timestamp)
    -> Result<HashMap<CredentialId, u64>, StoreError>;

    /// How often others have used each lent credential since midnight UTC. A server asks at its start, to go on
    /// counting.
    ///
    /// # Errors
    /// When the database fails.
    async fn lent_today(&self, now: Timestamp) -> Result<HashMap<CredentialId, u64>, StoreError>;
}
