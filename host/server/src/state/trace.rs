//! Dry runs: one request of an admin through all steps of a call, and the trace of what each step decided.
//!
//! A dry run comes in by the clients' own listener with a token that is valid once ([`DryRuns`]). It brings its caller,
//! whose `restriction` may name the only credential that is asked, and a [`Trace`]. Each step gets an `Option<&Trace>`,
//! which is `None` for every other request, and notes in it what it decided ([`note`]).
//!
//! A trace holds ids, names and numbers: never a key, a header or a body.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::header::{HeaderMap, HeaderName};
/// What a step reports of its decision. No other tree is built for a request, and none of a body.
pub(crate) use serde_json::{Value as Detail, json as detail};
use tokio::sync::oneshot;

use crate::state::directory::Caller;

/// The header that carries a dry run's token.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-tollgate-dry-run");

/// The user to whom dry runs are charged: nobody can call with it.
pub(crate) const ACCOUNT: &str = "proxy-test";

/// A request that an admin makes to see what happens to it.
#[derive(Debug)]
pub(crate) struct DryRun {
    /// The caller.
    pub(crate) caller: Arc<Caller>,
    /// Where its steps note what they decide.
    pub(crate) trace: Arc<Trace>,
}

/// What the steps of one request decided. The request holds it until its settlement has been handed over.
#[derive(Debug)]
pub(crate) struct Trace {
    notes: Notes,
    /// Dropped with the trace, which notifies whoever waits for its end.
    _over: oneshot::Sender<()>,
}

/// What a step decided.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The step.
    pub(crate) name: &'static str,
    /// When, in microseconds since the dry run began.
    pub(crate) at_us: u64,
    /// What it decided.
    pub(crate) detail: Detail,
}

/// What was noted so far; shared by the request, which writes, and the admin, who reads.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    began: Instant,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Notes {
    /// The steps, in their order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        locked(&self.steps).clone()
    }
}

impl Trace {
    /// Notes what a step decided.
    pub(crate) fn note(&self, name: &'static str, detail: Detail) {
        let at_us = u64::try_from(self.notes.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        locked(&self.notes.steps).push(Step { name, at_us, detail });
    }
}

/// Notes what a step decided, if there is a trace.
pub(crate) fn note(trace: Option<&Trace>, name: &'static str, detail: impl FnOnce() -> Detail) {
    if let Some(trace) = trace {
        trace.note(name, detail());
    }
}

/// The dry runs that have been announced and have not come yet.
#[derive(Debug, Default)]
pub(crate) struct DryRuns {
    waiting: AtomicUsize,
    by_token: Mutex<HashMap<String, DryRun>>,
}

impl DryRuns {
    /// Announces a dry run that will come with `token`. What it notes can be read at once; the receiver ends
    /// when it is over.
    pub(crate) fn announce(&self, token: String, caller: Arc<Caller>) -> (Notes, oneshot::Receiver<()>) {
        let notes = Notes { began: Instant::now(), steps: Arc::default() };
        let (over, ended) = oneshot::channel();
        let trace = Arc::new(Trace { notes: notes.clone(), _over: over });
        locked(&self.by_token).insert(token, DryRun { caller, trace });
        self.waiting.fetch_add(1, Ordering::Release);
        (notes, ended)
    }

    /// Takes back a dry run that never came.
    pub(crate) fn forget(&self, token: &str) {
        if locked(&self.by_token).remove(token).is_some() {
            self.waiting.fetch_sub(1, Ordering::Release);
        }
    }

    /// The dry run that a request is, if any. While none is announced this is one read of an atomic.
    pub(crate) fn take(&self, headers: &mut HeaderMap) -> Option<DryRun> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let token = headers.remove(TOKEN)?;
        let dry_run = locked(&self.by_token).remove(token.to_str().ok()?)?;
        self.waiting.fetch_sub(1, Ordering::Release);
        Some(dry_run)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
