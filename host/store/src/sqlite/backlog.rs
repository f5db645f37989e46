//! What waits between the road and the tables: entries in the journal's buffer, in the journal, and on their
//! way into the tables. Callers and the two threads of the [writer](crate::sqlite::writer) share it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::entry::Entry;
use crate::error::WriteError;
use crate::ledger::mark::{Mark, Synced};
use crate::log::ended::Teller;
use crate::sqlite::journal::{Held, Journal, Position};

/// Entries that may wait for the tables; beyond, holds are refused.
const BACKLOG_MAX: usize = 65_536;
/// Entries after which they are brought into the tables at once.
const APPLY_ENTRIES: usize = 8192;
/// How long an entry that no caller waits for may wait for others before it is written.
pub(crate) const LINGER: Duration = Duration::from_millis(2);
/// How long a sync is delayed for holds that are about to come, when several came together the last time: about a third
/// of the time that a sync takes. A single caller never waits.
const GATHER: Duration = Duration::from_micros(200);
/// Bytes of such entries that are written at once.
const LINGER_BYTES: usize = 64 * 1024;

/// What the callers and the threads share.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    /// With [`Durability::Full`]: wakes the thread that waits for the disk.
    pub(crate) to_sync: Option<Condvar>,
    pub(crate) synced: watch::Sender<Synced>,
    /// Entries that are in the tables, or refused by them.
    pub(crate) applied: watch::Sender<u64>,
    /// There are entries in the journal's buffer that no caller waits for.
    lingering: Notify,
    /// There are entries that are not in the tables.
    pub(crate) arrived: Notify,
    /// They should be brought there now.
    pub(crate) urgent: Notify,
    /// Tells of calls that are in the tables.
    pub(crate) teller: Teller,
}

#[derive(Debug)]
pub(crate) struct State {
    journal: Journal,
    /// Entries that are not in the tables, in order.
    waiting: Vec<Entry>,
    /// How many of them, at the end, are in the journal's buffer only.
    unwritten: usize,
    /// Room for entries after these.
    spare: Vec<Entry>,
    /// The number of all entries so far.
    pub(crate) accepted: u64,
    /// Whether the thread that waits for the disk has nothing to do.
    sync_idles: bool,
    /// Entries that wait for it.
    unsynced_holds: usize,
    /// The disk failed to keep the segment: continue in the other one.
    distrusted: bool,
    /// Entries are refused from now on.
    pub(crate) closed: bool,
    /// Entries that were neither written nor brought into the tables when the writer ended.
    pub(crate) lost: usize,
}

/// Entries on their way into the tables.
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// Where the journal is read up to once the tables hold them.
    pub(crate) position: Position,
    /// Entries so far, these included.
    upto: u64,
    /// How many are not in the journal, because it could not be written.
    unwritten: usize,
}

impl Batch {
    /// No entries: it moves the position alone.
    pub(crate) const fn nothing(position: Position) -> Self {
        Self { entries: Vec::new(), position, upto: 0, unwritten: 0 }
    }
}

impl Ledger {
    pub(crate) fn new(journal: Journal, full: bool) -> Self {
        let state = State {
            journal,
            waiting: Vec::new(),
            spare: Vec::new(),
            unwritten: 0,
            accepted: 0,
            sync_idles: false,
            unsynced_holds: 0,
            distrusted: false,
            closed: false,
            lost: 0,
        };
        Self {
            state: Mutex::new(state),
            to_sync: full.then(Condvar::new),
            synced: watch::Sender::default(),
            applied: watch::Sender::default(),
            lingering: Notify::new(),
            arrived: Notify::new(),
            urgent: Notify::new(),
            teller: Teller::default(),
        }
    }

