//! What is known of components beyond the generation that serves: what served before, what was refused, what failed.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::binding::Binding;
use crate::digest::Digest;
use crate::error::LoadError;
use crate::generation::{Loaded, Member};
use crate::source::Source;
use crate::spec::Spec;
use crate::status::ComponentState;
use crate::versions::{Failed, Ran, Version, Versions};
use crate::vitals::Vitals;

/// What is known beyond the current generation.
#[derive(Default)]
pub(crate) struct Book {
    bindings: Vec<Binding>,
    /// By unit: what served before a component that is still on trial.
    last_good: HashMap<String, Loaded>,
    /// Units whose file is gone, though what it held serves on.
    lost: HashSet<String>,
    /// By unit: the refusal of this version, or of a file that could not even be read.
    refused: HashMap<String, (Option<Version>, LoadError)>,
    /// What outlives this process.
    versions: Versions,
}

impl Book {
    /// What the status page says about a component beyond its own counters.
    pub(crate) fn verdict(&self, vitals: &Vitals) -> Option<ComponentState> {
        let name = &vitals.spec.name;
        if self.refused.contains_key(name) {
            return Some(self.complaint(name));
        }
        if self.lost.contains(name) {
            return Some(ComponentState::FileMissing);
        }
        let failed = self.versions.failed.get(name)?;
        Some(ComponentState::RolledBack { from: failed.digest, reason: failed.reason.clone() })
    }

    /// Why the last version of a unit was refused.
    pub(crate) fn complaint(&self, name: &str) -> ComponentState {
        let (version, cause) =
            self.refused.get(name).map(|(version, cause)| (*version, cause.words())).unzip();
        let digest = version.flatten().map(|(digest, _)| digest);
        ComponentState::Refused { digest, reason: cause.unwrap_or_default() }
    }

    /// What is known so far, from an earlier process.
    pub(crate) fn remember(versions: Versions) -> Self {
        Self { versions, ..Self::default() }
    }

    /// What the next process shall know.
    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    /// What was good last, where that came from a file.
    pub(crate) fn good(&self, name: &str) -> Option<Version> {
        self.versions.good.get(name).copied()
    }

    /// The bytes that the file of a unit held last, where nobody has let go of them.
    pub(crate) fn taken(&self, name: &str, component: &str) -> Option<Digest> {
        let (known, digest) = self.versions.taken.get(name)?;
        (known == component).then_some(*digest)
    }

    /// Notes what serves: for the history; of a file, so that it is known when the file is gone; of the binary, that no
    /// file is missed.
    pub(crate) fn take(&mut self, vitals: &Vitals) {
        self.note_ran(vitals);
        let (name, component) = (&vitals.spec.name, &vitals.spec.component);
        let other = self.versions.taken.get(name).is_some_and(|(known, _)| known != component);
        match &vitals.source {
            Source::File(_) if !self.has_failed(&vitals.spec, vitals.digest) => {
                self.versions.taken.insert(name.clone(), (component.clone(), vitals.digest));
            }
            _ if other => drop(self.versions.taken.remove(name)),
            _ => {}
        }
    }

