//! The state of one credential: available, in use, cooling, half-open, or disabled with a reason.
//!
//! A request alone disables nothing: what it meets may be its own doing. A provider that refuses the key is a reason
//! to have the key *checked*, by a call that contains nothing of a caller's, and only that disables it. What rests
//! after failures is a part of the credential (`parts.rs`): an operation of a model, for the caller whose attempts
//! failed, and for everyone where a second caller meets the same.
//!
//! ```text
//!  a part:    available ──fails──▶ cooling (until) ──rest is over──▶ half-open ──▶ probing ──▶ available, or cooling
//!  the whole: good ──a check finds it refused──▶ disabled (invalid key, quota gone; checked again when due) ──▶ good
//! ```
//!
//! Pure: the caller passes the time and, for jitter, a random number. The selector sees only what [`Health::standing`]
//! says, so a credential that rests or is disabled is never a candidate. What an attempt takes is a *lease* that ends
//! by itself: one that is never given back stops counting after a while.

mod parts;

use std::collections::BTreeMap;

use self::parts::Parts;
use crate::failure::FailureClass;
use crate::id::UserId;
use crate::protocol::Operation;
use crate::time::Timestamp;
use crate::wait::RetryAfter;

/// Longest pause after repeated failures.
pub const COOLDOWN_MS_MAX: u64 = 5 * 60 * 1000;
/// First pause before a disabled credential is checked again; it doubles with each refusal up to [`RECHECK_MS_MAX`].
pub const INVALID_RECHECK_MS: u64 = 10 * 60 * 1000;
/// The same where the provider said that the quota is used up and named no time.
pub const QUOTA_RECHECK_MS: u64 = 30 * 60 * 1000;
/// Longest pause between two checks of a disabled credential.
pub const RECHECK_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Shortest time between two checks that requests give cause for.
pub const CHECK_EVERY_MS: u64 = 30 * 1000;
/// Checks that find nothing out before a suspicion is dropped.
const CHECKS_IN_VAIN_MAX: u32 = 5;
/// Transient faults in a row before a credential rests: fewer are more likely the provider's fault than the key's.
const STRIKES_TOLERATED: u32 = 2;
/// First pause of the exponential back-off.
const BACKOFF_MS_BASE: u64 = 1000;

/// Why a credential is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disabled {
    /// The provider refuses it: wrong, expired or revoked.
    InvalidKey,
    /// Its money or long quota is gone.
    QuotaGone,
}

impl Disabled {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::InvalidKey, Self::QuotaGone];

    /// The name that is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid-key",
            Self::QuotaGone => "quota-gone",
        }
    }

    const fn recheck_ms(self) -> u64 {
        match self {
            Self::InvalidKey => INVALID_RECHECK_MS,
            Self::QuotaGone => QUOTA_RECHECK_MS,
        }
    }
}

/// Why a credential rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rest {
    /// Too many requests for now.
    RateLimited,
    /// The provider failed, or was busy.
    Faults,
    /// The provider refused the key, or said that its quota is gone; no check has confirmed it.
    Refused,
}

impl Rest {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RateLimited, Self::Faults, Self::Refused];

    /// The name that is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate-limited",
            Self::Faults => "faults",
            Self::Refused => "refused",
        }
    }
}

/// What an attempt asks, as far as a provider's limits part it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    operation: Operation,
    /// The model's name, hashed: compared often, and never shown.
    model: u64,
}

impl Call {
    /// A call of this operation to the model that the provider calls so.
    #[must_use]
    pub fn new(operation: Operation, model: &str) -> Self {
        let operation = match operation {
            Operation::EmbedBatch => Operation::Embed,
            Operation::Complete => Operation::Generate,
            other => other,
        };
        // FNV-1a: nobody gains by two names that meet.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self { operation, model: model.bytes().fold(0xcbf2_9ce4_8422_2325, step) }
    }
}

/// Who asks for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whose request it is.
    pub caller: UserId,
    /// What it asks.
    pub call: Call,
}

/// Who else could serve in a credential's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Among {
    /// Others may be able to.
    #[default]
    Others,
    /// Nobody is left: it rests shortly after faults, and whoever asks may try it then. A fault may be the fault of the
    /// request that met it, and no other credential is there for the rest of them.
    Nobody,
}

