//! The runtime: what is bound, what serves, and the one transaction that changes it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use wasmtime::Engine;

use crate::binding::{self, Binding, Embedded, Settings};
use crate::cache::Cache;
use crate::engine::{self, Clock};
use crate::error::{Digest, LoadError, ReloadError, StartError};
use crate::generation::{Generation, Loaded};
use crate::policy::FilterPlan;
use crate::status::{ComponentState, ComponentStatus, Event};
use crate::vitals::{Host, Signal, Vitals};
use crate::watch::Watch;
use crate::{loader, slot, source, supervisor};

/// Loads components, publishes generations, and watches over them. Cheap to clone; everything ends with the last clone.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

pub(crate) struct Inner {
    host: Arc<Host>,
    plugins_dir: Option<PathBuf>,
    embedded: Vec<Embedded>,
    filter_check: fn(&FilterPlan) -> Result<(), String>,
    cache: Option<Arc<Cache>>,
    current: ArcSwap<Generation>,
    generations_live: Arc<AtomicUsize>,
    /// Held through a whole reload: one at a time.
    reload: Mutex<()>,
    /// Held for moments only. Whoever publishes holds it.
    book: Mutex<Book>,
    watch: Mutex<Option<Watch>>,
}

/// What is known beyond the current generation.
#[derive(Default)]
struct Book {
    bindings: Vec<Binding>,
    /// By binding: what served before a component that is still on trial.
    last_good: HashMap<String, Loaded>,
    /// By binding: what was refused most lately, so that a poll does not try it again.
    refused: HashMap<String, (Option<Version>, LoadError)>,
    /// By binding: the version that failed its trial, and its last error.
    failed: HashMap<String, (Version, String)>,
}

/// Bytes and configuration.
type Version = (Digest, Digest);

/// Whether versions that were refused before are tried again, and whether one refusal refuses all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// An operator changed the bindings.
    Bindings,
    /// Files may have changed.
    Files,
}

impl Runtime {
    /// Loads `bindings` and publishes them as generation 1. `events` is called on whatever thread something happens and
    /// must not block.
    ///
    /// # Errors
    /// When the engine cannot be made or any component is refused.
    pub fn start(
        settings: Settings,
        bindings: Vec<Binding>,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let pool = settings.workers.saturating_add(1) * bindings.len().max(4) * 4;
        let ceiling = settings.limits.memory_bytes_ceiling;
        let engine = engine::make(u32::try_from(pool).unwrap_or(u32::MAX), ceiling)?;
        let (signals, inbox) = mpsc::channel();
        let host = Arc::new(Host {
            clock: Clock::start(engine.clone())?,
            limits: settings.limits,
            probation: settings.probation,
            events: Box::new(events),
            signals,
            engine,
        });
        let generations_live = Arc::new(AtomicUsize::new(0));
        let inner = Arc::new(Inner {
            cache: open_cache(settings.cache_dir, &host.engine),
            host,
            plugins_dir: settings.plugins_dir,
            embedded: settings.embedded,
            filter_check: settings.filter_check,
            current: ArcSwap::from_pointee(Generation::new(0, Vec::new(), &generations_live)),
            generations_live,
            reload: Mutex::new(()),
            book: Mutex::default(),
            watch: Mutex::default(),
        });
        supervisor::start(&inner, inbox)?;
        inner.transact(Trigger::Bindings, Some(bindings))?;
        Ok(Self(inner))
    }

