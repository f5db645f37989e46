//! Anthropic, and Amazon in its place.

use tollgate_plugin::adapter::FailureClass;
use tollgate_protocols::anthropic;

use FailureClass::{
    BadRequest, ContentRefused, ContextTooLong, InvalidCredential, NotFound, Overloaded, Permission,
    QuotaExhausted, RateLimited, Transient,
};

use super::{Row, check};

const ANTHROPIC: [Row; 20] = [
    (
        401,
        r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_1"}"#,
        InvalidCredential,
        None,
    ),
    (
        401,
        r#"{"type":"error","error":{"type":"authentication_error","message":"OAuth token has expired. Please obtain a new token or refresh your existing token."}}"#,
        InvalidCredential,
        None,
    ),
    (
        401,
        r#"{"type":"error","error":{"type":"authentication_error","message":"CORS requests are not allowed for this Organization because of data retention settings."}}"#,
        BadRequest,
        None,
    ),
    (
        402,
        r#"{"type":"error","error":{"type":"billing_error","message":"There is an issue with your billing or payment information."}}"#,
        QuotaExhausted,
        None,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#,
        QuotaExhausted,
        None,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}"#,
        QuotaExhausted,
        None,
    ),
    (
        429,
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"Spend limit reached.","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}"#,
        QuotaExhausted,
        None,
    ),
    (
        429,
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 50,000 input tokens per minute."}}"#,
        RateLimited,
        None,
    ),
    (
        403,
        r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#,
        Permission,
        None,
    ),
    (
        404,
        r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-mythos-5-1"}}"#,
        Permission,
        None,
    ),
    (
        404,
        r#"{"type":"error","error":{"type":"not_found_error","message":"The requested resource could not be found."}}"#,
        NotFound,
        None,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
        ContextTooLong,
        None,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again"}}"#,
        ContextTooLong,
        None,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
        ContentRefused,
        None,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"This credential is only authorized for use with Claude Code and cannot be used for other API requests."}}"#,
        BadRequest,
        None,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1."}}"#,
        BadRequest,
        None,
    ),
    (
        413,
        r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum allowed number of bytes."}}"#,
        BadRequest,
        None,
    ),
    (
        500,
        r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#,
        Transient,
        None,
    ),
    (
        504,
        r#"{"type":"error","error":{"type":"timeout_error","message":"Request timed out. Try again later."}}"#,
        Transient,
        None,
    ),
    (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded, None),
];

#[test]
fn anthropic() {
    check("Anthropic", &ANTHROPIC, |status, body| anthropic::classify(status, None, "", body));
}

/// Status, name, message, and what it means.
const BEDROCK: [(u16, &str, &str, FailureClass); 22] = [
    (
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        InvalidCredential,
    ),
    (
        403,
        "ExpiredTokenException",
        "The security token included in the request is expired",
        InvalidCredential,
    ),
    (
        403,
        "AccessDeniedException",
        "Authentication failed: Please make sure your API Key is valid.",
        InvalidCredential,
    ),
    (
        403,
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
        InvalidCredential,
    ),
    (
        403,
        "InvalidSignatureException",
        "Signature expired: 20261121T100000Z is now earlier than 20261121T101000Z",
        Transient,
    ),
    (
        403,
        "AccessDeniedException",
        "You don't have access to the model with the specified model ID.",
        Permission,
    ),
    (
        403,
        "AccessDeniedException",
        "User: arn:aws:iam::1:user/x is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:eu-central-1::foundation-model/x because no identity-based policy allows the bedrock:InvokeModel action",
        Permission,
    ),
    (429, "ThrottlingException", "Too many requests, please wait before trying again.", RateLimited),
    (429, "ThrottlingException", "Too many tokens, please wait before trying again.", RateLimited),
    (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", QuotaExhausted),
    (
        400,
        "ServiceQuotaExceededException",
        "Your request exceeds the service quota for your account.",
        QuotaExhausted,
    ),
    (
        429,
        "ModelNotReadyException",
        "Model is not ready for inference. Wait and try your request again.",
        Overloaded,
    ),
    (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", Overloaded),
    (
        500,
        "InternalServerException",
        "The system encountered an unexpected error during processing.",
        Transient,
    ),
    (408, "ModelTimeoutException", "Model processing timeout.", Transient),
    (424, "ModelErrorException", "The request failed due to an error while processing the model.", Transient),
    (400, "ValidationException", "Input is too long for requested model.", ContextTooLong),
    (400, "ValidationException", "prompt is too long: 210000 tokens > 200000 maximum", ContextTooLong),
    (
        400,
        "ValidationException",
        "Invocation of model ID anthropic.claude-x with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model.",
        Permission,
    ),
    (400, "ValidationException", "The provided model identifier is invalid.", Permission),
    (
        400,
        "ValidationException",
        "Malformed input request: #: required key [max_tokens] not found, please reformat your input and try again.",
        BadRequest,
    ),
    (
        404,
        "ResourceNotFoundException",
        "Model use case details have not been submitted for this account.",
        Permission,
    ),
];

#[test]
fn bedrock_names_a_failure_in_a_header_or_in_its_body() {
    for (status, name, message, class) in BEDROCK {
        let plain = format!(r#"{{"message":"{message}"}}"#);
        let typed = format!(r#"{{"__type":"com.amazon.coral.service#{name}","Message":"{message}"}}"#);
        let address = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        for (beside, body) in [(name, &plain), (&address, &plain), ("", &typed)] {
            let failure = anthropic::classify(status, None, beside, body.as_bytes());
            assert_eq!(failure.class, class, "{status} {beside} {body}");
        }
    }
}

#[test]
fn bedrock_is_understood_where_nothing_names_the_failure() {
    for (status, name, message, class) in BEDROCK {
        // Only the names tell what these mean.
        if !matches!(name, "ServiceQuotaExceededException" | "ModelTimeoutException" | "ModelErrorException")
        {
            let body = format!(r#"{{"message":"{message}"}}"#);
            let failure = anthropic::classify(status, None, "", body.as_bytes());
            assert_eq!(failure.class, class, "{status} {body}");
        }
    }
}

#[test]
fn a_stream_of_bedrock_names_its_failures_with_a_small_letter() {
    for (name, class) in [
        ("throttlingException", RateLimited),
        ("modelStreamErrorException", Transient),
        ("modelTimeoutException", Transient),
        ("internalServerException", Transient),
        ("serviceUnavailableException", Overloaded),
        ("validationException", BadRequest),
    ] {
        assert_eq!(anthropic::classify(0, None, name, br#"{"message":"x"}"#).class, class, "{name}");
    }
}
