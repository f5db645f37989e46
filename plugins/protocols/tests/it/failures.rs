//! What each failure that a provider documents means, and for how long. Bodies are the providers' own, shortened: names
//! of accounts and links are left out.

use tollgate_plugin::adapter::{Failure, FailureClass};
use tollgate_protocols::{anthropic, gemini, openai};

use FailureClass::{
    BadRequest, ContentRefused, ContextTooLong, InvalidCredential, NotFound, Overloaded, Permission,
    QuotaExhausted, RateLimited, Transient,
};

/// Status, body, what it means, and for how many milliseconds.
type Row = (u16, &'static str, FailureClass, Option<u64>);

fn check(platform: &str, rows: &[Row], classify: impl Fn(u16, &[u8]) -> Failure) {
    for (status, body, class, retry_after_ms) in rows {
        let expected = Failure { class: *class, retry_after_ms: *retry_after_ms };
        assert_eq!(classify(*status, body.as_bytes()), expected, "{platform}: {status} {body}");
    }
}

const OPENAI: [Row; 21] = [
    (
        401,
        r#"{"error":{"message":"Incorrect API key provided: sk-abc***xyz.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        InvalidCredential,
        None,
    ),
    (
        401,
        r#"{"error":{"message":"You must be a member of an organization to use the API","type":"invalid_request_error","param":null,"code":null}}"#,
        InvalidCredential,
        None,
    ),
    (
        401,
        r#"{"error":{"message":"OpenAI-Organization header should match organization for API key","type":"invalid_request_error","param":null,"code":"mismatched_organization"}}"#,
        BadRequest,
        None,
    ),
    (
        401,
        r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.request.","type":"invalid_request_error","param":null,"code":null}}"#,
        Permission,
        None,
    ),
    (
        403,
        r#"{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}"#,
        Permission,
        None,
    ),
    (
        403,
        r#"{"error":{"message":"Project `proj_x` does not have access to model `gpt-6-sol`","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
        Permission,
        None,
    ),
    (
        404,
        r#"{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
        Permission,
        None,
    ),
    (
        404,
        r#"{"error":{"message":"Item with id 'rs_1' not found.","type":"invalid_request_error","param":"input","code":null}}"#,
        NotFound,
        None,
    ),
    (
        429,
        r#"{"error":{"message":"Rate limit reached for gpt-6-sol in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s. Visit …","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
        RateLimited,
        Some(2000),
    ),
    (
        429,
        r#"{"error":{"message":"Rate limit reached for gpt-6-sol on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
        RateLimited,
        Some(432_000),
    ),
    (
        429,
        r#"{"error":{"message":"Request too large for gpt-6-sol in organization org-x on tokens per min (TPM): Limit 30000, Requested 43000. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
        Permission,
        None,
    ),
    (
        429,
        r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        QuotaExhausted,
        None,
    ),
    (
        429,
        r#"{"error":{"message":"Your account is not active, please check your billing details on our website.","type":"billing_not_active","param":null,"code":"billing_not_active"}}"#,
        QuotaExhausted,
        None,
    ),
    (
        400,
        r#"{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ContextTooLong,
        None,
    ),
    (
        400,
        r#"{"error":{"message":"Your input exceeds the context window of this model.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#,
        ContextTooLong,
        None,
    ),
    (
        400,
        r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}"#,
        ContentRefused,
        None,
    ),
    (
        400,
        r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
        BadRequest,
        None,
    ),
    (
        500,
        r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#,
        Transient,
        None,
    ),
    (
        503,
        r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}"#,
        Overloaded,
        None,
    ),
    (503, r#"{"error":{"message":"Slow Down","type":"requests","code":"slow_down"}}"#, RateLimited, None),
    // A compatible server, with the members of an error at the top.
    (
        400,
        r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.","type":"BadRequestError","param":null,"code":400}"#,
        ContextTooLong,
        None,
    ),
];

#[test]
fn openai() {
    check("OpenAI", &OPENAI, |status, body| openai::classify(status, None, body));
}

const AZURE: [Row; 11] = [
    (
        401,
        r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}"#,
        InvalidCredential,
        None,
    ),
    (
        401,
        r#"{"statusCode":401,"message":"Unauthorized. Access token is missing, invalid, audience is incorrect, or have expired."}"#,
        InvalidCredential,
        None,
    ),
    (
        401,
        r#"{"error":{"code":"PermissionDenied","message":"The principal `x` lacks the required data action to perform `POST /openai/deployments/{deployment-id}/chat/completions` operation."}}"#,
        Permission,
        None,
    ),
    (
        403,
        r#"{"error":{"code":"AuthenticationTypeDisabled","message":"Key based authentication is disabled for this resource."}}"#,
        InvalidCredential,
        None,
    ),
    (
        403,
        r#"{"error":{"code":"403","message":"Out of call volume quota for this resource. Quota will be replenished in 20.14:37:35."}}"#,
        QuotaExhausted,
        None,
    ),
    // Another resource may have a deployment of this name.
    (
        404,
        r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}"#,
        Permission,
        None,
    ),
    (
        400,
        r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":true,"detected":true}}}}}"#,
        ContentRefused,
        None,
    ),
    (
        400,
        r#"{"error":{"code":"OperationNotSupported","message":"The chatCompletion operation does not work with the specified model, text-embedding-3-large. Please choose different model and try again."}}"#,
        BadRequest,
        None,
    ),
    (
        429,
        r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 26 seconds. Please go here …"}}"#,
        RateLimited,
        Some(26_000),
    ),
    (
        429,
        r#"{"error":{"code":"NoCapacity","message":"The system is currently experiencing high demand and cannot process your request."}}"#,
        Overloaded,
        None,
    ),
    (
        500,
        r#"{"error":{"code":"InternalServerError","message":"Backend returned unexpected response."}}"#,
        Transient,
        None,
    ),
];

