//! The follower over a feed that is no database: rows in memory, which count how many of them are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc::unbounded_channel;
use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_core::price::{PriceRate, PriceSchedule};
use tollgate_core::protocol::Owner;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::seal::SealContext;
use tollgate_store::{
    ApiKey, Balance, Change, Changed, Credential, CredentialState, Credit, Feed, Loan, MasterKey, News, Part,
    Snapshot, StoreError, User, Wanted,
};

use super::{Follower, Next};
use crate::control::directory_build::Builder;
use crate::state::directory::Directory;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Stands for the tables.
#[derive(Debug)]
struct Tables {
    users: BTreeMap<UserId, User>,
    api_keys: BTreeMap<ApiKeyId, ApiKey>,
    credentials: BTreeMap<CredentialId, Credential>,
    rates: HashMap<UserId, PriceRate>,
    balances: BTreeMap<UserId, Balance>,
    credits: Vec<Credit>,
    changes: Vec<Change>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            api_keys: BTreeMap::new(),
            credentials: BTreeMap::new(),
            rates: HashMap::new(),
            balances: BTreeMap::new(),
            credits: Vec::new(),
            // A feed has a first change, after which others can be asked for.
            changes: vec![Change { seq: 1, what: Changed::Everything }],
        }
    }
}

impl Tables {
    fn changed(&mut self, what: Changed) {
        self.changes.push(Change { seq: self.change() + 1, what });
    }

    fn change(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.seq)
    }

    fn seq(&self) -> i64 {
        self.credits.last().map_or(0, |credit| credit.seq)
    }
}

/// A feed of rows in memory.
#[derive(Debug, Default)]
struct Rows {
    tables: Mutex<Tables>,
    read: AtomicUsize,
    loads: AtomicUsize,
}

impl Rows {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count<T>(&self, rows: Vec<T>) -> Vec<T> {
        self.read.fetch_add(rows.len(), Ordering::Relaxed);
        rows
    }

    /// Rows read since the last time.
    fn taken(&self) -> usize {
        self.read.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl Feed for Rows {
    async fn load(&self, _now: Timestamp) -> Result<Snapshot, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let tables = self.tables();
        Ok(Snapshot {
            change: tables.change(),
            seq: tables.seq(),
            users: self.count(tables.users.values().cloned().collect()),
            api_keys: self.count(tables.api_keys.values().cloned().collect()),
            credentials: self.count(tables.credentials.values().cloned().collect()),
            routes: Vec::new(),
            prices: PriceSchedule::default(),
            price_rates: tables.rates.clone(),
            balances: self.count(tables.balances.values().copied().collect()),
        })
    }

    async fn changes_since(&self, seq: u64, limit: u32) -> Result<News, StoreError> {
        let tables = self.tables();
        let rows = tables.changes.iter().filter(|change| change.seq >= seq).take(limit as usize + 1);
        let rows = self.count(rows.copied().collect::<Vec<_>>());
        Ok(match rows.split_first() {
            Some((known, new)) if known.seq == seq => News::Changes(new.to_vec()),
            _ => News::Gap,
        })
    }

    async fn read(&self, wanted: &Wanted, _now: Timestamp) -> Result<Part, StoreError> {
        let tables = self.tables();
        let some = wanted.credentials.iter().filter_map(|id| tables.credentials.get(id).cloned());
        let credentials = self.count(some.collect::<Vec<_>>());
        let mut users = wanted.users.clone();
        users.extend(credentials.iter().filter_map(|credential| credential.user));
        let keys = tables.api_keys.values();
        let some = keys.filter(|key| wanted.api_keys.contains(&key.id) || users.contains(&key.user)).cloned();
        let api_keys = self.count(some.collect::<Vec<_>>());
        users.extend(api_keys.iter().map(|key| key.user));
        Ok(Part {
            seq: tables.seq(),
            users: self.count(users.iter().filter_map(|id| tables.users.get(id).cloned()).collect()),
            price_rates: tables.rates.iter().map(|(user, rate)| (*user, *rate)).collect(),
            balances: self
                .count(wanted.users.iter().filter_map(|id| tables.balances.get(id).copied()).collect()),
            api_keys,
            credentials,
            prices: wanted.prices.then(PriceSchedule::default),
            routes: Vec::new(),
        })
    }

    async fn transfers_since(&self, seq: i64) -> Result<Vec<Credit>, StoreError> {
        Ok(self.count(self.tables().credits.iter().filter(|credit| credit.seq > seq).copied().collect()))
    }

    async fn api_key_tokens_today(
        &self,
        _of: Option<&[ApiKeyId]>,
        _now: Timestamp,
    ) -> Result<HashMap<ApiKeyId, u64>, StoreError> {
        Ok(HashMap::new())
    }

    async fn credential_tokens_today(
        &self,
        _now: Timestamp,
    ) -> Result<HashMap<CredentialId, u64>, StoreError> {
        Ok(HashMap::new())
    }

    async fn lent_today(&self, _now: Timestamp) -> Result<HashMap<CredentialId, u64>, StoreError> {
        Ok(HashMap::new())
    }
}

fn id(number: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    // Both where ids are ordered and where they are spread.
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn user(number: u32) -> UserId {
    UserId::from_bytes(id(number))
}

fn digest(number: u32) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    digest[28..].copy_from_slice(&number.to_be_bytes());
    digest
}

fn master() -> MasterKey {
    MasterKey::from_hex(&Secret::new("a".repeat(64))).unwrap()
}

impl Tables {
    fn put_user(&mut self, number: u32, enabled: bool) {
        let id = user(number);
        let (name, role, created_at) = (number.to_string(), Role::User, NOW);
        self.users.insert(id, User { id, name, enabled, role, created_at, own_only: false });
        let fresh = Balance {
            user: id,
            posted: Micropoints::ZERO,
            pending: Micropoints::ZERO,
            floor: Micropoints::ZERO,
        };
        self.balances.entry(id).or_insert(fresh);
        self.changed(Changed::User(id));
    }

