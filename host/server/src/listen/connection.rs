//! One connection, from its first request to its last: hyper's settings, and what hyper does not do itself.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::arriving::{Arriving, Ear};
use super::desk::{Answering, Desks, Tray};
use super::head;
use super::leftover::{self, Unread};
use super::seats::{Seat, Served, Turn};
use super::socket::Socket;
use super::stream::{Paced, Streams};
use super::strict::{Strict, Switch};
use super::terms::{Guards, Handler};
use super::tls::Certificate;

/// Bytes of an answer that one HTTP/2 stream may have waiting for the socket.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// How long an HTTP/2 peer without open requests may take to close after it was told to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves HTTP/1.1.
pub(super) async fn http1<H: Handler>(
    terms: &Rc<Terms<H>>,
    mut socket: Socket,
    from: IpAddr,
    seat: &Rc<Seat>,
    mut stop: watch::Receiver<bool>,
) {
    let (unread, switch) = (Unread::default(), Switch::default());
    let ear = Arc::<Ear>::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (terms, turn) = (Rc::clone(terms), seat.turn());
        let request = request.map(|body| Arriving::new(body, Some(Arc::clone(&ear))));
        ask(Asked { terms, from, request, turn, unread: unread.clone(), switch: switch.clone() })
            .map(Ok::<_, Infallible>)
    });
    let strict = Strict::new(&mut socket, terms.guards.head_bytes_max, switch.clone());
    let mut serving = http1::Builder::new()
        // hyper's header timeout does nothing without a timer.
        .timer(TokioTimer::new())
        .header_read_timeout(terms.guards.head_read)
        .max_buf_size(terms.guards.head_bytes_max)
        .serve_connection(TokioIo::new(strict), service);
    let (mut told, waker) = (false, ear.waker());
    let ended = loop {
        let served = poll_fn(|cx| {
            ear.listens_for(cx.waker());
            serving.poll_without_shutdown(&mut Context::from_waker(&waker))
        });
        tokio::select! {
            ended = served => break ended,
            _ = stop.wait_for(|stop| *stop), if !told => {
                told = true;
                std::pin::Pin::new(&mut serving).graceful_shutdown();
            }
        }
    };
    let parts = serving.into_parts();
    if let Some(switched) = switch.take().filter(|_| ended.is_ok()) {
        let mut read = parts.read_buf.to_vec();
        read.extend_from_slice(&parts.io.into_inner().into_rest());
        let _turn = seat.turn();
        return switched(&mut socket, read.into(), stop).await;
    }
    drop(parts);
    // A head that cannot be read is answered by hyper.
    let orderly = ended.is_ok();
    let unreadable = ended.as_ref().is_err_and(hyper::Error::is_parse);
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    if unreadable || unread.is_marked() {
        leftover::linger(&mut socket, &terms.guards).await;
    } else if orderly {
        // Whoever has gone is told nothing.
        let _closed = socket.shutdown().await;
    }
}

/// What all connections of a socket have in common.
pub(super) struct Terms<H: Handler> {
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) guards: Guards,
    pub(super) handler: H,
    /// Where their requests are answered.
    pub(super) desks: Rc<Desks<Asked<H>, Answer<H>>>,
}

/// A request, and what belongs to it.
pub(super) struct Asked<H: Handler> {
    terms: Rc<Terms<H>>,
    from: IpAddr,
    request: Request<Arriving>,
    turn: Turn,
    unread: Unread,
    switch: Switch,
}

type Answer<H> = Response<Served<<H as Handler>::Body>>;

/// Has a request answered, at a desk: hyper moves the future, and keeps room for one in each connection.
fn ask<H: Handler>(asked: Asked<H>) -> Answering<Asked<H>, Answer<H>> {
    let desks = Rc::clone(&asked.terms.desks);
    desks.ask(asked, answers)
}

/// Answers the requests that come to a desk.
async fn answers<H: Handler>(tray: Rc<Tray<Asked<H>, Answer<H>>>) -> Infallible {
    loop {
        // Pinned, and not handed on by value: so it is made where it stays.
        let answer = pin!(answer(tray.asked().await)).await;
        tray.put(answer);
    }
}

/// Answers a request, and sees to what is left of its body.
async fn answer<H: Handler>(asked: Asked<H>) -> Answer<H> {
    let Asked { terms, from, request, turn, unread, switch } = asked;
    let (mut head, mut body) = request.into_parts();
    let asks_first = leftover::asks_first(&head);
    let answer = match head::refused(&head) {
        None if head.headers.contains_key(header::UPGRADE) && body.is_end_stream() => {
            match Box::pin(terms.handler.switch(&mut head)).await {
                Some((answer, switched)) => {
                    switch.set(switched);
                    answer
                }
                None => terms.handler.answer(from, head, &mut body).await,
            }
        }
        None => terms.handler.answer(from, head, &mut body).await,
        Some(words) => refused(&terms.handler, &head, words),
    };
    leftover::take(body.into_plain(), asks_first, &terms.guards, &unread);
    answer.map(|body| Served::new(body, turn))
}

/// Serves HTTP/2. A connection without a request is closed in time, as hyper's HTTP/1.1 does: first by telling the
/// peer, then by going.
pub(super) async fn http2<H: Handler>(
    terms: &Rc<Terms<H>>,
    socket: Socket,
    from: IpAddr,
    seat: &Rc<Seat>,
    mut stop: watch::Receiver<bool>,
) {
    let guards = &terms.guards;
    let streams = Streams::new(guards.write);
    let service = service_fn(|request: Request<Incoming>| {
        let progress = streams.begin();
        let paced = |answer: Response<Served<H::Body>>| answer.map(|body| Paced::new(body, progress));
        let (terms, turn) = (Rc::clone(terms), seat.turn());
        let request = request.map(|body| Arriving::new(body, None));
        ask(Asked { terms, from, request, turn, unread: Unread::default(), switch: Switch::default() })
            .map(|answer| Ok::<_, Infallible>(paced(answer)))
    });
    let serving = builder(guards, &streams).serve_connection(TokioIo::new(socket), service);
    let mut serving = pin!(serving);
    let (mut told, mut patience) = (false, guards.head_read);
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !told => {}
            () = streams.quiet_for(patience) => {
                if told {
                    tracing::debug!(%from, "a peer did not go when it was told to");
                    return;
                }
            }
        }
        told = true;
        patience = guards.head_read.min(FAREWELL);
        serving.as_mut().graceful_shutdown();
    }
}

/// The answer to a head that is refused, behind which nothing of the connection is believed.
fn refused<H: Handler>(handler: &H, head: &Parts, words: &'static str) -> Response<H::Body> {
    let mut answer = handler.refuse(head, words);
    if head.version < Version::HTTP_2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn builder(guards: &Guards, streams: &Streams) -> http2::Builder<super::stream::Spawn> {
    let mut builder = http2::Builder::new(streams.spawn());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(guards.streams_max)
        .max_header_list_size(u32::try_from(guards.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BYTES_MAX)
        // Only for a peer that reads: one that does not is cut off like a peer that takes no bytes.
        .keep_alive_interval(guards.write)
        .keep_alive_timeout(guards.write);
    builder
}
