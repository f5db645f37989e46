//! The group-committed writer: one thread, one connection, as many entries per commit as are waiting.
//!
//! Callers on any runtime hand entries over a bounded queue. A hold has someone waiting and is committed at once, together with
//! whatever else is there; settlements and records have nobody waiting and may linger [`LINGER`] to share a commit.
//! When the database fails, holds are refused and everything else is kept and tried again: a settlement is never
//! dropped while the process lives. Nothing is tried again before its id has been looked up.

use std::collections::VecDeque;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::balance;
use crate::commit::Ledger;
use crate::entry::Entry;
use crate::error::WriteError;

/// Entries that may wait for the writer; beyond, callers wait.
const QUEUE_MAX: usize = 8192;
/// Entries in one commit.
const BATCH_MAX: usize = 512;
/// How long entries without a waiter may wait for company.
const LINGER: Duration = Duration::from_millis(2);
/// How long a hold waits for others when holds came together the last time: about a third of what a commit takes. Each entry
/// that shares a commit saves most of the price of its own, and a caller who is alone never waits.
const GATHER: Duration = Duration::from_micros(200);
/// First and longest pause between tries at a database that fails.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Failed tries after which a writer that is closing gives up.
const CLOSING_TRIES_MAX: u32 = 5;
/// Entries after which balances are summed up anew.
const SNAPSHOT_ENTRIES: u64 = 250_000;
/// And the time after which they are, when there was any.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(300);

/// Hands entries to the writer's thread. Cheap to clone, and usable from any runtime.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
}

/// The queue is full, or the writer closed: here is the entry back.
#[derive(Debug, thiserror::Error)]
#[error("the ledger's queue is full")]
pub struct Full(pub Box<Entry>);

#[derive(Debug)]
enum Message {
    Write(Waiting),
    /// Answered once everything before it is written.
    Flush(oneshot::Sender<()>),
    /// Answered, with the number of entries that could not be written, once the thread is about to end.
    Close(oneshot::Sender<usize>),
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    done: Option<oneshot::Sender<Result<(), WriteError>>>,
}

impl Waiting {
    fn answer(self, answer: Result<(), WriteError>) {
        match self.done {
            // A caller that no longer waits has no use for the answer.
            Some(done) => drop(done.send(answer)),
            None => report(&self.entry, answer),
        }
    }
}

/// Says in the log what nobody waits for.
fn report(entry: &Entry, answer: Result<(), WriteError>) {
    match answer {
        Ok(()) => {}
        Err(WriteError::Duplicate) => tracing::debug!(?entry, "the ledger has this entry already"),
        Err(error) => tracing::error!(?entry, %error, "an entry was not written"),
    }
}

impl Writer {
    /// Starts the thread. `pool` serves the sums of balances, which must not hold up commits.
    pub(crate) fn start(options: SqliteConnectOptions, pool: SqlitePool) -> Result<Self, std::io::Error> {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            let task =
                Task { messages, held_back: VecDeque::new(), closing: Vec::new(), waited: 0, options, pool };
            runtime.block_on(task.run());
        })?;
        Ok(Self { queue })
    }

    /// Writes `entry` and waits until it is durable. The data path calls it once per billed request, for the hold.
    ///
    /// Cancel-safe in this sense: a future that is dropped after its first poll may or may not have written the entry.
    ///
    /// # Errors
    /// See [`WriteError`]. `Unavailable` is only ever the answer to a hold; other entries wait for the database.
    pub async fn commit(&self, entry: Entry) -> Result<(), WriteError> {
        let (done, answer) = oneshot::channel();
        let message = Message::Write(Waiting { entry, done: Some(done) });
        self.queue.send(message).await.map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Hands `entry` over without waiting for the commit; waits for room in the queue when there is none.
    ///
    /// # Errors
    /// [`WriteError::Closed`]; what becomes of the entry later is logged.
    pub async fn enqueue(&self, entry: Entry) -> Result<(), WriteError> {
        let message = Message::Write(Waiting { entry, done: None });
        self.queue.send(message).await.map_err(|_| WriteError::Closed)
    }

    /// Hands `entry` over if there is room.
    ///
    /// # Errors
    /// [`Full`] with the entry when there is none, or when the writer has closed.
    pub fn try_enqueue(&self, entry: Entry) -> Result<(), Full> {
        self.queue.try_send(Message::Write(Waiting { entry, done: None })).map_err(|error| {
            let (mpsc::error::TrySendError::Full(message) | mpsc::error::TrySendError::Closed(message)) =
                error;
            let Message::Write(waiting) = message else { unreachable!("a write was sent") };
            Full(Box::new(waiting.entry))
        })
    }

    /// Waits until everything handed over so far is durable.
    ///
    /// # Errors
    /// [`WriteError::Closed`].
    pub async fn flush(&self) -> Result<(), WriteError> {
        let (done, answer) = oneshot::channel();
        self.queue.send(Message::Flush(done)).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)
    }

    /// Writes what was handed over, sums the balances up and ends the thread. Entries handed over later are refused.
    ///
    /// Returns how many entries a failing database did not take; 0 on an orderly end. Closing twice is harmless.
    pub async fn close(&self) -> usize {
        let (done, answer) = oneshot::channel();
        match self.queue.send(Message::Close(done)).await {
            Ok(()) => answer.await.unwrap_or(0),
            Err(_) => 0,
        }
    }
}

