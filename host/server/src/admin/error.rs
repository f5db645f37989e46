//! What is said when a management call fails: one shape, `{"error": {"code", "message", "request_id"}}`.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tollgate_store::StoreError;

use super::Answer;
use crate::login::LoginError;

/// Why a management call has no result.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_ms: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_ms: None }
    }

    /// There is nothing at this path.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
    }

    /// The path takes other methods.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path takes another method.")
    }

    /// Nobody is known by what came along.
    pub(super) fn unauthorized() -> Self {
        let message = "Pass an access token as `Authorization: Bearer`; where it is about components, the admin secret will do.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// The visitor's role does not allow it.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This takes the role `admin`.")
    }

    /// The request is not what the path takes.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The body is longer than anything that is taken.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large.")
    }

    /// What was asked for cannot be done as things are.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", message)
    }

    /// The gateway is at fault.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The gateway failed.")
    }

    /// The answer that says so.
    pub(super) fn answer(&self, request_id: &str) -> Answer {
        let error = json!({"code": self.code, "message": self.message, "request_id": request_id});
        let mut response = Response::new(Full::from(json!({"error": error}).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
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

/// What the books refuse is said; what failed inside is for the log alone.
impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        if let Some(refused) = error.downcast_ref::<StoreError>() {
            let (status, code) = match refused {
                StoreError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
                StoreError::Exists(_) => (StatusCode::CONFLICT, "exists"),
                StoreError::TooMany { .. } => (StatusCode::CONFLICT, "too_many"),
                StoreError::Invalid(_) => (StatusCode::BAD_REQUEST, "bad_request"),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            };
            if status != StatusCode::INTERNAL_SERVER_ERROR {
                return Self::new(status, code, refused.to_string());
            }
        }
        tracing::error!(error = format!("{error:#}"), "a management call failed");
        Self::internal()
    }
}
