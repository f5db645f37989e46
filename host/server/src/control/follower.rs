//! Follows the feed of the store: reads only what has changed, and makes the next directory from it.
//!
//! A look at the feed where nothing has changed reads one row. A change of an API key reads the key and its user; one
//! of a user or of a credential, all keys of that user. Everything is read at the start, where the feed has a gap, and
//! where so much has changed that this is faster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tollgate_core::id::{ApiKeyId, RouteId};
use tollgate_core::time::Timestamp;
use tollgate_store::{
    ApiKey, Change, Changed, Credential, Feed, ModelRoute, News, Part, Snapshot, StoreError, Wanted,
};

use crate::auth::memory_keys::MemoryKeys;
use crate::control::directory_build::{Builder, UsedToday};
use crate::state::directory::Directory;

/// Changes after which everything is read instead.
const CHANGES_MAX: u32 = 4096;

/// Why the directory could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of a step.
#[derive(Debug)]
pub(crate) struct Next {
    /// The directory.
    pub(crate) directory: Directory,
    /// All model routes, where one may have changed.
    pub(crate) routes: Option<Vec<ModelRoute>>,
}

/// How far the feed has been followed.
#[derive(Debug)]
pub(crate) struct Follower {
    feed: Arc<dyn Feed>,
    builder: Builder,
    /// The credentials, in a server that keeps them in memory and not in the store.
    memory: Option<Arc<MemoryKeys>>,
    /// The last change that was applied.
    change: u64,
    /// The last change of credentials in memory.
    in_memory: u64,
    /// The last transfer that was applied.
    seq: i64,
    /// The model routes, so that a change of one reads one.
    routes: BTreeMap<RouteId, ModelRoute>,
}