    fn put_key(&mut self, number: u32, of: u32, enabled: bool, tokens_per_day: Option<u64>) {
        let id = ApiKeyId::from_bytes(id(number));
        let limits = KeyLimits {
            rates: RateLimits { tokens_per_day, ..RateLimits::default() },
            ..KeyLimits::default()
        };
        let key = ApiKey {
            id,
            user: user(of),
            name: String::new(),
            sha256: digest(number),
            hint: String::new(),
            enabled,
            created_at: NOW,
            expires_at: None,
            limits,
            keep_bodies: false,
        };
        self.api_keys.insert(id, key);
        self.changed(Changed::ApiKey(id));
    }

    fn put_credential(&mut self, number: u32, of: Option<u32>, enabled: bool, lent: Option<u64>) {
        let id = CredentialId::from_bytes(id(number));
        let owner = if of.is_some() { Owner::User } else { Owner::Platform };
        let place = SealContext { id, owner, provider: "openai" };
        let loan = lent.filter(|_| of.is_some()).map(|number| Loan {
            number,
            requests_per_day: 5,
            consent: "v1".to_owned(),
            actor: "cli".to_owned(),
            at: NOW,
        });
        let credential = Credential {
            id,
            owner,
            user: of.map(user),
            provider: "openai".to_owned(),
            label: number.to_string(),
            sealed: master().seal(&place, &Secret::new("sk-0123456789".to_owned())).unwrap(),
            hint: String::new(),
            weight: 100,
            enabled,
            disabled_reason: None,
            created_at: NOW,
            limits: RateLimits::default(),
            fingerprint: None,
            state: CredentialState::default(),
            check: None,
            platform: None,
            settings: "{}".to_owned(),
            loan,
        };
        self.credentials.insert(id, credential);
        self.changed(Changed::Credential(id));
    }