    /// What serves now. A request takes it once and keeps it to its end.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.0.current.load_full()
    }

    /// Puts `bindings` in force: all of them, or none when one is refused. Compiles, so it blocks: never call it on a
    /// thread that serves requests.
    ///
    /// # Errors
    /// When the bindings contradict each other or a component is refused. Nothing but the status has changed then.
    pub fn apply(&self, bindings: Vec<Binding>) -> Result<Arc<Generation>, ReloadError> {
        self.0.transact(Trigger::Bindings, Some(bindings))
    }

    /// Loads files that changed. A component that is refused stays as it was, the others are replaced. Blocks like
    /// [`Runtime::apply`].
    ///
    /// # Errors
    /// The first refusal, though others may have been replaced: see the status.
    pub fn rescan(&self) -> Result<Arc<Generation>, ReloadError> {
        self.0.transact(Trigger::Files, None)
    }

    /// Starts the thread that watches the plugins directory and calls [`Runtime::rescan`]. Does nothing when there is no
    /// directory or the thread runs already.
    ///
    /// # Errors
    /// When the thread cannot be started. A directory that cannot be watched is polled.
    pub fn watch(&self) -> std::io::Result<()> {
        let Some(dir) = &self.0.plugins_dir else { return Ok(()) };
        let mut watch = self.0.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_none() {
            *watch = Some(Watch::start(dir.clone(), Arc::downgrade(&self.0))?);
        }
        Ok(())
    }

    /// The components of the current generation, in the order of the bindings.
    #[must_use]
    pub fn status(&self) -> Vec<ComponentStatus> {
        let book = self.0.book();
        let generation = self.0.current.load();
        let row = |loaded: &Loaded| ComponentStatus::new(loaded.vitals(), book.verdict(loaded.vitals()));
        generation.loaded().iter().map(row).collect()
    }

    /// Generations that exist: the current one, and those that requests still use.
    #[must_use]
    pub fn generations_live(&self) -> usize {
        self.0.generations_live.load(Ordering::Relaxed)
    }

    /// Prepares the calling thread for components: without it, its first call pays a few hundred microseconds.
    pub fn prepare_thread() {
        Engine::tls_eager_initialize();
    }

    /// Drops the calling thread's instances of components that no longer serve. A thread that calls components does this by
    /// itself; one that idles may call this now and then.
    pub fn sweep_thread() {
        slot::sweep::<crate::bindings::adapter_world::ProviderAdapter>();
        slot::sweep::<crate::bindings::selector_world::KeySelector>();
        slot::sweep::<crate::bindings::pricing_world::PricingPolicy>();
        slot::sweep::<crate::bindings::filter_world::ContentFilter>();
    }
}

/// A cache that cannot be used costs time at start, nothing else.
fn open_cache(dir: Option<PathBuf>, engine: &Engine) -> Option<Arc<Cache>> {
    let dir = dir?;
    match Cache::open(&dir, engine) {
        Ok(cache) => Some(Arc::new(cache)),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "compiled components are not kept");
            None
        }
    }
}

impl Book {
    /// What the status page says about a component beyond its own counters.
    fn verdict(&self, vitals: &Vitals) -> Option<ComponentState> {
        let name = &vitals.binding.name;
        if let Some((_, error)) = self.refused.get(name) {
            return Some(ComponentState::Refused { reason: error.to_string() });
        }
        let ((from, _), reason) = self.failed.get(name)?;
        Some(ComponentState::RolledBack { from: *from, reason: reason.clone() })
    }
}

/// What a reload does with one binding.
enum Step {
    /// What serves now goes on.
    Keep(String),
    /// A new version.
    Replace(Loaded),
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rescan(&self) {
        // The refusal is logged and in the status already.
        let _ = self.transact(Trigger::Files, None);
    }

    /// The reload: everything that can fail happens before anything changes.
    fn transact(
        &self,
        trigger: Trigger,
        bindings: Option<Vec<Binding>>,
    ) -> Result<Arc<Generation>, ReloadError> {
        let _one_at_a_time = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let bindings = bindings.unwrap_or_else(|| self.book().bindings.clone());
        binding::check(&bindings, &self.host.limits)?;
        let mut steps = Vec::with_capacity(bindings.len());
        let mut refusal = None;
        for binding in &bindings {
            match self.step(binding, trigger) {
                Ok(step) => steps.push(step),
                Err(cause) => {
                    let error = ReloadError::Load { name: binding.name.clone(), cause };
                    if trigger == Trigger::Bindings {
                        return Err(error);
                    }
                    refusal.get_or_insert(error);
                    steps.push(Step::Keep(binding.name.clone()));
                }
            }
        }
        let generation = self.publish(bindings, steps);
        refusal.map_or(Ok(generation), Err)
    }

