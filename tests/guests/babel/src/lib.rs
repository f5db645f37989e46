//! An adapter for Anthropic's protocol whose translation to OpenAI's clients is an echo, and which fails on the word
//! "shibboleth", and for the model "mute" over every stream.

use tollgate_plugin::adapter::{
    Adapter, Answer, Endpoint, Exchange, Failure, FailureClass, Plan, Refusal, Reply, Translated, Translation,
};
use tollgate_plugin::types::{Operation, Protocol, Usage};

/// Takes any configuration.
#[derive(Debug)]
pub struct Babel;

impl Adapter for Babel {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn plan(&self) -> Plan {
        let (upstream, operation) = (Protocol::AnthropicMessages, Operation::Generate);
        let endpoint = |streaming| Endpoint {
            protocol: upstream,
            operation,
            streaming,
            path: "/v1/messages".to_owned(),
        };
        Plan {
            endpoints: vec![endpoint(false), endpoint(true)],
            translates: vec![Translation {
                client: Protocol::OpenaiChat,
                upstream,
                operation,
                upstream_operation: operation,
            }],
            ..Plan::default()
        }
    }

    fn read_usage(&self, _protocol: Protocol, _operation: Operation, samples: &[u8]) -> Usage {
        checked(samples);
        Usage::MISSING
    }

    fn classify(&self, refusal: &Refusal) -> Failure {
        checked(&refusal.body);
        Failure { class: FailureClass::BadRequest, retry_after_ms: refusal.retry_after_ms }
    }

    fn translate(&self, exchange: &Exchange, body: &[u8]) -> Result<Translated, Reply> {
        checked(exchange.model.as_bytes());
        let mute = exchange.model == "mute";
        Ok(Translated { body: checked(body), left_out: String::new(), answer: Box::new(Echo { mute }) })
    }
}

struct Echo {
    /// Whether it fails over any answer.
    mute: bool,
}

impl Answer for Echo {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        Ok(checked(body))
    }

    fn failure(&mut self, _status: u16, _body: &[u8]) -> Reply {
        // A failure must not be answered as a success: the host has to refuse this.
        Reply { status: 200, body: Vec::new() }
    }

    fn part(&mut self, bytes: &[u8]) -> Vec<u8> {
        assert!(!self.mute, "it cannot say anything");
        checked(bytes)
    }

    fn end(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

fn checked(bytes: &[u8]) -> Vec<u8> {
    assert!(!bytes.windows(6).any(|word| word == b"shibbo"), "it cannot say that");
    bytes.to_vec()
}

tollgate_plugin::export_adapter!(Babel);
