//! The configuration file while the gateway runs: changes of providers, models and policies take effect together, or
//! not at all. Changes of listeners, limits and the database need a restart, and the log says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::routing::components;
use crate::shared::Shared;

/// How often the file is looked at. A file is small and a look is cheap, so nothing depends on a file system's events.
const LOOK: Duration = Duration::from_millis(500);

/// Applies changes of the file, in an endless loop; SIGHUP makes it look at once. `known` is what the file held at the
/// start.
pub(crate) async fn watch(shared: Arc<Shared>, path: PathBuf, mut known: Vec<u8>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = hangup.recv() => tracing::info!("looking for changes, as told"),
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        // A file that is being written differs at the next look; it is read only when it has stopped changing.
        if bytes == known || !settled(&path, &bytes).await {
            continue;
        }
        known = bytes;
        take_up(&shared, &path).await;
    }
}

async fn settled(path: &Path, bytes: &[u8]) -> bool {
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::read(path).is_ok_and(|again| again == bytes)
}

/// Reads the file and puts its providers, models and policies in force; what was in force stays when anything is wrong.
async fn take_up(shared: &Arc<Shared>, path: &Path) {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "the changed configuration was refused; the one before stays in force");
            return;
        }
    };
    let old = &shared.settings;
    if (&config.server, &config.limits, &config.store, &config.log, config.lends())
        != (&old.server, &old.limits, &old.store, &old.log, old.lends())
    {
        tracing::warn!("changes of [server], [limits], [store], [log] and [lending] take a restart");
    }
    let runtime = shared.runtime.clone();
    let bindings = components::bindings(&config);
    match tokio::task::spawn_blocking(move || runtime.apply(bindings)).await {
        Ok(Ok(generation)) => {
            shared.upstreams.store(shared.upstreams.load().by_file(&config));
            tracing::info!(generation = generation.id(), "the changed configuration is in force");
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the changed configuration was refused; the one before stays in force");
        }
        Err(error) => tracing::error!(%error, "the changed configuration could not be taken up"),
    }
}
