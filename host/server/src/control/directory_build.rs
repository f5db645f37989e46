//! Makes a directory from rows: all of it, or the next one from the previous one and what has changed.
//!
//! Accounts, credentials' health and what keys have used are taken over from the directory before, because requests
//! under way hold them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tollgate_core::health::Health;
use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::ledger::Account;
use tollgate_core::lending::{Lending, Terms};
use tollgate_core::limits::{KeyLimits, RateMeter};
use tollgate_core::price::PriceRate;
use tollgate_core::protocol::Owner;
use tollgate_core::role::Role;
use tollgate_store::{ApiKey, Balance, MasterKey, Part, Wanted};

use crate::clock::now;
use crate::state::accounts::SharedAccount;
use crate::state::credentials::Live;
use crate::state::credentials::{Credential, Lender};
use crate::state::directory::{Caller, Directory};
use crate::state::limiter::Limited;
use crate::state::limiter::SharedMeter;
use crate::state::platform;

/// The default weight of a credential.
const USUAL_WEIGHT: u32 = 100;

/// What was used since midnight UTC.
#[derive(Debug, Default)]
pub(crate) struct UsedToday {
    /// Tokens.
    pub(crate) keys: HashMap<ApiKeyId, u64>,
    /// Tokens.
    pub(crate) credentials: HashMap<CredentialId, u64>,
    /// Not tokens but requests of others.
    pub(crate) lent: HashMap<CredentialId, u64>,
}

/// Makes directories.
#[derive(Debug)]
pub(crate) struct Builder {
    /// Opens what is sealed.
    pub(crate) master: MasterKey,
    /// Whether credentials may be lent.
    pub(crate) lends: bool,
    /// Where credentials report that their state has changed.
    pub(crate) changes: UnboundedSender<CredentialId>,
}

impl Builder {
    /// The directory that holds `part` and nothing else; living state is taken from `old`.
    pub(crate) fn whole(&self, old: &Directory, part: Part, used: &UsedToday) -> Directory {
        self.build(Directory::default(), old, part, used)
    }

    /// The directory after `old`, in which `part` stands for what was `wanted`.
    pub(crate) fn next(&self, old: &Directory, wanted: &Wanted, part: Part, used: &UsedToday) -> Directory {
        let mut new = old.clone();
        forget(&mut new, wanted, &part);
        self.build(new, old, part, used)
    }

    fn build(&self, mut new: Directory, old: &Directory, part: Part, used: &UsedToday) -> Directory {
        if let Some(prices) = part.prices {
            new.prices = Arc::new(prices);
        }
        for balance in &part.balances {
            let account = account(old, balance);
            new.accounts.insert(balance.user, account);
        }
        let mut lenders: HashSet<UserId> = part.balances.iter().map(|balance| balance.user).collect();
        lenders.extend(self.take_credentials(&mut new, old, &part.credentials, used));
        let enabled: HashSet<UserId> =
            part.users.iter().filter(|user| user.enabled).map(|user| user.id).collect();
        let admins: HashSet<UserId> =
            part.users.iter().filter(|user| user.role == Role::Admin).map(|user| user.id).collect();
        let own_only: HashSet<UserId> =
            part.users.iter().filter(|user| user.own_only).map(|user| user.id).collect();
        lend(&mut new, &lenders, &enabled);
        for key in part.api_keys {
            let meter = (!key.limits.is_empty()).then(|| meter(old, key.id, &used.keys));
            match &meter {
                Some(meter) => new.meters.insert(key.id, Arc::clone(meter)),
                None => drop(new.meters.remove(&key.id)),
            }
            let rate = part.price_rates.get(&key.user).copied().unwrap_or_default();
            let admin = admins.contains(&key.user);
            match new.accounts.get(&key.user).filter(|_| key.enabled && enabled.contains(&key.user)) {
                Some(account) => {
                    let own = new.own.get(&key.user).map(Arc::clone).unwrap_or_default();
                    let digest = key.sha256;
                    let own_only = key.limits.own_only || own_only.contains(&key.user);
                    let caller = Caller {
                        price_rate: rate,
                        own,
                        admin,
                        own_only,
                        ..caller(key, Arc::clone(account), meter)
                    };
                    new.callers.insert(digest, Arc::new(caller));
                }
                None => drop(new.callers.remove(&key.sha256)),
            }
        }
        new
    }

    /// Sorts credentials in, and returns their owners.
    fn take_credentials(
        &self,
        new: &mut Directory,
        old: &Directory,
        rows: &[tollgate_store::Credential],
        used: &UsedToday,
    ) -> HashSet<UserId> {
        let mut own: HashMap<UserId, Vec<Arc<Credential>>> = HashMap::new();
        for row in rows {
            let live = self.live(row, old, used);
            live.agree(self.lends.then(|| terms(row)).flatten());
            new.live.insert(row.id, Arc::clone(&live));
            let credential = row.enabled.then(|| self.opened(row, live)).flatten();
            match (row.owner, row.user) {
                (Owner::Platform, _) => new.platform.extend(credential),
                (Owner::User, Some(user)) => {
                    new.owners.insert(row.id, user);
                    own.entry(user).or_default().extend(credential);
                }
                // A lent credential still belongs to its user.
                (Owner::Shared, _) | (Owner::User, None) => {}
            }
        }
        // Oldest first, including the new ones.
        new.platform.sort_by_key(|credential| credential.id);
        let users = own.keys().copied().collect();
        for (user, mut list) in own {
            list.extend(new.own.get(&user).into_iter().flat_map(|known| known.iter().map(Arc::clone)));
            list.sort_by_key(|credential| credential.id);
            set_own(new, user, list);
        }
        users
    }

