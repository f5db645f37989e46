//! A client has left in the middle of its answer. Whether the rest of it is read all the same, for what it says of the
//! usage, is a choice of the operator's, by provider; nothing of it goes anywhere.

use std::time::Duration;

use crate::config::{Limits, OnLeave};
use crate::state::habits::Shown;

/// How long it is read of a model of which nobody knows whether it hides anything.
const MOMENT: Duration = Duration::from_millis(25);

/// How long an answer is read after its client has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    on_leave: OnLeave,
    grace: Duration,
    drain: Duration,
}

impl Patience {
    /// With answers of this provider.
    pub(super) fn new(limits: &Limits, provider: &str) -> Self {
        Self {
            on_leave: limits.on_leave.get(provider).copied().unwrap_or_default(),
            grace: Duration::from_millis(limits.leave_grace_ms),
            drain: limits.leave_drain_ms.duration(),
        }
    }

    /// With one that has said that it is whole, and not yet what it used: nothing more is made of it.
    pub(super) const fn for_usage(self) -> Duration {
        self.grace
    }

    /// With one of which so much shows.
    pub(super) fn with(self, shown: Shown) -> Duration {
        match (self.on_leave, shown) {
            (OnLeave::Drain, _) => self.drain,
            (OnLeave::Settle, Shown::Part) => self.grace,
            (OnLeave::Settle, Shown::Unknown) => self.grace.min(MOMENT),
            (OnLeave::Settle, Shown::All) | (OnLeave::Cancel, _) => Duration::ZERO,
        }
    }
}
