//! Rests that are for a part of what a credential serves: one operation of one model, for everyone or for one caller.
//!
//! A provider's limits are mostly those of a model, and what one caller's requests meet may be those requests' own
//! fault, a rate limit too: one prompt can be more than a minute allows. Neither is a reason to keep the credential
//! from anybody else. A caller's own failures rest it for them alone; it rests for everyone when two callers in a row
//! meet the same, which costs an attempt more where the provider means everyone.

use super::{Among, Asked, Call, Lease, Rest, Standing, backoff_ms};
use crate::id::UserId;
use crate::time::Timestamp;
use crate::wait::RetryAfter;

/// Most rests that are remembered of one credential.
const PARTS_MAX: usize = 64;
/// After so long a rest that is over counts no more: neither for the length of the next one nor for who may try.
const FORGET_MS: u64 = 10 * 60 * 1000;
/// Longest rest, after faults, of a credential in whose place there is no other.
const ALONE_MS_MAX: u64 = 1_000;
/// Longest that others wait for the attempt that tries a part after its rest.
const PROBE_MS_MAX: u64 = 10_000;

/// All of them. Mostly there are none, which costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// For whom; `None` for everyone.
    caller: Option<UserId>,
    call: Call,
    why: Rest,
    /// When its rest is or was over; `None` before the first.
    until: Option<Timestamp>,
    /// When it may serve already where nobody else is left.
    alone_from: Timestamp,
    /// When something was last learnt of it.
    touched: Timestamp,
    /// Failures in a row of a caller; rests in a row where it is for everyone.
    failures: u32,
    /// Failures since the last rest or success, where it is for everyone, …
    strikes: u32,
    /// … and whose they were, up to two.
    callers: [Option<UserId>; 2],
    /// The attempt that tries it after a rest, and until when others wait for it.
    probe: Option<(Lease, Timestamp)>,
}

impl Parts {
    /// What can be done for `asked` by what is known of parts, the worst of it; `None` where nothing is.
    pub(super) fn standing(
        &self,
        asked: &Asked,
        among: Among,
        now: Timestamp,
        live: impl Fn(Lease) -> bool,
    ) -> Option<Standing> {
        self.worst(among, now, live, |part| part.concerns(asked))
    }

    /// The worst of all.
    pub(super) fn overview(&self, now: Timestamp, live: impl Fn(Lease) -> bool) -> Option<Standing> {
        self.worst(Among::Others, now, live, |_| true)
    }

    fn worst(
        &self,
        among: Among,
        now: Timestamp,
        live: impl Fn(Lease) -> bool,
        counts: impl Fn(&Part) -> bool,
    ) -> Option<Standing> {
        let rank = |standing: &Standing| match *standing {
            Standing::Cooling { remaining_ms, .. } => Some(remaining_ms),
            _ => None,
        };
        let parts = self.0.iter().filter(|part| counts(part));
        parts.filter_map(|part| part.standing(among, now, &live)).max_by_key(rank)
    }

    /// Failures in a row, as far as they concern `asked`.
    pub(super) fn failures(&self, asked: &Asked, now: Timestamp) -> u32 {
        let parts = self.0.iter().filter(|part| part.concerns(asked) && !part.is_forgotten(now));
        parts.map(|part| part.failures).max().unwrap_or(0)
    }

    /// The most failures in a row of any.
    pub(super) fn failures_max(&self) -> u32 {
        self.0.iter().map(|part| part.failures).max().unwrap_or(0)
    }

    /// An attempt begins: of what it finds at the end of a rest it is the probe.
    pub(super) fn begin(&mut self, asked: &Asked, lease: Lease, now: Timestamp) {
        for part in self.0.iter_mut().filter(|part| part.concerns(asked)) {
            if part.until.is_some_and(|until| until <= now)
                && part.probe.is_none_or(|(_, until)| until <= now)
            {
                part.probe = Some((lease, now.plus_ms(PROBE_MS_MAX)));
            }
        }
    }

    /// An attempt worked: nothing is left of what concerned it.
    pub(super) fn succeed(&mut self, asked: &Asked) {
        self.0.retain(|part| !part.concerns(asked));
    }

    /// The key is good after all: nothing rests for having been refused.
    pub(super) fn acquit(&mut self) {
        self.0.retain(|part| part.why != Rest::Refused);
    }

