//! Who may try to log in now: after a few wrong tries, each further one waits twice as long as the one before.
//!
//! Pure: the caller passes the time. Tries are counted by name or by address, whether or not it exists, so a lock tells
//! nothing.  A success forgets the tries; so does a day without any.

use std::collections::HashMap;
use std::hash::Hash;

use crate::time::{DAY_MS, Timestamp};

/// Wait after the first try that was one too many.
pub const WAIT_MS_MIN: u64 = 1000;
/// Most names that are remembered: those with the fewest wrong tries are forgotten first.
const NAMES_MAX: usize = 10_000;

/// Wrong tries by name or address.
#[derive(Debug)]
pub struct Lockout<K> {
    tries: HashMap<K, Tries>,
    free: u32,
    wait_ms_max: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    wrong: u32,
    last: Timestamp,
}

impl Tries {
    /// When the next try may be made.
    fn open_at(self, free: u32, wait_ms_max: u64) -> Timestamp {
        match self.wrong.checked_sub(free) {
            None => self.last,
            // Twenty doublings are far beyond the longest wait.
            Some(beyond) => self.last.plus_ms((WAIT_MS_MIN << beyond.min(20)).min(wait_ms_max)),
        }
    }
}

impl<K: Eq + Hash + Clone> Lockout<K> {
    /// Allows `free` wrong tries before the first wait, and has nobody wait for longer than `wait_ms_max`.
    #[must_use]
    pub fn new(free: u32, wait_ms_max: u64) -> Self {
        Self { tries: HashMap::new(), free, wait_ms_max }
    }

    /// Counts a try as wrong before it is known to be: tries that run at one time are all counted.
    ///
    /// # Errors
    /// Milliseconds until one may be made, at least 1; it was not counted then.
    pub fn begin(&mut self, name: &K, now: Timestamp) -> Result<(), u64> {
        let known = self.tries.get(name).copied().filter(|tries| now.since_ms(tries.last) < DAY_MS);
        let tries = known.unwrap_or_default();
        let wait = tries.open_at(self.free, self.wait_ms_max).since_ms(now);
        if tries.wrong >= self.free && wait > 0 {
            return Err(wait);
        }
        self.make_room(now);
        self.tries.insert(name.clone(), Tries { wrong: tries.wrong.saturating_add(1), last: now });
        Ok(())
    }

    /// The last try was right, but the tries before it still count: many people may share an address.
    pub fn forgive(&mut self, name: &K) {
        if let Some(tries) = self.tries.get_mut(name) {
            tries.wrong = tries.wrong.saturating_sub(1);
        }
    }

    /// The last try was right: the tries before it are forgotten.
    pub fn succeed(&mut self, name: &K) {
        self.tries.remove(name);
    }

    /// What is remembered of a name: wrong tries, and when the last one was.
    #[must_use]
    pub fn tries(&self, name: &K) -> Option<(u32, Timestamp)> {
        self.tries.get(name).map(|tries| (tries.wrong, tries.last))
    }

    /// Goes on from what [`Lockout::tries`] said before a restart.
    pub fn restore(&mut self, name: K, wrong: u32, last: Timestamp) {
        self.tries.insert(name, Tries { wrong, last });
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.tries.len() < NAMES_MAX {
            return;
        }
        self.tries.retain(|_, tries| now.since_ms(tries.last) < DAY_MS);
        if self.tries.len() >= NAMES_MAX {
            let free = self.free;
            self.tries.retain(|_, tries| tries.wrong >= free);
        }
        if self.tries.len() >= NAMES_MAX {
            // Nobody can make the worst forgotten by many others that are not as bad.
            let mut worst: Vec<(u32, Timestamp)> =
                self.tries.values().map(|tries| (tries.wrong, tries.last)).collect();
            let (_, middle, _) = worst.select_nth_unstable(NAMES_MAX / 2);
            let middle = *middle;
            self.tries.retain(|_, tries| (tries.wrong, tries.last) > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lockout, NAMES_MAX};
    use crate::time::{DAY_MS, Timestamp};

    const WAIT_MS_MAX: u64 = 900_000;
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn each_wrong_try_beyond_the_free_ones_waits_twice_as_long() {
        let mut lockout = Lockout::new(3, WAIT_MS_MAX);
        let mut now = NOW;
        for _ in 0..3 {
            lockout.begin(&"alice", now).unwrap();
        }
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = lockout.begin(&"alice", now).unwrap_err();
            lockout.begin(&"alice", now.plus_ms(wait - 1)).unwrap_err();
            now = now.plus_ms(wait);
            lockout.begin(&"alice", now).unwrap();
            waits.push(wait / 1000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(lockout.begin(&"alice", now), Err(WAIT_MS_MAX));
        lockout.begin(&"bob", now).unwrap();
    }

    #[test]
    fn a_right_try_and_a_day_of_rest_forget_the_wrong_ones() {
        let mut lockout = Lockout::new(1, WAIT_MS_MAX);
        lockout.begin(&"alice", NOW).unwrap();
        lockout.begin(&"alice", NOW).unwrap_err();
        lockout.succeed(&"alice");
        lockout.begin(&"alice", NOW).unwrap();
        lockout.begin(&"alice", NOW.plus_ms(1000)).unwrap();
        lockout.begin(&"alice", NOW.plus_ms(1000)).unwrap_err();
        lockout.begin(&"alice", NOW.plus_ms(1000 + DAY_MS)).unwrap();
        assert_eq!(lockout.begin(&"alice", NOW.plus_ms(1000 + DAY_MS)), Err(1000));
    }

    #[test]
    fn a_right_try_that_is_forgiven_leaves_the_wrong_ones() {
        let mut lockout = Lockout::new(2, WAIT_MS_MAX);
        for _ in 0..9 {
            lockout.begin(&"office", NOW).unwrap();
            lockout.forgive(&"office");
        }
        lockout.begin(&"office", NOW).unwrap();
        lockout.begin(&"office", NOW).unwrap();
        lockout.begin(&"office", NOW).unwrap_err();
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lockout = Lockout::new(2, WAIT_MS_MAX);
        for name in 0..3 * NAMES_MAX {
            lockout.begin(&name, NOW).unwrap();
        }
        assert!(lockout.tries.len() <= NAMES_MAX);
        // However many come, whoever is locked stays so.
        for _ in 0..5 {
            lockout.begin(&usize::MAX, NOW).ok();
            let wait = lockout.begin(&usize::MAX, NOW).err().unwrap_or_default();
            lockout.begin(&usize::MAX, NOW.plus_ms(wait)).ok();
        }
        for name in 0..2 * NAMES_MAX {
            for _ in 0..2 {
                lockout.begin(&name, NOW).ok();
            }
        }
        assert!(lockout.tries.len() <= NAMES_MAX && lockout.begin(&usize::MAX, NOW).is_err());
    }
}