    /// Decides about one binding, loading what is new.
    fn step(&self, binding: &Binding, trigger: Trigger) -> Result<Step, LoadError> {
        let limits = &self.host.limits;
        let found = source::find(
            &binding.component,
            self.plugins_dir.as_deref(),
            &self.embedded,
            limits.file_bytes_max,
        );
        let (bytes, source) = found.map_err(|cause| self.refuse(binding, None, trigger, cause))?;
        let digest = Digest::of(&bytes);
        let version = (digest, Digest::of(binding.config.as_bytes()));
        if self.goes_on(binding, version) {
            self.book().refused.remove(&binding.name);
            return Ok(Step::Keep(binding.name.clone()));
        }
        if let Some(cause) = self.known_refusal(binding, version, trigger) {
            return Err(cause);
        }
        let component = match self.compiled(digest) {
            Some(component) => Ok(component),
            None => loader::inspect(&bytes, limits).and_then(|()| {
                loader::compile(&self.host.engine, self.cache.as_ref(), digest, bytes, limits)
            }),
        };
        let loaded = component.and_then(|component| {
            let host = Arc::clone(&self.host);
            loader::load(Vitals::new(host, binding.clone(), component, digest, source), self.filter_check)
        });
        loaded.map(Step::Replace).map_err(|cause| self.refuse(binding, Some(version), trigger, cause))
    }

    /// Whether what serves is what is asked for, or the last good version of it.
    fn goes_on(&self, binding: &Binding, version: Version) -> bool {
        let generation = self.current.load();
        let Some(vitals) = generation.find(&binding.name).map(Loaded::vitals) else { return false };
        let unchanged = vitals.version() == version && vitals.binding == *binding;
        unchanged || self.book().failed.get(&binding.name).is_some_and(|(failed, _)| *failed == version)
    }

    /// A poll does not try again what was refused already.
    fn known_refusal(&self, binding: &Binding, version: Version, trigger: Trigger) -> Option<LoadError> {
        let book = self.book();
        let (refused, cause) = book.refused.get(&binding.name)?;
        (trigger == Trigger::Files && *refused == Some(version)).then(|| cause.clone())
    }

    /// Notes a refusal, once per version.
    fn refuse(
        &self,
        binding: &Binding,
        version: Option<Version>,
        trigger: Trigger,
        cause: LoadError,
    ) -> LoadError {
        let name = &binding.name;
        let noted = self.book().refused.insert(name.clone(), (version, cause.clone()));
        let news = trigger == Trigger::Bindings
            || noted.is_none_or(|(known, words)| known != version || words.to_string() != cause.to_string());
        if news {
            let digest = version.map(|(digest, _)| digest.to_string()).unwrap_or_default();
            tracing::error!(component = name, digest, %cause, "component refused: nothing changed");
            self.host.emit(Event::Refused { name: name.clone(), reason: cause.to_string() });
        }
        cause
    }

    /// The compiled form of a component that serves already, under another configuration or name.
    fn compiled(&self, digest: Digest) -> Option<wasmtime::component::Component> {
        let generation = self.current.load();
        let same = generation.loaded().iter().map(Loaded::vitals).find(|vitals| vitals.digest == digest)?;
        Some(same.component.clone())
    }

