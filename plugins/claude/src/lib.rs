//! Adapter for Anthropic: the Messages API and its token counter.
//!
//! Configuration: [`Connection`]. A relay that wants `Authorization: Bearer`, or has its API below another path, needs no
//! adapter of its own.

use tollgate_plugin::adapter::{Adapter, Failure, HeaderTemplate, Plan, TextTap, UsageTap};
use tollgate_plugin::types::{Operation, Protocol, Usage};
use tollgate_protocols::anthropic::{self, MessageUsage};
use tollgate_protocols::connection::{Connection, Route};
use tollgate_protocols::sample;

const VERSION: &str = "/v1";
const PROTOCOL: Protocol = Protocol::AnthropicMessages;

/// The version that a client without one means: the first, which every model and client understands.
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

/// Where usage is stated; the constants below name the lines.
const USAGE_TAPS: [&str; 2] = ["message.usage", "usage"];
/// `message_start` of a stream.
const START: usize = 0;
/// `message_delta` of a stream, or a whole message.
const END: usize = 1;

/// Members of stream events that hold output.
const TEXT_TAPS: [&str; 3] = ["text", "partial_json", "thinking"];

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
            usage_taps: USAGE_TAPS.into_iter().map(usage_tap).collect(),
            text_taps: TEXT_TAPS.into_iter().map(text_tap).collect(),
            stream_options: Vec::new(),
        }
    }

    fn read_usage(&self, _protocol: Protocol, _operation: Operation, samples: &[u8]) -> Usage {
        let start: Option<MessageUsage> = sample::read(samples, START);
        let end: Option<MessageUsage> = sample::read(samples, END);
        let finished = end.is_some();
        start.unwrap_or_default().overridden_by(end.unwrap_or_default()).classes(finished)
    }

    fn classify(&self, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> Failure {
        anthropic::classify(status, retry_after_ms, body)
    }
}

tollgate_plugin::export_adapter!(Claude);

#[cfg(test)]
mod tests {
    use super::{Adapter, Claude, Operation, Protocol, Usage};
    use tollgate_plugin::types::Quality;

    const EXACT: Usage = Usage { quality: Quality::Exact, ..Usage::MISSING };

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
    fn the_end_of_a_stream_overrides_its_start() {
        let samples = concat!(
            r#"{"input_tokens":25,"cache_creation_input_tokens":40,"cache_read_input_tokens":7,"output_tokens":1}"#,
            "\n",
            r#"{"output_tokens":15}"#,
        );
        let expected = Usage { input: 25, cache_read: 7, cache_write_short: 40, output: 15, ..EXACT };
        assert_eq!(read(samples), expected);
    }

    #[test]
    fn a_whole_message_states_all_at_once() {
        let samples = "\n{\"input_tokens\":25,\"output_tokens\":15}";
        assert_eq!(read(samples), Usage { input: 25, output: 15, ..EXACT });
    }

    #[test]
    fn a_stream_that_was_cut_states_its_input_only() {
        let usage = read("{\"input_tokens\":25,\"output_tokens\":1}\n");
        assert_eq!(usage, Usage { input: 25, output: 1, quality: Quality::Estimated, ..EXACT });
        assert_eq!(read("\n"), Usage::MISSING);
        assert_eq!(read(""), Usage::MISSING);
    }

    #[test]
    fn the_lines_are_those_of_the_plan() {
        let plan = Claude::configure("{}").unwrap().plan();
        assert_eq!(plan.usage_taps[super::START].path, "message.usage");
        assert_eq!(plan.usage_taps[super::END].path, "usage");
    }
}
