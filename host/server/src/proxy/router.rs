//! Paths to calls. Exact matches only: a prefix match would run `/v1/messages/count_tokens` as a message. A path that
//! matches nothing as it stands is looked up once more as [`doors`] spells it.

use http::Method;
use tollgate_core::protocol::{Operation, Protocol};

use super::dialect::ErrorDialect;
use super::doors;
use super::files::name::Name;

/// The model as which kept files are routed, priced and recorded.
pub(crate) const FILES_MODEL: &str = "gemini-files";

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A call to a provider.
    Call(Call),
    /// The model list, or one model of it.
    Models(Listing),
    /// Somebody wants to know whether anybody is here.
    Greeting,
    /// What a path takes.
    Options {
        /// For the error's shape.
        protocol: Protocol,
        /// What it takes.
        allowed: &'static str,
    },
    /// The path exists with another method.
    WrongMethod {
        /// For the error's shape.
        protocol: Protocol,
        /// What it takes.
        allowed: &'static str,
    },
    /// There is nothing there.
    Unknown {
        /// For the error's shape.
        protocol: Protocol,
        /// The path that was probably meant.
        meant: Option<String>,
    },
}

/// What is asked of the model list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// One model of it.
    pub(crate) name: Option<String>,
    /// The protocol in whose shape it is, where the path says so; else the headers do.
    pub(crate) protocol: Option<Protocol>,
}

impl Route {
    /// In whose words an error is told there.
    pub(crate) fn dialect(&self) -> ErrorDialect {
        match self {
            Self::Call(call) => ErrorDialect::of(call.protocol, call.operation),
            Self::Models(_) | Self::Greeting => Protocol::OpenaiChat.into(),
            Self::Options { protocol, .. }
            | Self::WrongMethod { protocol, .. }
            | Self::Unknown { protocol, .. } => (*protocol).into(),
        }
    }
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
    /// What is asked of kept files, where it is about those.
    pub(crate) file: Option<FileCall>,
}

/// What is asked of kept files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileCall {
    /// To take one in.
    Begin,
    /// To take a piece of it.
    Piece {
        /// What stands for the credential that keeps it.
        keeper: [u8; 8],
        /// The provider's name of the upload.
        upload: String,
    },
    /// Which there are.
    List,
    /// What is known of one.
    Read(String),
    /// To remove one.
    Remove(String),
}

impl FileCall {
    /// By path and method.
    fn find(method: &Method, path: &str) -> Option<Self> {
        if path == "/upload/v1beta/files" {
            return Some(Self::Begin);
        }
        let plain = path.strip_prefix("/v1/files");
        let name = match path.strip_prefix("/v1beta/files").or(plain)? {
            "" => return Some(Self::List),
            rest => rest.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains(['/', ':']))?,
        };
        let name = decode(name);
        // Others have files below this version, too, which are not served.
        if plain.is_some() && Name::read(&name).is_none() {
            return None;
        }
        Some(if method == Method::DELETE { Self::Remove(name) } else { Self::Read(name) })
    }

    /// The methods that it comes with.
    const fn methods(&self) -> &'static str {
        match self {
            Self::Begin | Self::Piece { .. } => "POST, PUT",
            Self::List => "GET",
            Self::Read(_) | Self::Remove(_) => "GET, DELETE",
        }
    }

    fn comes_with(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|name| name == method.as_str())
    }

    fn call(self) -> Call {
        let begins = matches!(self, Self::Begin);
        let operation = if begins { Operation::KeepFile } else { Operation::KeptFiles };
        let (protocol, model) = (Protocol::Gemini, Some(FILES_MODEL.to_owned()));
        Call { protocol, operation, model, streaming: Some(false), gemini_chat: false, file: Some(self) }
    }
}

/// What stands at a path.
enum Place {
    Call(Call),
    Models(Listing),
    Greeting,
}

