//! What became of the configuration file since the start, and the way to have it looked at now. Who follows the file
//! is `control/config_watch.rs`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

/// How many may wait for a look at one time.
const WAITING_MAX: usize = 16;

/// What became of the file when it was last looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What it removes and was not taken up for that.
    pub(crate) held_back: Vec<String>,
    /// Why it was refused, or could not be read.
    pub(crate) refused: Option<String>,
}

/// Somebody who wants the file to be looked at.
pub(crate) struct Look {
    /// Whether it may remove what is in force.
    pub(crate) accept_removals: bool,
    /// Told when it has been looked at.
    pub(crate) done: oneshot::Sender<()>,
}

/// The configuration file of the running gateway.
pub(crate) struct FileInForce {
    looks: mpsc::Sender<Look>,
    standing: ArcSwap<Standing>,
}

impl FileInForce {
    /// Nothing is known against the file. Whoever follows it serves the looks; where nobody does, there is none.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Look>) {
        let (looks, wanted) = mpsc::channel(WAITING_MAX);
        (Self { looks, standing: ArcSwap::default() }, wanted)
    }

    /// What became of it.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Notes what became of it; says whether that is news.
    pub(crate) fn note(&self, standing: Standing) -> bool {
        let is_news = **self.standing.load() != standing;
        if is_news {
            self.standing.store(Arc::new(standing));
        }
        is_news
    }

    /// Whether there is a file, and somebody follows it.
    pub(crate) fn is_followed(&self) -> bool {
        !self.looks.is_closed()
    }

    /// Has it looked at now, where it is followed.
    pub(crate) async fn look(&self, accept_removals: bool) {
        let (done, looked) = oneshot::channel();
        if self.looks.send(Look { accept_removals, done }).await.is_ok() {
            // Whoever follows it is gone at the end alone.
            let _gone = looked.await;
        }
    }
}