    /// The health of a credential: as requests under way know it, or else as it was stored.
    fn live(&self, row: &tollgate_store::Credential, old: &Directory, used: &UsedToday) -> Arc<Live> {
        old.live.get(&row.id).map(Arc::clone).unwrap_or_else(|| {
            let health = Health::restored(row.state.condition, row.state.failures);
            let meter = RateMeter::new(used.credentials.get(&row.id).copied().unwrap_or(0), now());
            let lending = Lending::new(used.lent.get(&row.id).copied().unwrap_or(0), now());
            Live::new(row.id, health, meter, lending, self.changes.clone())
        })
    }

    /// Opens a sealed credential. One that cannot be opened is left out, loudly: the rest of the gateway works.
    fn opened(&self, row: &tollgate_store::Credential, live: Arc<Live>) -> Option<Arc<Credential>> {
        match row.open(&self.master) {
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
}

/// Removes what `part` contains again, and what no longer exists.
fn forget(new: &mut Directory, wanted: &Wanted, part: &Part) {
    let known: HashSet<CredentialId> = part.credentials.iter().map(|credential| credential.id).collect();
    let other = |credential: &Arc<Credential>| !wanted.credentials.contains(&credential.id);
    if !wanted.credentials.is_empty() {
        new.platform.retain(other);
        new.lent.retain(other);
    }
    for id in &wanted.credentials {
        if let Some(user) = new.owners.get(id).copied() {
            let rest = new.own.get(&user).into_iter().flat_map(|own| own.iter().filter(|it| other(it)));
            let rest = rest.map(Arc::clone).collect();
            set_own(new, user, rest);
        }
        if !known.contains(id) {
            new.owners.remove(id);
            new.live.remove(id);
        }
    }
    let known: HashSet<ApiKeyId> = part.api_keys.iter().map(|key| key.id).collect();
    for id in wanted.api_keys.iter().filter(|id| !known.contains(id)) {
        // Keys are revoked, not removed; one that was removed by hand has to be searched for.
        let gone = new.callers.iter().find(|(_, caller)| caller.api_key == *id).map(|(digest, _)| *digest);
        gone.map(|digest| new.callers.remove(&digest));
        new.meters.remove(id);
    }
}

fn set_own(new: &mut Directory, user: UserId, list: Vec<Arc<Credential>>) {
    if list.is_empty() {
        new.own.remove(&user);
    } else {
        new.own.insert(user, list.into());
    }
}

/// Lends the credentials that these users lend; only enabled users lend anything.
fn lend(new: &mut Directory, users: &HashSet<UserId>, enabled: &HashSet<UserId>) {
    let of_them = |credential: &Arc<Credential>| {
        credential.lender.as_ref().is_some_and(|lender| users.contains(&lender.user))
    };
    if new.lent.iter().any(of_them) {
        new.lent.retain(|credential| !of_them(credential));
    }
    let lenders = users.intersection(enabled).filter_map(|user| Some((*user, new.own.get(user)?)));
    let lent: Vec<_> = lenders
        .flat_map(|(user, own)| own.iter().map(move |credential| (user, credential)))
        .filter(|(_, credential)| credential.live.is_lent())
        .filter_map(|(user, credential)| lent(credential, user, new.accounts.get(&user)?))
        .collect();
    if !lent.is_empty() {
        new.lent.extend(lent);
        new.lent.sort_by_key(|credential| credential.id);
    }
}

/// A credential as others may use it. It has the default weight, so that owners cannot earn more by setting theirs.
fn lent(own: &Credential, user: UserId, account: &Arc<SharedAccount>) -> Option<Arc<Credential>> {
    // A credential whose owner chooses the address would take others' prompts there. The store lends none, and none is
    // used here either.
    if own.place.is_some() {
        return None;
    }
    Some(Arc::new(Credential {
        id: own.id,
        owner: Owner::Shared,
        provider: own.provider.clone(),
        label: own.label.clone(),
        secret: own.secret.clone(),
        place: None,
        weight: USUAL_WEIGHT,
        limits: own.limits,
        lender: Some(Lender { user, account: Arc::clone(account) }),
        live: Arc::clone(&own.live),
    }))
}

/// What a credential's owner agreed to, where they lend it.
fn terms(row: &tollgate_store::Credential) -> Option<Terms> {
    let loan = row.loan.as_ref()?;
    Some(Terms { number: loan.number, requests_per_day: loan.requests_per_day })
}

/// The account that requests under way use, with its current floor, or a new one.
fn account(old: &Directory, balance: &Balance) -> Arc<SharedAccount> {
    let Some(account) = old.accounts.get(&balance.user) else {
        return SharedAccount::new(Account::new(balance.posted, balance.floor));
    };
    account.set_floor(balance.floor);
    Arc::clone(account)
}

/// The meter of a limited key so far, or a new one that begins with today's usage.
fn meter(old: &Directory, key: ApiKeyId, used: &HashMap<ApiKeyId, u64>) -> Arc<SharedMeter> {
    let fresh = || SharedMeter::new(RateMeter::new(used.get(&key).copied().unwrap_or(0), now()));
    old.meters.get(&key).map_or_else(fresh, Arc::clone)
}

fn caller(key: ApiKey, account: Arc<SharedAccount>, meter: Option<Arc<SharedMeter>>) -> Caller {
    let limited = |limits: KeyLimits| Some(Limited { limits, meter: meter? });
    Caller {
        user: key.user,
        api_key: key.id,
        account,
        price_rate: PriceRate::FULL,
        own: Arc::default(),
        expires_at: key.expires_at,
        admin: false,
        keep_bodies: key.keep_bodies,
        own_only: key.limits.own_only,
        limited: limited(key.limits),
        restriction: None,
    }
}
