//! Adapter for Anthropic: the Messages API and its token counter, for clients of every protocol.
//!
//! Configuration: [`Connection`]. A relay that expects `Authorization: Bearer`, or has its API below another path,
//! needs no separate adapter.

mod platforms;

use tollgate_plugin::adapter::{
    Adapter, ClientParameter, Exchange, Failure, HeaderForm, HeaderTemplate, Plan, Refusal, Reply, TextTap,
    Translated, UsageTap,
};
use tollgate_plugin::types::{Class, Operation, Protocol, Usage};
use tollgate_protocols::anthropic::{self, MessageUsage};
use tollgate_protocols::connection::{Connection, Route, client_headers_and_telemetry};
use tollgate_protocols::sample;
use tollgate_protocols::target::Abilities;
use tollgate_translator::{Model, completed_by, counted_by, from_all_to, translate};

const VERSION: &str = "/v1";
const PROTOCOL: Protocol = Protocol::AnthropicMessages;

/// The version for a client that names none: the first, which every model and client understands.
const ANTHROPIC_VERSION: &str = "2023-06-01";

const ROUTES: [Route; 4] = [
    route(Operation::Generate, false, "/messages"),
    route(Operation::Generate, true, "/messages"),
    route(Operation::CountTokens, false, "/messages/count_tokens"),
    route(Operation::ListModels, false, "/models"),
];

const fn route(operation: Operation, streaming: bool, path: &'static str) -> Route {
    Route { protocol: PROTOCOL, operation, streaming, path }
}

/// What clients say beside their requests.
const CLIENT_HEADERS: [(&str, HeaderForm); 5] = [
    ("anthropic-version", HeaderForm::Word),
    ("anthropic-beta", HeaderForm::Names),
    ("anthropic-dangerous-direct-browser-access", HeaderForm::Word),
    ("x-app", HeaderForm::Word),
    ("x-claude-code-session-id", HeaderForm::Word),
];

/// Where usage is stated; the constants below name the lines.
const USAGE_TAPS: [&str; 4] = ["message.usage", "usage", "container.id", "delta.container.id"];
/// `message_start` of a stream.
const START: usize = 0;
/// `message_delta` of a stream, or a whole message.
const END: usize = 1;
/// The container in which Anthropic ran code for a whole message; that of a stream stands on the next line.
const CONTAINER: usize = 2;

/// Members of stream events that hold output.
const TEXT_TAPS: [&str; 3] = ["text", "partial_json", "thinking"];

/// When a rate limit is lifted.
const RESET_HEADERS: [&str; 4] = [
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-reset",
];

/// Where Amazon Bedrock names the kind of an error.
const AMAZON_ERROR: &str = "x-amzn-errortype";

/// The adapter.
#[derive(Debug)]
pub struct Claude {
    connection: Connection,
}

impl Adapter for Claude {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { connection: Connection::configure(config)? })
    }

    fn plan(&self) -> Plan {
        let version =
            HeaderTemplate { name: "anthropic-version".to_owned(), value: ANTHROPIC_VERSION.to_owned() };
        let text_tap = |member: &str| TextTap { protocol: PROTOCOL, member: member.to_owned() };
        let usage_tap = |path: &str| UsageTap { protocol: PROTOCOL, path: path.to_owned() };
        Plan {
            endpoints: ROUTES.iter().map(|route| self.connection.endpoint(VERSION, route)).collect(),
            auth: vec![self.connection.auth("x-api-key")],
            defaults: vec![version],
            client_headers: client_headers_and_telemetry(&CLIENT_HEADERS),
            client_parameters: [Operation::Generate, Operation::CountTokens].map(beta).to_vec(),
            usage_taps: USAGE_TAPS.into_iter().map(usage_tap).collect(),
            text_taps: TEXT_TAPS.into_iter().map(text_tap).collect(),
            stream_options: Vec::new(),
            translates: [from_all_to(PROTOCOL), completed_by(PROTOCOL), counted_by(PROTOCOL)].concat(),
            reset_headers: RESET_HEADERS.map(str::to_owned).to_vec(),
            error_header: Some(AMAZON_ERROR.to_owned()),
            platforms: platforms::all(),
            check: Some(self.connection.check(VERSION, "/models", Some("anthropic-organization-id"))),
        }
    }

    fn read_usage(&self, _protocol: Protocol, _operation: Operation, samples: &[u8]) -> Usage {
        let start: Option<MessageUsage> = sample::read(samples, START);
        let end: Option<MessageUsage> = sample::read(samples, END);
        let finished = end.is_some();
        let mut usage = start.unwrap_or_default().overridden_by(end.unwrap_or_default()).classes(finished);
        if sample::either::<String>(samples, CONTAINER).is_some() {
            usage[Class::CodeInterpreter] = 1;
        }
        usage.estimated_if(sample::is_odd(samples))
    }

    fn classify(&self, refusal: &Refusal) -> Failure {
        anthropic::classify(refusal.status, refusal.retry_after_ms, &refusal.kind, &refusal.body)
    }

    fn translate(&self, exchange: &Exchange, body: &[u8]) -> Result<Translated, Reply> {
        translate(exchange, body, model(&exchange.model))
    }
}

/// What Claude's SDKs add to the address of calls that name betas.
fn beta(operation: Operation) -> ClientParameter {
    ClientParameter { operation, name: "beta".to_owned(), value: "true".to_owned() }
}

/// What a model can do, by its name. An unknown name counts as a new model.
fn model(name: &str) -> Model {
    // From Opus 4.7 on, models decide how hard to think and accept no sampling parameters.
    let older = is_older_than(name, 4, 7);
    let abilities = Abilities {
        sampling: older,
        thinking_budget: older,
        system_turns: false,
        reasoning: !is_older_than(name, 3, 7),
        thoughts_back: false,
    };
    // Clients of other protocols that set no limit expect as much as the model can write; the oldest can write this
    // much.
    let output_tokens_max = if is_older_than(name, 3, 7) { 4096 } else { 32_000 };
    Model { abilities, output_tokens_max }
}

