//! The reload: one transaction from what operators want to the generation that serves.
//!
//! Everything that can fail happens before anything changes. Two locks keep it so: one is held through a whole reload, and
//! [`Book`](crate::book::Book) for moments only, by whoever publishes. A rollback therefore never waits for a compilation.

use std::sync::{Arc, PoisonError};

use wasmtime::component::Component;

use crate::binding::{Binding, Kind};
use crate::book::Version;
use crate::digest::Digest;
use crate::error::{LoadError, ReloadError};
use crate::event::Event;
use crate::generation::{Generation, Loaded};
use crate::registry::Registry;
use crate::vitals::{Signal, Vitals};
use crate::{check, loader, source};

/// Why a reload happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// An operator changed the bindings: all of them come into force, or none.
    Bindings,
    /// Files may have changed: each one counts for itself, and what was refused before is not tried again.
    Files,
}

/// What a reload does with one binding.
enum Step {
    /// What serves now goes on.
    Keep(String),
    /// A new version takes its place.
    Replace(Loaded),
}

impl Registry {
    /// Loads what is new in `bindings` (those in force, where there are none) and publishes it.
    pub(crate) fn transact(
        &self,
        occasion: Occasion,
        bindings: Option<Vec<Binding>>,
    ) -> Result<Arc<Generation>, ReloadError> {
        let _one_at_a_time = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let bindings = bindings.unwrap_or_else(|| self.book().bindings().to_vec());
        check::check(&bindings, &self.host.limits)?;
        let mut steps = Vec::with_capacity(bindings.len());
        let mut refusal = None;
        for binding in &bindings {
            match self.step(binding, occasion) {
                Ok(step) => steps.push(step),
                Err(cause) => {
                    let error = ReloadError::Load { name: binding.name.clone(), cause };
                    if occasion == Occasion::Bindings {
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
    fn step(&self, binding: &Binding, occasion: Occasion) -> Result<Step, LoadError> {
        let dir = self.plugins_dir.as_deref();
        let bytes_max = self.host.limits.file_bytes_max;
        let found = source::find(&binding.component, dir, &self.embedded, bytes_max);
        let (bytes, source) = found.map_err(|cause| self.refuse(binding, None, occasion, cause))?;
        let digest = Digest::of(&bytes);
        let version = (digest, Digest::of(binding.config.as_bytes()));
        if self.goes_on(binding, version) {
            return Ok(Step::Keep(binding.name.clone()));
        }
        // A look at the files does not try again what was refused already.
        if occasion == Occasion::Files
            && let Some(cause) = self.book().refusal(&binding.name, version)
        {
            return Err(cause);
        }
        let keep = self.archive.as_ref().filter(|_| binding.kind == Kind::PricingPolicy);
        let kept = keep.map_or(Ok(()), |archive| archive.keep(&bytes, &binding.config));
        if let Err(error) = kept {
            let cause = LoadError::Archive { cause: error.to_string() };
            return Err(self.refuse(binding, Some(version), occasion, cause));
        }
        let component = match self.compiled(digest) {
            Some(component) => Ok(component),
            None => self.compiler.compile(digest, bytes),
        };
        let loaded = component.and_then(|component| {
            let host = Arc::clone(&self.host);
            let vitals = Vitals::new(host, binding.clone(), component, digest, source);
            loader::load(vitals, self.filter_check)
        });
        loaded.map(Step::Replace).map_err(|cause| self.refuse(binding, Some(version), occasion, cause))
    }

    /// Whether what serves is what is asked for, or stands in for it since it failed its trial.
    fn goes_on(&self, binding: &Binding, version: Version) -> bool {
        let generation = self.current.load();
        let Some(vitals) = generation.find(&binding.name).map(Loaded::vitals) else { return false };
        let mut book = self.book();
        if vitals.digest == version.0 && vitals.binding == *binding {
            book.settle(&binding.name, version);
            return true;
        }
        book.has_failed(binding, version.0)
    }

    /// Notes a refusal; logs and reports it once per version.
    fn refuse(
        &self,
        binding: &Binding,
        version: Option<Version>,
        occasion: Occasion,
        cause: LoadError,
    ) -> LoadError {
        let name = &binding.name;
        if self.book().refuse(name, version, &cause) || occasion == Occasion::Bindings {
            let reason = cause.to_string();
            let digest = version.map(|(digest, _)| digest.to_string()).unwrap_or_default();
            tracing::error!(component = name, digest, reason, "component refused: nothing changed");
            self.host.emit(Event::Refused { name: name.clone(), reason });
        }
        cause
    }

    /// The compiled form of a component that serves already, under another configuration or name.
    fn compiled(&self, digest: Digest) -> Option<Component> {
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
                // It was found in a generation a moment ago, and only a reload takes a binding away.
                Step::Keep(name) => loaded.extend(current.find(&name).cloned()),
                Step::Replace(new) => {
                    let name = new.vitals().binding.name.clone();
                    book.admit(&name, &new, current.find(&name));
                    changed.push(name);
                    loaded.push(new);
                }
            }
        }
        book.bind(bindings);
        let names = |list: &[Loaded]| -> Vec<Arc<str>> {
            list.iter().map(|loaded| Arc::clone(&loaded.vitals().name)).collect()
        };
        if current.id() > 0 && changed.is_empty() && names(&loaded) == names(current.loaded()) {
            return current;
        }
        book.forget_all_but(&loaded);
        let next = self.swap(&current, loaded);
        drop(book);
        tracing::info!(generation = next.id(), ?changed, "generation published");
        self.host.emit(Event::Published { generation: next.id(), changed });
        next
    }

    /// Makes the next generation current. Only whoever holds the book may.
    fn swap(&self, current: &Generation, loaded: Vec<Loaded>) -> Arc<Generation> {
        let next = Arc::new(Generation::new(current.id() + 1, loaded, &self.generations_live));
        let old = self.current.swap(Arc::clone(&next));
        self.host.signal(Signal::Retire(old));
        next
    }

    /// Puts the last good version back in the place of one that fails its trial.
    pub(crate) fn roll_back(&self, failing: &Arc<Vitals>) {
        let mut book = self.book();
        let current = self.current.load_full();
        let name = &failing.binding.name;
        let serves = current.find(name).is_some_and(|loaded| Arc::ptr_eq(loaded.vitals(), failing));
        let Some(good) = serves.then(|| book.fail(failing)).flatten() else { return };
        failing.end_trial();
        let (from, to) = (failing.digest, good.vitals().digest);
        let mut loaded = current.loaded().to_vec();
        loaded
            .iter_mut()
            .filter(|loaded| Arc::ptr_eq(loaded.vitals(), failing))
            .for_each(|it| *it = good.clone());
        let next = self.swap(&current, loaded);
        drop(book);
        tracing::error!(component = name, %from, %to, "rolled back: the new version failed on trial");
        let name = Arc::clone(&failing.name);
        self.host.emit(Event::RolledBack { name, from, to, generation: next.id() });
    }

    /// Lets go of what served before components whose trial is over.
    pub(crate) fn end_trials(&self) {
        let generation = self.current.load();
        let on_trial = |name: &str| generation.find(name).is_some_and(|loaded| loaded.vitals().on_trial());
        self.book().end_trials(on_trial);
    }
}
