//! How many connections to providers there may be at one time, of all threads: each takes a descriptor, and clients,
//! the database and operators need some too.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// What the system says when a process, or the system itself, has no descriptor left.
const NO_DESCRIPTOR: [i32; 2] = [24, 23];

/// Room for connections.
pub(crate) struct Room {
    max: usize,
    taken: AtomicUsize,
}

impl Room {
    /// For so many.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: AtomicUsize::new(0) })
    }

    /// A place for one more, where there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let place = Place(Arc::clone(self));
        // Given back by its drop where it is one too many.
        (self.taken.fetch_add(1, Relaxed) < self.max).then_some(place)
    }
}

/// The place of a connection. Dropping it gives it back.
pub(super) struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// Whether something failed for want of a descriptor.
pub(super) fn is_starved(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let system = error.downcast_ref::<io::Error>();
        if system.and_then(io::Error::raw_os_error).is_some_and(|code| NO_DESCRIPTOR.contains(&code)) {
            return true;
        }
        // What an error of the system stands around is not its source.
        cause = match system.and_then(io::Error::get_ref) {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Room, is_starved};
    use std::io;

    #[test]
    fn a_place_too_many_is_not_kept() {
        let room = Room::new(1);
        let held = room.take().unwrap();
        assert!(room.take().is_none() && room.take().is_none());
        drop(held);
        assert!(room.take().is_some());
    }

    #[test]
    fn want_of_descriptors_is_known_behind_other_errors() {
        let starved = io::Error::other(io::Error::from_raw_os_error(24));
        assert!(is_starved(&starved));
        assert!(!is_starved(&io::Error::other(io::Error::from_raw_os_error(111))));
    }
}
