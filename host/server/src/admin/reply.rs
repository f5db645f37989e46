//! What a handler answers: a value that becomes JSON, [`Nothing`], or bytes that are written while they are sent.

use bytes::Bytes;
use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::answer::{Answer, bytes, whole};
use super::ask::Nothing;
use super::error::Problem;
use super::schema::schema;

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
