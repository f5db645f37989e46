//! What a runtime holds: where components come from, the generation that serves, and what is known beside it. How one
//! generation follows another is in `reload`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::archive::Archive;
use crate::binding::Embedded;
use crate::book::Book;
use crate::compile::Compiler;
use crate::generation::Generation;
use crate::plan::policy::FilterPlan;
use crate::versions::Versions;
use crate::vitals::{Host, Signal};

/// Everything behind a runtime but its watch on the files.
pub(crate) struct Registry {
    pub(crate) host: Arc<Host>,
    pub(crate) plugins_dir: Option<PathBuf>,
    pub(crate) archive: Option<Archive>,
    pub(crate) embedded: Vec<Embedded>,
    pub(crate) filter_check: fn(&FilterPlan) -> Result<(), String>,
    pub(crate) compiler: Compiler,
    pub(crate) current: ArcSwap<Generation>,
    pub(crate) generations_live: Arc<AtomicUsize>,
    /// Held through a whole reload: one at a time.
    pub(crate) reload: Mutex<()>,
    /// Which of how many components a reload is at.
    pub(crate) progress: Progress,
    /// Held for moments only. Whoever publishes holds it.
    pub(crate) book: Mutex<Book>,
    /// Where the next process finds what is known of versions.
    pub(crate) versions_file: Option<PathBuf>,
    /// What that file holds; held while it is written.
    pub(crate) saved: Mutex<Versions>,
}

/// How far a reload has come: a first start compiles every component, which takes a while.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    at: AtomicUsize,
    of: AtomicUsize,
}

impl Progress {
    /// The next one is that at `at`, counted from 0.
    pub(crate) fn reach(&self, at: usize, of: usize) {
        self.at.store(at + 1, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }

    /// Says that a component is being compiled.
    pub(crate) fn tell(&self, component: &str) {
        let (at, of) = (self.at.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed));
        tracing::info!(component, "compiling component {at} of {of}");
    }
}

impl Registry {
    /// What is known beside the generation. Whoever holds it may publish.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what the next process shall know, where that has changed. Never call it with the book in hand.
    pub(crate) fn save(&self) {
        let Some(path) = &self.versions_file else { return };
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = self.book().versions().clone();
        if *saved == versions {
            return;
        }
        match versions.write(path) {
            Ok(()) => *saved = versions,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "which components are good was not written down");
            }
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.host.signal(Signal::Stop);
    }
}