    fn grant(&mut self, to: u32, points: i64) {
        let (seq, user, amount) = (self.seq() + 1, user(to), Micropoints::new(points));
        let Some(balance) = self.balances.get_mut(&user) else { return };
        balance.posted = balance.posted.checked_add(amount).unwrap();
        self.credits.push(Credit { seq, user, amount });
        self.changed(Changed::Points(user));
    }
}

/// What every feed promises, wherever it is kept; `create` makes a user.
async fn keeps_its_promises(feed: &dyn Feed, create: impl AsyncFn() -> UserId) {
    let changes = async |after, limit| match feed.changes_since(after, limit).await.unwrap() {
        News::Changes(changes) => changes,
        News::Gap => panic!("the feed does not go back to {after}"),
    };
    let before = feed.load(NOW).await.unwrap();
    assert_eq!(changes(before.change, 9).await, [], "nothing has changed");
    let users = [create().await, create().await];
    let all = changes(before.change, 99).await;
    let numbers: Vec<u64> = all.iter().map(|change| change.seq).collect();
    assert_eq!(numbers, (before.change + 1..).take(all.len()).collect::<Vec<_>>(), "one after the other");
    assert!(users.iter().all(|user| all.iter().any(|change| change.what == Changed::User(*user))));
    let (mut paged, mut last) = (Vec::new(), before.change);
    while let [change] = changes(last, 1).await.as_slice() {
        (last, paged) = (change.seq, [paged, vec![*change]].concat());
    }
    let after = feed.load(NOW).await.unwrap();
    assert_eq!((paged, last), (all, after.change), "pages add up to all");
    assert_eq!(
        feed.changes_since(after.change + 1, 9).await.unwrap(),
        News::Gap,
        "from a feed that is behind"
    );

    let nobody = UserId::from_bytes([9; 16]);
    let wanted = Wanted { users: BTreeSet::from([users[0], nobody]), ..Wanted::default() };
    let part = feed.read(&wanted, NOW).await.unwrap();
    assert_eq!(part.users, after.users.into_iter().filter(|it| it.id == users[0]).collect::<Vec<_>>());
    assert_eq!(
        part.balances,
        after.balances.into_iter().filter(|it| it.user == users[0]).collect::<Vec<_>>()
    );
    assert_eq!((part.seq, part.api_keys, part.prices.is_none()), (after.seq, Vec::new(), true));
    assert_eq!(feed.transfers_since(after.seq).await.unwrap(), []);
}

#[tokio::test]
async fn both_feeds_keep_their_promises() {
    let rows = Rows::default();
    let number = AtomicUsize::new(0);
    let next = || u32::try_from(number.fetch_add(1, Ordering::Relaxed)).unwrap();
    let in_memory = async || {
        let number = next();
        rows.tables().put_user(number, true);
        user(number)
    };
    keeps_its_promises(&rows, in_memory).await;

    let folder = tempfile::tempdir().unwrap();
    let options = tollgate_store::Options { sync: tollgate_store::Durability::Normal, accept_loss: false };
    let store = tollgate_store::Store::open(&folder.path().join("t.db"), options).await.unwrap();
    let in_database = async || {
        let at = NOW.plus_ms(next().into());
        store.catalogue.create_user(&at.millis().to_string(), at).await.unwrap()
    };
    keeps_its_promises(store.feed.as_ref(), in_database).await;
}

/// A follower with what it holds.
struct Rig {
    rows: Arc<Rows>,
    follower: Follower,
    directory: Directory,
}

impl Rig {
    async fn new(rows: Arc<Rows>) -> Self {
        let (follower, next) = start(&rows).await;
        rows.taken();
        Self { rows, follower, directory: next.directory }
    }

