//! The clock and randomness: the only place of the server that asks the system for either.
//!
//! A request asks for the time some ten times, and a read of a processor's counter takes 0.1 us on a virtual machine.
//! Waits, rests and windows are therefore told by the kernel's last tick, late by a few milliseconds and a sixth as
//! dear. The calendar is exact, because ids are ordered by it; how long a request took is measured with `Instant`.

use std::future::poll_fn;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::Poll;

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::time::{Instant, Sleep, sleep_until};
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

/// What comes of `work` before a moment, which is asked for only where the work has to wait: most of what a request
/// waits for is there already, and then no clock is read and no timer made.
pub(crate) async fn before<T>(
    moment: impl FnOnce() -> Instant,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let mut moment = Some(moment);
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if let Some(moment) = moment.take() {
            timer.set(Some(sleep_until(moment())));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx)).map(|()| None)
    })
    .await
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

#[cfg(test)]
mod tests {
    use super::before;
    use std::cell::Cell;
    use std::future::pending;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_moment_is_asked_for_where_work_has_to_wait() {
        let asked = Cell::new(0);
        let in_seconds = |seconds| {
            asked.set(asked.get() + 1);
            Instant::now() + Duration::from_secs(seconds)
        };
        assert_eq!(before(|| in_seconds(0), pin!(async { 7 })).await, Some(7));
        assert_eq!(asked.get(), 0);
        assert_eq!(before(|| in_seconds(0), pin!(pending::<u32>())).await, None);
        let (sender, receiver) = oneshot::channel();
        let mut work = pin!(receiver);
        let waiting = before(|| in_seconds(600), work.as_mut());
        let (answer, _) = tokio::join!(waiting, async { sender.send(8) });
        assert_eq!((answer, asked.get()), (Some(Ok(8)), 2));
    }
}
