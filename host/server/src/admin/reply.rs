//! What a handler answers: a value that becomes JSON, [`Nothing`], or bytes that are written while they are sent.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::ask::Nothing;
use super::error::Problem;
use super::route::schema;
use crate::manage::ManageError;

/// An answer of the admin listener. Its body is bytes at hand, or a stream of them.
pub(crate) type Answer = Response<Body>;

/// Its body.
pub(crate) type Body = UnsyncBoxBody<Bytes, ManageError>;

const JSON: &str = "application/json";

/// What becomes an answer.
pub(super) trait Reply {
    /// The answer: 200, or 204 without a body.
    ///
    /// # Errors
    /// When the value cannot be written.
    fn answer(self) -> Result<Answer, Problem>;
    /// Media type and shape, as the document shows them; none for 204.
    fn schema(generator: &mut SchemaGenerator) -> Option<(&'static str, Schema)>;
}

impl<T: Serialize + JsonSchema> Reply for T {
    fn answer(self) -> Result<Answer, Problem> {
        let body = serde_json::to_vec(&self).map_err(|error| Problem::failed(&error))?;
        Ok(bytes(StatusCode::OK, JSON, body))
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<(&'static str, Schema)> {
        Some((JSON, schema::<T>(generator)))
    }
}

impl Reply for Nothing {
    fn answer(self) -> Result<Answer, Problem> {
        let mut answer = whole(Bytes::new());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        Ok(answer)
    }

    fn schema(_: &mut SchemaGenerator) -> Option<(&'static str, Schema)> {
        None
    }
}

/// An answer whose bytes are at hand.
pub(super) fn bytes(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = whole(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

fn whole(body: Bytes) -> Answer {
    Response::new(Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync())
}
