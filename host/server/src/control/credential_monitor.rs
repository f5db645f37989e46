//! Monitors credentials that the providers refuse: stores their state, and checks each again when that is due.
//!
//! One task on the control thread. It sleeps until the next check is due or something changes; it does not poll, and
//! writes only changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tollgate_core::health::Standing;
use tollgate_core::id::CredentialId;

use crate::clock::now;
use crate::manage::Management;
use crate::shared::Shared;
use crate::state::credentials::Credential;
use crate::upstream::check::Subject;

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
        loop {
            let due = self.due();
            let wait = due.as_ref().map_or(Duration::MAX, |(ms, _)| Duration::from_millis(*ms));
            tokio::select! {
                changed = self.changes.recv() => match changed {
                    Some(id) => self.keep(id).await,
                    None => return,
                },
                () = tokio::time::sleep(wait) => {
                    if let Some((_, credential)) = due {
                        self.check(&credential).await;
                    }
                }
            }
        }
    }

    /// The credential whose check is due next, and in how many milliseconds.
    fn due(&self) -> Option<(u64, Arc<Credential>)> {
        let (directory, at) = (self.shared.directory.load(), now());
        let due = |credential: &Arc<Credential>| match credential.live.standing(at) {
            Standing::Disabled { recheck_ms, .. } => Some((recheck_ms, Arc::clone(credential))),
            Standing::Available | Standing::HalfOpen | Standing::Cooling { .. } => None,
        };
        directory.all().filter_map(due).min_by_key(|(ms, _)| *ms)
    }

    /// Stores a credential's current state, which may be newer than the reported change.
    async fn keep(&self, id: CredentialId) {
        let Some(live) = self.shared.directory.load().live.get(&id).cloned() else { return };
        let state = live.lasting();
        tracing::info!(credential = %id, condition = ?state.condition, "a credential has changed its state");
        if let Err(error) = self.management.store().catalogue.save_state(id, state).await {
            tracing::error!(credential = %id, %error, "a credential's state could not be kept");
        }
    }

    async fn check(&self, credential: &Credential) {
        let subject = Subject {
            provider: credential.provider.clone(),
            place: credential.place.clone(),
            secret: credential.secret.clone(),
        };
        let found = self.shared.check(subject, Some(credential.id)).await;
        let Some(result) = found.result else {
            // Where the adapter knows no check, only a call can show whether the provider accepts it, so it gets
            // another chance. Otherwise its check would stay due and be repeated without pause.
            credential.live.succeed();
            return self.keep(credential.id).await;
        };
        credential.live.learn(result.failure, result.at);
        self.keep(credential.id).await;
        if let Err(error) = self.management.keep_check(credential.id, &result).await {
            tracing::error!(credential = %credential.id, %error, "what a check found could not be kept");
        }
    }
}
