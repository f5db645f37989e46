//! One component as one variant of a binding uses it: linked, configured, counted. Generations share units that did
//! not change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::breaker::Admission;
use crate::digest::Digest;
use crate::error::{CallError, Fault};
use crate::vitals::Vitals;
use crate::world::World;

/// Units dropped so far in this process: tells threads when to look for instances without one.
static DEPARTED: AtomicU64 = AtomicU64::new(0);
static INDEXES: Mutex<Indexes> = Mutex::new(Indexes { free: Vec::new(), next: 0 });

struct Indexes {
    free: Vec<usize>,
    next: usize,
}

/// The place of a unit in every thread's vector; free again when dropped.
#[derive(Debug)]
pub(crate) struct SlotIndex {
    at: usize,
    /// Never used twice: tells an instance of this unit from one that had the place before.
    id: u64,
}

impl SlotIndex {
    /// A place that no living unit has.
    pub(crate) fn take() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let mut indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
        let at = indexes.free.pop().unwrap_or_else(|| {
            indexes.next += 1;
            indexes.next - 1
        });
        Self { at, id: IDS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Where in a thread's vector.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Never used twice.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for SlotIndex {
    fn drop(&mut self) {
        INDEXES.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.at);
        DEPARTED.fetch_add(1, Ordering::Release);
    }
}

/// Units dropped so far in this process.
#[inline]
pub(crate) fn departed() -> u64 {
    DEPARTED.load(Ordering::Acquire)
}

/// A linked component of world `W` with its place in every thread.
pub(crate) struct Unit<W: World> {
    pub(crate) pre: W::Pre,
    pub(crate) slot: SlotIndex,
    pub(crate) vitals: Arc<Vitals>,
}

/// A fault over strangers' bytes.
pub(crate) enum Judged {
    /// Theirs.
    Excused(CallError),
    /// The component's, or it was not called.
    Blamed(CallError),
}

impl From<Judged> for CallError {
    fn from(judged: Judged) -> Self {
        match judged {
            Judged::Excused(error) | Judged::Blamed(error) => error,
        }
    }
}

impl<W: World> std::fmt::Debug for Unit<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name(), self.digest())
    }
}

impl<W: World> Unit<W> {
    pub(crate) fn name(&self) -> &str {
        &self.vitals.name
    }

    pub(crate) fn digest(&self) -> Digest {
        self.vitals.digest
    }

    pub(crate) fn config_digest(&self) -> Digest {
        self.vitals.config_digest
    }

    /// Whether a call could be made now. For what the host does on behalf of a component, without calling it.
    ///
    /// # Errors
    /// While the breaker refuses calls. Once its rest is over, the next call probes, and this stands in nobody's way.
    #[inline]
    pub(crate) fn awake(&self) -> Result<(), CallError> {
        if self.vitals.breaker.rests(Instant::now) { Err(self.vitals.refuse()) } else { Ok(()) }
    }

    /// As [`attempt`](Self::attempt), for a call that strangers' bytes go into: a fault counts against the component
    /// only where it is not well, which is asked once there is one.
    #[inline]
    pub(crate) fn judge<R>(
        &self,
        call: impl FnOnce() -> Result<R, Fault>,
        is_well: impl FnOnce() -> bool,
    ) -> Result<R, Judged> {
        let answer = self.attempt(|| match call() {
            Ok(answer) => Ok(Ok(answer)),
            Err(fault) if is_well() => Ok(Err(fault)),
            Err(fault) => Err(fault),
        });
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(Judged::Excused(self.vitals.excuse(fault))),
            Err(error) => Err(Judged::Blamed(error)),
        }
    }

    /// Does what counts as one call of the component, where its breaker lets it pass.
    #[inline]
    pub(crate) fn attempt<R>(&self, call: impl FnOnce() -> Result<R, Fault>) -> Result<R, CallError> {
        let admission = self.vitals.breaker.admit(Instant::now);
        if admission == Admission::Refuse {
            return Err(self.vitals.refuse());
        }
        self.vitals.count_call();
        match call() {
            Ok(answer) => {
                if admission == Admission::Probe {
                    self.vitals.recover();
                }
                Ok(answer)
            }
            Err(fault) => Err(self.vitals.fail(fault)),
        }
    }
}