/// What a failed attempt means to its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// Nothing: it is not at fault.
    None,
    /// It rests after the third in a row: for the caller, or for everyone where several callers met them.
    Strike,
    /// It rests at once, for as long as the provider asks, or as its failures demand.
    Rest {
        /// Why.
        why: Rest,
        /// How long the provider asked to wait.
        told: Option<RetryAfter>,
    },
    /// It rests for the caller and is checked: what the check finds counts for everyone.
    Suspect {
        /// Why.
        why: Disabled,
        /// How long the provider asked to wait.
        told: Option<RetryAfter>,
    },
}

impl Penalty {
    /// What a failure of this class means, given how long the provider asked to wait.
    #[must_use]
    pub const fn of(class: FailureClass, told: Option<RetryAfter>) -> Self {
        match class {
            FailureClass::BadRequest
            | FailureClass::ContextTooLong
            | FailureClass::ContentRefused
            | FailureClass::NotFound
            | FailureClass::Permission
            // A page of a network in between, say: it tells nothing of the credential.
            | FailureClass::Unknown => Self::None,
            FailureClass::InvalidCredential => Self::Suspect { why: Disabled::InvalidKey, told: None },
            FailureClass::QuotaExhausted => Self::Suspect { why: Disabled::QuotaGone, told },
            FailureClass::RateLimited => Self::Rest { why: Rest::RateLimited, told },
            // A provider that says how long it is busy is believed; one that just fails is given another chance.
            FailureClass::Overloaded if told.is_some() => Self::Rest { why: Rest::Faults, told },
            FailureClass::Overloaded | FailureClass::Transient => Self::Strike,
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Strike => "a strike",
            Self::Rest { .. } => "rests",
            Self::Suspect { .. } => "checked",
        }
    }
}

/// The part of a credential's state that is kept: stored when it changes, read at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing is wrong.
    #[default]
    Good,
    /// It rests.
    Resting {
        /// Why.
        why: Rest,
        /// Until when; from then on one attempt at a time may try it.
        until: Timestamp,
    },
    /// It serves nobody until a check finds it good.
    Disabled {
        /// Why.
        why: Disabled,
        /// When it is to be checked again.
        recheck_at: Timestamp,
    },
}

/// What a credential can be used for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    Available,
    /// Its rest is over and nobody has tried it since: one attempt may.
    HalfOpen,
    /// It rests for this many milliseconds more; 0 while a probe is under way.
    Cooling {
        /// Why.
        why: Rest,
        /// Milliseconds until it may be probed.
        remaining_ms: u64,
    },
    /// It serves nobody.
    Disabled {
        /// Why.
        why: Disabled,
        /// Milliseconds until it is checked again.
        recheck_ms: u64,
    },
}

/// One attempt's hold on a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease(u64);

/// Counters, leases and condition of one credential.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    condition: Condition,
    failures: u32,
    last_used: Option<Timestamp>,
    /// Attempts under way, oldest first, each with the moment at which it stops counting.
    leases: BTreeMap<Lease, Timestamp>,
    next_lease: u64,
    probe: Option<Lease>,
    parts: Parts,
    suspicion: Option<Suspicion>,
    /// When it was last checked.
    checked_at: Option<Timestamp>,
}

/// What a request gave cause to suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspicion {
    why: Disabled,
    check_at: Timestamp,
    /// Checks that found nothing out.
    in_vain: u32,
}

impl Health {
    /// A credential as it was left: `failures` in a row and a condition.
    #[must_use]
    pub fn restored(condition: Condition, failures: u32) -> Self {
        Self { condition, failures, ..Self::default() }
    }

    /// Requests that it is serving at `now`.
    #[must_use]
    pub fn in_flight(&self, now: Timestamp) -> u32 {
        // Leases of one length expire in the order in which they were taken; others make this an upper estimate at
        // worst.
        let expired = self.leases.values().take_while(|until| **until <= now).count();
        u32::try_from(self.leases.len() - expired).unwrap_or(u32::MAX)
    }

