//! One request on a shared connection, until the head of its answer is there.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use bytes::Bytes;
use h2::Reason;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{Request, Uri, Version, response};
use http_body::Body;

use super::incoming::Incoming;
use super::peer::Slot;
use super::upload::Upload;
use crate::transport::Origin;
use crate::transport::body::Chained;

/// Headers about a connection of HTTP/1.1, and `host`, which the target contains.
const STOPPED: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Nothing of the request was sent, or the other side says that it has not processed it.
    #[error("the request was not taken")]
    Untaken(#[source] h2::Error),
    /// It may have been seen.
    #[error("the stream ended")]
    Later(#[source] h2::Error),
}

impl Broken {
    fn of(error: h2::Error) -> Self {
        // A GOAWAY does not concern the streams that were accepted before: they go on.
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        if error.is_remote() && (refused || error.is_go_away()) {
            Self::Untaken(error)
        } else {
            Self::Later(error)
        }
    }
}

/// Sends a request and waits for the head of its answer. Dropping the future resets the stream.
///
/// # Errors
/// [`Broken`].
pub(super) async fn send(
    slot: Slot,
    origin: &Origin,
    message: Request<Chained>,
) -> Result<(response::Parts, Incoming), Broken> {
    let (mut head, body) = message.into_parts();
    address(&mut head, origin);
    let ends = body.is_end_stream();
    let sent = slot.peer().sender().send_request(Request::from_parts(head, ()), ends);
    let (mut answered, stream) = sent.map_err(Broken::Untaken)?;
    let mut upload = Upload { stream: (!ends).then_some(stream), body, piece: Bytes::new() };
    let answer = poll_fn(|cx| {
        // An answer may come before everything is sent: the rest goes on beside it.
        let _sent = upload.poll(cx);
        Pin::new(&mut answered).poll(cx)
    });
    let (head, body) = answer.await.map_err(Broken::of)?.into_parts();
    let incoming = Incoming::begin(slot, &head.headers, body, upload);
    Ok((head, incoming))
}

/// Names the origin in the target, as HTTP/2 has it.
fn address(head: &mut Parts, origin: &Origin) {
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.scheme = Some(origin.scheme.clone());
    parts.authority = Some(origin.authority.clone());
    // A path and an origin always make a URI.
    head.uri = Uri::from_parts(parts).unwrap_or_default();
    head.version = Version::HTTP_2;
    for name in STOPPED {
        head.headers.remove(name);
    }
}
