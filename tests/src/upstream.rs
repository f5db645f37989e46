//! A scripted provider: it records what it is sent and answers as the test says, byte for byte.
//!
//! ```ignore
//! let upstream = Upstream::start().await;
//! let gate = Gate::new();
//! upstream.enqueue(Script::sse().chunk("data: one\n\n").gate(&gate).chunk("data: two\n\n").end());
//! // … the gateway is asked …
//! let request = upstream.next().await;      // what the provider was sent
//! gate.reached().await;                     // the first event is out, the second is held back
//! gate.open();
//! request.closed().await;                   // the gateway dropped the connection
//! ```
//!
//! Each request takes the next script of the queue; with none left, the responder of [`Upstream::respond`] is asked,
//! and without one the answer is a 500 that says so.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{http1::Head, http1::Reader, patiently};

/// A scripted provider on a loopback port. Dropping it closes the port and every connection.
pub struct Upstream {
    addr: SocketAddr,
    shared: Arc<Shared>,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arc<Request>>>,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Starts one on the current runtime.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port for the upstream");
        let addr = listener.local_addr().expect("the address of a bound listener");
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            responder: Mutex::new(Box::new(|_| {
                Script::json(500, r#"{"error":"no script for this request"}"#)
            })),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            arrived,
        });
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self { addr, shared, arrivals: arrivals.into(), server }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:<port>`, for the configuration of a provider.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Answers one request to come with `script`, after those enqueued before.
    pub fn enqueue(&self, script: Script) {
        held(&self.shared.scripts).push_back(script);
    }

    /// Answers every request that finds no script in the queue.
    pub fn respond(&self, responder: impl Fn(&Request) -> Script + Send + 'static) {
        *held(&self.shared.responder) = Box::new(responder);
    }

    /// The next request that was not returned yet, once it has arrived whole.
    ///
    /// # Panics
    /// When none comes within a minute.
    pub async fn next(&self) -> Arc<Request> {
        let mut arrivals = self.arrivals.lock().await;
        let request = patiently("a request at the upstream", arrivals.recv()).await;
        request.expect("the upstream holds the sending side for as long as it lives")
    }

    /// Every request so far, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<Request>> {
        held(&self.shared.seen).clone()
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        held(&self.shared.seen).len()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A request as the upstream got it.
#[derive(Debug)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// First line and headers, in order and as spelt.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Which connection it came on, from 1.
    pub connection: usize,
    open: watch::Receiver<()>,
}

impl Request {
    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// Waits until the connection on which this came is gone, closed by either side.
    ///
    /// # Panics
    /// When it is still open after a minute.
    pub async fn closed(&self) {
        let mut open = self.open.clone();
        let gone = async { while open.changed().await.is_ok() {} };
        patiently("the end of the upstream connection", gone).await;
    }

    /// Whether that connection is still open. Only its closing can be waited for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.has_changed().is_ok()
    }
}

/// A place where scripts wait for the test.
#[derive(Debug, Clone)]
pub struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    reached: Semaphore,
    opened: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(GateState { reached: Semaphore::new(0), opened: Semaphore::new(0) }))
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one script pass: the one that waits, or the next to come.
    pub fn open(&self) {
        self.0.opened.add_permits(1);
    }

    /// Waits until a script has come to the gate, once for each time one comes.
    ///
    /// # Panics
    /// When none comes within a minute.
    pub async fn reached(&self) {
        let permit = patiently("a script to reach its gate", self.0.reached.acquire()).await;
        permit.expect("the semaphore is never closed").forget();
    }

    async fn pass(&self) {
        self.0.reached.add_permits(1);
        self.0.opened.acquire().await.expect("the semaphore is never closed").forget();
    }
}

/// One thing that a script does.
#[derive(Debug, Clone)]
enum Step {
    Write(Bytes),
    Gate(Gate),
    Pause(Duration),
    Hang,
    Close,
    Reset,
}

/// What the upstream does with one request. After the last step the connection is kept for the next request, unless
/// a step ended it.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
}

impl Script {
    /// Exactly these bytes, which need not be HTTP.
    #[must_use]
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::default().write(bytes)
    }

    /// A JSON answer with a length.
    #[must_use]
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::whole(status, &[("content-type", "application/json")], body)
    }

    /// An answer with these headers and a length.
    #[must_use]
    pub fn whole(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        Self::head(status, headers, ("content-length", &length)).write(body)
    }

    /// The head of an answer whose body follows by [`Self::chunk`] and ends with [`Self::end`].
    #[must_use]
    pub fn chunked(status: u16, headers: &[(&str, &str)]) -> Self {
        Self::head(status, headers, ("transfer-encoding", "chunked"))
    }

    /// The head of an event stream, as [`Self::chunked`].
    #[must_use]
    pub fn sse() -> Self {
        Self::chunked(200, &[("content-type", "text/event-stream")])
    }

    /// Reads the request and never answers.
    #[must_use]
    pub fn silence() -> Self {
        Self::default().hang()
    }

    fn head(status: u16, headers: &[(&str, &str)], framing: (&str, &str)) -> Self {
        let lines: String =
            headers.iter().chain([&framing]).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Self::raw(format!("HTTP/1.1 {status} Scripted\r\n{lines}\r\n"))
    }

    /// Does what another script says after this one.
    #[must_use]
    pub fn followed_by(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self
    }

    /// Writes bytes as they are, in one write.
    #[must_use]
    pub fn write(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Write(Bytes::copy_from_slice(bytes.as_ref())))
    }

    /// Writes one HTTP chunk. A reader of HTTP sees its data apart from that of the next, however the network
    /// joins the two.
    #[must_use]
    pub fn chunk(self, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        self.write([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat())
    }

    /// Writes each byte as a chunk of its own.
    #[must_use]
    pub fn bytewise(self, data: impl AsRef<[u8]>) -> Self {
        data.as_ref().iter().fold(self, |script, byte| script.chunk([*byte]))
    }

    /// Writes two chunks, split at byte `at`.
    #[must_use]
    pub fn split(self, data: impl AsRef<[u8]>, at: usize) -> Self {
        let (first, second) = data.as_ref().split_at(at);
        // An empty chunk would end the body.
        [first, second].iter().filter(|part| !part.is_empty()).fold(self, |script, part| script.chunk(part))
    }

    /// Ends a chunked body.
    #[must_use]
    pub fn end(self) -> Self {
        self.write("0\r\n\r\n")
    }

    /// Waits for the test.
    #[must_use]
    pub fn gate(self, gate: &Gate) -> Self {
        self.then(Step::Gate(gate.clone()))
    }

    /// Waits. For load and paused clocks: where order matters, use a gate.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        self.then(Step::Pause(pause))
    }

    /// Does nothing more until the peer leaves.
    #[must_use]
    pub fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Closes the connection in order, even in the middle of a body.
    #[must_use]
    pub fn close(self) -> Self {
        self.then(Step::Close)
    }

    /// Breaks the connection: the peer sees a reset.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// The same script, cut at byte `at` of all that it writes: there the connection closes.
    #[must_use]
    pub fn cut(self, at: usize) -> Self {
        let mut left = at;
        let mut kept = Self::default();
        for step in self.steps {
            match step {
                Step::Write(bytes) if bytes.len() >= left => return kept.write(&bytes[..left]).close(),
                Step::Write(bytes) => {
                    left -= bytes.len();
                    kept = kept.then(Step::Write(bytes));
                }
                other => kept = kept.then(other),
            }
        }
        kept.close()
    }

    /// Bytes written in all: the last place to [`Self::cut`] at.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |step: &Step| if let Step::Write(bytes) = step { bytes.len() } else { 0 };
        self.steps.iter().map(length).sum()
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Plays the script; false when the connection is to end.
    async fn play(self, stream: &mut WriteHalf<'_>) -> bool {
        for step in self.steps {
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return false;
                    }
                }
                Step::Gate(gate) => gate.pass().await,
                Step::Pause(pause) => tokio::time::sleep(pause).await,
                Step::Hang => std::future::pending().await,
                Step::Close => return false,
                Step::Reset => {
                    let _ = stream.as_ref().set_zero_linger();
                    return false;
                }
            }
        }
        true
    }
}

type Responder = Box<dyn Fn(&Request) -> Script + Send>;

/// What the connections share with the test.
struct Shared {
    scripts: Mutex<VecDeque<Script>>,
    responder: Mutex<Responder>,
    seen: Mutex<Vec<Arc<Request>>>,
    connections: AtomicUsize,
    arrived: mpsc::UnboundedSender<Arc<Request>>,
}

impl Shared {
    fn script_for(&self, request: &Request) -> Script {
        let queued = held(&self.scripts).pop_front();
        queued.unwrap_or_else(|| (held(&self.responder))(request))
    }

    fn record(&self, request: &Arc<Request>) {
        held(&self.seen).push(request.clone());
        // A test may have dropped its side while connections wind up.
        let _ = self.arrived.send(request.clone());
    }
}

/// Locks, also after a test thread has panicked with the lock held.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts until aborted; the connections end with the set that holds them.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        connections.spawn(connection(stream, number, shared.clone()));
    }
}

/// Serves the requests of one connection. `_open` is dropped at its end, which is what [`Request::closed`] sees.
async fn connection(mut stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let (read, mut write) = stream.split();
    let mut reader = Reader::requests(read);
    let (_open, open) = watch::channel(());
    while let Ok(Some(request)) = receive(&mut reader, number, &open).await {
        let request = Arc::new(request);
        let script = shared.script_for(&request);
        shared.record(&request);
        let keep = tokio::select! {
            keep = script.play(&mut write) => keep,
            () = reader.closed() => false,
        };
        if !keep {
            return;
        }
    }
}

/// Reads one request, whole.
async fn receive(
    reader: &mut Reader<ReadHalf<'_>>,
    connection: usize,
    open: &watch::Receiver<()>,
) -> io::Result<Option<Request>> {
    let Some(head) = reader.head().await? else { return Ok(None) };
    let body = reader.body().await?;
    let (method, target) = (head.word(0).to_owned(), head.word(1).to_owned());
    Ok(Some(Request { method, target, head, body, connection, open: open.clone() }))
}

#[cfg(test)]
mod tests {
    use super::{Gate, Script, Upstream};
    use crate::client::{Connection, Request};

    #[tokio::test]
    async fn a_request_is_recorded_to_the_byte() {
        let upstream = Upstream::start().await;
        let mut client = Connection::open(upstream.addr()).await;
        client
            .send_raw(b"PUT /a?b=c HTTP/1.1\r\nX-Odd:  1\r\nx-odd: 2\r\ncontent-length: 3\r\n\r\n\x00\xffz")
            .await;
        let request = upstream.next().await;
        assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/a?b=c"));
        let odd = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(request.head.headers[..2], [odd("X-Odd", "1"), odd("x-odd", "2")]);
        assert_eq!(request.body, b"\x00\xffz");
    }

    #[tokio::test]
    async fn a_gate_lets_one_script_pass_for_each_opening() {
        let gate = Gate::new();
        let passes_at_once = async || {
            tokio::select! { biased; () = gate.pass() => true, () = std::future::ready(()) => false }
        };
        assert!(!passes_at_once().await);
        gate.open();
        assert!(passes_at_once().await);
        assert!(!passes_at_once().await);
    }

    #[tokio::test]
    async fn a_gate_holds_the_next_chunk_back_until_it_is_opened() {
        let (upstream, gate) = (Upstream::start().await, Gate::new());
        upstream.enqueue(Script::sse().chunk("one").gate(&gate).chunk("two").end());
        let mut client = Connection::open(upstream.addr()).await;
        client.send(&Request::get("/")).await;
        assert_eq!(client.head().await.word(1), "200");
        gate.reached().await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), "one");
        gate.open();
        assert_eq!(client.body().await.unwrap(), b"two");
    }

    #[tokio::test]
    async fn a_peer_that_leaves_is_noticed_while_the_script_waits() {
        let upstream = Upstream::start().await;
        upstream.enqueue(Script::sse().chunk("one").hang());
        let mut client = Connection::open(upstream.addr()).await;
        client.send(&Request::get("/")).await;
        client.head().await;
        let request = upstream.next().await;
        assert!(request.is_open());
        drop(client);
        request.closed().await;
        assert!(!request.is_open());
    }

    #[tokio::test]
    async fn a_reset_is_seen_as_one() {
        let upstream = Upstream::start().await;
        upstream.enqueue(Script::sse().chunk("one").reset());
        let mut client = Connection::open(upstream.addr()).await;
        client.send(&Request::get("/")).await;
        let error = client.everything().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_script_cut_at_any_byte_sends_that_many_bytes() {
        let upstream = Upstream::start().await;
        let script = Script::json(200, "{}");
        for at in 0..=script.bytes() {
            upstream.enqueue(script.clone().cut(at));
            let mut client = Connection::open(upstream.addr()).await;
            client.send(&Request::get("/")).await;
            assert_eq!(client.everything().await.unwrap().len(), at);
        }
    }

    #[tokio::test]
    async fn a_connection_is_kept_between_whole_answers() {
        let upstream = Upstream::start().await;
        upstream.respond(|request| Script::json(200, &request.target));
        let mut client = Connection::open(upstream.addr()).await;
        for target in ["/1", "/2"] {
            client.send(&Request::get(target)).await;
            assert_eq!(client.reply().await.text(), target);
        }
        assert_eq!((upstream.connections(), upstream.count()), (1, 2));
    }
}