    /// An attempt failed for what may be its own fault. More than `tolerated` of them in a row are a reason to rest for
    /// the caller, and for everyone where they were not one caller's.
    pub(super) fn strike(
        &mut self,
        asked: &Asked,
        (why, tolerated): (Rest, u32),
        told: Option<RetryAfter>,
        now: Timestamp,
        jitter: u64,
    ) {
        let own = self.part(Some(asked.caller), asked.call, why, now);
        if !own.is_resting(now) {
            own.failures = own.failures.saturating_add(1);
        }
        if own.failures > tolerated {
            own.rest(why, told, now, jitter);
        }
        let all = self.part(None, asked.call, why, now);
        if all.is_resting(now) {
            all.rest_alone(now);
            return;
        }
        all.strikes = all.strikes.saturating_add(1);
        match &mut all.callers {
            [Some(first), second] if *first != asked.caller => *second = Some(asked.caller),
            [first, _] => *first = Some(asked.caller),
        }
        if all.strikes > tolerated && all.callers[1].is_some() {
            (all.strikes, all.callers) = (0, [None, None]);
            all.failures = all.failures.saturating_add(1);
            all.rest(why, told, now, jitter);
        }
    }

    fn part(&mut self, caller: Option<UserId>, call: Call, why: Rest, now: Timestamp) -> &mut Part {
        self.0.retain(|part| !part.is_forgotten(now));
        let known = self.0.iter().position(|part| part.caller == caller && part.call == call);
        let at = known.unwrap_or_else(|| {
            if self.0.len() >= PARTS_MAX {
                self.make_room(caller);
            }
            self.0.push(Part::new(caller, call, why, now));
            self.0.len() - 1
        });
        self.0[at].touched = now;
        &mut self.0[at]
    }

    /// Forgets one: of the caller's own, so that whoever fills the list pushes nobody else out, or else the first to
    /// end.
    fn make_room(&mut self, caller: Option<UserId>) {
        let own = |part: &Part| part.caller.is_some() && part.caller == caller;
        // One that has never rested comes before any that has.
        let order = |part: &Part| (!own(part), part.until);
        let first = self.0.iter().enumerate().min_by_key(|(_, part)| order(part)).map(|(at, _)| at);
        if let Some(at) = first {
            self.0.swap_remove(at);
        }
    }
}

impl Part {
    const fn new(caller: Option<UserId>, call: Call, why: Rest, now: Timestamp) -> Self {
        Self {
            caller,
            call,
            why,
            until: None,
            alone_from: now,
            touched: now,
            failures: 0,
            strikes: 0,
            callers: [None, None],
            probe: None,
        }
    }

    fn concerns(&self, asked: &Asked) -> bool {
        self.call == asked.call && self.caller.is_none_or(|caller| caller == asked.caller)
    }

    fn is_resting(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.until.unwrap_or(self.touched).max(self.touched).plus_ms(FORGET_MS) <= now
    }

    fn standing(&self, among: Among, now: Timestamp, live: impl Fn(Lease) -> bool) -> Option<Standing> {
        let until = self.until.filter(|_| !self.is_forgotten(now))?;
        let last = among == Among::Nobody && self.why == Rest::Faults;
        let until = if last { until.min(self.alone_from) } else { until };
        if until > now {
            return Some(Standing::Cooling { why: self.why, remaining_ms: until.since_ms(now) });
        }
        // Whose fault it was is not known where callers failed: all may try then, at once.
        let alone = !last && (self.caller.is_some() || self.why == Rest::RateLimited);
        let probing = self.probe.is_some_and(|(lease, until)| until > now && live(lease));
        if alone && probing {
            return Some(Standing::Cooling { why: self.why, remaining_ms: 0 });
        }
        Some(Standing::HalfOpen)
    }

    fn rest(&mut self, why: Rest, told: Option<RetryAfter>, now: Timestamp, jitter: u64) {
        let pause = match told {
            Some(told) => told.ms(),
            // Attempts that began together fail together.
            None if self.is_resting(now) => return self.rest_alone(now),
            None => backoff_ms(self.failures, jitter),
        };
        let until = now.plus_ms(pause);
        if self.until.is_none_or(|known| known < until) {
            (self.why, self.until, self.probe) = (why, Some(until), None);
            let short = why == Rest::Faults && told.is_none();
            self.alone_from = if short { until.min(now.plus_ms(ALONE_MS_MAX)) } else { until };
        }
    }

    /// An attempt failed that was made because nobody else was left.
    fn rest_alone(&mut self, now: Timestamp) {
        if self.alone_from <= now {
            self.alone_from = now.plus_ms(ALONE_MS_MAX);
        }
    }
}