    /// Applies what has changed, and returns whether anything has.
    async fn follow(&mut self) -> bool {
        let next = self.follower.follow(&self.directory, NOW).await.unwrap();
        next.map(|next| self.directory = next.directory).is_some()
    }
}

async fn start(rows: &Arc<Rows>) -> (Follower, Next) {
    let builder = Builder { master: master(), lends: true, changes: unbounded_channel().0 };
    Follower::start(Arc::clone(rows) as _, builder, None, NOW).await.unwrap()
}

/// Everything that a directory says, in an order.
fn said(directory: &Directory) -> BTreeSet<String> {
    let ids = |list: &[Arc<crate::state::credentials::Credential>]| {
        list.iter().map(|credential| credential.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut said = BTreeSet::new();
    for (digest, caller) in directory.callers.iter() {
        let limited = caller.limited.as_ref().map(|limited| &limited.limits);
        let available = caller.account.available();
        said.insert(format!(
            "caller {digest:?}: {} {} {available} {:?} [{}] {limited:?}",
            caller.user,
            caller.api_key,
            caller.price_rate,
            ids(&caller.own)
        ));
    }
    said.extend(directory.accounts.iter().map(|(user, it)| format!("account {user}: {}", it.available())));
    said.extend(directory.own.iter().map(|(user, own)| format!("own {user}: {}", ids(own))));
    said.extend(directory.live.iter().map(|(id, live)| format!("live {id}: {}", live.is_lent())));
    said.extend(directory.meters.iter().map(|(id, _)| format!("meter {id}")));
    said.extend(directory.owners.iter().map(|(id, user)| format!("owner {id}: {user}")));
    let lent = directory.lent.iter().map(|it| it.lender.as_ref().map(|lender| lender.user.to_string()));
    said.insert(format!("lent {} of {:?}", ids(&directory.lent), lent.collect::<Vec<_>>()));
    said.insert(format!("platform {}", ids(&directory.platform)));
    said
}

#[tokio::test]
async fn one_key_of_a_hundred_thousand_is_taken_up_by_reading_three_rows() {
    let rows = Arc::new(Rows::default());
    for number in 0..10_000 {
        rows.tables().put_user(number, true);
    }
    for number in 0..100_000 {
        rows.tables().put_key(number, number % 10_000, true, None);
    }
    let mut rig = Rig::new(rows).await;
    assert!(!rig.follow().await, "nothing has changed");
    assert_eq!(rig.rows.taken(), 1);

    let before = rig.directory.clone();
    rig.rows.tables().put_key(77_777, 7777, false, None);
    assert!(rig.follow().await);
    // The change that was known, the one that is new, the key and its user.
    assert_eq!(rig.rows.taken(), 4);
    assert!(before.caller(&digest(77_777)).is_some() && rig.directory.caller(&digest(77_777)).is_none());
    let same = |number| {
        let of = |directory: &Directory| directory.caller(&digest(number)).map(Arc::clone).unwrap();
        Arc::ptr_eq(&of(&before), &of(&rig.directory))
    };
    assert!((0..77_777).step_by(7).all(same));

    // A user is read with their keys: ten of them here.
    rig.rows.tables().put_user(7777, false);
    assert!(rig.follow().await);
    assert_eq!(rig.rows.taken(), 2 + 1 + 1 + 10);
    assert_eq!(rig.directory.callers.values().filter(|caller| caller.user == user(7777)).count(), 0);
    assert_eq!(rig.rows.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whatever_changes_the_directory_that_follows_is_the_one_that_reads_everything() {
    let mut dice = fastrand::Rng::with_seed(7);
    let rows = Arc::new(Rows::default());
    rows.tables().put_user(0, true);
    let mut rig = Rig::new(Arc::clone(&rows)).await;
    let (mut loan, mut most) = (0, [0; 4]);
    for round in 0..400 {
        for _ in 0..dice.u32(1..4) {
            let (number, of) = (dice.u32(0..12), dice.u32(0..4));
            let mut tables = rows.tables();
            let known = tables.users.contains_key(&user(of));
            match dice.u32(0..8) {
                0 => tables.put_user(of, dice.bool()),
                1 | 2 if known => {
                    let of = tables.api_keys.get(&ApiKeyId::from_bytes(id(number))).map_or(of, |key| {
                        // A key stays with its user.
                        (0..4).find(|other| user(*other) == key.user).unwrap()
                    });
                    tables.put_key(number, of, dice.u32(0..4) > 0, dice.bool().then_some(9));
                }
                3 | 4 if known => {
                    loan += 1;
                    let of = [None, Some(of)][usize::from(number % 3 > 0)].map(|_| number % 4);
                    let there = of.is_none_or(|of| tables.users.contains_key(&user(of)));
                    let lent = dice.bool().then_some(loan);
                    if there {
                        tables.put_credential(number, of, dice.u32(0..4) > 0, lent);
                    }
                }
                5 => {
                    let id = CredentialId::from_bytes(id(number));
                    if tables.credentials.remove(&id).is_some() {
                        tables.changed(Changed::Credential(id));
                    }
                }
                6 if known => {
                    tables.rates.insert(user(of), PriceRate::of_ppm(dice.u32(0..9)).unwrap());
                    tables.changed(Changed::User(user(of)));
                }
                _ => tables.grant(of, 5),
            }
        }
        rig.follow().await;
        let (_, whole) = start(&rows).await;
        assert_eq!(said(&rig.directory), said(&whole.directory), "round {round}");
        let Directory { callers, live, meters, lent, .. } = &rig.directory;
        let now = [callers.values().count(), live.values().count(), meters.values().count(), lent.len()];
        most = std::array::from_fn(|at| most[at].max(now[at]));
    }
    assert!(most.iter().all(|most| *most > 2), "there was something to compare: {most:?}");
    assert!(rows.tables().credits.len() > 20);
}

#[tokio::test]
async fn a_gap_too_many_changes_and_one_that_nobody_can_name_are_answered_by_reading_everything() {
    let rows = Arc::new(Rows::default());
    rows.tables().put_user(0, true);
    let mut rig = Rig::new(rows).await;
    let loads = |rig: &Rig| rig.rows.loads.load(Ordering::Relaxed);

    rig.rows.tables().changed(Changed::Everything);
    rig.rows.tables().put_user(1, true);
    assert!(rig.follow().await && loads(&rig) == 2);

    for number in 2..6000 {
        rig.rows.tables().put_user(number, true);
    }
    assert!(rig.follow().await && loads(&rig) == 3);
    assert_eq!(rig.directory.accounts.values().count(), 6000);

    // The feed was trimmed while it was not followed.
    rig.rows.tables().put_key(1, 1, true, None);
    rig.rows.tables().changed(Changed::Prices);
    let all = rig.rows.tables().changes.len();
    rig.rows.tables().changes.drain(..all - 1);
    assert!(rig.follow().await && loads(&rig) == 4);
    assert!(rig.directory.caller(&digest(1)).is_some());
    assert!(!rig.follow().await && loads(&rig) == 4);
}