/// One group of entries and who wants to know when it is written.
#[derive(Default)]
struct Batch {
    writes: Vec<Waiting>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Batch {
    /// Whether it should be committed now rather than wait for company.
    fn is_urgent(&self) -> bool {
        !self.flushes.is_empty()
            || self.writes.len() >= BATCH_MAX
            || self.writes.iter().any(|waiting| waiting.done.is_some())
    }
}

struct Task {
    messages: mpsc::Receiver<Message>,
    /// Received while the database was failing, in order; comes before the queue.
    held_back: VecDeque<Message>,
    closing: Vec<oneshot::Sender<usize>>,
    /// Entries of the last batch that had someone waiting.
    waited: usize,
    options: SqliteConnectOptions,
    pool: SqlitePool,
}

impl Task {
    async fn run(mut self) {
        let mut ledger = None;
        let mut unsummed = 0;
        let mut summed_at = Instant::now();
        let mut lost = 0;
        while let Some(batch) = self.next_batch().await {
            unsummed += batch.writes.len() as u64;
            lost += self.commit(&mut ledger, batch.writes).await;
            for flushed in batch.flushes {
                let _ = flushed.send(());
            }
            if unsummed >= SNAPSHOT_ENTRIES || (unsummed > 0 && summed_at.elapsed() >= SNAPSHOT_INTERVAL) {
                tokio::spawn(refresh_balances(self.pool.clone()));
                (unsummed, summed_at) = (0, Instant::now());
            }
        }
        if let Some(ledger) = ledger {
            refresh_balances(self.pool.clone()).await;
            log_failure("closing the ledger", ledger.close().await);
        }
        for closed in self.closing {
            let _ = closed.send(lost);
        }
    }

    /// What to commit next; `None` once the writer is closed, or forgotten by all callers, and everything is written.
    async fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut received = Vec::with_capacity(BATCH_MAX);
        received.extend(self.held_back.drain(..BATCH_MAX.min(self.held_back.len())));
        if received.is_empty() && self.messages.recv_many(&mut received, BATCH_MAX).await == 0 {
            return None;
        }
        self.sort(&mut batch, &mut received);
        let deadline = Instant::now() + LINGER;
        while !batch.is_urgent() && self.closing.is_empty() && self.held_back.is_empty() {
            let room = BATCH_MAX - batch.writes.len();
            match timeout_at(deadline, self.messages.recv_many(&mut received, room)).await {
                Ok(1..) => self.sort(&mut batch, &mut received),
                Ok(0) | Err(_) => break,
            }
        }
        if self.waited > 1 {
            self.gather(&mut batch);
        }
        self.waited = batch.writes.iter().filter(|waiting| waiting.done.is_some()).count();
        Some(batch)
    }

    /// Gives callers who are about to ask the time to do so. The timers of the runtime are too coarse for it, and nothing
    /// else runs on this thread.
    fn gather(&mut self, batch: &mut Batch) {
        if self.closing.is_empty() && batch.flushes.is_empty() {
            std::thread::sleep(GATHER);
        }
        let mut received = Vec::new();
        while batch.writes.len() + received.len() < BATCH_MAX {
            let Ok(message) = self.messages.try_recv() else { break };
            received.push(message);
        }
        self.sort(batch, &mut received);
    }

