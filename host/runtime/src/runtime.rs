//! The runtime as the gateway sees it: started once, asked for the current generation, told what to bind. How a set of
//! bindings comes into force is in `reload`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use wasmtime::Engine;

use crate::binding::{Binding, Settings};
use crate::bindings::adapter_world::ProviderAdapter;
use crate::bindings::filter_world::ContentFilter;
use crate::bindings::selector_world::KeySelector;
use crate::book::Book;
use crate::cache::Cache;
use crate::compile::Compiler;
use crate::digest::Digest;
use crate::engine::{self, Clock};
use crate::error::{ReloadError, StartError};
use crate::event::Event;
use crate::generation::{Generation, Member};
use crate::pricing::PricingWorld;
use crate::registry::{Progress, Registry};
use crate::reload::Occasion;
use crate::spec::Spec;
use crate::status::ComponentStatus;
use crate::versions::Versions;
use crate::vitals::Host;
use crate::watch::Watch;
use crate::{slot, supervisor};

/// Loads components, publishes generations, and watches over them. Cheap to clone; everything ends with the last clone.
#[derive(Clone)]
pub struct Runtime {
    registry: Arc<Registry>,
    watch: Arc<Mutex<Option<Watch>>>,
}

impl Runtime {
    /// Loads `bindings` and publishes them as generation 1. `events` is called on whatever thread something happens:
    /// it must neither block nor reload.
    ///
    /// # Errors
    /// When the engine cannot be made or any component is refused.
    pub fn start(
        settings: Settings,
        bindings: Vec<Binding>,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        Self::begin(settings, bindings, Occasion::Bindings, events)
    }

    /// The same for a gateway, which nothing in the plugins directory may keep from serving: where a file is refused
    /// or has failed its trial before, the last good version stands in for it, else the component of that name that
    /// the binary carries. The status tells. Where there is neither, the binding stays empty, which
    /// [`Policies::lacks`](crate::Policies::lacks) tells.
    ///
    /// # Errors
    /// When the engine cannot be made, or the bindings contradict each other or name what never was.
    pub fn serve(
        settings: Settings,
        bindings: Vec<Binding>,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        Self::begin(settings, bindings, Occasion::Start, events)
    }

    fn begin(
        settings: Settings,
        bindings: Vec<Binding>,
        occasion: Occasion,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let units: usize = bindings.iter().map(|binding| binding.variants.len()).sum();
        let idle = settings.workers.saturating_add(1) * units.max(4) * 4;
        let pool = idle.saturating_add(settings.limits.exchanges_max);
        let ceiling = settings.limits.memory_bytes_ceiling;
        let engine = engine::make(u32::try_from(pool).unwrap_or(u32::MAX), ceiling)?;
        let (signals, inbox) = mpsc::channel();
        let host = Arc::new(Host {
            clock: Clock::start(engine.clone())?,
            limits: settings.limits,
            probation: settings.probation,
            events: Box::new(events),
            signals,
            instances: AtomicU64::new(0),
            exchanges: AtomicUsize::new(0),
            engine,
        });
        let generations_live = Arc::new(AtomicUsize::new(0));
        let versions = settings.versions_file.as_deref().map(Versions::read).unwrap_or_default();
        let registry = Arc::new(Registry {
            compiler: Compiler::new(
                host.engine.clone(),
                open_cache(settings.cache_dir, &host.engine),
                settings.limits,
            ),
            host,
            plugins_dir: settings.plugins_dir,
            archive: settings.archive,
            embedded: settings.embedded,
            filter_check: settings.filter_check,
            current: ArcSwap::from_pointee(Generation::new(0, Vec::new(), Vec::new(), &generations_live)),
            generations_live,
            reload: Mutex::new(()),
            progress: Progress::default(),
            book: Mutex::new(Book::remember(versions.clone())),
            versions_file: settings.versions_file,
            saved: Mutex::new(versions),
        });
        supervisor::start(&registry, inbox)?;
        registry.transact(occasion, Some(bindings))?;
        Ok(Self { registry, watch: Arc::default() })
    }

