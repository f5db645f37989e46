//! Paths to calls. Exact matches only: a prefix match would run `/v1/messages/count_tokens` as a message.

use http::Method;
use tollgate_core::protocol::{Operation, Protocol};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A call to a provider.
    Call(Call),
    /// The model list, or one model of it. The protocol shows in the headers.
    Models(Option<String>),
    /// The path exists with another method.
    WrongMethod {
        /// For the error's shape.
        protocol: Protocol,
        /// What it takes.
        allowed: &'static str,
    },
    /// There is nothing there.
    Unknown(Protocol),
}

/// A call to a provider, as far as the path tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// The client's protocol.
    pub(crate) protocol: Protocol,
    /// What it asks for.
    pub(crate) operation: Operation,
    /// The model, where the path names it; else the body does.
    pub(crate) model: Option<String>,
    /// Whether the answer streams, where the path says so; else the body does.
    pub(crate) streaming: Option<bool>,
    /// Whether the body is Tollgate's own envelope of a Gemini call: `model` and `stream` in the body.
    pub(crate) gemini_chat: bool,
}

/// Finds the route of a request.
pub(crate) fn route(method: &Method, path: &str) -> Route {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if let Some(call) = fixed(path) {
        return post_only(method, call);
    }
    for prefix in ["/v1beta/models", "/v1/models"] {
        let Some(rest) = path.strip_prefix(prefix) else { continue };
        if rest.is_empty() {
            return get_only(method, None);
        }
        let Some(name) = rest.strip_prefix('/') else { continue };
        return match name.rsplit_once(':') {
            Some((model, action)) => gemini(method, model, action),
            None => get_only(method, Some(decode(name))),
        };
    }
    Route::Unknown(protocol_of(path))
}

/// Paths without parameters.
fn fixed(path: &str) -> Option<Call> {
    use Operation::{CountTokens, Embed, Generate, Interact};
    use Protocol::{AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
    let (protocol, operation) = match path {
        "/v1/chat/completions" => (OpenaiChat, Generate),
        "/v1/responses" => (OpenaiResponses, Generate),
        "/v1/responses/input_tokens" => (OpenaiResponses, CountTokens),
        "/v1/embeddings" => (OpenaiChat, Embed),
        "/v1/messages" | "/api/v1/messages" => (AnthropicMessages, Generate),
        "/v1/messages/count_tokens" | "/api/v1/messages/count_tokens" => (AnthropicMessages, CountTokens),
        "/gemini/v1/chat" => (Gemini, Generate),
        "/v1/interactions" | "/v1beta/interactions" => (Gemini, Interact),
        _ => return None,
    };
    let streaming = (!operation.generates()).then_some(false);
    Some(Call { protocol, operation, model: None, streaming, gemini_chat: path == "/gemini/v1/chat" })
}

fn gemini(method: &Method, model: &str, action: &str) -> Route {
    let (operation, streaming) = match action {
        "generateContent" => (Operation::Generate, false),
        "streamGenerateContent" => (Operation::Generate, true),
        "countTokens" => (Operation::CountTokens, false),
        "embedContent" => (Operation::Embed, false),
        "batchEmbedContents" => (Operation::EmbedBatch, false),
        _ => return Route::Unknown(Protocol::Gemini),
    };
    let (model, streaming) = (Some(decode(model)), Some(streaming));
    post_only(method, Call { protocol: Protocol::Gemini, operation, model, streaming, gemini_chat: false })
}

fn post_only(method: &Method, call: Call) -> Route {
    if method == Method::POST {
        Route::Call(call)
    } else {
        Route::WrongMethod { protocol: call.protocol, allowed: "POST" }
    }
}

fn get_only(method: &Method, model: Option<String>) -> Route {
    if method == Method::GET {
        Route::Models(model)
    } else {
        Route::WrongMethod { protocol: Protocol::OpenaiChat, allowed: "GET" }
    }
}

/// The protocol whose error shape suits a path that does not exist.
fn protocol_of(path: &str) -> Protocol {
    if ["/v1beta", "/gemini", "/v1/interactions"].iter().any(|begin| path.starts_with(begin)) {
        Protocol::Gemini
    } else if path.starts_with("/v1/messages") || path.starts_with("/api/v1/messages") {
        Protocol::AnthropicMessages
    } else {
        Protocol::OpenaiChat
    }
}

/// Percent-decoding of a path segment; what does not decode stays as it is.
fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Route, route};
    use http::Method;
    use tollgate_core::protocol::{Operation, Protocol};

    fn check(
        path: &str,
        protocol: Protocol,
        operation: Operation,
        model: Option<&str>,
        streaming: Option<bool>,
    ) {
        let Route::Call(call) = route(&Method::POST, path) else { panic!("{path} is no call") };
        let found = (call.protocol, call.operation, call.model.as_deref(), call.streaming);
        assert_eq!(found, (protocol, operation, model, streaming), "{path}");
    }

    #[test]
    fn every_client_path_finds_its_call() {
        use Operation::{CountTokens, Embed, EmbedBatch, Generate, Interact};
        use Protocol::{AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
        check("/v1/chat/completions", OpenaiChat, Generate, None, None);
        check("/v1/responses", OpenaiResponses, Generate, None, None);
        check("/v1/responses/input_tokens", OpenaiResponses, CountTokens, None, Some(false));
        check("/v1/embeddings", OpenaiChat, Embed, None, Some(false));
        check("/v1/messages", AnthropicMessages, Generate, None, None);
        check("/api/v1/messages", AnthropicMessages, Generate, None, None);
        check("/v1/messages/count_tokens", AnthropicMessages, CountTokens, None, Some(false));
        check("/gemini/v1/chat", Gemini, Generate, None, None);
        check("/v1/interactions", Gemini, Interact, None, None);
        check("/v1beta/interactions", Gemini, Interact, None, None);
        for version in ["v1", "v1beta"] {
            let at = |action: &str| format!("/{version}/models/gemini-2.5-flash:{action}");
            let model = Some("gemini-2.5-flash");
            check(&at("generateContent"), Gemini, Generate, model, Some(false));
            check(&at("streamGenerateContent"), Gemini, Generate, model, Some(true));
            check(&at("countTokens"), Gemini, CountTokens, model, Some(false));
            check(&at("embedContent"), Gemini, Embed, model, Some(false));
            check(&at("batchEmbedContents"), Gemini, EmbedBatch, model, Some(false));
        }
    }

    #[test]
    fn no_path_is_matched_by_its_beginning() {
        for path in
            ["/v1/messages/batches", "/v1/chat/completions/x", "/v1/models/m:runForever", "/v1/modelsx", "/"]
        {
            assert!(matches!(route(&Method::POST, path), Route::Unknown(_)), "{path}");
        }
        assert_eq!(route(&Method::GET, "/v1beta/models"), Route::Models(None));
        assert_eq!(route(&Method::GET, "/v1/models/gpt-4o"), Route::Models(Some("gpt-4o".into())));
        assert!(matches!(route(&Method::GET, "/v1/messages"), Route::WrongMethod { allowed: "POST", .. }));
    }
}