/// Whether the version in a model's name (`claude-opus-4-5-20251101`, `claude-3-7-sonnet-latest`) is below
/// `major.minor`.
fn is_older_than(name: &str, major: u32, minor: u32) -> bool {
    // A number of more than two digits is a date.
    let small = |part: &str| part.parse::<u32>().ok().filter(|number| part.len() <= 2 && *number < 100);
    let mut parts = name.split(['-', '.', '@', '_', ' ']).skip_while(|part| small(part).is_none());
    let Some(found) = parts.next().and_then(small) else { return false };
    (found, parts.next().and_then(small).unwrap_or(0)) < (major, minor)
}

#[cfg(feature = "component")]
tollgate_plugin::export_adapter!(Claude);

#[cfg(test)]
mod tests {
    use super::{Adapter, Class, Claude, Operation, Protocol, Usage};
    use tollgate_plugin::types::Quality;

    fn read(samples: &str) -> Usage {
        let claude = Claude::configure("{}").unwrap();
        claude.read_usage(Protocol::AnthropicMessages, Operation::Generate, samples.as_bytes())
    }

    #[test]
    fn counting_tokens_does_not_generate() {
        let plan = Claude::configure("{}").unwrap().plan();
        let paths: Vec<_> = plan
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.operation, endpoint.streaming, endpoint.path.as_str()))
            .collect();
        let expected = [
            (Operation::Generate, false, "/v1/messages"),
            (Operation::Generate, true, "/v1/messages"),
            (Operation::CountTokens, false, "/v1/messages/count_tokens"),
            (Operation::ListModels, false, "/v1/models"),
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_client_without_a_version_gets_the_first() {
        let plan = Claude::configure("{}").unwrap().plan();
        let header = &plan.defaults[0];
        assert_eq!((header.name.as_str(), header.value.as_str()), ("anthropic-version", "2023-06-01"));
        assert_eq!((plan.auth[0].name.as_str(), plan.auth[0].value.as_str()), ("x-api-key", "{credential}"));
    }

    #[test]
    fn a_relay_is_a_matter_of_configuration() {
        let plan =
            Claude::configure(r#"{"auth_header":"authorization","path_prefix":"/api/v1"}"#).unwrap().plan();
        assert_eq!(plan.endpoints[0].path, "/api/v1/messages");
        assert_eq!(plan.auth[0].value, "Bearer {credential}");
    }

    #[test]
    fn a_container_is_counted_where_code_ran() {
        let usage = r#"{"input_tokens":25,"output_tokens":15}"#;
        let expected = Usage::of(Quality::Exact, &[(Class::Input, 25), (Class::Output, 15)]);
        assert_eq!(read(&format!("\n{usage}\n\n")), expected);
        let ran = expected.with(Class::CodeInterpreter, 1);
        assert_eq!(read(&format!("\n{usage}\n\"container_1\"\n")), ran);
        assert_eq!(read(&format!("{usage}\n{usage}\n\n\"container_1\"")), ran);
    }

    #[test]
    fn the_end_of_a_stream_overrides_its_start() {
        let samples = concat!(
            r#"{"input_tokens":25,"cache_creation_input_tokens":40,"cache_read_input_tokens":7,"output_tokens":1}"#,
            "\n",
            r#"{"output_tokens":15}"#,
        );
        let expected = Usage::of(
            Quality::Exact,
            &[(Class::Input, 25), (Class::CacheRead, 7), (Class::CacheWriteShort, 40), (Class::Output, 15)],
        );
        assert_eq!(read(samples), expected);
    }

    #[test]
    fn a_whole_message_states_all_at_once() {
        let samples = "\n{\"input_tokens\":25,\"output_tokens\":15}";
        assert_eq!(read(samples), Usage::of(Quality::Exact, &[(Class::Input, 25), (Class::Output, 15)]));
    }

    #[test]
    fn a_stream_that_was_cut_states_its_input_only() {
        let usage = read("{\"input_tokens\":25,\"output_tokens\":1}\n");
        assert_eq!(usage, Usage::of(Quality::Estimated, &[(Class::Input, 25), (Class::Output, 1)]));
        assert_eq!(read("\n"), Usage::MISSING);
        assert_eq!(read(""), Usage::MISSING);
    }

    #[test]
    fn what_a_model_can_do_shows_in_its_version() {
        let check = |name: &str, sampling: bool, reasoning: bool| {
            let abilities = super::model(name).abilities;
            assert_eq!((abilities.sampling, abilities.reasoning), (sampling, reasoning), "{name}");
            assert_eq!(abilities.thinking_budget, sampling, "{name}");
        };
        check("claude-3-5-haiku-20241022", true, false);
        check("claude-3-7-sonnet-latest", true, true);
        check("claude-sonnet-4-20250514", true, true);
        check("claude-sonnet-4-5", true, true);
        check("claude-opus-4-6", true, true);
        check("claude-opus-4-7", false, true);
        check("claude-opus-5", false, true);
        check("claude-sonnet-5-5", false, true);
        check("anthropic.claude-sonnet-4-5-20250929-v1:0", true, true);
        check("our-own-name", false, true);
    }

    #[test]
    fn the_lines_are_those_of_the_plan() {
        let plan = Claude::configure("{}").unwrap().plan();
        assert_eq!(plan.usage_taps[super::START].path, "message.usage");
        assert_eq!(plan.usage_taps[super::END].path, "usage");
    }
}