    /// What serves now. A request takes it once and keeps it to its end.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.registry.current.load_full()
    }

    /// Puts `bindings` in force: all of them, or none when one is refused. Compiles, so it blocks: never call it on a
    /// thread that serves requests.
    ///
    /// # Errors
    /// When the bindings contradict each other or a component is refused. Nothing but the status has changed then.
    pub fn apply(&self, bindings: Vec<Binding>) -> Result<Arc<Generation>, ReloadError> {
        self.registry.transact(Occasion::Bindings, Some(bindings))
    }

    /// Loads files that changed. A component that is refused stays as it was, the others are replaced. Blocks like
    /// [`Runtime::apply`].
    ///
    /// # Errors
    /// The first refusal, though others may have been replaced: see the status.
    pub fn rescan(&self) -> Result<Arc<Generation>, ReloadError> {
        self.registry.transact(Occasion::Files, None)
    }

    /// Lets go of what is kept of a component whose file is gone, by the name of a binding or of the file: what the
    /// binary carries takes its place, where it does. Blocks like [`Runtime::apply`].
    ///
    /// # Errors
    /// As [`Runtime::rescan`]; what serves goes on where nothing can take its place.
    pub fn forget(&self, name: &str) -> Result<Arc<Generation>, ReloadError> {
        self.registry.forget(name)
    }

    /// Starts the thread that watches the plugins directory and calls [`Runtime::rescan`]. Does nothing when there is
    /// no directory or the thread runs already.
    ///
    /// # Errors
    /// When the thread cannot be started. A directory that cannot be watched is polled.
    pub fn watch(&self) -> std::io::Result<()> {
        let Some(dir) = &self.registry.plugins_dir else { return Ok(()) };
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_none() {
            *watch = Some(Watch::start(dir, Arc::downgrade(&self.registry))?);
        }
        Ok(())
    }

    /// The components of the current generation, in the order of the bindings.
    #[must_use]
    pub fn status(&self) -> Vec<ComponentStatus> {
        let book = self.registry.book();
        let generation = self.registry.current.load();
        let row = |member: &Member| ComponentStatus::new(member, book.verdict(member.vitals()));
        let lacking = |spec: &Spec| ComponentStatus::lacking(spec, book.complaint(&spec.name));
        let members = generation.members().iter().map(row);
        members.chain(generation.lacking().iter().map(lacking)).collect()
    }

    /// The bytes of a component that serves, by the name of its binding or of its file, and what they are configured
    /// with; `None` where nothing of that name does, or its bytes were not kept.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let generation = self.registry.current.load();
        let vitals = generation.members().iter().map(Member::vitals);
        let vitals = vitals.into_iter().find(|it| it.spec.name == name || it.spec.component == name)?;
        if let Some(embedded) = self.registry.embedded.iter().find(|it| Digest::of(it.bytes) == vitals.digest)
        {
            return Some(embedded.bytes.to_vec());
        }
        self.registry.archive.as_ref()?.component(vitals.digest).ok()
    }

    /// What is behind it.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Generations that exist: the current one, and those that requests still use.
    #[must_use]
    pub fn generations_live(&self) -> usize {
        self.registry.generations_live.load(Ordering::Relaxed)
    }

    /// Instances that exist, those included whose component no longer serves.
    #[must_use]
    pub fn instances_live(&self) -> u64 {
        self.registry.host.instances.load(Ordering::Relaxed)
    }

    /// Prepares the calling thread for components: without it, its first call pays a few hundred microseconds.
    pub fn prepare_thread() {
        Engine::tls_eager_initialize();
    }

    /// Drops the calling thread's instances of components that no longer serve. A thread that calls components does
    /// this by itself; one that idles may call this now and then.
    pub fn sweep_thread() {
        slot::sweep::<ProviderAdapter>();
        slot::sweep::<KeySelector>();
        slot::sweep::<PricingWorld>();
        slot::sweep::<ContentFilter>();
    }
}

/// A cache that cannot be used costs time at start, nothing else.
fn open_cache(dir: Option<PathBuf>, engine: &Engine) -> Option<Cache> {
    let dir = dir?;
    match Cache::open(&dir, engine) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "compiled components are not kept");
            None
        }
    }
}
