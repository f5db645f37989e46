//! What an API key may do now: calls a minute, tokens a minute and a day, calls at one time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_core::id::ApiKeyId;
use tollgate_core::limits::{KeyLimits, RateMeter, RateStatus, Refused};
use tollgate_core::time::Timestamp;

use super::deciders::SharedLimiter;
use crate::clock::steady;

/// The limits of one API key, with what was used of them.
#[derive(Debug)]
pub(crate) struct Limited {
    /// What it may do.
    pub(crate) limits: KeyLimits,
    /// What it has used; kept through replacements of the directory.
    pub(crate) meter: Arc<SharedMeter>,
}

/// What one API key has used on this node, counted by several workers.
#[derive(Debug)]
pub(crate) struct SharedMeter(Mutex<RateMeter>);

impl SharedMeter {
    /// Wraps a meter.
    pub(crate) fn new(meter: RateMeter) -> Arc<Self> {
        Arc::new(Self(Mutex::new(meter)))
    }

    fn lock(&self) -> MutexGuard<'_, RateMeter> {
        // Its methods do arithmetic that saturates: nothing in them could panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the calls of limited keys in.
#[derive(Default)]
pub(crate) struct Limiter {
    shared: Option<Arc<dyn SharedLimiter>>,
}

impl Limiter {
    /// Asks `shared` where there is one, and what this node counts itself otherwise.
    pub(crate) const fn new(shared: Option<Arc<dyn SharedLimiter>>) -> Self {
        Self { shared }
    }

    /// Lets a call in, and says what is left of its key's limits.
    ///
    /// # Errors
    /// The limit that is reached, and what is left of the others.
    pub(crate) async fn admit(
        &self,
        key: ApiKeyId,
        limited: &Limited,
        now: Timestamp,
    ) -> Result<(KeyPermit, RateStatus), (Refused, RateStatus)> {
        let rates = &limited.limits.rates;
        let (counter, left) = match &self.shared {
            None => {
                let mut meter = limited.meter.lock();
                let admitted = meter.admit_by(rates, now, steady());
                let left = meter.standing(rates);
                admitted.map_err(|refused| (refused, left))?;
                (Counter::Local(Arc::clone(&limited.meter)), left)
            }
            Some(shared) => {
                let left = shared.admit(key, rates, now).await?;
                (Counter::Shared(Arc::clone(shared), key), left)
            }
        };
        Ok((KeyPermit { counter, admitted_at: now, expected: 0, left: false }, left))
    }
}

/// Where a call is counted.
enum Counter {
    Local(Arc<SharedMeter>),
    Shared(Arc<dyn SharedLimiter>, ApiKeyId),
}

/// A limited key's call that was let in. Dropping it gives back its place and counts nothing as used.
pub(crate) struct KeyPermit {
    counter: Counter,
    admitted_at: Timestamp,
    expected: u64,
    left: bool,
}

impl KeyPermit {
    /// The call is about to use at least this many tokens.
    pub(crate) fn expect(&mut self, tokens: u64) {
        match &self.counter {
            Counter::Local(meter) => meter.lock().expect(tokens, self.admitted_at),
            Counter::Shared(shared, key) => shared.expect(*key, tokens, self.admitted_at),
        }
        self.expected += tokens;
    }

    /// The call has left. Later calls of this change nothing.
    pub(crate) fn leave(&mut self) {
        if !self.left {
            self.left = true;
            match &self.counter {
                Counter::Local(meter) => meter.lock().leave(),
                Counter::Shared(shared, key) => shared.leave(*key),
            }
        }
    }

    /// The call used this many tokens.
    pub(crate) fn settle(&mut self, used: u64) {
        match &self.counter {
            Counter::Local(meter) => meter.lock().correct(self.expected, used, self.admitted_at),
            Counter::Shared(shared, key) => shared.correct(*key, self.expected, used, self.admitted_at),
        }
        self.expected = used;
    }
}

impl Drop for KeyPermit {
    fn drop(&mut self) {
        self.leave();
    }
}
