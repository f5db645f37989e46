//! A configuration file that nobody follows: that of a demonstration, or one that came beside a server which was
//! started without. Whoever changes it, or sends SIGHUP, is told why nothing happens.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Duration, sleep};

use crate::config::{FILE_BYTES_MAX, file};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Looks at the file for nothing but to say that it is not taken up.
pub(crate) struct ConfigApart {
    path: PathBuf,
    /// Why nobody follows it.
    why: &'static str,
    known: Option<Vec<u8>>,
}

impl ConfigApart {
    /// The file as it is now, which whoever starts a server knows; nothing where somebody follows it.
    pub(crate) fn unless(is_followed: bool, path: Option<PathBuf>, is_demo: bool) -> Option<Self> {
        path.filter(|_| !is_followed).map(|path| Self::new(path, is_demo))
    }

    fn new(path: PathBuf, is_demo: bool) -> Self {
        let why = if is_demo {
            "a demonstration takes its configuration at its start alone: start it again"
        } else {
            "the server was started without a configuration file: start it again with this one"
        };
        let known = file::read(&path, FILE_BYTES_MAX).ok();
        Self { path, why, known }
    }

    /// Tells of changes and of signals for ever.
    pub(crate) async fn run(mut self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        loop {
            let told = tokio::select! {
                () = sleep(LOOK) => false,
                _ = hangup.recv() => true,
            };
            let has_changed = self.look().await;
            if told || has_changed {
                tracing::warn!(file = %self.path.display(), "no configuration is taken up: {}", self.why);
            }
        }
    }

    /// Whether the file holds something else than at the look before. One that is gone says nothing.
    async fn look(&mut self) -> bool {
        let path = self.path.clone();
        let Ok(Ok(bytes)) = tokio::task::spawn_blocking(move || file::read(&path, FILE_BYTES_MAX)).await
        else {
            return false;
        };
        let has_changed = self.known.as_deref() != Some(&*bytes);
        self.known = Some(bytes);
        has_changed
    }
}
