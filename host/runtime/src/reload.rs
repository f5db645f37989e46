//! The reload: one transaction from what operators want to the generation that serves.
//!
//! Everything that can fail happens before anything changes. Two locks keep it so: one is held through a whole
//! reload, and [`Book`](crate::book::Book) for moments only, by whoever publishes. A rollback therefore never waits
//! for a compilation.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use wasmtime::component::Component;

use crate::binding::{Binding, Kind, Variant};
use crate::digest::Digest;
use crate::error::{LoadError, ReloadError};
use crate::event::Event;
use crate::generation::{Generation, Loaded, Member};
use crate::registry::Registry;
use crate::source::Source;
use crate::spec::Spec;
use crate::versions::Version;
use crate::vitals::{Signal, Vitals};
use crate::{check, loader, source};

/// Why a reload happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// An operator changed the bindings: all of them come into force, or none.
    Bindings,
    /// Files may have changed: each one counts for itself, and what was refused before is not tried again.
    Files,
    /// The gateway starts: whatever is refused, something is put in its place.
    Start,
}

/// What a reload does with one variant of a binding.
enum Step {
    /// What serves now goes on.
    Keep(String),
    /// A new version takes its place.
    Replace(Loaded),
    /// A version that has not served before, and what takes its place if it fails.
    TryOut(Loaded, Loaded),
    /// This one serves in place of one that was refused, or has failed before.
    StandIn(Loaded),
}

/// What is left of a file that is gone.
enum Lost {
    /// It serves.
    Serves,
    /// Its bytes were kept.
    Kept(Vec<u8>),
}

