//! Google, for models of its own and of Anthropic.

use tollgate_plugin::adapter::FailureClass;
use tollgate_protocols::{anthropic, gemini};

use FailureClass::{
    BadRequest, ContentRefused, ContextTooLong, InvalidCredential, NotFound, Overloaded, Permission,
    QuotaExhausted, RateLimited, Transient,
};

use super::{Row, check};

/// Google's own, for both kinds of models.
const GOOGLE: [Row; 24] = [
    (
        400,
        r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}},{"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US","message":"API key not valid."}]}}"#,
        InvalidCredential,
        None,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#,
        InvalidCredential,
        None,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"Your API key was reported as leaked. Please use another API key.","status":"PERMISSION_DENIED"}}"#,
        InvalidCredential,
        None,
    ),
    (
        401,
        r#"{"error":{"code":401,"message":"Request had invalid authentication credentials. Expected OAuth 2 access token.","status":"UNAUTHENTICATED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED"}]}}"#,
        InvalidCredential,
        None,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"Permission 'aiplatform.endpoints.predict' denied on resource (or it may not exist).","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"IAM_PERMISSION_DENIED","domain":"aiplatform.googleapis.com"}]}}"#,
        Permission,
        None,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"Vertex AI API has not been used in project 1 before or it is disabled.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}]}}"#,
        Permission,
        None,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"This API method requires billing to be enabled.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BILLING_DISABLED"}]}}"#,
        QuotaExhausted,
        None,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#,
        Permission,
        None,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"You do not have permission to access the File x or it may not exist.","status":"PERMISSION_DENIED"}}"#,
        Permission,
        None,
    ),
    (
        404,
        r#"{"error":{"code":404,"message":"Publisher Model `projects/p/locations/r/publishers/google/models/x` was not found or your project does not have access to it.","status":"NOT_FOUND"}}"#,
        Permission,
        None,
    ),
    (
        404,
        r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta, or is not supported for generateContent.","status":"NOT_FOUND"}}"#,
        NotFound,
        None,
    ),
    (
        429,
        r#"{"error":{"code":429,"message":"You exceeded your current quota. Please retry in 31.4s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_requests","quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier","quotaDimensions":{"location":"global","model":"gemini-2.5-flash"},"quotaValue":"10"}]},{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Learn more","url":"u"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"31.4s"}]}}"#,
        RateLimited,
        Some(31_400),
    ),
    (
        429,
        r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"50"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"31s"}]}}"#,
        QuotaExhausted,
        None,
    ),
    (
        429,
        r#"{"error":{"code":429,"message":"Resource exhausted. Please try again later.","status":"RESOURCE_EXHAUSTED"}}"#,
        RateLimited,
        None,
    ),
    (
        429,
        r#"[{"error":{"code":429,"message":"Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: anthropic-claude-opus.","status":"RESOURCE_EXHAUSTED"}}]"#,
        RateLimited,
        None,
    ),
    (
        429,
        r#"{"error":{"code":429,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}"#,
        QuotaExhausted,
        None,
    ),
    (
        429,
        r#"{"error":{"code":429,"message":"Your project has exceeded its monthly spending cap.","status":"RESOURCE_EXHAUSTED"}}"#,
        QuotaExhausted,
        None,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
        ContextTooLong,
        None,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"Unable to submit request because the input token count is 1048577 but model only supports up to 1048576. Reduce the input token count and try again.","status":"INVALID_ARGUMENT"}}"#,
        ContextTooLong,
        None,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI practices.","status":"INVALID_ARGUMENT"}}"#,
        ContentRefused,
        None,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"x\": Cannot find field.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"description":"Unknown name"}]}]}}"#,
        BadRequest,
        None,
    ),
    (
        500,
        r#"{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}"#,
        Transient,
        None,
    ),
    (
        503,
        r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#,
        Overloaded,
        None,
    ),
    (
        504,
        r#"{"error":{"code":504,"message":"Deadline expired.","status":"DEADLINE_EXCEEDED"}}"#,
        Transient,
        None,
    ),
];

#[test]
fn google() {
    check("Google", &GOOGLE, |status, body| gemini::classify(status, None, body));
}

#[test]
fn google_says_the_same_of_claude() {
    check("Vertex", &GOOGLE, |status, body| anthropic::classify(status, None, "", body));
}
