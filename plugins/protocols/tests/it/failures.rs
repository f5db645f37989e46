//! What each failure that a provider documents means, and for how long. Bodies are the providers' own, shortened: names
//! of accounts and links are left out.

mod of_anthropic;
mod of_google;

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
