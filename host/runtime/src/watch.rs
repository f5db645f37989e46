//! Notices that component files changed.
//!
//! Directories are watched, not files: editors rename, package managers replace, and mounted configuration swaps a
//! symbolic link. Events only say *when* to look; what changed is found by digest. Where no events come (network file
//! systems, a watch that could not be set), a poll finds the change.

use std::io;
use std::path::Path;
use std::sync::Weak;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::registry::Registry;
use crate::reload::Occasion;

/// Quiet time after the last event: files are complete then.
const QUIET: Duration = Duration::from_millis(200);
/// Longest wait for quiet, where something writes all the time.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// Time between looks without any event.
const POLL: Duration = Duration::from_secs(30);

/// The watching thread; it ends when this is dropped.
pub(crate) struct Watch {
    /// Its end tells the thread to stop; the watcher holds the other sender.
    _alive: Sender<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    pub(crate) fn start(dir: &Path, runtime: Weak<Registry>) -> io::Result<Self> {
        let (alive, events) = mpsc::channel();
        let watcher = watch(dir, alive.clone())
            .inspect_err(|error| tracing::warn!(dir = %dir.display(), %error, "no file events here: polling"))
            .ok();
        thread::Builder::new().name("tollgate-watch".into()).spawn(move || run(&runtime, &events))?;
        Ok(Self { _alive: alive, _watcher: watcher })
    }
}

/// Watches the directory, and its parent in case the directory itself is a link that is swapped.
fn watch(dir: &Path, changed: Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error or an overflow means that something was missed: look, too.
        let reading =
            event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)) && !event.need_rescan());
        if !reading {
            let _ = changed.send(());
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    if dir.is_symlink()
        && let Some(parent) = dir.parent()
    {
        watcher.watch(parent, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn run(runtime: &Weak<Registry>, events: &Receiver<()>) {
    loop {
        match events.recv_timeout(POLL) {
            Ok(()) => settle(events),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(runtime) = runtime.upgrade() else { return };
        // A refusal is logged and in the status already.
        let _ = runtime.transact(Occasion::Files, None);
    }
}

/// Waits until nothing happens for a moment, or has happened for too long.
fn settle(events: &Receiver<()>) {
    let start = Instant::now();
    while start.elapsed() < QUIET_MAX && events.recv_timeout(QUIET).is_ok() {}
}
