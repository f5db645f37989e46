//! Trials: one request of an admin through the whole road, each step of which says what it decided.
//!
//! The road does not know that it is tried. Where a step has decided, it calls [`note`], which costs a look at a thread-local and
//! does nothing unless the request is a trial. A trial comes in by the clients' own listener with a token that is good
//! once ([`Trials`]), stands in for the caller, and may name the only credential that is to be asked.
//!
//! What is noted holds ids, names, numbers: never a key, a header or a body.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::header::{HeaderMap, HeaderName};
/// What a step tells of its decision. The road builds no other tree, and none of a body.
pub(crate) use serde_json::{Value as Detail, json as detail};
use tokio::sync::oneshot;
use tollgate_core::id::CredentialId;

use crate::state::directory::Caller;

/// The header that carries a trial's token.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-tollgate-trial");

/// The user whom dry runs are charged to: one that nobody can call with.
pub(crate) const ACCOUNT: &str = "proxy-test";

tokio::task_local! {
    /// The trial whose request this task serves.
    static TRIAL: Arc<Trial>;
}

/// A request that is tried. The road holds it until its settlement has been written.
#[derive(Debug)]
pub(crate) struct Trial {
    caller: Arc<Caller>,
    credential: Option<CredentialId>,
    notes: Notes,
    /// Dropped with the trial, which tells whoever waits for its end.
    _over: oneshot::Sender<()>,
}

/// What a step decided.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Which.
    pub(crate) name: &'static str,
    /// When, in microseconds since the trial began.
    pub(crate) at_us: u64,
    /// What it decided.
    pub(crate) detail: Detail,
}

/// What was noted so far; shared by the road, which writes, and the admin, who reads.
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

impl Trial {
    /// Notes what a step decided.
    pub(crate) fn note(&self, name: &'static str, detail: Detail) {
        let at_us = u64::try_from(self.notes.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        locked(&self.notes.steps).push(Step { name, at_us, detail });
    }
}

/// The trials that have been announced and have not come yet.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    waiting: AtomicUsize,
    by_token: Mutex<HashMap<String, Arc<Trial>>>,
}

impl Trials {
    /// Announces a trial that will come with `token`. What it notes can be read at once; the receiver ends when it is over.
    pub(crate) fn announce(
        &self,
        token: String,
        caller: Arc<Caller>,
        credential: Option<CredentialId>,
    ) -> (Notes, oneshot::Receiver<()>) {
        let notes = Notes { began: Instant::now(), steps: Arc::default() };
        let (over, ended) = oneshot::channel();
        let trial = Trial { caller, credential, notes: notes.clone(), _over: over };
        locked(&self.by_token).insert(token, Arc::new(trial));
        self.waiting.fetch_add(1, Ordering::Release);
        (notes, ended)
    }

    /// Takes back what never came.
    pub(crate) fn forget(&self, token: &str) {
        if locked(&self.by_token).remove(token).is_some() {
            self.waiting.fetch_sub(1, Ordering::Release);
        }
    }

    /// The trial that a request is, if any: as long as none is announced this is a look at an atomic.
    pub(crate) fn take(&self, headers: &mut HeaderMap) -> Option<Arc<Trial>> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let token = headers.remove(TOKEN)?;
        let trial = locked(&self.by_token).remove(token.to_str().ok()?)?;
        self.waiting.fetch_sub(1, Ordering::Release);
        Some(trial)
    }
}

/// Serves a request as a trial.
pub(crate) async fn scope<F: Future>(trial: Arc<Trial>, snapshot: F) -> F::Output {
    TRIAL.scope(trial, snapshot).await
}

/// The trial that this task serves.
pub(crate) fn current() -> Option<Arc<Trial>> {
    TRIAL.try_with(Arc::clone).ok()
}

/// Who calls, where this is a trial.
pub(crate) fn caller() -> Option<Arc<Caller>> {
    TRIAL.try_with(|trial| Arc::clone(&trial.caller)).ok()
}

/// Whether a credential may be asked: any but in a trial that names one.
pub(crate) fn allows(credential: CredentialId) -> bool {
    TRIAL.try_with(|trial| trial.credential.is_none_or(|only| only == credential)).unwrap_or(true)
}

/// Notes what a step decided, where this is a trial.
pub(crate) fn note(name: &'static str, detail: impl FnOnce() -> Detail) {
    // Outside of a trial there is nobody to tell.
    let _told = TRIAL.try_with(|trial| trial.note(name, detail()));
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
