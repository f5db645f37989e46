//! Other places where OpenAI's models are served: Azure, by deployments or by its `/openai/v1`, and compatible servers.

use tollgate_plugin::adapter::{Check, Endpoint, HeaderTemplate, Platform, Setting};
use tollgate_plugin::types::{Operation, Protocol};

use super::{ROUTES, VERSION};

/// All of them.
pub(crate) fn all() -> Vec<Platform> {
    vec![azure(), azure_v1(), relay()]
}

const AZURE: &str = "https://{resource}.openai.azure.com";

fn api_key() -> HeaderTemplate {
    HeaderTemplate { name: "api-key".to_owned(), value: "{credential}".to_owned() }
}

fn needed(name: &str) -> Setting {
    Setting { name: name.to_owned(), default: None }
}

/// The list of models, which costs nothing.
fn list(path: &str) -> Check {
    Check { path: path.to_owned(), account_header: None }
}

/// The deployment is in the path: a model route names it as the model.
fn azure() -> Platform {
    let endpoint = |operation, streaming, path: &str| Endpoint {
        protocol: Protocol::OpenaiChat,
        operation,
        streaming,
        path: format!("/openai/deployments/{{model}}{path}?api-version={{api_version}}"),
    };
    let version = Setting { name: "api_version".to_owned(), default: Some("2024-10-21".to_owned()) };
    Platform {
        name: "azure".to_owned(),
        base_url: AZURE.to_owned(),
        endpoints: vec![
            endpoint(Operation::Generate, false, "/chat/completions"),
            endpoint(Operation::Generate, true, "/chat/completions"),
            endpoint(Operation::Embed, false, "/embeddings"),
            endpoint(Operation::MakeImages, false, "/images/generations"),
            endpoint(Operation::EditImages, false, "/images/edits"),
            endpoint(Operation::Speak, false, "/audio/speech"),
            endpoint(Operation::Transcribe, false, "/audio/transcriptions"),
            endpoint(Operation::TranslateSpeech, false, "/audio/translations"),
        ],
        settings: vec![needed("resource"), version],
        headers: vec![api_key()],
        check: Some(list("/openai/models?api-version={api_version}")),
        ..Platform::default()
    }
}

/// OpenAI's own paths below a prefix.
fn own_paths(prefix: &str) -> Vec<Endpoint> {
    let endpoints = ROUTES.iter().map(|route| Endpoint {
        protocol: route.protocol,
        operation: route.operation,
        streaming: route.streaming,
        path: format!("{prefix}{}", route.path),
    });
    endpoints.collect()
}

fn azure_v1() -> Platform {
    Platform {
        name: "azure-v1".to_owned(),
        base_url: AZURE.to_owned(),
        endpoints: own_paths("/openai/v1"),
        settings: vec![needed("resource")],
        headers: vec![api_key()],
        check: Some(list("/openai/v1/models")),
        ..Platform::default()
    }
}

fn relay() -> Platform {
    let value = "Bearer {credential}".to_owned();
    Platform {
        name: "relay".to_owned(),
        endpoints: own_paths(VERSION),
        headers: vec![HeaderTemplate { name: "authorization".to_owned(), value }],
        check: Some(list("/v1/models")),
        ..Platform::default()
    }
}