    /// Failures in a row, whatever was asked.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.max(self.parts.failures_max())
    }

    /// Failures in a row, as far as they concern `asked`.
    #[must_use]
    pub fn failures_for(&self, asked: &Asked, now: Timestamp) -> u32 {
        self.failures.max(self.parts.failures(asked, now))
    }

    /// When it was last taken.
    #[must_use]
    pub const fn last_used(&self) -> Option<Timestamp> {
        self.last_used
    }

    /// The part of it that is kept.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// What can be done with it at `now`, whatever is asked: the worst of what is known.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.whole(now) {
            Standing::Available => self.parts.overview(now, self.live(now)).unwrap_or(Standing::Available),
            other => other,
        }
    }

    /// What can be done with it at `now` for who asks.
    #[must_use]
    pub fn standing_for(&self, asked: &Asked, now: Timestamp) -> Standing {
        self.standing_among(Among::Others, asked, now)
    }

    /// The same, given who else could serve.
    #[must_use]
    pub fn standing_among(&self, among: Among, asked: &Asked, now: Timestamp) -> Standing {
        match (self.whole(now), self.parts.standing(asked, among, now, self.live(now))) {
            (whole @ (Standing::Disabled { .. } | Standing::Cooling { .. }), _) | (whole, None) => whole,
            (_, Some(part)) => part,
        }
    }

    fn live(&self, now: Timestamp) -> impl Fn(Lease) -> bool {
        move |lease| self.leases.get(&lease).is_some_and(|until| *until > now)
    }

    /// What can be done with all that no part says anything of.
    fn whole(&self, now: Timestamp) -> Standing {
        match self.condition {
            Condition::Good => Standing::Available,
            Condition::Disabled { why, recheck_at } => {
                Standing::Disabled { why, recheck_ms: recheck_at.since_ms(now) }
            }
            Condition::Resting { why, until } if until > now => {
                Standing::Cooling { why, remaining_ms: until.since_ms(now) }
            }
            Condition::Resting { why, .. } if self.is_probing(now) => {
                Standing::Cooling { why, remaining_ms: 0 }
            }
            Condition::Resting { .. } => Standing::HalfOpen,
        }
    }

    fn is_probing(&self, now: Timestamp) -> bool {
        self.probe.and_then(|probe| self.leases.get(&probe)).is_some_and(|until| *until > now)
    }

    /// An attempt takes it for at most `lease_ms`. Where the credential is half-open, this attempt is the probe.
    pub fn begin(&mut self, asked: &Asked, now: Timestamp, lease_ms: u64) -> Lease {
        // Expired ones are dropped from the front, so that stuck attempts do not use memory for ever.
        while self.leases.first_key_value().is_some_and(|(_, until)| *until <= now) {
            self.leases.pop_first();
        }
        let lease = Lease(self.next_lease);
        self.next_lease += 1;
        if self.whole(now) == Standing::HalfOpen {
            self.probe = Some(lease);
        }
        self.parts.begin(asked, lease, now);
        self.leases.insert(lease, now.plus_ms(lease_ms));
        self.last_used = Some(now);
        lease
    }

    /// An attempt gives it back, having said what it found or not. A lease that has expired is no longer there.
    pub fn release(&mut self, lease: Lease) {
        self.leases.remove(&lease);
    }

    /// An attempt worked. Says whether the condition changed.
    pub fn succeed(&mut self, asked: &Asked) -> bool {
        self.failures = 0;
        self.parts.succeed(asked);
        if self.suspicion.is_some_and(|suspicion| suspicion.why == Disabled::InvalidKey) {
            self.suspicion = None;
        }
        self.enter(Condition::Good)
    }

    /// A check found it good, or nobody knows how to check it: it has another chance. Parts that rest for another
    /// reason than that it was refused go on resting. Says whether the condition changed.
    pub fn acquit(&mut self, now: Timestamp) -> bool {
        self.failures = 0;
        self.checked_at = Some(now);
        // A check seldom sees that a quota is gone: what rests for that goes on resting.
        if self.suspicion.take().is_none_or(|suspicion| suspicion.why == Disabled::InvalidKey) {
            self.parts.acquit();
        }
        self.enter(Condition::Good)
    }

    /// An attempt failed. `jitter` is any random number. Says whether the condition changed or a check became due.
    ///
    /// Attempts that began together fail together: those that come back while it rests already say nothing new, but for
    /// a longer pause that the provider names.
    pub fn fail(&mut self, penalty: Penalty, asked: &Asked, now: Timestamp, jitter: u64) -> bool {
        if matches!(self.condition, Condition::Disabled { .. }) {
            return false;
        }
        match penalty {
            Penalty::None => false,
            Penalty::Rest { why, told } => {
                self.parts.strike(asked, (why, 0), told, now, jitter);
                false
            }
            Penalty::Strike => {
                self.parts.strike(asked, (Rest::Faults, STRIKES_TOLERATED), None, now, jitter);
                false
            }
            Penalty::Suspect { why, told } => {
                self.parts.strike(asked, (Rest::Refused, 0), told, now, jitter);
                self.suspect(why, now)
            }
        }
    }

    /// Asks for a check, but not for one after the other.
    fn suspect(&mut self, why: Disabled, now: Timestamp) -> bool {
        if self.suspicion.is_some() {
            return false;
        }
        let earliest = self.checked_at.map_or(now, |at| at.plus_ms(CHECK_EVERY_MS));
        self.suspicion = Some(Suspicion { why, check_at: earliest.max(now), in_vain: 0 });
        true
    }

    /// A check found it refused, or found nothing out. Says whether the condition changed, which it does where the next
    /// check is due at another time.
    pub fn fail_check(&mut self, class: FailureClass, now: Timestamp, jitter: u64) -> bool {
        let suspicion = self.suspicion.take();
        self.checked_at = Some(now);
        let refused = match class {
            FailureClass::InvalidCredential => Some(Disabled::InvalidKey),
            FailureClass::QuotaExhausted => Some(Disabled::QuotaGone),
            // The provider knows the key, though not for this call: others may be all that it is for.
            FailureClass::Permission => return self.acquit(now),
            // The provider's fault: it says nothing of the key, so ask again soon.
            _ => None,
        };
        let known = match self.condition {
            Condition::Disabled { why, .. } => Some(why),
            Condition::Good | Condition::Resting { .. } => None,
        };
        let Some(why) = refused.or(known) else {
            self.ask_again(suspicion, now);
            return false;
        };
        let pause =
            refused.map_or(COOLDOWN_MS_MAX, |why| doubled(why.recheck_ms(), self.failures, RECHECK_MS_MAX));
        self.failures = self.failures.saturating_add(refused.is_some().into());
        self.enter(Condition::Disabled { why, recheck_at: now.plus_ms(moved(pause, jitter)) })
    }

    /// A check found nothing out about what was suspected: it is made again, a few times.
    fn ask_again(&mut self, suspicion: Option<Suspicion>, now: Timestamp) {
        self.suspicion = suspicion.filter(|it| it.in_vain < CHECKS_IN_VAIN_MAX).map(|it| Suspicion {
            check_at: now.plus_ms(doubled(CHECK_EVERY_MS, it.in_vain, COOLDOWN_MS_MAX)),
            in_vain: it.in_vain + 1,
            ..it
        });
    }

    /// When its next check is due: of one that is disabled or suspected alone.
    #[must_use]
    pub fn check_at(&self) -> Option<Timestamp> {
        match self.condition {
            Condition::Disabled { recheck_at, .. } => Some(recheck_at),
            Condition::Good | Condition::Resting { .. } => self.suspicion.map(|suspicion| suspicion.check_at),
        }
    }

    fn enter(&mut self, condition: Condition) -> bool {
        let changed = self.condition != condition;
        self.condition = condition;
        changed
    }
}

/// 1 s, 2 s, 4 s … up to [`COOLDOWN_MS_MAX`], with jitter, after so many failures in a row.
fn backoff_ms(failures: u32, jitter: u64) -> u64 {
    moved(doubled(BACKOFF_MS_BASE, failures.saturating_sub(1), COOLDOWN_MS_MAX), jitter)
}

/// `base`, doubled this many times, up to `max`.
fn doubled(base: u64, times: u32, max: u64) -> u64 {
    (base << times.min(16)).min(max)
}

/// A pause moved by up to a quarter either way, so that credentials that failed together do not come back together.
fn moved(pause_ms: u64, jitter: u64) -> u64 {
    pause_ms - pause_ms / 4 + jitter % (pause_ms / 2 + 1)
}

#[cfg(test)]
mod tests;
