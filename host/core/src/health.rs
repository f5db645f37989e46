//! The state of one credential: in use, resting after failures, or ready.
//!
//! Pure: the caller passes the time and, for jitter, a random number. The selector sees only what [`Health::standing`]
//! says, so a resting credential is never a candidate.

use crate::failure::FailureClass;
use crate::time::Timestamp;

/// Longest pause after repeated failures.
pub const COOLDOWN_MS_MAX: u64 = 5 * 60 * 1000;
/// Pause after the provider refused the credential itself.
pub const INVALID_MS: u64 = 10 * 60 * 1000;
/// Pause after its quota was gone and the provider named no time.
pub const QUOTA_MS: u64 = 30 * 60 * 1000;
/// A provider's own `Retry-After` is believed up to here.
pub const RETRY_AFTER_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Transient faults in a row before a credential rests: fewer are more likely the provider's than the key's.
const TRANSIENT_FAILURES_TOLERATED: u32 = 2;
/// First pause of the exponential back-off.
const BACKOFF_MS_BASE: u64 = 1000;

/// What can be done with a credential now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    Available,
    /// Its rest is over and nobody has tried it since: one attempt may.
    HalfOpen,
    /// It rests for so many milliseconds more; 0 while a probe is under way.
    Cooling {
        /// Milliseconds until it may be probed.
        remaining_ms: u64,
    },
}

/// Counters and rest of one credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    in_flight: u32,
    failures: u32,
    last_used: Option<Timestamp>,
    resting_until: Option<Timestamp>,
}

impl Health {
    /// Requests that it serves now.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
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

    /// What can be done with it at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.resting_until {
            None => Standing::Available,
            Some(until) if until > now => Standing::Cooling { remaining_ms: until.since_ms(now) },
            Some(_) if self.in_flight == 0 => Standing::HalfOpen,
            Some(_) => Standing::Cooling { remaining_ms: 0 },
        }
    }

    /// An attempt takes it.
    pub fn begin(&mut self, now: Timestamp) {
        self.in_flight += 1;
        self.last_used = Some(now);
    }

    /// An attempt gives it back without a word on its health (the client left, or the request was at fault).
    pub fn release(&mut self) {
        debug_assert!(self.in_flight > 0, "a credential is given back once per attempt");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The attempt succeeded.
    pub fn succeed(&mut self) {
        self.failures = 0;
        self.resting_until = None;
    }

    /// The attempt failed. `jitter` is any random number.
    pub fn fail(&mut self, class: FailureClass, retry_after_ms: Option<u64>, now: Timestamp, jitter: u64) {
        if class.blames_request() || class == FailureClass::Permission {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(pause) = self.pause_ms(class, retry_after_ms, jitter) {
            let until = now.plus_ms(pause);
            self.resting_until = Some(self.resting_until.map_or(until, |earlier| earlier.max(until)));
        }
    }

    /// How long it rests after a failure; `None` when it need not.
    fn pause_ms(&self, class: FailureClass, retry_after_ms: Option<u64>, jitter: u64) -> Option<u64> {
        let told = retry_after_ms.map(|ms| ms.min(RETRY_AFTER_MS_MAX));
        match class {
            FailureClass::InvalidCredential => Some(INVALID_MS),
            FailureClass::QuotaExhausted => Some(told.unwrap_or(QUOTA_MS)),
            FailureClass::RateLimited => Some(told.unwrap_or_else(|| self.backoff_ms(jitter))),
            FailureClass::Overloaded | FailureClass::Transient | FailureClass::Unknown => {
                let probing = self.resting_until.is_some();
                (probing || self.failures > TRANSIENT_FAILURES_TOLERATED).then(|| self.backoff_ms(jitter))
            }
            _ => None,
        }
    }

    /// 1 s, 2 s, 4 s … up to [`COOLDOWN_MS_MAX`], each moved by up to a quarter either way so that credentials that failed
    /// together do not come back together.
    fn backoff_ms(&self, jitter: u64) -> u64 {
        let exponent = self.failures.saturating_sub(1).min(16);
        let pause = (BACKOFF_MS_BASE << exponent).min(COOLDOWN_MS_MAX);
        pause - pause / 4 + jitter % (pause / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{COOLDOWN_MS_MAX, Health, INVALID_MS, Standing};
    use crate::failure::FailureClass::{BadRequest, InvalidCredential, Permission, RateLimited, Transient};
    use crate::time::Timestamp;

    const T0: Timestamp = Timestamp::from_millis(1_000_000);

    fn failed(times: u32, retry_after_ms: Option<u64>) -> Health {
        let mut health = Health::default();
        for _ in 0..times {
            health.fail(RateLimited, retry_after_ms, T0, 0);
        }
        health
    }

    #[test]
    fn a_provider_that_names_the_pause_is_believed() {
        let health = failed(1, Some(31_000));
        assert_eq!(health.standing(T0), Standing::Cooling { remaining_ms: 31_000 });
        assert_eq!(health.standing(T0.plus_ms(31_000)), Standing::HalfOpen);
    }

    #[test]
    fn pauses_double_and_stop_growing() {
        let pause = |times| match failed(times, None).standing(T0) {
            Standing::Cooling { remaining_ms } => remaining_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!([pause(1), pause(2), pause(3)], [750, 1500, 3000]);
        assert_eq!(pause(40), COOLDOWN_MS_MAX * 3 / 4);
    }

    #[test]
    fn one_probe_at_a_time_goes_to_a_half_open_credential() {
        let mut health = failed(1, Some(10));
        let later = T0.plus_ms(10);
        health.begin(later);
        assert_eq!(health.standing(later), Standing::Cooling { remaining_ms: 0 });
        health.release();
        health.succeed();
        assert_eq!((health.standing(later), health.failures()), (Standing::Available, 0));
    }

    #[test]
    fn a_failed_probe_rests_again_at_once() {
        let mut health = failed(1, Some(10));
        health.fail(Transient, None, T0.plus_ms(10), 0);
        assert!(matches!(health.standing(T0.plus_ms(11)), Standing::Cooling { .. }));
    }

    #[test]
    fn a_bad_request_or_a_missing_permission_never_rests_a_credential() {
        let mut health = Health::default();
        health.fail(BadRequest, None, T0, 0);
        health.fail(Permission, Some(5), T0, 0);
        assert_eq!((health.standing(T0), health.failures()), (Standing::Available, 0));
    }

    #[test]
    fn two_transient_faults_are_tolerated_and_an_invalid_key_is_not() {
        let mut health = Health::default();
        health.fail(Transient, None, T0, 0);
        health.fail(Transient, None, T0, 0);
        assert_eq!(health.standing(T0), Standing::Available);
        health.fail(Transient, None, T0, 0);
        assert!(matches!(health.standing(T0), Standing::Cooling { .. }));
        health.fail(InvalidCredential, None, T0, 0);
        assert_eq!(health.standing(T0), Standing::Cooling { remaining_ms: INVALID_MS });
    }
}
