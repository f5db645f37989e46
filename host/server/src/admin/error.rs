//! What is said when a management call fails: one shape, `{"error": {"code", "message", "request_id"}}`.

use std::error::Error;

use http::StatusCode;
use http::header::{self, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{Answer, bytes};
use crate::manage::ManageError;
use crate::manage::login::LoginError;
use crate::telemetry::chain;

/// Why a management call has no result.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<&'static str>,
    retry_after_ms: Option<u64>,
    /// The methods that a path takes, as `Allow` names them.
    allow: Option<String>,
}

/// What is said of a failure.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct ProblemBody {
    error: ProblemText,
}

/// Why there is no result.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProblemText")]
struct ProblemText {
    /// A word for programs.
    code: String,
    /// A sentence for people.
    message: String,
    /// The member of the call that is wrong, where it is one in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    /// What the gateway's log and audit log call this call.
    request_id: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, retry_after_ms: None, allow: None }
    }

    /// There is nothing at this path.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
    }

    /// The path takes other methods.
    pub(super) fn method_not_allowed(allow: &str) -> Self {
        let message = format!("This path takes {allow}.");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Self { allow: Some(allow.to_owned()), ..problem }
    }

    /// Nobody is known by what came along.
    pub(super) fn unauthorized() -> Self {
        let message = "Pass an access token as `Authorization: Bearer`. The admin secret will do for what an admin may do.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// The visitor's role does not allow it.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This takes the role `admin`.")
    }

    /// Another site's page has sent it.
    pub(super) fn foreign_page() -> Self {
        let message = "This is for the gateway's own pages.";
        Self::new(StatusCode::FORBIDDEN, "foreign_page", message)
    }

    /// It is about the user who asks, and the admin secret is no user.
    pub(super) fn no_user() -> Self {
        let message = "This is about the user who asks: log in, the admin secret is no user's.";
        Self::new(StatusCode::FORBIDDEN, "no_user", message)
    }

    /// The password that must come along is not the caller's.
    pub(super) fn wrong_password() -> Self {
        Self::new(StatusCode::FORBIDDEN, "wrong_password", "The password is not right.")
    }

    /// The first call with an idempotency key still runs.
    pub(super) fn idempotency_running() -> Self {
        let message = "The first call with this idempotency key still runs. Try again in a moment.";
        Self { retry_after_ms: Some(1000), ..Self::new(StatusCode::CONFLICT, "idempotency_running", message) }
    }

    /// Nobody knows how the first call with an idempotency key ended.
    pub(super) fn idempotency_unknown() -> Self {
        let message = "The gateway ended during the first call with this idempotency key. See whether it was made, and use another key.";
        Self::new(StatusCode::CONFLICT, "idempotency_unknown", message)
    }

    /// An idempotency key came with another call than its first one.
    pub(super) fn idempotency_reused() -> Self {
        let message = "This idempotency key belongs to another call.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_reused", message)
    }

    /// The request is not what the path takes.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// As many streams of events are open as may be.
    pub(super) fn too_many_streams(most: usize) -> Self {
        let message = format!("No more than {most} streams of events are open at one time. Close one.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", message)
    }

    /// The body is longer than anything that is taken.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large.")
    }

    /// What was asked for cannot be done as things are.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", message)
    }

    /// The gateway is at fault: what failed is for the log alone.
    pub(super) fn failed(error: &dyn Error) -> Self {
        tracing::error!(error = chain(error), "a management call failed");
        Self::internal()
    }

    /// The gateway is at fault, and the log knows of it.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The gateway failed.")
    }

    /// The answer that says so.
    pub(super) fn answer(&self, request_id: &str) -> Answer {
        let (code, message) = (self.code.to_owned(), self.message.clone());
        let error = ProblemText { code, message, field: self.field, request_id: request_id.to_owned() };
        // Texts always become JSON.
        let body = serde_json::to_vec(&ProblemBody { error }).unwrap_or_default();
        let mut answer = bytes(self.status, "application/json", body);
        let headers = answer.headers_mut();
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        answer
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Wrong => Self::new(
                StatusCode::UNAUTHORIZED,
                "wrong_credentials",
                "The name or the password is not right, or this user may not log in.",
            ),
            LoginError::BadToken => Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "The refresh token is not valid. Log in again.",
            ),
            LoginError::Locked(ms) => Self {
                retry_after_ms: Some(ms),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "locked",
                    "There were too many wrong passwords. Try again later.",
                )
            },
            LoginError::Failed(error) => error.into(),
        }
    }
}

/// What management refuses is said; what failed inside is for the log alone.
impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let (status, code) = match &error {
            // What was looked for stands in the path or in the body of the call.
            ManageError::NotFound { what, .. } => {
                return Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"));
            }
            ManageError::Exists { what, .. } => {
                return Self::new(StatusCode::CONFLICT, "exists", format!("the {what} already exists"));
            }
            ManageError::LastAdmin => (StatusCode::CONFLICT, "last_admin"),
            ManageError::Stale => (StatusCode::PRECONDITION_FAILED, "changed_meanwhile"),
            ManageError::TooMany { .. } => (StatusCode::CONFLICT, "too_many"),
            ManageError::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            ManageError::Invalid { field, reason } => {
                return Self {
                    field: Some(*field).filter(|field| !field.is_empty()),
                    ..Self::bad_request(reason)
                };
            }
            ManageError::Serving(_)
            | ManageError::NoData(_)
            | ManageError::MasterKey(_)
            | ManageError::File { .. }
            | ManageError::Open { .. }
            | ManageError::Store(_)
            | ManageError::Unreadable { .. }
            | ManageError::Unwritable { .. }
            | ManageError::Randomness
            | ManageError::Hash
            | ManageError::Ended => return Self::failed(&error),
        };
        Self::new(status, code, error.to_string())
    }
}
