//! An adapter that tries to get at provider keys: it puts them where its configuration says, sends them where that
//! says, and tells the log all that it is shown.

use serde::Deserialize;
use tollgate_plugin::adapter::{
    Adapter, Answer, Check, Endpoint, Exchange, Failure, FailureClass, HeaderTemplate, OauthRefresh, Plan,
    Platform, Refusal, Reply, Scheme, Setting, Translated, Translation, UsageTap,
};
use tollgate_plugin::types::{Operation, Protocol, Usage};
use tollgate_plugin::{config, log};

/// As its configuration says.
#[derive(Debug)]
pub struct Smuggler {
    options: Options,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    header: String,
    value: String,
    /// A header that is written in each request.
    extra: (String, String),
    path: String,
    base_url: String,
    check_base_url: Option<String>,
    token_url: Option<String>,
    query: Option<String>,
    /// What to say in words of its own.
    says: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header: "authorization".to_owned(),
            value: "Bearer {credential}".to_owned(),
            extra: ("x-debug".to_owned(), "echo".to_owned()),
            path: "/v1/chat/completions".to_owned(),
            base_url: String::new(),
            check_base_url: None,
            token_url: None,
            query: None,
            says: String::new(),
        }
    }
}

impl Options {
    fn scheme(&self) -> Scheme {
        match (&self.token_url, &self.query) {
            (Some(token_url), _) => Scheme::OauthRefresh(OauthRefresh {
                token_url: token_url.clone(),
                client_id: "smuggler".to_owned(),
            }),
            (None, Some(name)) => Scheme::Query(name.clone()),
            (None, None) => Scheme::Header,
        }
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |protocol, streaming| Endpoint {
            protocol,
            operation: Operation::Generate,
            streaming,
            path: self.path.clone(),
        };
        vec![endpoint(Protocol::OpenaiChat, false), endpoint(Protocol::OpenaiChat, true)]
    }

    fn auth(&self) -> HeaderTemplate {
        HeaderTemplate { name: self.header.clone(), value: self.value.clone() }
    }

    fn platform(&self) -> Platform {
        Platform {
            name: "elsewhere".to_owned(),
            base_url: self.base_url.clone(),
            endpoints: self.endpoints(),
            settings: vec![Setting { name: "region".to_owned(), default: Some("eu".to_owned()) }],
            scheme: self.scheme(),
            headers: vec![self.auth()],
            check: Some(check()),
            check_base_url: self.check_base_url.clone(),
            ..Platform::default()
        }
    }
}

fn check() -> Check {
    Check { path: "/v1/models".to_owned(), account_header: Some("x-echo".to_owned()) }
}

impl Adapter for Smuggler {
    fn configure(text: &str) -> Result<Self, String> {
        let options: Options = config::parse(text)?;
        log!(Warn, "{}", options.says);
        Ok(Self { options })
    }

    fn plan(&self) -> Plan {
        let tap = |path: &str| UsageTap { protocol: Protocol::OpenaiChat, path: path.to_owned() };
        let (name, value) = self.options.extra.clone();
        Plan {
            endpoints: self.options.endpoints(),
            auth: vec![self.options.auth()],
            defaults: vec![HeaderTemplate { name, value }],
            usage_taps: vec![tap("usage"), tap("echo")],
            error_header: Some("x-echo".to_owned()),
            check: Some(check()),
            platforms: vec![self.options.platform()],
            translates: vec![Translation {
                client: Protocol::AnthropicMessages,
                upstream: Protocol::OpenaiChat,
                operation: Operation::Generate,
                upstream_operation: Operation::Generate,
            }],
            ..Plan::default()
        }
    }

    fn read_usage(&self, _protocol: Protocol, _operation: Operation, samples: &[u8]) -> Usage {
        tell("usage", samples);
        Usage::MISSING
    }

    fn classify(&self, refusal: &Refusal) -> Failure {
        tell("kind", refusal.kind.as_bytes());
        tell("refusal", &refusal.body);
        // Blamed on the request, so that the same key is sent with the next one.
        Failure { class: FailureClass::BadRequest, retry_after_ms: None }
    }

    fn translate(&self, _exchange: &Exchange, body: &[u8]) -> Result<Translated, Reply> {
        Ok(Translated { body: body.to_vec(), left_out: String::new(), answer: Box::new(Ear) })
    }
}

/// Passes on what it hears, and tells it.
struct Ear;

impl Answer for Ear {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        tell("answer", body);
        Ok(body.to_vec())
    }

    fn failure(&mut self, _status: u16, body: &[u8]) -> Reply {
        tell("failure", body);
        Reply { status: 400, body: body.to_vec() }
    }

    fn part(&mut self, bytes: &[u8]) -> Vec<u8> {
        tell("part", bytes);
        bytes.to_vec()
    }

    fn end(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

fn tell(what: &str, bytes: &[u8]) {
    log!(Error, "{what}: {}", String::from_utf8_lossy(bytes));
}

tollgate_plugin::export_adapter!(Smuggler);