    fn sort(&mut self, batch: &mut Batch, received: &mut Vec<Message>) {
        for message in received.drain(..) {
            match message {
                Message::Write(waiting) => batch.writes.push(waiting),
                Message::Flush(flushed) => batch.flushes.push(flushed),
                Message::Close(closed) => {
                    // What is in the queue by now is still received; senders are refused from here on.
                    self.messages.close();
                    self.closing.push(closed);
                }
            }
        }
    }

    /// Writes a batch, however long the database takes to recover. Returns how many entries were given up.
    async fn commit(&mut self, ledger: &mut Option<Ledger>, mut writes: Vec<Waiting>) -> usize {
        let mut in_doubt = false;
        let mut pause = BACKOFF.0;
        for tries in 1.. {
            match self.try_commit(ledger, &mut writes, &mut in_doubt).await {
                Ok(()) => return 0,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, tries, "writing the ledger")
                }
            }
            // Whatever state the connection is in, it is not used again; dropping it rolls back.
            *ledger = None;
            if tries > 1 {
                self.refuse_holds(&mut writes);
            }
            if !self.closing.is_empty() && tries >= CLOSING_TRIES_MAX {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        let lost = writes.len();
        writes.into_iter().for_each(|waiting| waiting.answer(Err(WriteError::Unavailable)));
        lost
    }

    /// One try; empties `writes` when it succeeds. After a failed one it is in doubt what is written, until a new
    /// connection has looked.
    async fn try_commit(
        &self,
        slot: &mut Option<Ledger>,
        writes: &mut Vec<Waiting>,
        in_doubt: &mut bool,
    ) -> Result<(), sqlx::Error> {
        let ledger = match slot {
            Some(ledger) => ledger,
            None => slot.insert(Ledger::open(&self.options).await?),
        };
        if *in_doubt {
            forget_written(ledger, writes).await?;
        }
        *in_doubt = true;
        let answers = ledger.write(writes.iter().map(|waiting| &waiting.entry)).await?;
        for (waiting, answer) in writes.drain(..).zip(answers) {
            waiting.answer(answer);
        }
        Ok(())
    }

    /// While the database keeps failing: refuses the holds of the batch and of the queue, whose callers cannot wait, and keeps
    /// all else, as much as the queue may hold once more; beyond that callers wait for room.
    ///
    /// A refused hold of the batch may be durable after all. Nothing will settle it, so the next sweep releases it.
    fn refuse_holds(&mut self, batch: &mut Vec<Waiting>) {
        for waiting in batch.extract_if(.., |waiting| waiting.entry.is_hold()) {
            waiting.answer(Err(WriteError::Unavailable));
        }
        while self.held_back.len() < QUEUE_MAX {
            match self.messages.try_recv() {
                Ok(Message::Write(waiting)) if waiting.entry.is_hold() => {
                    waiting.answer(Err(WriteError::Unavailable))
                }
                Ok(Message::Close(closed)) => {
                    self.messages.close();
                    self.closing.push(closed);
                }
                Ok(message) => self.held_back.push_back(message),
                Err(_) => break,
            }
        }
    }
}

/// After a failed try: answers the entries that turn out to be written, and the holds that turn out not to be; the
/// rest stays to be tried again.
async fn forget_written(ledger: &mut Ledger, writes: &mut Vec<Waiting>) -> Result<(), sqlx::Error> {
    let mut found = Vec::with_capacity(writes.len());
    for waiting in &*writes {
        found.push(ledger.find(&waiting.entry).await?);
    }
    for (waiting, found) in std::mem::take(writes).into_iter().zip(found) {
        match found {
            true => waiting.answer(Ok(())),
            false if waiting.entry.is_hold() => waiting.answer(Err(WriteError::Unavailable)),
            false => writes.push(waiting),
        }
    }
    Ok(())
}

async fn refresh_balances(pool: SqlitePool) {
    log_failure("summing up balances", balance::refresh(&pool).await);
}

fn log_failure<E: std::error::Error + 'static>(doing: &'static str, outcome: Result<(), E>) {
    if let Err(error) = outcome {
        tracing::warn!(error = &error as &dyn std::error::Error, doing);
    }
}
