//! What is known of components beyond the generation that serves: what served before, what was refused, what failed.

use std::collections::HashMap;

use crate::binding::Binding;
use crate::digest::Digest;
use crate::error::LoadError;
use crate::generation::{Loaded, Member};
use crate::spec::Spec;
use crate::status::ComponentState;
use crate::vitals::Vitals;

/// What tells two versions of a component apart: bytes and configuration.
pub(crate) type Version = (Digest, Digest);

/// What is known beyond the current generation.
#[derive(Default)]
pub(crate) struct Book {
    bindings: Vec<Binding>,
    /// By unit: what served before a component that is still on trial.
    last_good: HashMap<String, Loaded>,
    /// By unit: the refusal of this version, or of a file that could not even be read.
    refused: HashMap<String, (Option<Version>, LoadError)>,
    /// By unit: what failed its trial.
    failed: HashMap<String, Failed>,
}

/// A component that was rolled back. With other bounds it may do better, so it is known by its whole spec.
struct Failed {
    digest: Digest,
    spec: Spec,
    last_error: String,
}

impl Book {
    /// What the status page says about a component beyond its own counters.
    pub(crate) fn verdict(&self, vitals: &Vitals) -> Option<ComponentState> {
        let name = &vitals.spec.name;
        if let Some((_, error)) = self.refused.get(name) {
            return Some(ComponentState::Refused { reason: error.to_string() });
        }
        let failed = self.failed.get(name)?;
        Some(ComponentState::RolledBack { from: failed.digest, reason: failed.last_error.clone() })
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
        self.failed.remove(name);
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
        let failed = self.failed.get(&spec.name);
        failed.is_some_and(|failed| failed.digest == digest && failed.spec == *spec)
    }

    /// Notes that a component failed its trial. What served before it takes its place, where there is such a thing.
    pub(crate) fn fail(&mut self, failing: &Vitals) -> Option<Loaded> {
        let name = &failing.spec.name;
        let good = self.last_good.remove(name)?;
        let last_error = failing.last_error().unwrap_or_default();
        let failed = Failed { digest: failing.digest, spec: failing.spec.clone(), last_error };
        self.failed.insert(name.clone(), failed);
        Some(good)
    }

    /// Notes that `new` takes the place of `old`.
    pub(crate) fn admit(&mut self, name: &str, new: &Loaded, old: Option<&Loaded>) {
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

    /// Forgets what is bound no more.
    pub(crate) fn forget_all_but(&mut self, members: &[Member]) {
        let bound = |name: &String| members.iter().any(|member| member.vitals().spec.name == *name);
        self.last_good.retain(|name, _| bound(name));
        self.refused.retain(|name, _| bound(name));
        self.failed.retain(|name, _| bound(name));
    }

    /// Lets go of what served before components whose trial is over.
    pub(crate) fn end_trials(&mut self, on_trial: impl Fn(&str) -> bool) {
        self.last_good.retain(|name, _| on_trial(name));
    }
}