impl Follower {
    /// Reads everything.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn start(
        feed: Arc<dyn Feed>,
        builder: Builder,
        memory: Option<Arc<MemoryKeys>>,
        now: Timestamp,
    ) -> Result<(Self, Next), FollowError> {
        let routes = BTreeMap::new();
        let mut follower = Self { feed, builder, memory, change: 0, in_memory: 0, seq: 0, routes };
        let snapshot = follower.feed.load(now).await?;
        // The balances include what was moved until then.
        follower.seq = snapshot.seq;
        let next = follower.take_up(snapshot, &Directory::default(), now).await?;
        Ok((follower, next))
    }

    /// The directory after `old`; `None` where nothing has changed.
    ///
    /// # Errors
    /// When the store fails; then what has changed is applied the next time.
    pub(crate) async fn follow(
        &mut self,
        old: &Directory,
        now: Timestamp,
    ) -> Result<Option<Next>, FollowError> {
        let changes = match self.feed.changes_since(self.change, CHANGES_MAX).await? {
            News::Changes(changes) if changes.len() < CHANGES_MAX as usize && !unclear(&changes) => changes,
            News::Changes(_) | News::Gap => {
                let snapshot = self.feed.load(now).await?;
                return Ok(Some(self.take_up(snapshot, old, now).await?));
            }
        };
        let (in_memory, of_memory) = match &self.memory {
            Some(memory) => memory.changed_since(self.in_memory),
            None => (0, Vec::new()),
        };
        let Some(last) =
            changes.last().map(|change| change.seq).or((!of_memory.is_empty()).then_some(self.change))
        else {
            return Ok(None);
        };
        let mut wanted = wanted(&changes, self.memory.is_none());
        wanted.credentials.extend(of_memory);
        let next = self.part(wanted, old, now).await?;
        (self.change, self.in_memory) = (last, in_memory);
        Ok(Some(next))
    }

    /// Reads what is wanted and applies it.
    async fn part(
        &mut self,
        mut wanted: Wanted,
        old: &Directory,
        now: Timestamp,
    ) -> Result<Next, FollowError> {
        // Keys in memory hold the credentials of their users, some of which may be gone.
        wanted.users.extend(wanted.credentials.iter().filter_map(|id| old.owners.get(id)));
        let kept = self.memory.as_ref().map(|memory| {
            let of_memory = memory.some(&wanted.credentials);
            wanted.users.extend(of_memory.iter().filter_map(|credential| credential.user));
            (of_memory, std::mem::take(&mut wanted.credentials))
        });
        let mut part = if wanted.is_empty() { Part::default() } else { self.feed.read(&wanted, now).await? };
        if let Some((credentials, ids)) = kept {
            (part.credentials, wanted.credentials) = (credentials, ids);
        }
        let keys = uncounted(&part.api_keys, old);
        let keys = if keys.is_empty() {
            HashMap::new()
        } else {
            self.feed.api_key_tokens_today(Some(&keys), now).await?
        };
        let (read_up_to, routes) = (part.seq, self.changed_routes(&wanted, std::mem::take(&mut part.routes)));
        // New ones were not used yet.
        let used = UsedToday { keys, ..UsedToday::default() };
        let directory = self.builder.next(old, &wanted, part, &used);
        self.credit(old, &directory, read_up_to).await?;
        Ok(Next { directory, routes })
    }

    /// Replaces everything.
    async fn take_up(
        &mut self,
        mut snapshot: Snapshot,
        old: &Directory,
        now: Timestamp,
    ) -> Result<Next, FollowError> {
        let mut in_memory = 0;
        if let Some(memory) = &self.memory {
            (in_memory, snapshot.credentials) = memory.whole();
        }
        let used = self.used_today(&snapshot, old, now).await?;
        let (change, read_up_to, routes) = (snapshot.change, snapshot.seq, snapshot.routes);
        self.routes = routes.iter().map(|route| (route.id, route.clone())).collect();
        let part = Part {
            seq: snapshot.seq,
            users: snapshot.users,
            api_keys: snapshot.api_keys,
            credentials: snapshot.credentials,
            price_rates: snapshot.price_rates,
            balances: snapshot.balances,
            prices: Some(snapshot.prices),
            routes: Vec::new(),
        };
        let directory = self.builder.whole(old, part, &used);
        self.credit(old, &directory, read_up_to).await?;
        (self.change, self.in_memory) = (change, in_memory);
        Ok(Next { directory, routes: Some(routes) })
    }

    /// All routes after a change of some, of which `read` still exist; `None` where none has changed.
    fn changed_routes(&mut self, wanted: &Wanted, read: Vec<ModelRoute>) -> Option<Vec<ModelRoute>> {
        if wanted.routes.is_empty() {
            return None;
        }
        self.routes.retain(|id, _| !wanted.routes.contains(id));
        self.routes.extend(read.into_iter().map(|route| (route.id, route)));
        Some(self.routes.values().cloned().collect())
    }

    /// Credits what management has moved since the last step.
    async fn credit(&mut self, old: &Directory, new: &Directory, read_up_to: i64) -> Result<(), FollowError> {
        for credit in self.feed.transfers_since(self.seq).await? {
            self.seq = credit.seq;
            // The account of a new user came with its balance, which includes these grants.
            let known = old.accounts.contains_key(&credit.user) || credit.seq > read_up_to;
            if let Some(account) = new.accounts.get(&credit.user).filter(|_| known)
                && let Err(error) = account.credit(credit.amount)
            {
                // One account that is full keeps nobody else from being served.
                tracing::error!(%error, user = %credit.user, amount = %credit.amount, "points were not credited");
            }
        }
        Ok(())
    }

    /// What keys and credentials have used since midnight UTC, for limited ones that are not counted yet. Otherwise the
    /// records are not read.
    async fn used_today(
        &self,
        snapshot: &Snapshot,
        old: &Directory,
        now: Timestamp,
    ) -> Result<UsedToday, StoreError> {
        let mut used = UsedToday::default();
        if !uncounted(&snapshot.api_keys, old).is_empty() {
            used.keys = self.feed.api_key_tokens_today(None, now).await?;
        }
        let known = |credential: &Credential| old.live.contains_key(&credential.id);
        let counted =
            |credential: &Credential| credential.limits.tokens_per_day.is_none() || known(credential);
        if !snapshot.credentials.iter().all(counted) {
            used.credentials = self.feed.credential_tokens_today(now).await?;
        }
        // At a start; later all are known, and new ones were not used yet.
        if !snapshot.credentials.iter().any(known) {
            used.lent = self.feed.lent_today(now).await?;
        }
        Ok(used)
    }
}

/// Whether a change requires that everything is read.
fn unclear(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.what == Changed::Everything)
}

/// What to read of what has changed.
fn wanted(changes: &[Change], with_credentials: bool) -> Wanted {
    let mut wanted = Wanted::default();
    for change in changes {
        match change.what {
            Changed::User(user) => wanted.users.extend([user]),
            Changed::ApiKey(key) => wanted.api_keys.extend([key]),
            Changed::Credential(credential) if with_credentials => wanted.credentials.extend([credential]),
            Changed::Prices => wanted.prices = true,
            Changed::ModelRoute(route) => wanted.routes.extend([route]),
            // The transfers are read whenever anything has changed; memory tracks its own credentials.
            Changed::Points(_) | Changed::Credential(_) | Changed::Everything => {}
        }
    }
    wanted
}

/// Limited keys that are not counted yet.
fn uncounted(keys: &[ApiKey], old: &Directory) -> Vec<ApiKeyId> {
    let uncounted = |key: &&ApiKey| !key.limits.is_empty() && !old.meters.contains_key(&key.id);
    keys.iter().filter(uncounted).map(|key| key.id).collect()
}

#[cfg(test)]
mod tests;
