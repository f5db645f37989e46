//! What a test through the gateway cannot show: TLS, because the gateway would not trust the authority, and silence,
//! which takes long.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http_body_util::BodyExt;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio_rustls::TlsAcceptor;

use super::peer::{Liveness, begin};
use super::{Connector, Origin, Pool, Request, Wire};
use crate::transport::answer::{Answer, Source};
use crate::transport::body::Chained;

/// Runs a test where all tasks are local, as a worker's are.
fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.unwrap().block_on(test)
}

/// A server that offers these protocols, a pool that trusts it, and where it is.
async fn with_tls(protocols: &[&str]) -> (TcpListener, TlsAcceptor, Rc<Pool>, Arc<Origin>) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
    server.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = format!("localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let pool = Pool::with(Connector::trusting(client, Duration::from_secs(60)));
    let origin = Arc::new(Origin { scheme: Scheme::HTTPS, authority });
    (listener, TlsAcceptor::from(Arc::new(server)), pool, origin)
}

#[test]
fn a_server_that_agrees_on_http2_is_spoken_to_in_it() {
    local(async {
        let (listener, acceptor, pool, origin) = with_tls(&["h2", "http/1.1"]).await;
        let serving = tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            let (uri, host) = (request.uri().to_string(), request.headers().contains_key("host"));
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"said"), true).unwrap();
            while connection.accept().await.is_some() {}
            (uri, host)
        });
        let mut message = http::Request::new(Chained::default());
        *message.uri_mut() = "/v1/say?x=y".parse().unwrap();
        message.headers_mut().insert("host", "elsewhere".parse().unwrap());
        let request = Request { origin: Arc::clone(&origin), wire: Wire::Http2, message };
        let slot = pool.reserve(&origin).await.unwrap().expect("HTTP/2 is spoken there");
        let (head, body) = pool.send(slot, request).await.unwrap();
        let answer = Answer { head, body: Source::Http2(body).into() };
        assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "said");
        let authority = origin.authority.clone();
        // Its connection has no sender any more, so it ends.
        drop(pool);
        assert_eq!(serving.await.unwrap(), (format!("https://{authority}/v1/say?x=y"), false));
    });
}

#[test]
fn a_server_that_does_not_speak_http2_is_asked_once() {
    local(async {
        let (listener, acceptor, pool, origin) = with_tls(&["http/1.1"]).await;
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            acceptor.accept(stream).await
        };
        // A server may refuse the handshake or not negotiate at all: this one offers another protocol.
        let (reserved, _accepted) = tokio::join!(pool.reserve(&origin), accepting);
        assert!(reserved.unwrap().is_none());
        assert!(pool.reserve(&origin).await.unwrap().is_none(), "without a connection");
    });
}

/// A server that answers `answers` pings, and is silent after that.
async fn answer_then_fall_silent(mut stream: DuplexStream, answers: usize, answered: Rc<Cell<usize>>) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    // A hundred streams at a time.
    stream.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]).await.unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        let (kind, flags) = (head[3], head[4]);
        if kind == 6 && flags == 0 && answered.get() < answers {
            answered.set(answered.get() + 1);
            head[4] = 1;
            stream.write_all(&[&head[..], &payload].concat()).await.unwrap();
        }
    }
}

#[test]
fn a_connection_lives_while_anything_is_heard_of_it() {
    local(async {
        let (ours, theirs) = duplex(1 << 16);
        let answered = Rc::new(Cell::new(0));
        let serving = tokio::task::spawn_local(answer_then_fall_silent(theirs, 3, Rc::clone(&answered)));
        let (silence, patience) = (Duration::from_millis(5), Duration::from_millis(200));
        let peer = begin(ours, Liveness { silence, patience }, None).await.unwrap();
        // The server sees its end when the driving task has given it up, though this side could still send on it.
        serving.await.unwrap();
        assert_eq!(answered.get(), 3);
        let open = std::future::poll_fn(|cx| std::task::Poll::Ready(peer.is_open(cx))).await;
        assert!(!open, "a dead connection is offered");
    });
}
