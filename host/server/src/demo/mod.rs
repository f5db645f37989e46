//! The simulated provider behind `tollgate serve --demo`: OpenAI, Anthropic and Gemini on one loopback port.
//!
//! It speaks the three wire protocols as the real providers do (ids, usage blocks, event order, headers, error bodies),
//! so that a newcomer's first call, the official SDKs and the load bench work without a provider key. It accepts any
//! credential that starts with `demo-`, in the header that the real provider reads, and refuses others with the
//! provider's own error. The answer is `reply::Prompt::answer`: the last user message, repeated.
//!
//! **Faults on request.** A model name that contains `demo-<fault>`, or a last user message that contains
//! `[[<fault>]]`, causes one of the faults of `fault::Fault`: `401`, `429`, `500`, `529`, `quota`, `context`, `slow`,
//! `cut`, `midstream-error`, `empty`, `hang`, `garbage`.
//!
//! It is not part of the data path and knows nothing of the gateway: `proxy/` reaches it like any upstream. It listens
//! on loopback only. Start reading at `handle`; each provider is one file with a `handle` of its own.

mod anthropic;
mod fault;
mod gemini;
mod openai;
mod reply;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, net::TcpStream, sync::oneshot, task::JoinSet};

use self::{
    fault::Problem,
    reply::{Body, Reply},
};

/// What every accepted credential starts with.
pub const CREDENTIAL_PREFIX: &str = "demo-";

/// The largest request body read, in bytes: the limit that Anthropic documents.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Rest after a failed accept, so that a machine out of descriptors is not also out of CPU.
const ACCEPT_REST: Duration = Duration::from_millis(20);

/// A running simulated provider. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    requests: Arc<AtomicU64>,
    /// Never sent on: the server ends when this is dropped.
    _running: oneshot::Sender<Infallible>,
}

impl Simulator {
    /// Starts one on the current tokio runtime. `pace` is the pause between two chunks of a streamed answer; with
    /// zero they are all written at once.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(pace: Duration) -> io::Result<Self> {
        let (simulator, server) = Self::bind(pace)?;
        tokio::spawn(server);
        Ok(simulator)
    }

    /// Starts one on a separate thread and runtime, so that it does not slow the gateway's workers.
    ///
    /// # Errors
    /// When no loopback port can be bound or no thread started.
    pub fn start_thread(pace: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (simulator, server) = {
            let _context = runtime.enter();
            Self::bind(pace)?
        };
        thread::Builder::new().name("demo-provider".into()).spawn(move || runtime.block_on(server))?;
        Ok(simulator)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:<port>`, with no path: what `base_url` of every provider is set to.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Requests received so far, refused ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Binds the port and returns the server that is still to be run.
    fn bind(pace: Duration) -> io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let (running, stopped) = oneshot::channel();
        let requests = Arc::new(AtomicU64::new(0));
        let server = serve(listener, Server { pace, requests: requests.clone() }, stopped);
        Ok((Self { addr, requests, _running: running }, server))
    }
}

/// What every connection shares.
#[derive(Clone)]
struct Server {
    pace: Duration,
    requests: Arc<AtomicU64>,
}

/// Accepts until `stopped` resolves, then drops every connection with the set that holds them.
async fn serve(listener: TcpListener, server: Server, stopped: oneshot::Receiver<Infallible>) {
    let mut stopped = pin!(stopped);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, server.clone()))),
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            },
        }
    }
}

/// Serves one connection to its end. Failures are the client's leaving, or a fault that was asked for.
async fn connection(stream: TcpStream, server: Server) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| handle(server.clone(), request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Answers one request: the whole walk.
async fn handle(server: Server, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let serial = server.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let (head, body) = request.into_parts();
    let reply = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => dispatch(&Call::new(head, body.to_bytes(), serial)),
        Err(_) => Reply::status(StatusCode::PAYLOAD_TOO_LARGE),
    };
    Ok(reply.into_response(server.pace).await)
}

/// Hands the call to the provider that its path and headers name.
fn dispatch(call: &Call) -> Reply {
    match Provider::of(call) {
        Provider::OpenAi => openai::handle(call),
        Provider::Anthropic => anthropic::handle(call),
        Provider::Gemini => gemini::handle(call),
    }
}

/// The provider that a request is meant for: three hosts in reality, one port here.
#[derive(Debug, PartialEq, Eq)]
enum Provider {
    OpenAi,
    Anthropic,
    Gemini,
}

impl Provider {
    /// By path; `/v1/models` is common to all three and distinguished by the credential's header.
    fn of(call: &Call) -> Self {
        let path = call.path();
        let gemini_verb = path.contains("/models/") && path.contains(':');
        if path.starts_with("/v1/messages") {
            Self::Anthropic
        } else if path.starts_with("/v1beta/") || gemini_verb {
            Self::Gemini
        } else if !path.starts_with("/v1/models") {
            Self::OpenAi
        } else if call.header("anthropic-version").or(call.header("x-api-key")).is_some() {
            Self::Anthropic
        } else if call.header("x-goog-api-key").or(call.query("key")).is_some() {
            Self::Gemini
        } else {
            Self::OpenAi
        }
    }
}

/// One request, whole, as the provider files read it.
struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Counts from 1; ids are made from it.
    serial: u64,
    /// Seconds since the epoch.
    now: u64,
}

impl Call {
    fn new(head: http::request::Parts, body: Bytes, serial: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { method: head.method, uri: head.uri, headers: head.headers, body, serial, now }
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The credential of `Authorization: Bearer`.
    fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The value of a query parameter, as written: nothing this provider reads needs percent-decoding.
    fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The body as a JSON object.
    fn json(&self) -> Result<Value, Problem> {
        let value: Value =
            serde_json::from_slice(&self.body).map_err(|error| Problem::Malformed(error.to_string()))?;
        if value.is_object() { Ok(value) } else { Err(Problem::Malformed("expected an object".into())) }
    }

    /// An id as the providers write them: a prefix and, here, the request's number.
    fn id(&self, prefix: &str) -> String {
        format!("{prefix}demo{:020}", self.serial)
    }
}

/// Accepts a credential that starts with [`CREDENTIAL_PREFIX`].
fn authenticate(credential: Option<&str>) -> Result<(), Problem> {
    match credential {
        None => Err(Problem::NoCredential),
        Some(credential) if credential.starts_with(CREDENTIAL_PREFIX) => Ok(()),
        Some(_) => Err(Problem::BadCredential),
    }
}

#[cfg(test)]
mod tests;