    /// Nothing that holds the lock panics; if it did, what is written is still written.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn append(&self, entry: Entry) -> Result<Mark, WriteError> {
        let mut state = self.lock();
        if state.closed {
            return Err(WriteError::Closed);
        }
        let refusable = entry.is_hold();
        if refusable && (state.waiting.len() >= BACKLOG_MAX || state.distrusted) {
            return Err(WriteError::Unavailable);
        }
        let before = state.journal.push(&entry);
        state.unwritten += 1;
        if !state.write() && refusable {
            state.journal.retract(before);
            state.unwritten -= 1;
            return Err(WriteError::Unavailable);
        }
        let mark = Mark(state.journal.written());
        self.accept(&mut state, entry);
        state.unsynced_holds += 1;
        self.wake_sync(&mut state);
        Ok(mark)
    }

    pub(crate) fn post(&self, entry: Entry) -> Result<(), WriteError> {
        let mut state = self.lock();
        if state.closed {
            return Err(WriteError::Closed);
        }
        if state.waiting.len() >= 2 * BACKLOG_MAX && !entry.resolves_hold() {
            return Err(WriteError::Unavailable);
        }
        if state.journal.push(&entry) == 0 {
            self.lingering.notify_one();
        }
        state.unwritten += 1;
        if state.journal.unwritten() >= LINGER_BYTES {
            state.write();
        }
        self.accept(&mut state, entry);
        Ok(())
    }

    /// Has the journal say what the tables hold. Nobody waits for it: what cannot be written now is said the next time.
    pub(crate) fn note(&self, held: Held) {
        let mut state = self.lock();
        let before = state.journal.note(held);
        if !state.write() {
            state.journal.retract(before);
        }
    }

    /// Up to where the journal is written.
    pub(crate) fn end(&self) -> Position {
        self.lock().journal.end()
    }

    fn accept(&self, state: &mut State, entry: Entry) {
        state.accepted += 1;
        state.waiting.push(entry);
        match state.waiting.len() {
            1 => self.arrived.notify_one(),
            APPLY_ENTRIES => self.urgent.notify_one(),
            _ => {}
        }
    }

    fn wake_sync(&self, state: &mut State) {
        if let Some(to_sync) = self.to_sync.as_ref().filter(|_| state.sync_idles) {
            state.sync_idles = false;
            to_sync.notify_one();
        }
    }

    /// Writes entries that have waited long enough, in an endless loop.
    pub(crate) async fn write_lingering(&self) {
        loop {
            self.lingering.notified().await;
            tokio::time::sleep(LINGER).await;
            let mut state = self.lock();
            if state.write() {
                self.wake_sync(&mut state);
            } else {
                // Try again later; the next round handles what cannot be written at all.
                self.lingering.notify_one();
            }
        }
    }

    /// What is to be brought into the tables next; `None` when there is nothing.
    ///
    /// Must not be called before the tables hold the last batch: the segment of the one before it may be
    /// written over.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        let unwritten = if state.write() {
            self.wake_sync(&mut state);
            0
        } else {
            // Only the tables can make them durable now.
            state.journal.retract(0);
            std::mem::take(&mut state.unwritten)
        };
        let turns = state.journal.is_full() || state.distrusted;
        if state.waiting.is_empty() && !turns {
            return None;
        }
        if turns {
            // A batch is needed even if it is empty: it moves the position, and a start reads at most two segments from
            // there.
            state.journal.turn();
            state.distrusted = false;
        }
        let spare = std::mem::take(&mut state.spare);
        let entries = std::mem::replace(&mut state.waiting, spare);
        Some(Batch { entries, position: state.journal.end(), upto: state.accepted, unwritten })
    }

    /// The tables hold the batch.
    pub(crate) fn applied(&self, batch: Batch) {
        let Batch { mut entries, upto, .. } = batch;
        self.teller.tell(&mut entries);
        entries.clear();
        // Its memory serves the batch after the next: growing it again would cost more per entry than keeping it.
        self.lock().spare = entries;
        self.applied.send_replace(upto);
    }

    /// The thread ends; `given_up` could not be brought into the tables.
    pub(crate) fn ended(&self, given_up: Option<&Batch>) {
        {
            let mut state = self.lock();
            state.closed = true;
            state.lost = given_up.map_or(0, |batch| batch.unwritten);
        }
        self.applied.send_replace(u64::MAX);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
        self.urgent.notify_one();
        if let Some(to_sync) = &self.to_sync {
            to_sync.notify_one();
        }
    }

    /// Syncs what was written, as often as there is more, until the writer is closed.
    pub(crate) fn sync(&self) {
        let Some(to_sync) = &self.to_sync else { return };
        let mut done = 0;
        let mut holds = 0;
        loop {
            let (files, mark) = {
                let mut state = self.lock();
                while state.journal.written() == done {
                    if state.closed {
                        return;
                    }
                    state.sync_idles = true;
                    state = to_sync.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if holds > 1 {
                    drop(state);
                    std::thread::sleep(GATHER);
                    state = self.lock();
                }
                holds = std::mem::take(&mut state.unsynced_holds);
                (state.journal.unsynced(), state.journal.written())
            };
            let kept = files.iter().try_for_each(|file| file.sync_data());
            if let Err(error) = &kept {
                tracing::error!(%error, "the disk did not keep the journal");
                self.lock().distrusted = true;
                self.urgent.notify_one();
            }
            self.synced.send_modify(|synced| match kept {
                Ok(()) => synced.kept = mark,
                Err(_) => synced.lost = mark,
            });
            done = mark;
        }
    }
}