    /// Composes and publishes a generation, where anything changed. What is kept is taken from the generation of this
    /// moment: a rollback may have come in between.
    fn publish(&self, bindings: Vec<Binding>, steps: Vec<Step>) -> Arc<Generation> {
        let mut book = self.book();
        let current = self.current.load_full();
        let mut changed = Vec::new();
        let mut loaded = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                // A binding that is kept was found in a generation, and only a reload removes one.
                Step::Keep(name) => loaded.extend(current.find(&name).cloned()),
                Step::Replace(new) => {
                    let name = new.vitals().binding.name.clone();
                    book.admit(&name, &new, current.find(&name));
                    changed.push(name);
                    loaded.push(new);
                }
            }
        }
        book.bindings = bindings;
        let names = |list: &[Loaded]| -> Vec<Arc<str>> {
            list.iter().map(|loaded| Arc::clone(&loaded.vitals().name)).collect()
        };
        if changed.is_empty() && names(&loaded) == names(current.loaded()) && current.id() > 0 {
            return current;
        }
        book.forget_all_but(&loaded);
        self.swap(&current, loaded, changed)
    }

    /// Makes the next generation current. Call it with the book in hand.
    fn swap(&self, current: &Generation, loaded: Vec<Loaded>, changed: Vec<String>) -> Arc<Generation> {
        let next = Arc::new(Generation::new(current.id() + 1, loaded, &self.generations_live));
        let old = self.current.swap(Arc::clone(&next));
        self.host.signal(Signal::Retire(old));
        tracing::info!(generation = next.id(), ?changed, "generation published");
        self.host.emit(Event::Published { generation: next.id(), changed });
        next
    }

    /// Puts the last good version back in the place of one that fails its trial.
    pub(crate) fn roll_back(&self, failing: &Arc<Vitals>) {
        let mut book = self.book();
        let current = self.current.load_full();
        let name = &failing.binding.name;
        let serves = current.find(name).is_some_and(|loaded| Arc::ptr_eq(loaded.vitals(), failing));
        let Some(good) = serves.then(|| book.last_good.remove(name)).flatten() else { return };
        failing.end_trial();
        let reason = failing.last_error().unwrap_or_default();
        book.failed.insert(name.clone(), (failing.version(), reason));
        let loaded = current
            .loaded()
            .iter()
            .map(|loaded| if Arc::ptr_eq(loaded.vitals(), failing) { good.clone() } else { loaded.clone() });
        let next = self.swap(&current, loaded.collect(), vec![name.clone()]);
        let (from, to) = (failing.digest, good.vitals().digest);
        tracing::error!(component = name, %from, %to, "rolled back: the new version failed on trial");
        let name = Arc::clone(&failing.name);
        self.host.emit(Event::RolledBack { name, from, to, generation: next.id() });
    }

    /// Lets go of what served before components whose trial is over.
    pub(crate) fn end_trials(&self) {
        let generation = self.current.load();
        let on_trial = |name: &str| generation.find(name).is_some_and(|loaded| loaded.vitals().on_trial());
        self.book().last_good.retain(|name, _| on_trial(name));
    }
}

impl Book {
    /// Notes that `new` takes the place of `old`.
    fn admit(&mut self, name: &str, new: &Loaded, old: Option<&Loaded>) {
        self.refused.remove(name);
        self.failed.remove(name);
        let Some(old) = old else { return };
        // A version that is itself doubtful is nothing to go back to: the one before it is.
        let doubtful = old.vitals().on_trial() && old.vitals().has_faulted();
        if !doubtful || !self.last_good.contains_key(name) {
            self.last_good.insert(name.to_owned(), old.clone());
        }
        new.vitals().begin_trial();
    }

    fn forget_all_but(&mut self, loaded: &[Loaded]) {
        let bound = |name: &String| loaded.iter().any(|loaded| loaded.vitals().binding.name == *name);
        self.last_good.retain(|name, _| bound(name));
        self.refused.retain(|name, _| bound(name));
        self.failed.retain(|name, _| bound(name));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.host.signal(Signal::Stop);
    }
}
