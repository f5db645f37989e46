//! The clock and randomness: the only place of the server that asks the system for either.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Instant;

use tollgate_core::time::Timestamp;

/// The time by the calendar.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time by a clock that nobody sets: it was the calendar's when the process began, and goes on evenly from there.
/// It is for how long something lasts: waits, rests, windows.
pub(crate) fn steady() -> Timestamp {
    static BEGAN: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (now(), Instant::now()));
    let (calendar, began) = *BEGAN;
    calendar.plus_ms(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
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
