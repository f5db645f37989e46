//! Calls that must happen once. Callers who do not know whether a call arrived send it again with the same
//! `Idempotency-Key`, and get the first answer. What was refused has changed nothing, so it is not kept and may be
//! tried again.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tollgate_core::secret::Secret;

use super::answer::{Answer, bytes};
use super::error::Problem;
use crate::manage::{Keyed, Known, Management};
use crate::telemetry::chain;

/// The header that names a call.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const KEY_BYTES_MAX: usize = 255;

/// A call that must happen once.
pub(super) struct Once {
    management: Management,
    key: String,
    digest: [u8; 32],
    boot: [u8; 16],
}

/// What is to do with a call.
pub(super) enum Turn {
    /// Make it, and tell its end to [`Once::end`].
    Make(Box<Once>),
    /// It was made: this was the answer.
    Made(Answer),
}

impl Once {
    /// The call that the caller named, where they did.
    ///
    /// # Errors
    /// 400 for a key that is none.
    pub(super) fn named(
        management: &Management,
        boot: [u8; 16],
        headers: &HeaderMap,
        method: &Method,
        target: &str,
        body: &[u8],
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = headers.get(KEY) else { return Ok(None) };
        let key = key.to_str().ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| {
            Problem::bad_request(format!("An idempotency key has 1 to {KEY_BYTES_MAX} visible characters."))
        })?;
        let mut digest = Sha256::new();
        for part in [method.as_str().as_bytes(), b"\n", target.as_bytes(), b"\n", body] {
            digest.update(part);
        }
        let digest = digest.finalize().into();
        Ok(Some(Self { management: management.clone(), key: key.to_owned(), digest, boot }))
    }

    /// Takes the call in.
    ///
    /// # Errors
    /// 409 while it runs or when nobody knows how it ended, 422 when the key belongs to another call.
    pub(super) async fn begin(self) -> Result<Turn, Problem> {
        match self.management.begin_call(&self.call()).await? {
            Known::New => Ok(Turn::Make(Box::new(self))),
            Known::Answered(status, body) => Ok(Turn::Made(replayed(status, &body))),
            Known::Running => Err(Problem::idempotency_running()),
            Known::CutOff => Err(Problem::idempotency_unknown()),
            Known::Other => Err(Problem::idempotency_reused()),
        }
    }

    /// Keeps the answer of a call that was made, and forgets one that was refused.
    ///
    /// # Errors
    /// What the call failed with.
    pub(super) async fn end(self, made: Result<Answer, Problem>) -> Result<Answer, Problem> {
        let kept = match made {
            Ok(answer) => self.keep(answer).await,
            Err(problem) => {
                // Where even this fails, the key stays taken for a day.
                if let Err(error) = self.management.forget_call(&self.call()).await {
                    tracing::error!(error = chain(&error), "an idempotency key could not be given back");
                }
                Err(problem)
            }
        }?;
        Ok(kept)
    }

    async fn keep(&self, answer: Answer) -> Result<Answer, Problem> {
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        let text = Secret::new(String::from_utf8_lossy(&body).into_owned());
        // The change is made: its answer is given even where it could not be kept.
        if let Err(error) = self.management.keep_answer(&self.call(), parts.status.as_u16(), &text).await {
            tracing::error!(error = chain(&error), "the answer to an idempotency key could not be kept");
        }
        let whole = bytes(parts.status, "application/json", body);
        Ok(Answer::from_parts(parts, whole.into_body()))
    }

    fn call(&self) -> Keyed<'_> {
        Keyed { actor: self.management.actor(), key: &self.key, digest: self.digest, boot: self.boot }
    }
}

fn replayed(status: u16, body: &Secret) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
    let mut answer = bytes(status, "application/json", Bytes::from(body.expose().to_owned()));
    answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    answer
}
