//! The directory: who may call, with what, at which prices. It is in memory and replaced as a whole, by one
//! that shares with it what has not changed.
//!
//! Three kinds of things live on through a replacement because requests hold them: accounts, credentials'
//! health, and what limited API keys have used.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::limits::Translation;
use tollgate_core::price::{PriceRate, PriceSchedule};
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;

use super::accounts::SharedAccount;
use super::credentials::{Credential, Live};
use super::limiter::{Limited, SharedMeter};
use super::sharded::Sharded;

/// Uses the first eight bytes of a SHA-256, which is already a hash.
#[derive(Default)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*head);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

type ByDigest<V> = Sharded<[u8; 32], V, BuildHasherDefault<DigestHasher>>;

/// Someone who calls with one API key.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The account's owner.
    pub(crate) user: UserId,
    /// The key that was used.
    pub(crate) api_key: ApiKeyId,
    /// What calls are paid from.
    pub(crate) account: Arc<SharedAccount>,
    /// What the user pays of the prices. Only for operators.
    pub(crate) price_rate: PriceRate,
    /// The user's own credentials only.
    pub(crate) own: Arc<[Arc<Credential>]>,
    /// When the key expires.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether the user runs the gateway, and is told what is nobody else's business.
    pub(crate) admin: bool,
    /// Whether the bodies of its calls are kept.
    pub(crate) keep_bodies: bool,
    /// Whether the user's own credentials alone may serve, by the key or by the user.
    pub(crate) own_only: bool,
    /// What the key may do, where it is limited at all.
    pub(crate) limited: Option<Limited>,
    /// The only credential that may serve: of a dry run that names one, or of a call about files that it keeps.
    pub(crate) restriction: Option<CredentialId>,
}

impl Caller {
    /// Whether this provider may serve calls with the key.
    pub(crate) fn may_use(&self, provider: &str) -> bool {
        self.limited.as_ref().is_none_or(|limited| limited.limits.allows_provider(provider))
    }

    /// Whether hints that another protocol lacks are refused, and not left out.
    pub(crate) fn wants_strict_translation(&self) -> bool {
        self.limited.as_ref().is_some_and(|limited| limited.limits.translation == Translation::Strict)
    }

    /// The same caller, whom only one credential may serve.
    pub(crate) fn restricted_to(&self, only: CredentialId) -> Self {
        let limited = self.limited.as_ref();
        let limited =
            limited.map(|known| Limited { limits: known.limits.clone(), meter: Arc::clone(&known.meter) });
        let (account, own) = (Arc::clone(&self.account), Arc::clone(&self.own));
        Self { limited, restriction: Some(only), account, own, ..*self }
    }

    /// The caller of a dry run: another account and key, in the place of a caller whose limits and credentials apply.
    pub(crate) fn for_dry_run(
        user: UserId,
        api_key: ApiKeyId,
        account: Arc<SharedAccount>,
        stand_in: Option<&Arc<Self>>,
        restriction: Option<CredentialId>,
    ) -> Self {
        let limited = stand_in.and_then(|other| other.limited.as_ref());
        let limited =
            limited.map(|known| Limited { limits: known.limits.clone(), meter: Arc::clone(&known.meter) });
        let own = stand_in.map(|other| Arc::clone(&other.own)).unwrap_or_default();
        let (price_rate, expires_at, keep_bodies) = (PriceRate::FULL, None, false);
        let (admin, own_only) = (true, stand_in.is_some_and(|other| other.own_only));
        Self {
            user,
            api_key,
            account,
            price_rate,
            own,
            expires_at,
            admin,
            keep_bodies,
            own_only,
            limited,
            restriction,
        }
    }
}

/// Everything that is known at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    /// By the SHA-256 of their keys.
    pub(crate) callers: ByDigest<Arc<Caller>>,
    /// By user, disabled ones included.
    pub(crate) accounts: Sharded<UserId, Arc<SharedAccount>>,
    /// The operator's credentials.
    pub(crate) platform: Vec<Arc<Credential>>,
    /// The users' own credentials, by user.
    pub(crate) own: Sharded<UserId, Arc<[Arc<Credential>]>>,
    /// Those of them that are lent, a second time, as others may use them.
    pub(crate) lent: Vec<Arc<Credential>>,
    /// By credential, so that a replacement keeps it.
    pub(crate) live: Sharded<CredentialId, Arc<Live>>,
    /// The owner of a credential, if it is a user's own.
    pub(crate) owners: Sharded<CredentialId, UserId>,
    /// By limited API key, so that a replacement keeps what was used.
    pub(crate) meters: Sharded<ApiKeyId, Arc<SharedMeter>>,
    /// What models cost, now and later.
    pub(crate) prices: Arc<PriceSchedule>,
}

impl Directory {
    /// The caller whose key has this SHA-256.
    pub(crate) fn caller(&self, digest: &[u8; 32]) -> Option<&Arc<Caller>> {
        self.callers.get(digest)
    }

    /// All credentials that are switched on, whoever they belong to.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.platform.iter().chain(self.own.values().flat_map(|own| own.iter()))
    }

    /// Credentials that may serve `caller`: their own, then those that others lend, then the platform's.
    /// Another user's is among them for as long as it is lent, and none is of a provider that the key may not
    /// use.
    pub(crate) fn credentials<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Arc<Credential>> {
        let asked = |id| caller.restriction.is_none_or(|only| only == id);
        let all = self.serving(caller.user, &caller.own);
        let owned = |owner| !caller.own_only || owner == Owner::User;
        all.filter(move |credential| {
            caller.may_use(&credential.provider) && owned(credential.owner) && asked(credential.id)
        })
    }

    /// Credentials that may serve a user who has these, whatever a key of theirs may do.
    pub(crate) fn serving<'a>(
        &'a self,
        user: UserId,
        own: &'a [Arc<Credential>],
    ) -> impl Iterator<Item = &'a Arc<Credential>> {
        let lent = self.lent.iter().filter(move |credential| {
            credential.lender.as_ref().is_some_and(|lender| lender.user != user) && credential.live.is_lent()
        });
        own.iter().chain(lent).chain(&self.platform)
    }
}
