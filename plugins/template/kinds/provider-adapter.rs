//! An adapter for a provider that speaks OpenAI's chat completions, with a key in `authorization`. Clients of other
//! protocols are not translated for: `docs/plugins/adapters.md` tells how an adapter is built around OpenAI's, which
//! does.

use serde::Deserialize;
use tollgate_plugin::adapter::{
    Adapter, Endpoint, Failure, FailureClass, HeaderTemplate, Plan, Refusal, StreamOption, TextTap, UsageTap,
};
use tollgate_plugin::config;
use tollgate_plugin::types::{Class, Operation, Protocol, Quality, Usage};

const PROTOCOL: Protocol = Protocol::OpenaiChat;

/// The adapter is its configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// What stands before `/chat/completions`.
    path_prefix: String,
}

impl Default for Provider {
    fn default() -> Self {
        Self { path_prefix: "/v1".to_owned() }
    }
}

/// What an answer states of its usage; what it does not state is not there.
#[derive(Deserialize)]
struct Stated {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Adapter for Provider {
    fn configure(config: &str) -> Result<Self, String> {
        config::parse(config)
    }

    fn plan(&self) -> Plan {
        let path = format!("{}/chat/completions", self.path_prefix);
        let endpoint = |streaming| {
            let (protocol, operation, path) = (PROTOCOL, Operation::Generate, path.clone());
            Endpoint { protocol, operation, streaming, path }
        };
        let text = |text: &str| text.to_owned();
        Plan {
            endpoints: vec![endpoint(false), endpoint(true)],
            // The gateway puts the key there: it never comes in here.
            auth: vec![HeaderTemplate { name: text("authorization"), value: text("Bearer {credential}") }],
            usage_taps: vec![UsageTap { protocol: PROTOCOL, path: text("usage") }],
            text_taps: vec![TextTap { protocol: PROTOCOL, member: text("content") }],
            // A stream states its usage where it is asked to.
            stream_options: vec![StreamOption {
                protocol: PROTOCOL,
                object: text("stream_options"),
                member: text("include_usage"),
                withhold_when_empty: text("choices"),
            }],
            ..Plan::default()
        }
    }

    /// `samples` has a line for each usage tap.
    fn read_usage(&self, _protocol: Protocol, _operation: Operation, samples: &[u8]) -> Usage {
        let line = samples.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let stated = serde_json::from_slice(line).ok();
        match stated {
            Some(Stated { prompt_tokens: Some(prompt), completion_tokens: Some(answer) }) => {
                Usage::of(Quality::Exact, &[(Class::Input, prompt), (Class::Output, answer)])
            }
            // Missing is not zero: the gateway estimates then.
            _ => Usage::MISSING,
        }
    }

    /// By the status alone: words may repeat what a client wrote.
    fn classify(&self, refusal: &Refusal) -> Failure {
        let class = match refusal.status {
            401 => FailureClass::InvalidCredential,
            403 => FailureClass::Permission,
            404 => FailureClass::NotFound,
            429 => FailureClass::RateLimited,
            400..=499 => FailureClass::BadRequest,
            503 | 529 => FailureClass::Overloaded,
            _ => FailureClass::Transient,
        };
        Failure { class, retry_after_ms: refusal.retry_after_ms }
    }
}

tollgate_plugin::export_adapter!(Provider);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stated_is_missing_and_not_nothing() {
        let adapter = Provider::configure("{}").unwrap();
        let read = |samples: &[u8]| adapter.read_usage(PROTOCOL, Operation::Generate, samples);
        assert_eq!(read(br#"{"prompt_tokens":3,"completion_tokens":4}"#)[Class::Output], 4);
        assert_eq!(read(br#"{"prompt_tokens":3}"#), Usage::MISSING);
        assert_eq!(read(b""), Usage::MISSING);
    }

    #[test]
    fn its_paths_begin_as_configured() {
        let adapter = Provider::configure(r#"{"path_prefix": "/api"}"#).unwrap();
        assert_eq!(adapter.plan().endpoints[0].path, "/api/chat/completions");
    }
}
