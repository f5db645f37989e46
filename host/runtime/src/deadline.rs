//! How long a call may run.
//!
//! A deadline by the clock on the wall would blame a component for the time in which the machine ran something else,
//! and on a busy machine that is most of it. So the epoch's deadline comes at half of the budget, by that clock; from
//! there on the time counts that the thread itself has run, and the call ends when that is the whole budget. However
//! busy the machine is, no call has less than its budget, and none more than one and a half of it. A call that is over
//! in time, which is nearly every one, never asks.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

use crate::engine::Clock;

/// The budget of the call under way.
pub(crate) struct Deadline {
    clock: Arc<Clock>,
    /// What the thread may run after the first alarm.
    budget: Duration,
    /// The thread's own time at the first alarm, if there was one. The clock is held from then on.
    alarmed: Option<Duration>,
}

impl Deadline {
    pub(crate) const fn new(clock: Arc<Clock>) -> Self {
        Self { clock, budget: Duration::ZERO, alarmed: None }
    }

    /// Epochs until the first alarm of a call of `ms` milliseconds. The tick under way does not count: hence one more.
    pub(crate) const fn first_half(ms: u32) -> u64 {
        ms as u64 / 2 + 1
    }

    /// A call of `ms` milliseconds begins; its store has its epoch's deadline already.
    #[inline]
    pub(crate) fn begin(&mut self, ms: u32) {
        self.budget = Duration::from_millis(ms.into());
        self.clock.keep_running(Self::first_half(ms));
    }

    /// The call is over.
    #[inline]
    pub(crate) fn disarm(&mut self) {
        if self.alarmed.take().is_some() {
            self.clock.release();
        }
    }

    /// The epoch's deadline has come: how many ticks the call has left, if any.
    #[cold]
    pub(crate) fn alarm(&mut self) -> UpdateDeadline {
        let now = thread_time();
        let start = *self.alarmed.get_or_insert_with(|| {
            self.clock.hold();
            now
        });
        let left = self.budget.saturating_sub(now.saturating_sub(start));
        if left.is_zero() {
            return UpdateDeadline::Interrupt;
        }
        let ticks = left.as_micros().div_ceil(1000);
        UpdateDeadline::Continue(u64::try_from(ticks).unwrap_or(u64::MAX))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// For how long this thread has run.
fn thread_time() -> Duration {
    // The clock of a running thread is never negative.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Clock, Deadline};
    use std::thread;
    use std::time::Duration;
    use wasmtime::{Engine, UpdateDeadline};

    #[test]
    fn time_in_which_the_thread_did_not_run_does_not_count() {
        let clock = Clock::start(Engine::default()).unwrap();
        let budget = Duration::from_millis(20);
        let mut deadline = Deadline::new(clock);
        deadline.budget = budget;
        for _ in 0..3 {
            assert!(matches!(deadline.alarm(), UpdateDeadline::Continue(1..=20)));
            thread::sleep(budget);
        }
        while matches!(deadline.alarm(), UpdateDeadline::Continue(_)) {
            std::hint::spin_loop();
        }
        // The next call begins anew.
        deadline.disarm();
        assert!(matches!(deadline.alarm(), UpdateDeadline::Continue(20)));
    }
}