    fn note_ran(&mut self, vitals: &Vitals) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.versions.serves(Ran {
            name: vitals.spec.name.clone(),
            component: vitals.spec.component.clone(),
            digest: vitals.digest,
            config: vitals.config_digest,
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// The file of a unit is gone. Says whether that is news.
    pub(crate) fn lose(&mut self, name: &str) -> bool {
        self.refused.remove(name);
        self.lost.insert(name.to_owned())
    }

    /// The file of a unit may be there again, or is missed no more.
    pub(crate) fn find_again(&mut self, name: &str) {
        self.lost.remove(name);
    }

    /// Forgets what files held that are gone, of a unit or of all that run a component.
    pub(crate) fn let_go(&mut self, name: &str) {
        let Versions { good, taken, .. } = &mut self.versions;
        let named: Vec<String> = taken
            .iter()
            .filter(|(unit, (component, _))| *unit == name || component == name)
            .map(|(unit, _)| unit.clone())
            .collect();
        for unit in named {
            taken.remove(&unit);
            good.remove(&unit);
            self.lost.remove(&unit);
        }
    }

    /// Notes that this one has proven good. What the binary itself carries needs no note.
    pub(crate) fn prove(&mut self, vitals: &Vitals) {
        let name = &vitals.spec.name;
        if vitals.source == Source::Embedded {
            self.versions.good.remove(name);
        } else {
            self.versions.good.insert(name.clone(), (vitals.digest, vitals.config_digest));
        }
    }

    /// A version that is new to this data directory serves; `good` takes its place if it fails.
    pub(crate) fn try_out(&mut self, name: &str, new: &Loaded, good: Loaded) {
        self.refused.remove(name);
        self.versions.failed.remove(name);
        self.last_good.insert(name.to_owned(), good);
        new.vitals().begin_trial();
    }

    /// What operators want in force.
    pub(crate) fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// What operators want in force from now on.
    pub(crate) fn bind(&mut self, bindings: Vec<Binding>) {
        self.bindings = bindings;
    }

    /// What is asked for serves: complaints about the file are over, those about another configuration are not.
    pub(crate) fn settle(&mut self, name: &str, version: Version) {
        let (_, config) = version;
        let other_config =
            |refused: &(Option<Version>, LoadError)| refused.0.is_some_and(|it| it.1 != config);
        if !self.refused.get(name).is_some_and(other_config) {
            self.refused.remove(name);
        }
        self.versions.failed.remove(name);
    }

    /// Why this version was refused, where it was the last that was.
    pub(crate) fn refusal(&self, name: &str, version: Version) -> Option<LoadError> {
        let (refused, cause) = self.refused.get(name)?;
        (*refused == Some(version)).then(|| cause.clone())
    }

    /// Notes a refusal. Says whether it is news.
    pub(crate) fn refuse(&mut self, name: &str, version: Option<Version>, cause: &LoadError) -> bool {
        let noted = self.refused.insert(name.to_owned(), (version, cause.clone()));
        noted.is_none_or(|(known, words)| known != version || words.to_string() != cause.to_string())
    }

    /// Whether this failed its trial, so that what served before stands in for it.
    pub(crate) fn has_failed(&self, spec: &Spec, digest: Digest) -> bool {
        let failed = self.versions.failed.get(&spec.name);
        failed.is_some_and(|failed| failed.digest == digest && failed.spec == spec.digest())
    }

    /// Notes that a component failed its trial. What served before it takes its place, where there is such a thing.
    pub(crate) fn fail(&mut self, failing: &Vitals) -> Option<Loaded> {
        let name = &failing.spec.name;
        let good = self.last_good.remove(name)?;
        let reason = failing.last_error().unwrap_or_default();
        let failed = Failed { digest: failing.digest, spec: failing.spec.digest(), reason };
        self.versions.failed.insert(name.clone(), failed);
        // What is known of its file is what serves again; nothing where that is the binary's own.
        let of_file = good.vitals().source != Source::Embedded;
        match self.versions.taken.get_mut(name) {
            Some((_, taken)) if of_file => *taken = good.vitals().digest,
            _ => drop(self.versions.taken.remove(name)),
        }
        self.prove(good.vitals());
        self.note_ran(good.vitals());
        Some(good)
    }

    /// Notes that `new` takes the place of `old`.
    pub(crate) fn admit(&mut self, name: &str, new: &Loaded, old: Option<&Loaded>) {
        self.refused.remove(name);
        self.versions.failed.remove(name);
        let Some(old) = old else { return };
        // A version that is itself doubtful is nothing to go back to: the one before it is.
        let doubtful = old.vitals().on_trial() && old.vitals().has_faulted();
        if !doubtful || !self.last_good.contains_key(name) {
            self.last_good.insert(name.to_owned(), old.clone());
        }
        new.vitals().begin_trial();
    }

    /// Forgets what is bound no more.
    pub(crate) fn forget_all_but(&mut self, members: &[Member], lacking: &[Spec]) {
        let loaded = |name: &String| members.iter().any(|member| member.vitals().spec.name == *name);
        let bound = |name: &String| loaded(name) || lacking.iter().any(|spec| spec.name == *name);
        self.last_good.retain(|name, _| bound(name));
        self.refused.retain(|name, _| bound(name));
        self.versions.failed.retain(|name, _| bound(name));
        self.versions.good.retain(|name, _| bound(name));
        self.versions.taken.retain(|name, _| bound(name));
        self.lost.retain(|name| bound(name));
    }

    /// Lets go of what served before components whose trial is over.
    pub(crate) fn end_trials(&mut self, on_trial: impl Fn(&str) -> bool) {
        self.last_good.retain(|name, _| on_trial(name));
    }
}
