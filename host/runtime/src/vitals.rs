//! How one component is doing: counters, breaker, last error. Shared by its unit, its instances and the status page.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tollgate_core::id::UserId;
use tracing::field::display;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::behalf;
use crate::binding::{Limits, Probation};
use crate::breaker::Breaker;
use crate::digest::Digest;
use crate::durations::Timer;
use crate::engine::Clock;
use crate::error::{CallError, Fault, FaultKind};
use crate::event::Event;
use crate::source::Source;
use crate::spec::Spec;
use crate::state::GuestLog;

/// Faults of a component on trial that end the trial, when they are also a tenth of its calls.
const TRIAL_FAULTS: u64 = 3;

/// What all components of a runtime share.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<Clock>,
    pub(crate) limits: Limits,
    pub(crate) probation: Probation,
    pub(crate) events: Box<dyn Fn(Event) + Send + Sync>,
    pub(crate) signals: Sender<Signal>,
    /// Instances alive now, of whatever component.
    pub(crate) instances: AtomicU64,
    /// Exchanges under way, of whatever adapter.
    pub(crate) exchanges: AtomicUsize,
}

impl Host {
    pub(crate) fn emit(&self, event: Event) {
        (self.events)(event);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // The supervisor ends with the runtime; whoever outlives both has nobody to tell.
        let _ = self.signals.send(signal);
    }
}

/// The clock lives as long as anything that could still be called.
impl Drop for Host {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

/// What the supervisor is told.
pub(crate) enum Signal {
    /// A component on trial faults too often.
    Failing(Arc<Vitals>),
    /// Drop this away from the threads that serve requests.
    Bury(Box<dyn Any + Send>),
    /// Drop this (a generation) when no request uses it any more.
    Retire(Arc<dyn Any + Send + Sync>),
    /// The runtime is gone.
    Stop,
}

/// One component as one variant of a binding uses it.
pub(crate) struct Vitals {
    pub(crate) host: Arc<Host>,
    pub(crate) spec: Spec,
    pub(crate) name: Arc<str>,
    pub(crate) component: Component,
    pub(crate) digest: Digest,
    pub(crate) config_digest: Digest,
    pub(crate) source: Source,
    /// Whether the binary carries these very bytes.
    pub(crate) built_in: bool,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) breaker: Breaker,
    /// Instances alive now, on all threads.
    pub(crate) instances: AtomicU64,
    pub(crate) loaded: SystemTime,
    /// Id of the first generation that it is part of; 0 before.
    pub(crate) generation: AtomicU64,
    /// Whether it replaced a good component and may be rolled back.
    on_trial: AtomicBool,
    since: Instant,
    calls: AtomicU64,
    bytes: AtomicU64,
    /// How long its calls take.
    pub(crate) timer: Timer,
    /// Most memory that one of its instances had.
    memory_bytes_peak: AtomicUsize,
    faults: [AtomicU64; FaultKind::ALL.len()],
    /// Those of `faults` that input is to blame for.
    excused: AtomicU64,
    /// Whose input broke it on trial, at most as many as end that.
    accusers: Mutex<Vec<Option<UserId>>>,
    last_error: Mutex<Option<String>>,
}

impl Vitals {
    pub(crate) fn new(
        host: Arc<Host>,
        spec: Spec,
        component: Component,
        (digest, source): (Digest, Source),
        built_in: bool,
    ) -> Arc<Self> {
        let name: Arc<str> = spec.name.as_str().into();
        let since = Instant::now();
        Arc::new(Self {
            config_digest: Digest::of(spec.config.as_bytes()),
            log: Arc::new(GuestLog::new(Arc::clone(&name), digest)),
            breaker: Breaker::new(since),
            instances: AtomicU64::new(0),
            loaded: SystemTime::now(),
            generation: AtomicU64::new(0),
            on_trial: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            timer: Timer::default(),
            memory_bytes_peak: AtomicUsize::new(0),
            faults: Default::default(),
            excused: AtomicU64::new(0),
            accusers: Mutex::default(),
            last_error: Mutex::new(None),
            host,
            spec,
            name,
            component,
            digest,
            source,
            built_in,
            since,
        })
    }

