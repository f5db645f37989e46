//! Keeps what [`crate::bodies`] has copied: one task takes from the queue, redacts and stores, and another removes what
//! is old.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tollgate_core::secret::Secret;
use tollgate_core::time::{DAY_MS, Timestamp};

use crate::bodies::Copied;
use crate::bodies::redact::{RedactError, Redactor};
use crate::clock::now;
use crate::config::KeepBodies;
use crate::manage::{Bodies, ManageError, Management};
use crate::shared::Shared;
use crate::state::directory::Directory;
use crate::state::secret::hidden;
use crate::telemetry::chain;

/// How often old bodies are looked for.
const INTERVAL: Duration = Duration::from_secs(600);
/// Rows of one removal.
const BATCH: u32 = 250;
/// Pause between removals, so that others can write.
const PAUSE: Duration = Duration::from_millis(20);

/// Stores what the road has copied until `end` turns true, and then what is still in the queue.
pub(crate) async fn run(
    shared: Arc<Shared>,
    management: Management,
    mut copies: mpsc::Receiver<Copied>,
    mut end: watch::Receiver<bool>,
) {
    let mut keeper = Keeper { shared, management, known: None };
    loop {
        let copied = tokio::select! {
            copied = copies.recv() => copied,
            _ = end.wait_for(|end| *end) => None,
        };
        let Some(copied) = copied else { break };
        keeper.keep(copied).await;
    }
    copies.close();
    while let Some(copied) = copies.recv().await {
        keeper.keep(copied).await;
    }
}

/// Why the bodies of a call were not kept.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Redact(#[from] RedactError),
    #[error("the thread that redacts ended early")]
    Thread(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Store(#[from] ManageError),
}

struct Keeper {
    shared: Arc<Shared>,
    management: Management,
    /// A redactor that knows the credentials of this directory, and the tokens up to this count.
    known: Option<(Arc<Directory>, u64, Arc<Redactor>)>,
}

impl Keeper {
    async fn keep(&mut self, copied: Copied) {
        let request = copied.request;
        if let Err(error) = self.stored(copied).await {
            self.shared.bodies.lost.inc();
            tracing::error!(error = chain(&error), %request, "the bodies of a call could not be kept");
        }
    }

    async fn stored(&mut self, copied: Copied) -> Result<(), KeepError> {
        let redactor = self.redactor()?;
        let bodies = tokio::task::spawn_blocking(move || Bodies {
            request: copied.request,
            api_key: copied.api_key,
            asked: copied.asked.redacted(&redactor, false),
            answered: copied.answered.redacted(&redactor, copied.events),
        });
        let bodies = bodies.await?;
        Ok(self.management.store_bodies(&bodies).await?)
    }

    /// Knows every credential that is in use now, the parts of those that have some, and the access tokens had for
    /// them.
    fn redactor(&mut self) -> Result<Arc<Redactor>, RedactError> {
        let directory = self.shared.directory.load_full();
        let issued = self.shared.tokens.issued();
        // Read before the tokens are listed: a token that comes in between changes the number.
        let count = issued.count();
        if let Some((known, tokens, redactor)) = &self.known
            && Arc::ptr_eq(known, &directory)
            && *tokens == count
        {
            return Ok(Arc::clone(redactor));
        }
        let parts: Vec<Secret> = directory.all().flat_map(|credential| hidden(&credential.secret)).collect();
        let tokens = issued.all();
        let secrets = directory.all().map(|credential| &credential.secret).chain(&parts);
        let secrets = secrets.chain(tokens.iter().map(Arc::as_ref)).map(Secret::expose);
        let names = &self.shared.settings.requests.bodies.redact;
        let redactor = Arc::new(Redactor::new(names, secrets)?);
        self.known = Some((directory, count, Arc::clone(&redactor)));
        Ok(redactor)
    }
}

/// Removes bodies whose time is over, in an endless loop.
pub(crate) async fn watch(management: Management, rule: KeepBodies) {
    loop {
        match prune(&management, &rule).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed old bodies of calls"),
            Err(error) => tracing::error!(error = chain(&error), "old bodies could not be removed"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Removes bodies whose time is over now. Returns the number of calls.
///
/// # Errors
/// When the database fails.
pub(crate) async fn prune(management: &Management, rule: &KeepBodies) -> Result<u64, ManageError> {
    let age = rule.retention_days.get().saturating_mul(DAY_MS);
    let before = Timestamp::from_millis(now().millis().saturating_sub(age));
    let mut removed = 0;
    loop {
        let gone = management.remove_bodies(before, BATCH).await?;
        removed += gone;
        if gone < u64::from(BATCH) {
            return Ok(removed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
