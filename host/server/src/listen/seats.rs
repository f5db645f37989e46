//! Seats for connections: how many a listener may have at one time, whichever worker serves them.
//!
//! A connection without a request under way is a guest: when no seat is free, the one that has been idle for longest
//! (of a few that are looked at) makes room for the next. So whoever only holds connections open shuts nobody out.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

/// Connections that are looked at to find one that makes room.
const LOOKED_AT: usize = 64;

/// The seats of a listener.
pub(crate) struct Places {
    max: usize,
    taken: AtomicUsize,
}

impl Places {
    /// So many seats.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: AtomicUsize::new(0) })
    }
}

/// The connections of one door, by which it finds who makes room.
pub(super) struct Seats {
    places: Arc<Places>,
    all: RefCell<Vec<Rc<Seat>>>,
    next: Cell<usize>,
    /// Requests that have ended, and connections that have begun.
    ended: Rc<Cell<u64>>,
}

/// Where one connection sits.
pub(super) struct Seat {
    /// Where it stands in its door's list.
    index: Cell<usize>,
    /// Requests under way.
    busy: Cell<usize>,
    /// How many requests of its door had ended when its last one did.
    idle_since: Cell<u64>,
    /// How many have.
    ended: Rc<Cell<u64>>,
    asked_to_leave: Cell<bool>,
    leave: Notify,
}

impl Seat {
    /// One that nobody counts: for connections from within.
    pub(super) fn apart() -> Rc<Self> {
        Self::at_door(&Rc::default())
    }

    fn at_door(ended: &Rc<Cell<u64>>) -> Rc<Self> {
        Rc::new(Self {
            index: Cell::new(0),
            busy: Cell::new(0),
            idle_since: Cell::new(ended.get()),
            ended: Rc::clone(ended),
            asked_to_leave: Cell::new(false),
            leave: Notify::new(),
        })
    }

    /// Waits until somebody else needs the seat.
    pub(super) async fn is_needed(&self) {
        self.leave.notified().await;
    }

    /// It is idle from now on, for longer than whoever follows. Whose turn it is to leave is told by their order, which
    /// needs no clock.
    fn idle(&self) {
        self.ended.set(self.ended.get() + 1);
        self.idle_since.set(self.ended.get());
    }

    /// A request begins; it lasts for as long as what this returns.
    pub(super) fn turn(self: &Rc<Self>) -> Turn {
        self.busy.set(self.busy.get() + 1);
        Turn(Rc::clone(self))
    }

    fn is_idle(&self) -> bool {
        self.busy.get() == 0 && !self.asked_to_leave.get()
    }
}

impl Seats {
    /// No connection yet.
    pub(super) fn new(places: Arc<Places>) -> Rc<Self> {
        Rc::new(Self { places, all: RefCell::default(), next: Cell::new(0), ended: Rc::default() })
    }

    /// A seat, if need be that of a connection which is idle.
    pub(super) fn take(self: &Rc<Self>) -> Option<Seated> {
        let before = self.places.taken.fetch_add(1, Relaxed);
        if before >= self.places.max && !self.make_room() {
            self.places.taken.fetch_sub(1, Relaxed);
            return None;
        }
        let seat = Seat::at_door(&self.ended);
        seat.idle();
        let mut all = self.all.borrow_mut();
        seat.index.set(all.len());
        all.push(Rc::clone(&seat));
        Some(Seated { seat, seats: Rc::clone(self) })
    }

    /// Asks the connection that has been idle for longest, of some, to leave. False where none of them is idle.
    pub(super) fn make_room(&self) -> bool {
        let all = self.all.borrow();
        let from = self.next.get();
        let some = (0..all.len().min(LOOKED_AT)).map(|step| &all[(from + step) % all.len()]);
        let longest = some.filter(|seat| seat.is_idle()).min_by_key(|seat| seat.idle_since.get());
        self.next.set(from.wrapping_add(LOOKED_AT));
        let Some(seat) = longest else { return false };
        seat.asked_to_leave.set(true);
        seat.leave.notify_one();
        true
    }
}

/// A seat that is taken. Dropping it frees it.
pub(super) struct Seated {
    pub(super) seat: Rc<Seat>,
    seats: Rc<Seats>,
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut all = self.seats.all.borrow_mut();
        let index = self.seat.index.get();
        all.swap_remove(index);
        if let Some(moved) = all.get(index) {
            moved.index.set(index);
        }
        self.seats.places.taken.fetch_sub(1, Relaxed);
    }
}

/// A request under way.
pub(super) struct Turn(Rc<Seat>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.idle();
    }
}

/// The body of an answer, until whose end the request is under way.
pub(super) struct Served<B> {
    body: B,
    _turn: Turn,
}

impl<B> Served<B> {
    /// Ends the turn with the body.
    pub(super) const fn new(body: B, turn: Turn) -> Self {
        Self { body, _turn: turn }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Served<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{Places, Seats};

    #[test]
    fn who_is_idle_for_longest_makes_room_and_who_is_busy_does_not() {
        let seats = Seats::new(Places::new(2));
        let first = seats.take().unwrap();
        let second = seats.take().unwrap();
        let turn = first.seat.turn();
        // The second makes room, though the first came earlier.
        let third = seats.take().unwrap();
        assert!(second.seat.asked_to_leave.get() && !first.seat.asked_to_leave.get());
        drop(second);
        let busy = third.seat.turn();
        assert!(seats.take().is_none(), "nobody is idle");
        drop(turn);
        let fourth = seats.take().unwrap();
        assert!(first.seat.asked_to_leave.get());
        drop((first, fourth, third, busy));
        assert_eq!(seats.places.taken.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(seats.all.borrow().is_empty());
    }

    #[test]
    fn all_doors_of_a_listener_share_its_places() {
        let places = Places::new(1);
        let (one, other) = (Seats::new(places.clone()), Seats::new(places));
        let held = one.take().unwrap();
        assert!(other.take().is_none());
        drop(held);
        assert!(other.take().is_some());
    }
}
