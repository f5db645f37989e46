//! How many bytes of requests and answers all exchanges together may hold. Each alone has bounds of its own; without a
//! sum, some dozens of them are more than a machine has.
//!
//! Counted is what is held by the megabyte: bodies from a few KiB on, answers that must be seen whole, instances of
//! adapters that grew over a request. What finds no room is refused before it holds anything.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Shares below this are not counted: connections bound their number.
const SMALL_BYTES: usize = 16 * 1024;
/// Shares grow in steps, so that few pieces of a body cost a count.
const STEP_BYTES: usize = 64 * 1024;

/// The budget of a process.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    held: AtomicUsize,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

/// What one exchange holds. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// So many bytes; 0 for any number.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: if max == 0 { usize::MAX } else { max }, held: AtomicUsize::new(0) })
    }

    /// Nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { memory: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// So many bytes are held now.
    ///
    /// # Errors
    /// When there is no room for them.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Spent> {
        if bytes <= self.bytes.max(SMALL_BYTES) {
            return Ok(());
        }
        let (max, more) = (self.memory.max, bytes.next_multiple_of(STEP_BYTES) - self.bytes);
        let room = |held: usize| held.checked_add(more).filter(|held| *held <= max);
        self.memory.held.fetch_update(Relaxed, Relaxed, room).map_err(|_| Spent)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.held.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, Spent};

    #[test]
    fn all_shares_together_stay_within_the_budget() {
        let memory = Memory::new(1 << 20);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert_eq!(one.grow_to(1 << 19), Ok(()));
        assert_eq!(other.grow_to(1 << 20), Err(Spent));
        assert_eq!(other.grow_to(1 << 19), Ok(()));
        assert_eq!(one.grow_to((1 << 19) + 1), Err(Spent));
        // What is small is not counted.
        assert_eq!(memory.share().grow_to(1000), Ok(()));
        drop(other);
        assert_eq!(one.grow_to(1 << 20), Ok(()));
        drop(one);
        assert_eq!(memory.held.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert_eq!(Memory::new(0).share().grow_to(1 << 40), Ok(()));
    }
}
