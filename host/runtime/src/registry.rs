//! What a runtime holds: where components come from, the generation that serves, and what is known beside it. How one
//! generation follows another is in `reload`.

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::archive::Archive;
use crate::binding::Embedded;
use crate::book::Book;
use crate::compile::Compiler;
use crate::generation::Generation;
use crate::plan::policy::FilterPlan;
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
    /// Held for moments only. Whoever publishes holds it.
    pub(crate) book: Mutex<Book>,
}

impl Registry {
    /// What is known beside the generation. Whoever holds it may publish.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.host.signal(Signal::Stop);
    }
}
