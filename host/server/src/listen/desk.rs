//! Where a worker answers requests, one at each desk and one after the other.
//!
//! The future of an answer is large. Made anew for each request it would be copied on its way into a box of its own; at
//! a desk it is made where it stays, and a desk that is free serves whichever connection has the next request. A desk
//! has a bell: a connection is woken for much that is none of the answer's business, and the answer is not looked at
//! before something it waits for has come.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Free desks that are kept.
const FREE_MAX: usize = 64;

/// The desks of a worker's door: `A` is what is asked there, `R` the answer.
pub(super) struct Desks<A, R> {
    free: RefCell<Vec<Desk<A, R>>>,
}

/// Its work takes what is asked from the tray and puts the answer there, for ever.
struct Desk<A, R> {
    tray: Rc<Tray<A, R>>,
    work: Pin<Box<dyn Future<Output = Infallible>>>,
    bell: Arc<Bell>,
    /// Of the bell.
    waker: Waker,
}

/// What lies between a desk and who asks there.
pub(super) struct Tray<A, R> {
    asked: Cell<Option<A>>,
    answer: Cell<Option<R>>,
}

/// Says that a desk has something to do.
struct Bell {
    rung: AtomicBool,
    /// The task of who waits for the answer.
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Release);
        self.task.wake();
    }
}

impl<A, R> Tray<A, R> {
    /// What is asked next.
    pub(super) fn asked(&self) -> impl Future<Output = A> {
        poll_fn(|_| self.asked.take().map_or(Poll::Pending, Poll::Ready))
    }

    /// The answer to that.
    pub(super) fn put(&self, answer: R) {
        self.answer.set(Some(answer));
    }
}

impl<A, R> Desks<A, R> {
    /// None yet.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { free: RefCell::default() })
    }

    /// Has something answered. Dropped before the end, what was done for it is dropped, and its desk with it.
    pub(super) fn ask<W>(self: &Rc<Self>, asked: A, work: impl FnOnce(Rc<Tray<A, R>>) -> W) -> Answering<A, R>
    where
        W: Future<Output = Infallible> + 'static,
    {
        let free = self.free.borrow_mut().pop();
        let desk = free.unwrap_or_else(|| Desk::new(work));
        desk.tray.asked.set(Some(asked));
        desk.bell.rung.store(true, Release);
        Answering { desk: Some(desk), desks: Rc::clone(self) }
    }

    fn keep(&self, desk: Desk<A, R>) {
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_MAX {
            free.push(desk);
        }
    }
}

impl<A, R> Desk<A, R> {
    #[cold]
    fn new<W>(work: impl FnOnce(Rc<Tray<A, R>>) -> W) -> Self
    where
        W: Future<Output = Infallible> + 'static,
    {
        let tray = Rc::new(Tray { asked: Cell::new(None), answer: Cell::new(None) });
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { work: Box::pin(work(Rc::clone(&tray))), tray, bell, waker }
    }
}

/// An answer that somebody waits for.
pub(super) struct Answering<A, R> {
    /// `None` behind its end.
    desk: Option<Desk<A, R>>,
    desks: Rc<Desks<A, R>>,
}

impl<A, R> Future for Answering<A, R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let Some(desk) = &mut self.desk else { return Poll::Pending };
        desk.bell.task.register(cx.waker());
        if !desk.bell.rung.swap(false, AcqRel) {
            return Poll::Pending;
        }
        match desk.work.as_mut().poll(&mut Context::from_waker(&desk.waker)) {
            Poll::Ready(never) => match never {},
            Poll::Pending => {}
        }
        let Some(answer) = desk.tray.answer.take() else {
            // Another thread may have rung while the connection did not listen.
            if desk.bell.rung.load(Acquire) {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        };
        if let Some(desk) = self.desk.take() {
            self.desks.keep(desk);
        }
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answering, Desks, Tray};
    use futures_util::FutureExt as _;
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::rc::Rc;
    use tokio::sync::oneshot::Receiver;

    /// Answers with what comes.
    async fn work(tray: Rc<Tray<Receiver<u32>, u32>>, looks: Rc<Cell<u32>>) -> Infallible {
        loop {
            let mut asked = tray.asked().await;
            let answer = std::future::poll_fn(|cx| {
                looks.set(looks.get() + 1);
                asked.poll_unpin(cx)
            });
            tray.put(answer.await.unwrap_or(0));
        }
    }

    #[test]
    fn a_desk_is_used_again_and_not_looked_at_before_its_bell_rings() {
        let (desks, looks, made) = (Desks::new(), Rc::new(Cell::new(0)), Cell::new(0));
        let ask = |receiver| -> Answering<_, _> {
            desks.ask(receiver, |tray| {
                made.set(made.get() + 1);
                work(tray, Rc::clone(&looks))
            })
        };
        for round in 1..=3 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let mut answer = ask(receiver);
            for _ in 0..5 {
                assert_eq!((&mut answer).now_or_never(), None);
            }
            assert_eq!(looks.get(), 2 * round - 1, "a poll without the bell does nothing");
            sender.send(round).unwrap();
            assert_eq!((&mut answer).now_or_never(), Some(round));
            assert_eq!((&mut answer).now_or_never(), None, "it has ended");
        }
        assert_eq!(made.get(), 1);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_dropped_with_its_desk() {
        let (desks, looks) = (Desks::new(), Rc::new(Cell::new(0)));
        let ask = |receiver| desks.ask(receiver, |tray| work(tray, Rc::clone(&looks)));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut answer = ask(receiver);
        assert_eq!((&mut answer).now_or_never(), None);
        drop(answer);
        assert!(sender.is_closed() && desks.free.borrow().is_empty());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        sender.send(7).unwrap();
        assert_eq!(ask(receiver).now_or_never(), Some(7));
        assert_eq!(desks.free.borrow().len(), 1);
    }
}
