//! The state of one credential: available, in use, cooling, half-open, or disabled with a reason.
//!
//! ```text
//!              fails                    rest is over              one attempt
//!  available ────────▶ cooling (until) ─────────────▶ half-open ──────────────▶ probing
//!      ▲                  ▲                                                        │
//!      │                  └──────────────────── it fails ◀────────────────────────┤
//!      ├────────────────────────────────────── it succeeds ◀───────────────────────┘
//!      │
//!      └── a check succeeds ── disabled (invalid key, quota gone; checked again when due)
//! ```
//!
//! Pure: the caller passes the time and, for jitter, a random number. The selector sees only what [`Health::standing`]
//! says, so a credential that rests or is disabled is never a candidate. What an attempt takes is a *lease* that ends
//! by itself: one that is never given back stops counting after a while.

use std::collections::BTreeMap;

use crate::failure::FailureClass;
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
}

impl Rest {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::RateLimited, Self::Faults];

    /// The name that is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate-limited",
            Self::Faults => "faults",
        }
    }
}

/// What a failed attempt means to its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// Nothing: it is not at fault.
    None,
    /// It rests after the third in a row, for as long as its failures demand.
    Strike,
    /// It rests at once, for as long as the provider asks, or as its failures demand.
    Rest {
        /// Why.
        why: Rest,
        /// How long the provider asked to wait.
        told: Option<RetryAfter>,
    },
    /// It serves nobody until a check finds it good.
    Disable {
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
            | FailureClass::Permission => Self::None,
            FailureClass::InvalidCredential => Self::Disable { why: Disabled::InvalidKey, told: None },
            FailureClass::QuotaExhausted => Self::Disable { why: Disabled::QuotaGone, told },
            FailureClass::RateLimited => Self::Rest { why: Rest::RateLimited, told },
            // A provider that says how long it is busy is believed; one that just fails is given another chance.
            FailureClass::Overloaded if told.is_some() => Self::Rest { why: Rest::Faults, told },
            FailureClass::Overloaded | FailureClass::Transient | FailureClass::Unknown => Self::Strike,
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Strike => "a strike",
            Self::Rest { .. } => "rests",
            Self::Disable { .. } => "disabled",
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

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
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

    /// What it can be used for at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
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
    pub fn begin(&mut self, now: Timestamp, lease_ms: u64) -> Lease {
        // Expired ones are dropped from the front, so that stuck attempts do not use memory for ever.
        while self.leases.first_key_value().is_some_and(|(_, until)| *until <= now) {
            self.leases.pop_first();
        }
        let lease = Lease(self.next_lease);
        self.next_lease += 1;
        if self.standing(now) == Standing::HalfOpen {
            self.probe = Some(lease);
        }
        self.leases.insert(lease, now.plus_ms(lease_ms));
        self.last_used = Some(now);
        lease
    }

    /// An attempt gives it back, having said what it found or not. A lease that has expired is no longer there.
    pub fn release(&mut self, lease: Lease) {
        self.leases.remove(&lease);
    }

    /// The attempt, or a check, succeeded. Says whether the condition changed.
    pub fn succeed(&mut self) -> bool {
        self.failures = 0;
        self.enter(Condition::Good)
    }

    /// An attempt failed. `jitter` is any random number. Says whether the condition changed.
    ///
    /// Attempts that began together fail together: those that come back while it rests or is disabled already say
    /// nothing new, but for a longer pause that the provider names.
    pub fn fail(&mut self, penalty: Penalty, now: Timestamp, jitter: u64) -> bool {
        if penalty == Penalty::None {
            return false;
        }
        let known = match self.condition {
            Condition::Good => false,
            Condition::Resting { until, .. } => until > now,
            Condition::Disabled { .. } => return false,
        };
        if !known {
            self.failures = self.failures.saturating_add(1);
        }
        match penalty {
            Penalty::Disable { why, told } => self.disable(why, told, now, jitter),
            Penalty::Rest { why, told } => {
                self.rest(why, told.map_or_else(|| self.backoff_ms(jitter), RetryAfter::ms), now)
            }
            Penalty::Strike if self.condition != Condition::Good || self.failures > STRIKES_TOLERATED => {
                self.rest(Rest::Faults, self.backoff_ms(jitter), now)
            }
            Penalty::None | Penalty::Strike => false,
        }
    }

    /// A check of a disabled credential found that it is still refused, or found nothing out. Says whether the
    /// condition changed, which it does where the next check is due at another time.
    pub fn fail_check(&mut self, class: FailureClass, now: Timestamp, jitter: u64) -> bool {
        let Condition::Disabled { why, .. } = self.condition else {
            return self.fail(Penalty::of(class, None), now, jitter);
        };
        // The provider knows the key, but does not allow this call: the key may be meant for others.
        if class == FailureClass::Permission {
            return self.succeed();
        }
        let refused = match class {
            FailureClass::InvalidCredential => Some(Disabled::InvalidKey),
            FailureClass::QuotaExhausted => Some(Disabled::QuotaGone),
            // The provider's fault: it says nothing of the key, so ask again soon.
            _ => None,
        };
        let pause =
            refused.map_or(COOLDOWN_MS_MAX, |why| doubled(why.recheck_ms(), self.failures, RECHECK_MS_MAX));
        self.failures = self.failures.saturating_add(refused.is_some().into());
        let (why, recheck_at) = (refused.unwrap_or(why), now.plus_ms(moved(pause, jitter)));
        self.enter(Condition::Disabled { why, recheck_at })
    }

    /// When its next check is due. Only a disabled credential has one: the others come back by themselves.
    #[must_use]
    pub const fn recheck_at(&self) -> Option<Timestamp> {
        match self.condition {
            Condition::Disabled { recheck_at, .. } => Some(recheck_at),
            Condition::Good | Condition::Resting { .. } => None,
        }
    }

    fn rest(&mut self, why: Rest, pause_ms: u64, now: Timestamp) -> bool {
        let until = now.plus_ms(pause_ms);
        match self.condition {
            Condition::Disabled { .. } => false,
            Condition::Resting { until: earlier, .. } if earlier > until => false,
            Condition::Good | Condition::Resting { .. } => self.enter(Condition::Resting { why, until }),
        }
    }

    fn disable(&mut self, why: Disabled, told: Option<RetryAfter>, now: Timestamp, jitter: u64) -> bool {
        self.failures = 1;
        let recheck_at = now.plus_ms(moved(told.map_or(why.recheck_ms(), RetryAfter::ms), jitter));
        self.enter(Condition::Disabled { why, recheck_at })
    }

    fn enter(&mut self, condition: Condition) -> bool {
        let changed = self.condition != condition;
        self.condition = condition;
        changed
    }

    /// 1 s, 2 s, 4 s … up to [`COOLDOWN_MS_MAX`], with jitter.
    fn backoff_ms(&self, jitter: u64) -> u64 {
        moved(doubled(BACKOFF_MS_BASE, self.failures.saturating_sub(1), COOLDOWN_MS_MAX), jitter)
    }
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
