//! The clock and randomness: the only place of the server that asks the system for either.
//!
//! A request asks for the time some ten times, and a read of a processor's counter takes 0.1 us on a virtual machine.
//! Waits, rests and windows are therefore told by the kernel's last tick, late by a few milliseconds and a sixth as
//! dear. The calendar is exact, because ids are ordered by it; how long a request took is measured with `Instant`.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;

use rustix::time::{ClockId, Timespec, clock_gettime};
use tollgate_core::time::Timestamp;

#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

/// The time by the calendar.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(millis(clock_gettime(ClockId::Realtime)))
}

/// The time by a clock that nobody sets: it was the calendar's when the process began, and goes on evenly from there.
/// It is for how long something lasts: waits, rests, windows.
pub(crate) fn steady() -> Timestamp {
    static BEGAN: LazyLock<(Timestamp, u64)> = LazyLock::new(|| (now(), millis(clock_gettime(STEADY))));
    let (calendar, began) = *BEGAN;
    calendar.plus_ms(millis(clock_gettime(STEADY)).saturating_sub(began))
}

/// A clock's time in milliseconds. One before its beginning is its beginning.
fn millis(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000)
}

/// A number that nobody outside can guess, whatever they have seen of ids.
pub(crate) fn secret() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A new id's random part.
pub(crate) fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    fastrand::fill(&mut bytes);
    bytes
}
