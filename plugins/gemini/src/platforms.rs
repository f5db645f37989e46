//! Other places where Gemini is served: Google Vertex AI, and the Gemini API with its key in the query.

use tollgate_plugin::adapter::{Check, Endpoint, HeaderTemplate, Platform, Scheme, ServiceAccount, Setting};
use tollgate_plugin::types::Operation;

use super::{INTERACTIONS, INTERACTIONS_VERSION, PROTOCOL, ROUTES, Route, VERSION, files};

/// All of them.
pub(crate) fn all() -> Vec<Platform> {
    vec![vertex(), query_key()]
}

fn check(path: &str) -> Check {
    Check { path: path.to_owned(), account_header: None }
}

fn vertex() -> Platform {
    let models = "/v1/projects/{project}/locations/{region}/publishers/google/models/{model}";
    let endpoint = |operation, streaming, method: &str| Endpoint {
        protocol: PROTOCOL,
        operation,
        streaming,
        path: format!("{models}:{method}"),
    };
    let needed = |name: &str| Setting { name: name.to_owned(), default: None };
    Platform {
        name: "vertex".to_owned(),
        base_url: "https://{region}-aiplatform.googleapis.com".to_owned(),
        endpoints: vec![
            endpoint(Operation::Generate, false, "generateContent"),
            endpoint(Operation::Generate, true, "streamGenerateContent"),
            endpoint(Operation::CountTokens, false, "countTokens"),
        ],
        settings: vec![needed("project"), needed("region")],
        scheme: Scheme::ServiceAccountJwt(ServiceAccount {
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            scope: "https://www.googleapis.com/auth/cloud-platform".to_owned(),
        }),
        headers: vec![HeaderTemplate {
            name: "authorization".to_owned(),
            value: "Bearer {credential}".to_owned(),
        }],
        check: Some(check("/v1/projects/{project}/locations/{region}/endpoints?pageSize=1")),
        ..Platform::default()
    }
}

fn query_key() -> Platform {
    let endpoint = |version: &str, route: &Route| Endpoint {
        protocol: PROTOCOL,
        operation: route.operation,
        streaming: route.streaming,
        path: format!("{version}{}", route.path),
    };
    let answers = ROUTES.iter().map(|route| endpoint(VERSION, route));
    let interactions = INTERACTIONS.iter().map(|route| endpoint(INTERACTIONS_VERSION, route));
    let endpoints = answers.chain(interactions).chain(files(|route| endpoint(VERSION, route)));
    Platform {
        name: "query-key".to_owned(),
        base_url: "https://generativelanguage.googleapis.com".to_owned(),
        endpoints: endpoints.collect(),
        scheme: Scheme::Query("key".to_owned()),
        check: Some(check("/v1beta/models")),
        ..Platform::default()
    }
}
