//! Tells the log of hosts that components name and nobody has allowed them to send keys to: each once, when it appears.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::routing::table::Upstreams;
use crate::shared::Shared;
use crate::upstream::permission::{Word, permissions};

/// What was told so far.
#[derive(Default)]
pub(crate) struct Permissions {
    /// The components and the configuration that were looked at.
    seen: Option<(u64, Arc<Upstreams>)>,
    told: BTreeSet<(String, String)>,
}

impl Permissions {
    /// Looks where something has changed.
    pub(crate) fn look(&mut self, shared: &Shared) {
        let (generation, upstreams) = (shared.runtime.current(), shared.upstreams.load_full());
        let known = self
            .seen
            .as_ref()
            .is_some_and(|(id, known)| *id == generation.id() && Arc::ptr_eq(known, &upstreams));
        if known {
            return;
        }
        let mut missing = BTreeSet::new();
        for adapter in generation.adapters() {
            let hosts = permissions(adapter, adapter.component(), &upstreams.grants);
            let lacking = hosts.into_iter().filter(|permission| permission.word == Word::Missing);
            missing.extend(lacking.map(|it| (adapter.component().to_owned(), it.host.to_string())));
        }
        for (component, host) in missing.difference(&self.told) {
            tracing::warn!(
                component,
                host,
                "a component names a host to which it may send no keys: `tollgate plugin grant` allows it"
            );
        }
        self.told = missing;
        self.seen = Some((generation.id(), upstreams));
    }
}