/// Finds the route of a request.
pub(crate) fn route(method: &Method, path: &str) -> Route {
    let Some(place) = find(method, path) else {
        return Route::Unknown { protocol: protocol_of(path), meant: doors::meant(path) };
    };
    let (protocol, allowed) = match &place {
        Place::Call(Call { file: Some(file), protocol, .. }) => (*protocol, file.methods()),
        Place::Call(call) => (call.protocol, "POST"),
        Place::Models(listing) => (listing.protocol.unwrap_or(Protocol::OpenaiChat), "GET, HEAD"),
        Place::Greeting => (Protocol::OpenaiChat, "GET, HEAD"),
    };
    match place {
        Place::Call(call) if call.file.as_ref().is_some_and(|file| file.comes_with(method)) => {
            Route::Call(call)
        }
        Place::Call(call) if call.file.is_none() && method == Method::POST => Route::Call(call),
        Place::Models(listing) if is_read(method) => Route::Models(listing),
        Place::Greeting if is_read(method) => Route::Greeting,
        _ if method == Method::OPTIONS => Route::Options { protocol, allowed },
        _ => Route::WrongMethod { protocol, allowed },
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn find(method: &Method, path: &str) -> Option<Place> {
    if let Some(place) = exact(method, path) {
        return Some(place);
    }
    let plain = doors::plain(path)?;
    let mut place = exact(method, &plain.path)?;
    if let Place::Models(listing) = &mut place {
        listing.protocol = listing.protocol.or(plain.family);
    }
    Some(place)
}

fn exact(method: &Method, path: &str) -> Option<Place> {
    if let Some(call) = fixed(path) {
        return Some(Place::Call(call));
    }
    if let Some(file) = FileCall::find(method, path) {
        return Some(Place::Call(file.call()));
    }
    match path {
        "/" | "/health" | "*" if is_read(method) || method == Method::OPTIONS => {
            return Some(Place::Greeting);
        }
        "/v1/models" => return Some(Place::Models(Listing { name: None, protocol: None })),
        _ => {}
    }
    let (rest, protocol) = match path.strip_prefix("/v1beta/models") {
        Some(rest) => (rest, Some(Protocol::Gemini)),
        None => (path.strip_prefix("/v1/models")?, None),
    };
    if rest.is_empty() {
        return Some(Place::Models(Listing { name: None, protocol }));
    }
    let name = rest
        .strip_prefix('/')
        .filter(|name| !name.is_empty() && !name.ends_with('/') && !name.contains("//"))?;
    let place = || Place::Models(Listing { name: Some(decode(name)), protocol });
    match name.rsplit_once(':') {
        Some((model, action)) => match gemini(model, action) {
            Some(call) => Some(Place::Call(call)),
            // A model's own name may have a colon, and what is only read has no action behind it.
            None => is_read(method).then(place),
        },
        // The colon of an action may be escaped.
        None if !is_read(method) && name.contains('%') => None,
        None => Some(place()),
    }
}

/// Paths without parameters.
fn fixed(path: &str) -> Option<Call> {
    use Operation::{
        Complete, CountTokens, EditImages, Embed, Generate, Interact, MakeImages, Moderate, Rerank, Speak,
        Transcribe, TranslateSpeech,
    };
    use Protocol::{AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
    let (protocol, operation) = match path {
        "/v1/chat/completions" => (OpenaiChat, Generate),
        "/v1/completions" => (OpenaiChat, Complete),
        "/v1/responses" => (OpenaiResponses, Generate),
        "/v1/responses/input_tokens" => (OpenaiResponses, CountTokens),
        "/v1/embeddings" => (OpenaiChat, Embed),
        "/v1/images/generations" => (OpenaiChat, MakeImages),
        "/v1/images/edits" => (OpenaiChat, EditImages),
        "/v1/audio/speech" => (OpenaiChat, Speak),
        "/v1/audio/transcriptions" => (OpenaiChat, Transcribe),
        "/v1/audio/translations" => (OpenaiChat, TranslateSpeech),
        "/v1/moderations" => (OpenaiChat, Moderate),
        "/v1/rerank" => (OpenaiChat, Rerank),
        "/v1/messages" | "/api/v1/messages" => (AnthropicMessages, Generate),
        "/v1/messages/count_tokens" | "/api/v1/messages/count_tokens" => (AnthropicMessages, CountTokens),
        "/gemini/v1/chat" => (Gemini, Generate),
        "/v1/interactions" | "/v1beta/interactions" => (Gemini, Interact),
        _ => return None,
    };
    let streaming = (!operation.generates()).then_some(false);
    let gemini_chat = path == "/gemini/v1/chat";
    Some(Call { protocol, operation, model: None, streaming, gemini_chat, file: None })
}

fn gemini(model: &str, action: &str) -> Option<Call> {
    let (operation, streaming) = match action {
        "generateContent" => (Operation::Generate, false),
        "streamGenerateContent" => (Operation::Generate, true),
        "countTokens" => (Operation::CountTokens, false),
        "embedContent" => (Operation::Embed, false),
        "batchEmbedContents" => (Operation::EmbedBatch, false),
        _ => return None,
    };
    let (model, streaming) = (Some(decode(model)), Some(streaming));
    Some(Call { protocol: Protocol::Gemini, operation, model, streaming, gemini_chat: false, file: None })
}

/// The protocol whose error shape suits a path that does not exist.
fn protocol_of(path: &str) -> Protocol {
    if ["/v1beta", "/gemini", "/v1/interactions", "/upload"].iter().any(|begin| path.starts_with(begin)) {
        Protocol::Gemini
    } else if ["/v1/messages", "/api/v1/messages", "/anthropic"].iter().any(|begin| path.starts_with(begin)) {
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
    use super::{FileCall, Listing, Route, route};
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
        check("/v1/completions", OpenaiChat, Operation::Complete, None, None);
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
    fn kept_files_are_found_by_path_and_method() {
        let found = |method: Method, path: &str| match route(&method, path) {
            Route::Call(call) => Ok(call.file),
            Route::WrongMethod { allowed, .. } => Err(allowed),
            other => panic!("{path}: {other:?}"),
        };
        let name = || "t0".to_owned();
        let upload = "/upload/v1beta/files";
        for path in
            [upload, "/gemini/upload/v1beta/files", "/v1beta/upload/v1beta/files/", "/upload/v1/files"]
        {
            assert_eq!(found(Method::POST, path), Ok(Some(FileCall::Begin)), "{path}");
        }
        assert_eq!(found(Method::PUT, upload), Ok(Some(FileCall::Begin)));
        assert_eq!(found(Method::GET, upload), Err("POST, PUT"));
        assert_eq!(found(Method::GET, "/v1beta/files"), Ok(Some(FileCall::List)));
        assert_eq!(found(Method::GET, "/google/v1beta/files/t0"), Ok(Some(FileCall::Read(name()))));
        assert_eq!(found(Method::DELETE, "/v1beta/files/t0"), Ok(Some(FileCall::Remove(name()))));
        assert_eq!(found(Method::POST, "/v1beta/files/t0"), Err("GET, DELETE"));
        let own = format!("t{}", "0".repeat(38));
        assert_eq!(found(Method::GET, &format!("/v1/files/{own}")), Ok(Some(FileCall::Read(own.clone()))));
        assert_eq!(found(Method::GET, "/v1/files"), Ok(Some(FileCall::List)));
        for path in ["/v1beta/files/a/b", "/v1beta/filesx", "/v1/files/file-abc", "/upload/v1beta/models"] {
            assert!(matches!(route(&Method::GET, path), Route::Unknown { .. }), "{path}");
        }
    }

    #[test]
    fn no_path_is_matched_by_its_beginning() {
        for path in [
            "/v1/messages/batches",
            "/v1/chat/completions/x",
            "/v1/models/m:runForever",
            "/v1/modelsx",
            "/v1",
        ] {
            assert!(matches!(route(&Method::POST, path), Route::Unknown { .. }), "{path}");
        }
        let listing = |path: &str, name: Option<&str>, protocol| {
            let expected = Route::Models(Listing { name: name.map(str::to_owned), protocol });
            assert_eq!(route(&Method::GET, path), expected, "{path}");
        };
        listing("/v1beta/models", None, Some(Protocol::Gemini));
        listing("/v1beta/models/", None, Some(Protocol::Gemini));
        listing("/v1/models/", None, None);
        listing("/v1beta/models/m", Some("m"), Some(Protocol::Gemini));
        listing("/v1/models/gpt-4o", Some("gpt-4o"), None);
        listing("/v1/models/llama3:8b", Some("llama3:8b"), None);
        listing("/anthropic/v1/models/m", Some("m"), Some(Protocol::AnthropicMessages));
        assert!(matches!(route(&Method::GET, "/v1/messages"), Route::WrongMethod { allowed: "POST", .. }));
        assert!(matches!(route(&Method::OPTIONS, "/v1/messages"), Route::Options { allowed: "POST", .. }));
        assert_eq!(route(&Method::HEAD, "/"), Route::Greeting);
    }
}