impl State {
    /// Writes the journal's buffer, and says whether it is empty now.
    fn write(&mut self) -> bool {
        match self.journal.write() {
            Ok(()) => {
                self.unwritten = 0;
                true
            }
            Err(error) => {
                tracing::error!(%error, "the journal could not be written");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BACKLOG_MAX, Ledger};
    use crate::entry::{Entry, RequestRecord};
    use crate::error::WriteError;
    use crate::sqlite::journal::{Held, Journal, Position};
    use tollgate_core::id::{NodeId, RequestId, UserId};
    use tollgate_core::points::Micropoints;
    use tollgate_core::time::Timestamp;

    const NODE: NodeId = NodeId::from_bytes([9; 16]);
    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const HELD: Micropoints = Micropoints::new(5);

    fn ids() -> (RequestId, UserId) {
        (RequestId::new(AT, [1; 10]), UserId::new(AT, [2; 10]))
    }

    fn hold() -> Entry {
        let (request, user) = ids();
        Entry::Hold { request, user, amount: HELD, model: "m".into(), at: AT }
    }

    fn record() -> Entry {
        let (request, user) = ids();
        Entry::Record(Box::new(RequestRecord::new(request, user, AT)))
    }

    fn void() -> Entry {
        let (request, user) = ids();
        let record = Box::new(RequestRecord::new(request, user, AT));
        Entry::Void { request, user, held: HELD, at: AT, record }
    }

    #[test]
    fn a_journal_that_cannot_be_written_refuses_holds_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(Journal::unwritable(folder.path()), false);
        ledger.post(void()).unwrap();
        assert_eq!(ledger.append(hold()), Err(WriteError::Unavailable));
        ledger.append(void()).unwrap();
        let batch = ledger.take().unwrap();
        assert_eq!(batch.entries, [void(), void()], "the tables are their way to durability");
        assert_eq!(batch.unwritten, 2, "of which none is in the journal");
        assert!(ledger.take().is_none(), "and none is handed out twice");
    }

    #[test]
    fn too_long_a_backlog_refuses_holds_first_and_settlements_never() {
        let folder = tempfile::tempdir().unwrap();
        let start = Held { position: Position { sequence: 1, offset: 0 }, changes: 0, transfers: 0 };
        let ledger =
            Ledger::new(Journal::open(&folder.path().join("t.db"), start, false, NODE).unwrap(), false);
        for _ in 0..BACKLOG_MAX {
            ledger.post(record()).unwrap();
        }
        assert_eq!(ledger.append(hold()), Err(WriteError::Unavailable));
        for _ in 0..BACKLOG_MAX {
            ledger.post(record()).unwrap();
        }
        assert_eq!(ledger.post(record()), Err(WriteError::Unavailable));
        ledger.post(void()).unwrap();
        ledger.applied(ledger.take().unwrap());
        assert!(ledger.append(hold()).is_ok());
    }

    #[test]
    fn a_disk_that_failed_is_trusted_again_in_the_other_segment_only() {
        let folder = tempfile::tempdir().unwrap();
        let start = Held { position: Position { sequence: 1, offset: 0 }, changes: 0, transfers: 0 };
        let ledger =
            Ledger::new(Journal::open(&folder.path().join("t.db"), start, false, NODE).unwrap(), true);
        ledger.append(hold()).unwrap();
        ledger.lock().distrusted = true;
        assert_eq!(ledger.append(hold()), Err(WriteError::Unavailable));
        let batch = ledger.take().unwrap();
        assert_eq!((batch.entries.len(), batch.position), (1, Position { sequence: 2, offset: 0 }));
        ledger.applied(batch);
        assert!(ledger.append(hold()).is_ok());
        // The same where nothing waits for the tables: they must learn of the new turn.
        ledger.applied(ledger.take().unwrap());
        ledger.lock().distrusted = true;
        let batch = ledger.take().unwrap();
        assert_eq!((batch.entries.len(), batch.position), (0, Position { sequence: 3, offset: 0 }));
    }
}
