//! Monitors credentials that the providers refuse: stores their state, and checks each again when that is due.
//!
//! One task on the control thread. It sleeps until the next check is due or something changes; it does not poll, and
//! writes only changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{Id, JoinSet};
use tollgate_core::id::CredentialId;

use crate::clock::now;
use crate::manage::Management;
use crate::shared::Shared;
use crate::state::credentials::Credential;
use crate::upstream::check::Subject;

/// Most checks at one time: one that waits for its provider does not hold the others up.
const CHECKS_MAX: usize = 4;

/// The task's state.
pub(crate) struct CredentialMonitor {
    shared: Arc<Shared>,
    management: Management,
    changes: UnboundedReceiver<CredentialId>,
}

impl CredentialMonitor {
    /// `changes` receives the changes that credentials report.
    pub(crate) const fn new(
        shared: Arc<Shared>,
        management: Management,
        changes: UnboundedReceiver<CredentialId>,
    ) -> Self {
        Self { shared, management, changes }
    }

    /// Runs as long as any credential can report changes.
    pub(crate) async fn run(mut self) {
        let mut checks = JoinSet::new();
        let mut checked: HashMap<Id, CredentialId> = HashMap::new();
        loop {
            let due = if checks.len() < CHECKS_MAX { self.due(&checked) } else { None };
            let wait = due.as_ref().map_or(Duration::MAX, |(ms, _)| Duration::from_millis(*ms));
            tokio::select! {
                changed = self.changes.recv() => match changed {
                    Some(id) => keep(&self.shared, &self.management, id).await,
                    None => return,
                },
                Some(ended) = checks.join_next_with_id() => {
                    let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
                    checked.remove(&task);
                }
                () = tokio::time::sleep(wait) => {
                    if let Some((_, credential)) = due {
                        let id = credential.id;
                        let check = check(Arc::clone(&self.shared), self.management.clone(), credential);
                        checked.insert(checks.spawn(check).id(), id);
                    }
                }
            }
        }
    }

    /// The credential whose check is due next, and in how many milliseconds; none that is checked already.
    fn due(&self, checked: &HashMap<Id, CredentialId>) -> Option<(u64, Arc<Credential>)> {
        let (directory, at) = (self.shared.directory.load(), now());
        let due = |credential: &Arc<Credential>| {
            Some((credential.live.check_at()?.since_ms(at), Arc::clone(credential)))
        };
        let idle = directory.all().filter(|credential| !checked.values().any(|id| *id == credential.id));
        idle.filter_map(due).min_by_key(|(ms, _)| *ms)
    }
}

/// Stores a credential's current state, which may be newer than the reported change.
async fn keep(shared: &Shared, management: &Management, id: CredentialId) {
    let Some(live) = shared.directory.load().live.get(&id).cloned() else { return };
    let state = live.lasting();
    tracing::info!(credential = %id, condition = ?state.condition, "a credential has changed its state");
    if let Err(error) = management.store().catalogue.save_state(id, state).await {
        tracing::error!(credential = %id, %error, "a credential's state could not be kept");
    }
}

async fn check(shared: Arc<Shared>, management: Management, credential: Arc<Credential>) {
    let subject = Subject {
        provider: credential.provider.clone(),
        place: credential.place.clone(),
        secret: credential.secret.clone(),
    };
    let found = shared.check(subject, Some(credential.id)).await;
    let Some(result) = found.result else {
        // Where the adapter knows no check, only a call can show whether the provider accepts it, so it gets
        // another chance. Otherwise its check would stay due and be repeated without pause.
        credential.live.acquit(now());
        return keep(&shared, &management, credential.id).await;
    };
    credential.live.learn(result.failure, result.at);
    keep(&shared, &management, credential.id).await;
    if let Err(error) = management.keep_check(credential.id, &result).await {
        tracing::error!(credential = %credential.id, %error, "what a check found could not be kept");
    }
}