    #[inline]
    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what a call copies into the component of a request, an answer or a text.
    #[inline]
    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes how much memory an instance has now.
    #[inline]
    pub(crate) fn note_memory(&self, bytes: usize) {
        if bytes > self.memory_bytes_peak.load(Ordering::Relaxed) {
            self.memory_bytes_peak.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// Most memory that one of its instances had.
    pub(crate) fn memory_bytes_peak(&self) -> u64 {
        self.memory_bytes_peak.load(Ordering::Relaxed) as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts by kind, in the order of [`FaultKind::ALL`].
    pub(crate) fn faults(&self) -> [u64; FaultKind::ALL.len()] {
        std::array::from_fn(|at| self.faults[at].load(Ordering::Relaxed))
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A call while the breaker is open: counted, neither logged nor reported one by one.
    #[cold]
    pub(crate) fn refuse(&self) -> CallError {
        self.faults[FaultKind::Tripped as usize].fetch_add(1, Ordering::Relaxed);
        self.error(Fault::new(FaultKind::Tripped, "its breaker is open after repeated faults"))
    }

    /// No more exchanges can be served now, which is no fault of the component.
    #[cold]
    pub(crate) fn busy(&self) -> CallError {
        self.error(Fault::new(FaultKind::Unavailable, "as many exchanges as may be are under way"))
    }

    /// A call of an exchange that has ended by a fault, which has been counted.
    #[cold]
    pub(crate) fn ended(&self) -> CallError {
        self.error(Fault::guest("its exchange has ended by a fault"))
    }

    /// Counts, logs and reports a fault.
    #[cold]
    pub(crate) fn fail(self: &Arc<Self>, fault: Fault) -> CallError {
        let error = self.report(fault);
        let tripped = self.breaker.fault(Instant::now());
        if tripped {
            tracing::error!(component = &*self.name, digest = %self.digest, "breaker open: not called for a while");
            self.host.emit(Event::Tripped { name: Arc::clone(&self.name), digest: self.digest });
        }
        if self.on_trial() && (tripped || self.fails_its_trial()) {
            self.host.signal(Signal::Failing(Arc::clone(self)));
        }
        error
    }

    /// Counts, logs and reports a fault that only the input at hand brings about: the breaker does not hear of it. A
    /// trial hears of one that is no want of time or memory, by who brought it: one caller alone takes back no version,
    /// however often they make it fail, and what several meet is no caller's doing.
    #[cold]
    pub(crate) fn excuse(self: &Arc<Self>, fault: Fault) -> CallError {
        self.excused.fetch_add(1, Ordering::Relaxed);
        if !fault.kind.is_exhaustion() && self.on_trial() {
            self.accuse(behalf::caller());
        }
        let error = self.report(fault);
        if self.on_trial() && self.fails_its_trial() {
            self.host.signal(Signal::Failing(Arc::clone(self)));
        }
        error
    }

    /// Counts, logs and reports a fault that has no consequences.
    pub(crate) fn report(&self, fault: Fault) -> CallError {
        self.faults[fault.kind as usize].fetch_add(1, Ordering::Relaxed);
        let error = self.error(fault);
        let request = behalf::request().map(display);
        tracing::warn!(
            component = &*self.name, digest = %self.digest, kind = error.kind.name(), detail = error.detail,
            request, "component fault"
        );
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        self.host.emit(Event::Fault(error.clone()));
        error
    }

    /// The probe after a rest succeeded.
    #[cold]
    pub(crate) fn recover(&self) {
        self.breaker.recover(Instant::now());
        tracing::info!(component = &*self.name, digest = %self.digest, "breaker closed: it answers again");
        self.host.emit(Event::Recovered { name: Arc::clone(&self.name), digest: self.digest });
    }

    fn error(&self, fault: Fault) -> CallError {
        CallError {
            kind: fault.kind,
            name: Arc::clone(&self.name),
            digest: self.digest,
            on_error: self.spec.on_error,
            detail: fault.detail,
        }
    }

    pub(crate) fn begin_trial(&self) {
        self.on_trial.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end_trial(&self) {
        self.on_trial.store(false, Ordering::Relaxed);
    }

    /// Whether its first calls and its first minute are not over yet.
    pub(crate) fn on_trial(&self) -> bool {
        self.on_trial.load(Ordering::Relaxed)
            && self.calls() <= self.host.probation.calls
            && self.since.elapsed() <= self.host.probation.window
    }

    /// Whether it has served for as long as a trial takes, and still does.
    pub(crate) fn is_proven(&self) -> bool {
        let Probation { calls, window } = self.host.probation;
        let served = self.calls() > calls || (self.calls() > 0 && self.since.elapsed() > window);
        served && !self.breaker.is_open()
    }

    /// Whether it has faulted at all, calls that were refused and inputs that were too much aside.
    pub(crate) fn has_faulted(&self) -> bool {
        self.fault_total() > 0
    }

    fn fails_its_trial(&self) -> bool {
        let is_many = |faults: u64| faults >= TRIAL_FAULTS && faults.saturating_mul(10) > self.calls();
        let of_several = || self.accusers().len() as u64 >= TRIAL_FAULTS;
        is_many(self.fault_total()) || (of_several() && is_many(self.faults_met()))
    }

    /// Notes whose input broke it.
    fn accuse(&self, caller: Option<UserId>) {
        let mut accusers = self.accusers();
        if (accusers.len() as u64) < TRIAL_FAULTS && !accusers.contains(&caller) {
            accusers.push(caller);
        }
    }

    fn accusers(&self) -> MutexGuard<'_, Vec<Option<UserId>>> {
        self.accusers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Faults that count against it whoever calls.
    fn fault_total(&self) -> u64 {
        self.faults_met().saturating_sub(self.excused.load(Ordering::Relaxed))
    }

    /// All faults of calls that were made.
    fn faults_met(&self) -> u64 {
        let counted = FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::Tripped);
        counted.map(|kind| self.faults[kind as usize].load(Ordering::Relaxed)).sum()
    }

    /// Drops `remains` on the runtime's own thread.
    pub(crate) fn bury(&self, remains: Box<dyn Any + Send>) {
        self.host.signal(Signal::Bury(remains));
    }
}
