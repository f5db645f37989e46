//! How long the calls of a component take: one of some is timed, because to look at the clock twice is a part of what a
//! short call costs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One call of so many of an instance is timed, its first among them.
const TIMED: u32 = 16;
/// Buckets of a histogram; the last one has no end.
const BUCKETS: usize = Durations::BOUNDS_US.len() + 1;

/// Counts durations.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Timer {
    /// Whether this call of an instance, counted from 1, is timed.
    #[inline]
    pub(crate) const fn times(call: u32) -> bool {
        call % TIMED == 1
    }

    /// Counts a call that took so long.
    pub(crate) fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = Durations::BOUNDS_US.iter().take_while(|bound| us > **bound).count();
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn durations(&self) -> Durations {
        let counts = std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed));
        Durations { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// How long the calls took that were timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// Calls that took at most the bound of the same place, and longer than the one before; the last ones longer than
    /// any.
    pub counts: [u64; BUCKETS],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Durations {
    /// Bounds of the buckets, in microseconds.
    pub const BOUNDS_US: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 20_000, 100_000];

    /// Calls that were timed.
    #[must_use]
    pub fn timed(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A time that so many in a thousand calls did not exceed, as a bound of a bucket; `None` where it is beyond the
    /// last, or nothing was timed.
    #[must_use]
    pub fn at_most_us(&self, permille: u64) -> Option<u64> {
        let (mut seen, wanted) = (0, self.timed().saturating_mul(permille).div_ceil(1000).max(1));
        let within = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        self.counts.iter().position(within).and_then(|at| Self::BOUNDS_US.get(at).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::{Durations, Timer};
    use std::time::Duration;

    #[test]
    fn calls_are_counted_by_how_long_they_took() {
        let timer = Timer::default();
        assert_eq!(timer.durations().at_most_us(500), None);
        for us in [1, 1, 2, 3, 100, 101, 1_000_000] {
            timer.note(Duration::from_micros(us));
        }
        let durations = timer.durations();
        assert_eq!(durations.counts[..4], [2, 1, 1, 0]);
        assert_eq!((durations.counts[6], durations.counts[7], durations.counts[14]), (1, 1, 1));
        assert_eq!((durations.timed(), durations.sum_us), (7, 1_000_208));
        assert_eq!(durations.at_most_us(500), Some(5));
        assert_eq!((durations.at_most_us(850), durations.at_most_us(990)), (Some(200), None));
        assert_eq!(Durations::default().timed(), 0);
    }

    #[test]
    fn the_first_call_of_an_instance_is_timed_and_few_others() {
        assert!(Timer::times(1));
        assert_eq!((1..=1600).filter(|call| Timer::times(*call)).count(), 100);
    }
}
