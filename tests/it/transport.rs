//! The transport of requests to providers: the road knows only its interface, so any implementation may be behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use serde_json::json;
use tokio::sync::watch;
use tollgate_core::outcome::Outcome;
use tollgate_core::usage::Class;
use tollgate_server::transport::{Answer, SendError, Sending, Transport};
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::patiently;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";
const LAST: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n";

/// A request as it was handed over, one line a part.
type Seen = String;

/// Answers of its own, without a connection.
struct InProcess {
    answers: Mutex<VecDeque<Option<(&'static str, Pieces)>>>,
    seen: Mutex<Vec<Seen>>,
}

impl InProcess {
    /// Gives these answers, in turn; `None` means that there is no connection.
    fn new(answers: impl IntoIterator<Item = Option<(&'static str, Pieces)>>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), seen: Mutex::default() })
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test thread panics with it").clone()
    }
}

impl Transport for InProcess {
    fn send(&self, request: tollgate_server::transport::Request) -> Sending<'_> {
        Box::pin(async move {
            let (head, body) = request.message.into_parts();
            let body = body.collect().await.unwrap_or_else(|never: Infallible| match never {}).to_bytes();
            let key = head.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("-");
            let (origin, method, uri) = (&request.origin, head.method, head.uri);
            let (scheme, authority) = (&origin.scheme, &origin.authority);
            let body = String::from_utf8_lossy(&body);
            let line = format!("{method} {scheme}://{authority}{uri}\n{key}\n{body}");
            self.seen.lock().expect("no test thread panics with it").push(line);
            let Some((kind, body)) =
                self.answers.lock().expect("no test thread panics with it").pop_front().flatten()
            else {
                return Err(SendError::ConnectTimeout { authority: authority.clone() });
            };
            let response = http::Response::builder().header("content-type", kind).body(body);
            Ok(Answer::new(response.expect("a head that is one")))
        })
    }
}

/// A body of these pieces; one that hangs waits for its reader to leave.
struct Pieces {
    left: VecDeque<&'static str>,
    hangs: Option<watch::Sender<()>>,
}

impl Pieces {
    fn of(pieces: &[&'static str]) -> Self {
        Self { left: pieces.iter().copied().collect(), hangs: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))),
            None if self.hangs.is_some() => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

async fn rig(transport: &Arc<InProcess>) -> Rig {
    let transport: Arc<dyn Transport> = transport.clone();
    Rig::with(|setup: &mut Setup| setup.transport = Some(transport)).await
}

fn body(stream: bool) -> serde_json::Value {
    json!({"model": "gpt-4o", "stream": stream, "messages": []})
}

#[tokio::test]
async fn a_call_is_served_and_billed_whatever_carries_it() {
    let json = || Some(("application/json", Pieces::of(&[ANSWER])));
    let stream = || Some(("text/event-stream", Pieces::of(&[EVENT, LAST])));
    let transport = InProcess::new([json(), stream()]);
    let rig = rig(&transport).await;
    let reply = rig.call(Request::post(CHAT, &body(false))).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ANSWER));
    let reply = rig.call(Request::post(CHAT, &body(true))).await;
    assert!(reply.text().starts_with(EVENT), "{}", reply.text());
    for record in rig.records(2).await {
        let usage = (record.usage[Class::Input], record.usage[Class::Output]);
        assert_eq!((record.outcome, usage), (Outcome::Ok, (10, 5)));
        assert_eq!(record.charge.get(), 10 * 2_500 + 5 * 10_000);
    }
    let seen = transport.seen();
    let first = format!("POST {}{CHAT}\nBearer platform-openai\n", rig.upstream.base_url());
    assert!(seen.iter().all(|seen| seen.starts_with(&first)), "{seen:?}");
    assert!(seen[1].ends_with(r#","stream_options":{"include_usage":true}}"#), "{}", seen[1]);
    assert_eq!(rig.upstream.connections(), 0, "nothing has gone over a connection");
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_missed_by_what_carries_its_answer() {
    let (hangs, mut gone) = watch::channel(());
    let pieces = Pieces { hangs: Some(hangs), ..Pieces::of(&[EVENT]) };
    let transport = InProcess::new([Some(("text/event-stream", pieces))]);
    let rig = rig(&transport).await;
    let mut client = Connection::open(rig.addr()).await;
    client.send(&Request::post(CHAT, &body(true)).bearer(rig.key("alice"))).await;
    client.head().await;
    client.read_until(EVENT).await;
    assert!(gone.has_changed().is_ok());
    drop(client);
    patiently("the answer to be dropped", async { while gone.changed().await.is_ok() {} }).await;
    assert_eq!(rig.record().await.outcome, Outcome::CancelledAfterFirstByte);
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_carried_is_tried_with_another_credential() {
    let transport = InProcess::new([None, Some(("application/json", Pieces::of(&[ANSWER])))]);
    let carried: Arc<dyn Transport> = transport.clone();
    let rig = Rig::with(|setup| {
        setup.transport = Some(carried);
        setup.credentials = vec![("openai", None, "first-key", 100), ("openai", None, "second-key", 100)];
    })
    .await;
    assert_eq!(rig.call(Request::post(CHAT, &body(false))).await.status, 200);
    let seen = transport.seen();
    let keys: Vec<&str> = seen.iter().filter_map(|seen| seen.lines().nth(1)).collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
    rig.stop().await;
}

#[tokio::test]
async fn checks_of_credentials_go_the_same_way() {
    let transport = InProcess::new([Some(("application/json", Pieces::of(&["{}"])))]);
    let rig = rig(&transport).await;
    let rows = rig.admin("GET", "/management/v1/credentials").await.json();
    let row = rows["data"].as_array().and_then(|rows| rows.iter().find(|row| row["provider"] == "openai"));
    let id = row.and_then(|row| row["id"].as_str()).expect("the platform's credential").to_owned();
    let checked = rig.admin("POST", &format!("/management/v1/credentials/{id}/check")).await;
    assert_eq!(checked.json()["check"]["result"], "good", "{}", checked.text());
    let expected = format!("GET {}/v1/models\nBearer platform-openai\n", rig.upstream.base_url());
    assert_eq!(transport.seen(), [expected]);
    rig.stop().await;
}
