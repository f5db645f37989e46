//! An answer of the admin listener, as bytes.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use crate::manage::ManageError;

/// An answer of the admin listener. Its body is bytes at hand, or a stream of them.
pub(crate) type Answer = Response<Body>;

/// Its body.
pub(crate) type Body = UnsyncBoxBody<Bytes, ManageError>;

/// An answer whose bytes are at hand.
pub(super) fn bytes(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = whole(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// The same with status 200 and no type.
pub(super) fn whole(body: Bytes) -> Answer {
    Response::new(Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync())
}