#[test]
fn azure() {
    check("Azure", &AZURE, |status, body| openai::classify(status, None, body));
}

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

#[test]
fn what_the_headers_ask_for_is_kept_and_outweighs_words() {
    let told = |failure: Failure| (failure.class, failure.retry_after_ms);
    let body = br#"{"error":{"message":"Please try again in 2s.","code":"rate_limit_exceeded"}}"#;
    assert_eq!(told(openai::classify(429, Some(9), body)), (RateLimited, Some(9)));
    assert_eq!(told(anthropic::classify(429, Some(9), "", b"{}")), (RateLimited, Some(9)));
    assert_eq!(told(anthropic::classify(429, Some(9), "ThrottlingException", b"{}")), (RateLimited, Some(9)));
    assert_eq!(told(anthropic::classify(529, Some(9), "", b"")), (Overloaded, Some(9)));
    assert_eq!(told(gemini::classify(429, Some(9), b"{}")), (RateLimited, Some(9)));
}

/// What a provider says of a key in words alone.
const CONDEMNING: [&str; 10] = [
    "Your credit balance is too low to access the Anthropic API.",
    "credit balance is too low",
    "spend limit",
    "You have reached your specified API usage limits.",
    "This organization has been disabled.",
    "OAuth token has been revoked",
    "API key",
    "Your prepayment credits are depleted.",
    "Out of call volume quota for this resource.",
    "The security token included in the request is invalid. Authentication failed. per day",
];

#[test]
fn words_that_a_client_put_into_an_error_say_nothing_of_a_key() {
    let condemned = |class| matches!(class, InvalidCredential | QuotaExhausted);
    for (words, status) in
        CONDEMNING.into_iter().flat_map(|words| [400, 403, 404, 413, 422].map(|it| (words, it)))
    {
        for message in [
            format!("{words}: Extra inputs are not permitted"),
            format!("Unexpected value(s) `{words}` for the `anthropic-beta` header"),
            format!("tools.0.name: {words}"),
            format!("Unsupported content type '{words}'."),
            format!("The model `{words}` does not exist"),
            format!("Invalid JSON payload received. Unknown name \"{words}\": Cannot find field."),
        ] {
            let quoted = serde_json::to_string(&message).unwrap();
            let openai = format!(
                r#"{{"error":{{"message":{quoted},"type":"invalid_request_error","param":{quoted},"code":null}}}}"#
            );
            let anthropic = format!(
                r#"{{"type":"error","error":{{"type":"invalid_request_error","message":{quoted}}}}}"#
            );
            let google = format!(
                r#"{{"error":{{"code":{status},"message":{quoted},"status":"INVALID_ARGUMENT","details":[{{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{{"description":{quoted}}}]}}]}}}}"#
            );
            let amazon = format!(r#"{{"message":{quoted}}}"#);
            let classes = [
                openai::classify(status, None, openai.as_bytes()),
                anthropic::classify(status, None, "", anthropic.as_bytes()),
                gemini::classify(status, None, google.as_bytes()),
                anthropic::classify(status, None, "ValidationException", amazon.as_bytes()),
                anthropic::classify(status, None, "AccessDeniedException", amazon.as_bytes()),
                anthropic::classify(429, None, "ThrottlingException", amazon.as_bytes()),
            ];
            for (at, failure) in classes.into_iter().enumerate() {
                assert!(!condemned(failure.class), "{at}: {status} {message}: {:?}", failure.class);
            }
        }
    }
}

#[test]
fn a_page_of_a_network_in_between_says_nothing_of_a_key() {
    for status in [401, 402, 403] {
        for body in [
            "",
            "<html><body>401 Unauthorized</body></html>",
            r#"{"message":"Unauthorized"}"#,
            r#"{"detail":"Sign in to the network"}"#,
            "Access denied",
            "[]",
        ] {
            let classes = [
                openai::classify(status, None, body.as_bytes()).class,
                anthropic::classify(status, None, "", body.as_bytes()).class,
                gemini::classify(status, None, body.as_bytes()).class,
            ];
            let blamed = classes.iter().any(|class| matches!(class, InvalidCredential | QuotaExhausted));
            assert!(!blamed, "{status} {body}: {classes:?}");
        }
    }
}