/// A variant, and what becomes of it.
struct Planned<'b> {
    binding: &'b Binding,
    variant: &'b Variant,
    spec: Spec,
    step: Step,
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
        let mut plan = Vec::with_capacity(bindings.len());
        let mut refusal = None;
        let count = variants(&bindings).count();
        for (at, (binding, variant)) in variants(&bindings).enumerate() {
            self.progress.reach(at, count);
            let spec = Spec::new(binding, variant);
            let step = match self.step(&spec, occasion) {
                Ok(step) => step,
                Err(cause) if occasion == Occasion::Start => self.stand_in_for(&spec, cause)?,
                Err(cause) => {
                    let error = ReloadError::Load { name: spec.name.clone(), cause };
                    if occasion == Occasion::Bindings {
                        return Err(error);
                    }
                    refusal.get_or_insert(error);
                    Step::Keep(spec.name.clone())
                }
            };
            plan.push(Planned { binding, variant, spec, step });
        }
        let generation = self.publish(&bindings, plan);
        self.save();
        refusal.map_or(Ok(generation), Err)
    }

    /// Decides about one variant, loading what is new.
    fn step(&self, spec: &Spec, occasion: Occasion) -> Result<Step, LoadError> {
        let dir = self.plugins_dir.as_deref();
        let bytes_max = self.host.limits.file_bytes_max;
        let found = source::find(&spec.component, dir, &self.embedded, bytes_max);
        let gone = matches!(found, Ok((_, Source::Embedded)) | Err(LoadError::Missing { .. }));
        if !gone {
            self.book().find_again(&spec.name);
        }
        let (bytes, source) = match gone.then(|| self.lost(spec)).flatten() {
            Some(Lost::Serves) => return Ok(Step::Keep(spec.name.clone())),
            Some(Lost::Kept(bytes)) => (bytes.into(), Source::Kept),
            None => found.map_err(|cause| self.refuse(spec, None, occasion, cause))?,
        };
        let digest = Digest::of(&bytes);
        let version = (digest, Digest::of(spec.config.as_bytes()));
        if self.goes_on(spec, version) {
            return Ok(Step::Keep(spec.name.clone()));
        }
        // A look at the files does not try again what was refused already, unless it only took too long and is done
        // now.
        if occasion == Occasion::Files
            && let Some(cause) = self.book().refusal(&spec.name, version)
            && !(matches!(cause, LoadError::CompileTimeout { .. }) && self.compiler.has_kept(&digest))
        {
            return Err(cause);
        }
        if occasion == Occasion::Start
            && self.book().has_failed(spec, digest)
            && let Some(good) = self.stand_in(spec, Some(digest))
        {
            tracing::error!(
                component = spec.name, failed = %digest, serves = %good.vitals().digest,
                "this version failed on trial before: the one before it serves"
            );
            return Ok(Step::StandIn(good));
        }
        let new = source != Source::Embedded && self.book().good(&spec.name) != Some(version);
        let patient = occasion == Occasion::Start && source == Source::Embedded;
        let loaded = self.load(spec, digest, bytes, source, patient);
        let loaded = loaded.map_err(|cause| self.refuse(spec, Some(version), occasion, cause))?;
        if occasion == Occasion::Start
            && new
            && let Some(good) = self.stand_in(spec, Some(digest))
        {
            return Ok(Step::TryOut(loaded, good));
        }
        Ok(Step::Replace(loaded))
    }

    /// What goes on in the place of a file that served and is gone: nobody has said that it shall end.
    fn lost(&self, spec: &Spec) -> Option<Lost> {
        // Without an archive a restart would know nothing of it.
        let archive = self.archive.as_ref()?;
        let generation = self.current.load();
        let serving = generation.find(&spec.name).map(Loaded::vitals);
        let mut book = self.book();
        let digest = book.taken(&spec.name, &spec.component)?;
        if book.lose(&spec.name) {
            tracing::error!(
                component = spec.name, file = spec.component, %digest,
                "its file is gone: what it held last serves on, until it is forgotten or the file is back"
            );
        }
        drop(book);
        if serving.is_some_and(|vitals| vitals.digest == digest && vitals.spec == *spec) {
            return Some(Lost::Serves);
        }
        match archive.component(digest) {
            Ok(bytes) => Some(Lost::Kept(bytes)),
            Err(error) => {
                tracing::error!(component = spec.name, %digest, %error, "what its file held was not kept");
                None
            }
        }
    }

    /// Lets go of what was kept of a component whose file is gone: what the binary carries serves then, where it does.
    pub(crate) fn forget(&self, name: &str) -> Result<Arc<Generation>, ReloadError> {
        self.book().let_go(name);
        self.transact(Occasion::Files, None)
    }

    /// Keeps, compiles, links and tries a component.
    fn load(
        &self,
        spec: &Spec,
        digest: Digest,
        bytes: Cow<'static, [u8]>,
        source: Source,
        patient: bool,
    ) -> Result<Loaded, LoadError> {
        self.keep(spec, &bytes, &source)?;
        let built_in = self.embedded.iter().any(|embedded| *embedded.bytes == *bytes);
        let component = match self.compiled(digest) {
            Some(component) => component,
            None => {
                if !self.compiler.has_kept(&digest) {
                    self.progress.tell(&spec.name);
                }
                self.compiler.compile(digest, bytes, patient)?
            }
        };
        let vitals = Vitals::new(Arc::clone(&self.host), spec.clone(), component, (digest, source), built_in);
        loader::load(vitals, self.filter_check)
    }

    /// Keeps what receipts may name, what a later start may need, and what an operator may go back to. Only the first
    /// is a reason to refuse a component.
    fn keep(&self, spec: &Spec, bytes: &[u8], source: &Source) -> Result<(), LoadError> {
        let priced = spec.kind == Kind::PricingPolicy;
        let Some(archive) = &self.archive else { return Ok(()) };
        let kept = match source {
            Source::Embedded if !priced => archive.carried().keep_lightly(bytes, &spec.config),
            _ => archive.keep(bytes, &spec.config),
        };
        match kept {
            Err(error) if priced => Err(LoadError::Archive { cause: error.to_string() }),
            Err(error) => {
                tracing::warn!(component = spec.name, %error, "a component was not kept for later starts");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// What a start puts in the place of a component that was refused. Nothing may be there to put: what is bound to
    /// a file then stays empty, and what never was is a mistake in the bindings.
    fn stand_in_for(&self, spec: &Spec, cause: LoadError) -> Result<Step, ReloadError> {
        if let Some(loaded) = self.stand_in(spec, None) {
            let serves = loaded.vitals().digest;
            tracing::error!(component = spec.name, %cause, %serves, "another version serves in its place");
            return Ok(Step::StandIn(loaded));
        }
        let file = |dir: &PathBuf| dir.join(format!("{}.wasm", spec.component)).symlink_metadata().is_ok();
        let never_was = self.plugins_dir.as_ref().is_none_or(|dir| !file(dir));
        // What cannot be read may be there all the same: nobody's mistake in the bindings.
        let unread =
            matches!(cause, LoadError::Read { .. } | LoadError::Torn { .. } | LoadError::TooLarge { .. });
        if never_was && !unread {
            return Err(ReloadError::Load { name: spec.name.clone(), cause });
        }
        tracing::error!(component = spec.name, %cause, "nothing can serve in its place");
        Ok(Step::Keep(spec.name.clone()))
    }

    /// The last good version of a unit, with the configuration of today or else with its own, or what the binary
    /// carries.
    fn stand_in(&self, spec: &Spec, failed: Option<Digest>) -> Option<Loaded> {
        self.last_good(spec, failed).or_else(|| {
            let embedded = self.embedded.iter().find(|embedded| embedded.name == spec.component)?;
            let digest = Digest::of(embedded.bytes);
            self.load(spec, digest, embedded.bytes.into(), Source::Embedded, true).ok()
        })
    }

    /// What has proven good last, or else what its file held when it last served; not what has `failed`.
    fn last_good(&self, spec: &Spec, failed: Option<Digest>) -> Option<Loaded> {
        let archive = self.archive.as_ref()?;
        let book = self.book();
        let taken = book.taken(&spec.name, &spec.component).filter(|digest| Some(*digest) != failed);
        let taken = taken.map(|digest| (digest, Digest::of(spec.config.as_bytes())));
        let good = book.good(&spec.name).or(taken);
        drop(book);
        let (digest, config) = good?;
        let bytes = archive.component(digest).ok()?;
        let load = |spec: &Spec| self.load(spec, digest, bytes.clone().into(), Source::Kept, true);
        load(spec).ok().or_else(|| load(&Spec { config: archive.config(config).ok()?, ..spec.clone() }).ok())
    }

    /// Whether what serves is what is asked for, or stands in for it since it failed its trial.
    fn goes_on(&self, spec: &Spec, version: Version) -> bool {
        let generation = self.current.load();
        let Some(vitals) = generation.find(&spec.name).map(Loaded::vitals) else { return false };
        let mut book = self.book();
        if vitals.digest == version.0 && vitals.spec == *spec {
            book.settle(&spec.name, version);
            return true;
        }
        book.has_failed(spec, version.0)
    }

    /// Notes a refusal; logs and reports it once per version.
    fn refuse(
        &self,
        spec: &Spec,
        version: Option<Version>,
        occasion: Occasion,
        cause: LoadError,
    ) -> LoadError {
        let name = &spec.name;
        if self.book().refuse(name, version, &cause) || occasion == Occasion::Bindings {
            let reason = cause.words();
            let digest = version.map(|(digest, _)| digest.to_string()).unwrap_or_default();
            tracing::error!(component = name, digest, reason, "component refused: nothing changed");
            self.host.emit(Event::Refused { name: name.clone(), reason });
        }
        cause
    }

    /// The compiled form of a component that serves already, under another configuration or name.
    fn compiled(&self, digest: Digest) -> Option<Component> {
        let generation = self.current.load();
        let same = generation.members().iter().map(Member::vitals).find(|vitals| vitals.digest == digest)?;
        Some(same.component.clone())
    }

    /// Composes and publishes a generation, where anything changed. What is kept is taken from the generation of this
    /// moment: a rollback may have come in between.
    fn publish(&self, bindings: &[Binding], plan: Vec<Planned<'_>>) -> Arc<Generation> {
        let mut book = self.book();
        let current = self.current.load_full();
        let mut changed = Vec::new();
        let mut members = Vec::with_capacity(plan.len());
        let mut lacking = Vec::new();
        for Planned { binding, variant, spec, step } in plan {
            let loaded = match step {
                // It was found in a generation a moment ago, or nothing could be loaded since the start.
                Step::Keep(name) => current.find(&name).cloned(),
                Step::StandIn(loaded) => Some(loaded),
                Step::TryOut(new, good) => {
                    book.try_out(&spec.name, &new, good);
                    Some(new)
                }
                Step::Replace(new) => {
                    let name = new.vitals().spec.name.clone();
                    book.admit(&name, &new, current.find(&name));
                    changed.push(name);
                    Some(new)
                }
            };
            let Variant { share_ppm, shadow, .. } = *variant;
            let member = |loaded| Member { loaded, binding: binding.name.as_str().into(), share_ppm, shadow };
            match loaded.map(member) {
                Some(member) => members.push(member),
                None => lacking.push(spec),
            }
        }
        book.bind(bindings.to_vec());
        members.iter().for_each(|member| book.take(member.vitals()));
        let same = members.iter().map(Member::place).eq(current.members().iter().map(Member::place));
        if current.id() > 0 && changed.is_empty() && same && lacking == current.lacking() {
            return current;
        }
        book.forget_all_but(&members, &lacking);
        let next = self.swap(&current, members, lacking);
        drop(book);
        tracing::info!(generation = next.id(), ?changed, "generation published");
        self.host.emit(Event::Published { generation: next.id(), changed });
        next
    }

    /// Makes the next generation current. Only whoever holds the book may.
    fn swap(&self, current: &Generation, members: Vec<Member>, lacking: Vec<Spec>) -> Arc<Generation> {
        let next = Arc::new(Generation::new(current.id() + 1, members, lacking, &self.generations_live));
        let old = self.current.swap(Arc::clone(&next));
        self.host.signal(Signal::Retire(old));
        next
    }

    /// Puts the last good version back in the place of one that fails its trial.
    pub(crate) fn roll_back(&self, failing: &Arc<Vitals>) {
        let mut book = self.book();
        let current = self.current.load_full();
        let name = &failing.spec.name;
        let serves = current.find(name).is_some_and(|loaded| Arc::ptr_eq(loaded.vitals(), failing));
        let Some(good) = serves.then(|| book.fail(failing)).flatten() else { return };
        failing.end_trial();
        let (from, to) = (failing.digest, good.vitals().digest);
        let mut members = current.members().to_vec();
        let failed = members.iter_mut().filter(|member| Arc::ptr_eq(member.vitals(), failing));
        failed.for_each(|member| member.loaded = good.clone());
        let next = self.swap(&current, members, current.lacking().to_vec());
        drop(book);
        self.save();
        tracing::error!(component = name, %from, %to, "rolled back: the new version failed on trial");
        let name = Arc::clone(&failing.name);
        self.host.emit(Event::RolledBack { name, from, to, generation: next.id() });
    }

    /// Lets go of what served before components whose trial is over, and writes down which have proven good.
    pub(crate) fn end_trials(&self) {
        let generation = self.current.load();
        let on_trial = |name: &str| generation.find(name).is_some_and(|loaded| loaded.vitals().on_trial());
        let mut book = self.book();
        book.end_trials(on_trial);
        let members = generation.members().iter().map(Member::vitals);
        members.filter(|vitals| vitals.is_proven()).for_each(|vitals| book.prove(vitals));
        drop(book);
        self.save();
    }
}

/// All variants of all bindings, in their order.
fn variants(bindings: &[Binding]) -> impl Iterator<Item = (&Binding, &Variant)> {
    bindings.iter().flat_map(|binding| binding.variants.iter().map(move |variant| (binding, variant)))
}
