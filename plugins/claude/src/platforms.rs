//! Other places where Claude is served: relays and logins at Anthropic itself, Amazon Bedrock, Google Vertex AI.

use tollgate_plugin::adapter::{
    Check, Endpoint, Framing, HeaderTemplate, Member, MovedHeader, OauthRefresh, Platform, Scheme,
    ServiceAccount, Setting,
};
use tollgate_plugin::types::Operation;

use super::{PROTOCOL, ROUTES, VERSION};

const ANTHROPIC: &str = "https://api.anthropic.com";

/// All of them.
pub(crate) fn all() -> Vec<Platform> {
    vec![
        direct("console", ANTHROPIC, "x-api-key", "{credential}"),
        direct("relay", "", "x-api-key", "{credential}"),
        direct("relay-bearer", "", "authorization", BEARER),
        login(),
        bedrock("bedrock", Scheme::Sigv4("bedrock".to_owned()), Vec::new()),
        bedrock("bedrock-key", Scheme::Header, vec![header("authorization", BEARER)]),
        vertex(),
    ]
}

const BEARER: &str = "Bearer {credential}";

fn header(name: &str, value: &str) -> HeaderTemplate {
    HeaderTemplate { name: name.to_owned(), value: value.to_owned() }
}

fn needed(name: &str) -> Setting {
    Setting { name: name.to_owned(), default: None }
}

fn member(name: &str, value: &str) -> Member {
    Member { name: name.to_owned(), value: value.to_owned() }
}

fn check(path: &str) -> Check {
    Check { path: path.to_owned(), account_header: None }
}

/// Where `anthropic-beta` goes when the header does not count.
fn betas() -> MovedHeader {
    MovedHeader { name: "anthropic-beta".to_owned(), member: "anthropic_beta".to_owned() }
}

/// Anthropic's own paths, at Anthropic or at a relay.
fn direct(name: &str, base_url: &str, auth: &str, value: &str) -> Platform {
    let endpoints = ROUTES.iter().map(|route| Endpoint {
        protocol: PROTOCOL,
        operation: route.operation,
        streaming: route.streaming,
        path: format!("{VERSION}{}", route.path),
    });
    Platform {
        name: name.to_owned(),
        base_url: base_url.to_owned(),
        endpoints: endpoints.collect(),
        headers: vec![header(auth, value)],
        check: Some(check("/v1/models")),
        ..Platform::default()
    }
}

/// A person's login (`claude setup-token`, or OAuth with a refresh token). Anthropic decides who may use it for what:
/// calls go out as the client made them, and a refusal is passed on.
fn login() -> Platform {
    let token_url = format!("{ANTHROPIC}/v1/oauth/token");
    Platform {
        scheme: Scheme::OauthRefresh(OauthRefresh { token_url, client_id: String::new() }),
        added: vec![header("anthropic-beta", "oauth-2025-04-20")],
        ..direct("oauth", ANTHROPIC, "authorization", BEARER)
    }
}

fn bedrock(name: &str, scheme: Scheme, headers: Vec<HeaderTemplate>) -> Platform {
    let endpoint = |streaming, method: &str| Endpoint {
        protocol: PROTOCOL,
        operation: Operation::Generate,
        streaming,
        path: format!("/model/{{model}}/{method}"),
    };
    Platform {
        name: name.to_owned(),
        base_url: "https://bedrock-runtime.{region}.amazonaws.com".to_owned(),
        endpoints: vec![endpoint(false, "invoke"), endpoint(true, "invoke-with-response-stream")],
        settings: vec![needed("region")],
        scheme,
        headers,
        framing: Framing::AwsEventStream,
        without: vec!["model".to_owned(), "stream".to_owned()],
        members: vec![member("anthropic_version", r#""bedrock-2023-05-31""#)],
        moved: vec![betas()],
        // Not the host where models are called: this one also knows credentials that may call a model but list none.
        check: Some(check("/foundation-models?byProvider=anthropic")),
        check_base_url: Some("https://bedrock.{region}.amazonaws.com".to_owned()),
        ..Platform::default()
    }
}

/// The path names the model and the body the version; both say whether it streams.
fn vertex() -> Platform {
    let endpoint = |streaming, method: &str| Endpoint {
        protocol: PROTOCOL,
        operation: Operation::Generate,
        streaming,
        path: format!(
            "/v1/projects/{{project}}/locations/{{region}}/publishers/anthropic/models/{{model}}:{method}"
        ),
    };
    Platform {
        name: "vertex".to_owned(),
        base_url: "https://{region}-aiplatform.googleapis.com".to_owned(),
        endpoints: vec![endpoint(false, "rawPredict"), endpoint(true, "streamRawPredict")],
        settings: vec![needed("project"), needed("region")],
        scheme: Scheme::ServiceAccountJwt(ServiceAccount {
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            scope: "https://www.googleapis.com/auth/cloud-platform".to_owned(),
        }),
        headers: vec![header("authorization", BEARER)],
        without: vec!["model".to_owned()],
        members: vec![member("anthropic_version", r#""vertex-2023-10-16""#)],
        check: Some(check("/v1/projects/{project}/locations/{region}/endpoints?pageSize=1")),
        ..Platform::default()
    }
}
