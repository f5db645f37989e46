//! One wake per worker and sync, however many holds wait for it, because a wake from another thread is a system call.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::oneshot;
use tollgate_store::{Entry, Mark, WriteError, Writer};

type Waiting = (Mark, oneshot::Sender<Result<(), WriteError>>);

/// The holds of one worker that wait to be durable. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DurableWaiters {
    writer: Writer,
    /// In the order of their marks.
    waiting: Rc<RefCell<VecDeque<Waiting>>>,
}

impl DurableWaiters {
    /// Nothing waits yet.
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer, waiting: Rc::default() }
    }

    /// Writes an entry and waits until it is durable.
    ///
    /// # Errors
    /// See [`Writer::commit`].
    pub(crate) async fn commit(&self, entry: Entry) -> Result<(), WriteError> {
        let mark = self.writer.append(entry)?;
        if !self.writer.waits_for_disk() {
            return Ok(());
        }
        // The disk may be faster than this line, but not than the next turn of `run`, which sees the mark.
        let (done, answer) = oneshot::channel();
        self.waiting.borrow_mut().push_back((mark, done));
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Answers those who wait after each sync of the journal, in an endless loop.
    pub(crate) async fn run(&self) {
        let mut synced = self.writer.synced();
        while synced.changed().await.is_ok() {
            let reached = *synced.borrow_and_update();
            let mut waiting = self.waiting.borrow_mut();
            while let Some(settled) = waiting.front().and_then(|(mark, _)| reached.settles(*mark)) {
                if let Some((_, done)) = waiting.pop_front() {
                    // A caller that has left has no use for the answer.
                    let _left = done.send(settled);
                }
            }
        }
    }
}
