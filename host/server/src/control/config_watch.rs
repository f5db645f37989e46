//! The configuration file while the gateway runs: providers, models and policies are taken up as one change, or not at
//! all. What belongs to listeners, limits and the database needs a restart, and says so.
//!
//! A file that leaves out what the one in force says of a provider, a policy or a model may be half a file, and what
//! applies in its place may be the opposite: no filter, a public address in the place of a private one. Such a file is
//! held back until somebody says that it is meant (`tollgate reload --accept-removals`), or the gateway is restarted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use crate::config::{Config, FILE_BYTES_MAX, file, removals};
use crate::routing::components;
use crate::shared::Shared;
use crate::state::configuration::{Look, Standing};

/// How often the file is looked at. A file is small and a look is cheap, so nothing depends on a file system's events.
const LOOK: Duration = Duration::from_millis(500);
/// A file that has not changed for so long is not being written any more.
const REST: Duration = Duration::from_millis(50);

/// Follows the file.
pub(crate) struct ConfigWatch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) path: PathBuf,
    /// What the file held when it was last looked at; `None` where it could not be read.
    pub(crate) known: Option<Vec<u8>>,
    /// What it says that is in force.
    pub(crate) in_force: toml::Table,
    /// Those who want it to be looked at.
    pub(crate) looks: Receiver<Look>,
}

impl ConfigWatch {
    /// Takes up changes of the file for ever; SIGHUP and those who ask have it looked at at once.
    pub(crate) async fn run(mut self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK) => None,
                _ = hangup.recv() => {
                    tracing::info!("looking for changes, as told");
                    None
                }
                Some(look) = self.looks.recv() => Some(look),
            };
            let accepts = asked.as_ref().is_some_and(|look| look.accept_removals);
            self.look(accepts).await;
            if let Some(look) = asked {
                // Whoever asked may have gone.
                let _gone = look.done.send(());
            }
        }
    }

    async fn look(&mut self, accepts: bool) {
        let Some(bytes) = self.settled().await else { return };
        let is_accepted = accepts && !self.shared.configuration.standing().held_back.is_empty();
        if self.is_known(&bytes) && !is_accepted {
            return;
        }
        self.known = Some(bytes.clone());
        let standing = self.take_up(bytes, accepts).await;
        if let Some(reason) = &standing.refused {
            tracing::error!(
                error = reason,
                "the changed configuration was refused; the one before stays in force"
            );
        }
        if !standing.held_back.is_empty() {
            tracing::error!(
                removes = standing.held_back.join(", "),
                "the changed configuration is held back, for it removes something; the one before stays in force. \
                 `tollgate reload --accept-removals` takes it up, and so does a restart"
            );
        }
        self.shared.configuration.note(standing);
    }

    fn is_known(&self, bytes: &[u8]) -> bool {
        self.known.as_deref() == Some(bytes)
    }

    /// What the file holds, once it looks the same twice: one that is being written looks different at the next look.
    async fn settled(&mut self) -> Option<Vec<u8>> {
        let bytes = self.read().await?;
        if self.is_known(&bytes) {
            return Some(bytes);
        }
        tokio::time::sleep(REST).await;
        self.read().await.filter(|again| *again == bytes)
    }

    /// Reads the file where nobody else waits with it. That it cannot be read is told once.
    async fn read(&mut self) -> Option<Vec<u8>> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || file::read(&path, FILE_BYTES_MAX)).await.ok()?;
        match read {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.known = None;
                let refused = Some(format!("reading {}: {error}", self.path.display()));
                if self.shared.configuration.note(Standing { refused, ..Standing::default() }) {
                    let path = self.path.display();
                    tracing::error!(%path, %error, "the configuration cannot be read; what was in force stays so");
                }
                None
            }
        }
    }

    /// Puts the file's providers, models and policies in force; what was there stays when anything is wrong.
    async fn take_up(&mut self, bytes: Vec<u8>, accepts: bool) -> Standing {
        let (config, table) = match Config::parse(&self.path, &bytes) {
            Ok(parsed) => parsed,
            Err(error) => return Standing { refused: Some(error.to_string()), ..Standing::default() },
        };
        let held_back = removals::between(&self.in_force, &table);
        if !held_back.is_empty() && !accepts {
            return Standing { held_back, ..Standing::default() };
        }
        match self.put_in_force(config).await {
            Ok(()) => {
                self.in_force = table;
                Standing::default()
            }
            Err(error) => Standing { refused: Some(error), ..Standing::default() },
        }
    }

    async fn put_in_force(&self, config: Config) -> Result<(), String> {
        let (shared, old) = (&self.shared, &self.shared.settings);
        if (&config.server, &config.limits, &config.store, &config.log, config.lends())
            != (&old.server, &old.limits, &old.store, &old.log, old.lends())
        {
            tracing::warn!("changes of [server], [limits], [store], [log] and [lending] take a restart");
        }
        let (runtime, bindings) = (shared.runtime.clone(), components::bindings(&config));
        let applied = tokio::task::spawn_blocking(move || runtime.apply(bindings)).await;
        let generation = applied.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        shared.upstreams.store(shared.upstreams.load().by_file(&config));
        tracing::info!(generation = generation.id(), "the changed configuration is in force");
        Ok(())
    }
}
