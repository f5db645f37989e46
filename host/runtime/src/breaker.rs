//! A breaker per component: after repeated faults it is left alone for a while, then tried with a single call.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Faults within [`WINDOW`] that open the breaker.
const FAULTS: usize = 5;
/// How long a fault is remembered.
const WINDOW: Duration = Duration::from_secs(10);
/// First rest; doubles with each failed probe.
const REST_MIN: Duration = Duration::from_secs(1);
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(60);

const CLOSED: u8 = 0;
const OPEN: u8 = 1;

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Go on.
    Pass,
    /// Go on, and report the end: the breaker waits for this one call.
    Probe,
    /// Do not call the component.
    Refuse,
}

/// Counts faults; while closed, a call costs it one load.
pub(crate) struct Breaker {
    state: AtomicU8,
    history: Mutex<History>,
}

struct History {
    /// The last faults, oldest overwritten first.
    faults: [Option<Instant>; FAULTS],
    next: usize,
    rest: Duration,
    open_until: Instant,
    probing: bool,
}

impl History {
    /// While the breaker is open: whether its rest is not over, or one call is already finding out.
    fn rests(&self, now: Instant) -> bool {
        self.probing || now < self.open_until
    }
}

impl Breaker {
    pub(crate) fn new(now: Instant) -> Self {
        let history =
            History { faults: [None; FAULTS], next: 0, rest: REST_MIN, open_until: now, probing: false };
        Self { state: AtomicU8::new(CLOSED), history: Mutex::new(history) }
    }

    #[inline]
    pub(crate) fn admit(&self, now: impl FnOnce() -> Instant) -> Admission {
        if self.state.load(Ordering::Relaxed) == CLOSED {
            return Admission::Pass;
        }
        self.admit_open(now())
    }

    /// Whether [`admit`](Self::admit) would refuse a call now. Changes nothing.
    #[inline]
    pub(crate) fn rests(&self, now: impl FnOnce() -> Instant) -> bool {
        self.is_open() && self.history().rests(now())
    }

    #[cold]
    fn admit_open(&self, now: Instant) -> Admission {
        let mut history = self.history();
        if history.rests(now) {
            return Admission::Refuse;
        }
        history.probing = true;
        Admission::Probe
    }

    /// The probe succeeded: closes the breaker and forgets.
    pub(crate) fn recover(&self, now: Instant) {
        *self.history() = Self::new(now).history.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.state.store(CLOSED, Ordering::Relaxed);
    }

    /// Records a fault. Returns whether the breaker opened just now.
    pub(crate) fn fault(&self, now: Instant) -> bool {
        let mut history = self.history();
        if history.probing {
            history.probing = false;
            history.rest = (history.rest * 2).min(REST_MAX);
            history.open_until = now + history.rest;
            return false;
        }
        let at = history.next;
        history.faults[at] = Some(now);
        history.next = (at + 1) % FAULTS;
        let recent =
            |fault: &Option<Instant>| fault.is_some_and(|at| now.saturating_duration_since(at) < WINDOW);
        if self.is_open() || !history.faults.iter().all(recent) {
            return false;
        }
        history.open_until = now + history.rest;
        self.state.store(OPEN, Ordering::Relaxed);
        true
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed) == OPEN
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Breaker};
    use std::time::{Duration, Instant};

    fn tripped() -> (Breaker, Instant) {
        let start = Instant::now();
        let breaker = Breaker::new(start);
        assert_eq!((0..5).map(|_| breaker.fault(start)).filter(|opened| *opened).count(), 1);
        (breaker, start)
    }

    #[test]
    fn five_faults_in_ten_seconds_open_it_and_slower_ones_do_not() {
        let (breaker, start) = tripped();
        assert_eq!(breaker.admit(|| start), Admission::Refuse);
        let slow = Breaker::new(start);
        assert!((0..50).all(|n| !slow.fault(start + Duration::from_millis(2500) * n)));
        assert_eq!(slow.admit(|| start), Admission::Pass);
    }

    #[test]
    fn one_call_probes_and_its_success_closes_it() {
        let (breaker, start) = tripped();
        let later = start + Duration::from_secs(1);
        assert_eq!(breaker.admit(|| later), Admission::Probe);
        assert_eq!(breaker.admit(|| later), Admission::Refuse);
        breaker.recover(later);
        assert_eq!(breaker.admit(|| later), Admission::Pass);
    }

    #[test]
    fn whether_it_rests_can_be_asked_without_taking_the_probe() {
        let (breaker, start) = tripped();
        let later = start + Duration::from_secs(1);
        assert!(breaker.rests(|| start));
        assert!(!breaker.rests(|| later));
        assert_eq!(breaker.admit(|| later), Admission::Probe);
        assert!(breaker.rests(|| later), "one call finds out");
        breaker.recover(later);
        assert!(!breaker.rests(|| later));
    }

    #[test]
    fn each_failed_probe_doubles_the_rest_up_to_a_minute() {
        let (breaker, mut now) = tripped();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let early = now + Duration::from_secs(seconds) - Duration::from_millis(1);
            assert_eq!(breaker.admit(|| early), Admission::Refuse, "{seconds}");
            now += Duration::from_secs(seconds);
            assert_eq!(breaker.admit(|| now), Admission::Probe, "{seconds}");
            assert!(!breaker.fault(now));
        }
    }
}
