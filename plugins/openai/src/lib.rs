//! Adapter for OpenAI and compatible servers: Chat Completions and Responses for clients of every protocol, and
//! embeddings.
//!
//! Configuration: [`Connection`]; `protocol` for a server that speaks one of `openai-chat` and `openai-responses` only;
//! `completions = true` for one that takes `/completions` as such, which are conversations elsewhere. A server that
//! takes its key elsewhere or has its API below another path, such as `https://host/openai/v1`, needs no separate
//! adapter.

mod platforms;

use std::collections::BTreeSet;

use tollgate_plugin::adapter::{
    Adapter, Exchange, Failure, HeaderForm, Plan, Refusal, Reply, StreamOption, TextTap, Translated, UsageTap,
};
use tollgate_plugin::config;
use tollgate_plugin::types::{Class, Operation, Protocol, ServiceTier, Usage};
use tollgate_protocols::connection::{Connection, Route, client_headers_and_telemetry};
use tollgate_protocols::media;
use tollgate_protocols::openai::{self, ChatUsage, ResponsesUsage, Tools};
use tollgate_protocols::sample;
use tollgate_protocols::target::Abilities;
use tollgate_translator::{Model, completed_by, counted_by, embedded_by, from_all_to, translate};

const VERSION: &str = "/v1";

const ROUTES: [Route; 14] = [
    route(Protocol::OpenaiChat, Operation::Generate, false, "/chat/completions"),
    route(Protocol::OpenaiChat, Operation::Generate, true, "/chat/completions"),
    route(Protocol::OpenaiChat, Operation::Embed, false, "/embeddings"),
    route(Protocol::OpenaiChat, Operation::ListModels, false, "/models"),
    route(Protocol::OpenaiChat, Operation::MakeImages, false, "/images/generations"),
    route(Protocol::OpenaiChat, Operation::EditImages, false, "/images/edits"),
    route(Protocol::OpenaiChat, Operation::Speak, false, "/audio/speech"),
    route(Protocol::OpenaiChat, Operation::Transcribe, false, "/audio/transcriptions"),
    route(Protocol::OpenaiChat, Operation::TranslateSpeech, false, "/audio/translations"),
    route(Protocol::OpenaiChat, Operation::Moderate, false, "/moderations"),
    route(Protocol::OpenaiChat, Operation::Rerank, false, "/rerank"),
    route(Protocol::OpenaiResponses, Operation::Generate, false, "/responses"),
    route(Protocol::OpenaiResponses, Operation::Generate, true, "/responses"),
    route(Protocol::OpenaiResponses, Operation::CountTokens, false, "/responses/input_tokens"),
];

/// Completions of servers that have them: OpenAI's own serves them for a few old models alone.
const COMPLETIONS: [Route; 2] = [
    route(Protocol::OpenaiChat, Operation::Complete, false, "/completions"),
    route(Protocol::OpenaiChat, Operation::Complete, true, "/completions"),
];

const fn route(protocol: Protocol, operation: Operation, streaming: bool, path: &'static str) -> Route {
    Route { protocol, operation, streaming, path }
}

/// Where usage is stated; the constants below name the lines.
const USAGE_TAPS: [(Protocol, &str); 16] = [
    (Protocol::OpenaiChat, "usage"),
    (Protocol::OpenaiResponses, "usage"),
    (Protocol::OpenaiResponses, "response.usage"),
    (Protocol::OpenaiChat, "service_tier"),
    (Protocol::OpenaiResponses, "service_tier"),
    (Protocol::OpenaiResponses, "response.service_tier"),
    (Protocol::OpenaiResponses, "tool_usage"),
    (Protocol::OpenaiResponses, "response.tool_usage"),
    (Protocol::OpenaiResponses, "output[].type"),
    (Protocol::OpenaiResponses, "response.output[].type"),
    (Protocol::OpenaiResponses, "output[].action.type"),
    (Protocol::OpenaiResponses, "response.output[].action.type"),
    (Protocol::OpenaiResponses, "output[].container_id"),
    (Protocol::OpenaiResponses, "response.output[].container_id"),
    (Protocol::OpenaiChat, "choices[].usage"),
    (Protocol::OpenaiChat, "meta.billed_units"),
];
const CHAT: usize = 0;
const CHAT_TIER: usize = 3;
/// The line on which a whole answer's usage stands; a stream's stands on the next one.
const RESPONSE: usize = 1;
const RESPONSE_TIER: usize = 4;
const TOOLS: usize = 6;
const ITEMS: usize = 8;
const ACTIONS: usize = 10;
const CONTAINERS: usize = 12;
const CHOICES: usize = 14;
/// What is billed of a ranking.
const BILLED: usize = 15;

/// Members of stream events that hold output.
const TEXT_TAPS: [(Protocol, &str); 6] = [
    (Protocol::OpenaiChat, "content"),
    (Protocol::OpenaiChat, "text"),
    (Protocol::OpenaiChat, "arguments"),
    (Protocol::OpenaiChat, "reasoning_content"),
    (Protocol::OpenaiChat, "refusal"),
    (Protocol::OpenaiResponses, "delta"),
];

/// When a rate limit is lifted.
const RESET_HEADERS: [&str; 2] = ["x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"];

/// The adapter.
#[derive(Debug)]
pub struct Openai {
    connection: Connection,
    /// The only protocol in which the server generates, unless it speaks both.
    only: Option<Protocol>,
    /// Whether it takes completions as such.
    completes: bool,
}

impl Adapter for Openai {
    fn configure(config: &str) -> Result<Self, String> {
        let mut options: serde_json::Map<String, serde_json::Value> = config::parse(config)?;
        let only = options.remove("protocol").map(|name| protocol(&name)).transpose()?;
        let completes = match options.remove("completions") {
            None => false,
            Some(serde_json::Value::Bool(completes)) => completes,
            Some(other) => {
                return Err(format!("configuration: completions {other} is neither true nor false"));
            }
        };
        let connection = Connection::configure(&serde_json::Value::Object(options).to_string())?;
        Ok(Self { connection, only, completes })
    }

    fn plan(&self) -> Plan {
        let text_tap = |(protocol, member): (_, &str)| TextTap { protocol, member: member.to_owned() };
        let usage_tap = |(protocol, path): (_, &str)| UsageTap { protocol, path: path.to_owned() };
        // A server with one protocol may still have the rest of the chat family: models and embeddings.
        let spoken = |route: &&Route| {
            let bound = matches!(route.operation, Operation::Generate | Operation::CountTokens);
            !bound || self.only.is_none_or(|only| only == route.protocol)
        };
        let completions = COMPLETIONS.iter().filter(|_| self.completes);
        let routes = ROUTES.iter().filter(spoken).chain(completions);
        Plan {
            endpoints: routes.map(|route| self.connection.endpoint(VERSION, route)).collect(),
            auth: vec![self.connection.auth("authorization")],
            defaults: Vec::new(),
            client_headers: client_headers_and_telemetry(&[("openai-beta", HeaderForm::Names)]),
            client_parameters: Vec::new(),
            usage_taps: USAGE_TAPS.into_iter().map(usage_tap).collect(),
            text_taps: TEXT_TAPS.into_iter().map(text_tap).collect(),
            stream_options: vec![StreamOption {
                protocol: Protocol::OpenaiChat,
                object: "stream_options".to_owned(),
                member: "include_usage".to_owned(),
                withhold_when_empty: "choices".to_owned(),
            }],
            translates: [
                from_all_to(self.only.unwrap_or(Protocol::OpenaiChat)),
                completed_by(self.only.unwrap_or(Protocol::OpenaiChat)),
                counted_by(Protocol::OpenaiResponses),
                embedded_by(Protocol::OpenaiChat),
            ]
            .concat(),
            reset_headers: RESET_HEADERS.map(str::to_owned).to_vec(),
            error_header: None,
            platforms: platforms::all(),
            check: Some(self.connection.check(VERSION, "/models", Some("openai-organization"))),
        }
    }

    fn read_usage(&self, protocol: Protocol, operation: Operation, samples: &[u8]) -> Usage {
        if let Some(usage) = media::usage(operation, samples, (CHAT, BILLED)) {
            return usage;
        }
        let (mut usage, tier) = if protocol == Protocol::OpenaiResponses {
            let usage: Option<ResponsesUsage> = sample::either(samples, RESPONSE);
            let mut usage = usage.map_or(Usage::MISSING, |usage| usage.classes(operation));
            let tools = Tools {
                stated: sample::either(samples, TOOLS),
                items: sample::either(samples, ITEMS).unwrap_or_default(),
                actions: sample::either(samples, ACTIONS).unwrap_or_default(),
            };
            tools.add_to(&mut usage);
            // A container is billed once, however often it is used.
            let containers: BTreeSet<String> = sample::either(samples, CONTAINERS).unwrap_or_default();
            usage[Class::CodeInterpreter] = containers.len() as u64;
            (usage, sample::either::<String>(samples, RESPONSE_TIER))
        } else {
            let own = sample::line(samples, CHAT).and_then(ChatUsage::read);
            let choices = sample::read(samples, CHOICES);
            let usage = openai::chat_usage(own, choices, operation);
            (usage, sample::read::<String>(samples, CHAT_TIER))
        };
        usage.tier = tier.map_or(ServiceTier::Standard, |name| openai::tier(&name));
        usage.estimated_if(sample::is_odd(samples))
    }

    fn classify(&self, refusal: &Refusal) -> Failure {
        openai::classify(refusal.status, refusal.retry_after_ms, &refusal.body)
    }

    fn translate(&self, exchange: &Exchange, body: &[u8]) -> Result<Translated, Reply> {
        translate(exchange, body, model(&exchange.model))
    }
}

fn protocol(name: &serde_json::Value) -> Result<Protocol, String> {
    match name.as_str() {
        Some("openai-chat") => Ok(Protocol::OpenaiChat),
        Some("openai-responses") => Ok(Protocol::OpenaiResponses),
        _ => Err(format!("configuration: protocol {name} is neither `openai-chat` nor `openai-responses`")),
    }
}

/// Whether a model is OpenAI's own, whose servers take no thoughts back; `gpt-oss` is served by others.
fn is_openais(name: &str) -> bool {
    const FAMILIES: [&str; 6] = ["gpt-", "o1", "o3", "o4", "chatgpt-", "codex-"];
    let name = name.rsplit('/').next().unwrap_or(name);
    FAMILIES.iter().any(|family| name.starts_with(family)) && !name.starts_with("gpt-oss")
}

/// What a model can do, by its name: those that reason accept no sampling parameters. The protocols do not require a
/// limit for the output.
fn model(name: &str) -> Model {
    let reasoning = !name.contains("-chat")
        && ["o1", "o3", "o4", "gpt-5", "gpt-6"].iter().any(|family| name.starts_with(family));
    let abilities = Abilities {
        sampling: !reasoning,
        thinking_budget: false,
        system_turns: true,
        reasoning,
        thoughts_back: !is_openais(name),
    };
    Model { abilities, output_tokens_max: 4096 }
}

#[cfg(feature = "component")]
tollgate_plugin::export_adapter!(Openai);

#[cfg(test)]
mod tests {
    use super::{Adapter, Class, Openai, Operation, Protocol, Usage};
    use tollgate_plugin::types::{Quality, ServiceTier};

    fn read(protocol: Protocol, samples: &str) -> Usage {
        Openai::configure("{}").unwrap().read_usage(protocol, Operation::Generate, samples.as_bytes())
    }

    #[test]
    fn every_operation_has_its_address() {
        let plan = Openai::configure("{}").unwrap().plan();
        let path = |protocol, operation, streaming| {
            let mut endpoints = plan.endpoints.iter();
            let wanted = (protocol, operation, streaming);
            endpoints
                .find(|endpoint| (endpoint.protocol, endpoint.operation, endpoint.streaming) == wanted)
                .map(|endpoint| endpoint.path.as_str())
        };
        for streaming in [false, true] {
            assert_eq!(
                path(Protocol::OpenaiChat, Operation::Generate, streaming),
                Some("/v1/chat/completions")
            );
            assert_eq!(
                path(Protocol::OpenaiResponses, Operation::Generate, streaming),
                Some("/v1/responses")
            );
        }
        assert_eq!(path(Protocol::OpenaiChat, Operation::Embed, false), Some("/v1/embeddings"));
        let counting = path(Protocol::OpenaiResponses, Operation::CountTokens, false);
        assert_eq!(counting, Some("/v1/responses/input_tokens"));
        assert_eq!(path(Protocol::AnthropicMessages, Operation::Generate, false), None);
    }

    #[test]
    fn another_server_is_a_matter_of_configuration() {
        let config = r#"{"auth_header":"api-key","path_prefix":"/openai/v1"}"#;
        let plan = Openai::configure(config).unwrap().plan();
        assert_eq!(plan.endpoints[0].path, "/openai/v1/chat/completions");
        assert_eq!((plan.auth[0].name.as_str(), plan.auth[0].value.as_str()), ("api-key", "{credential}"));
    }

    #[test]
    fn a_server_with_one_protocol_serves_clients_of_the_other_in_it() {
        let offered = |config: &str| {
            let plan = Openai::configure(config).unwrap().plan();
            let generates = |protocol| {
                let mut endpoints = plan.endpoints.iter();
                endpoints.any(|at| at.protocol == protocol && at.operation == Operation::Generate)
            };
            let spoken = [Protocol::OpenaiChat, Protocol::OpenaiResponses].map(generates);
            (spoken, plan.translates.iter().map(|offer| (offer.client, offer.upstream)).collect::<Vec<_>>())
        };
        let (spoken, translated) = offered("{}");
        assert_eq!(spoken, [true, true]);
        assert!(translated.contains(&(Protocol::Gemini, Protocol::OpenaiChat)));
        let (spoken, translated) = offered(r#"{"protocol":"openai-chat"}"#);
        assert_eq!(spoken, [true, false]);
        assert!(translated.contains(&(Protocol::OpenaiResponses, Protocol::OpenaiChat)));
        let (spoken, translated) = offered(r#"{"protocol":"openai-responses"}"#);
        assert_eq!(spoken, [false, true]);
        assert!(translated.contains(&(Protocol::OpenaiChat, Protocol::OpenaiResponses)));
        assert!(Openai::configure(r#"{"protocol":"gemini"}"#).is_err());
        assert!(Openai::configure(r#"{"protocl":"gemini"}"#).is_err());
    }

    #[test]
    fn a_chat_states_its_usage_on_the_first_line() {
        let samples = "{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}\n\n";
        assert_eq!(
            read(Protocol::OpenaiChat, samples),
            Usage::of(Quality::Exact, &[(Class::Input, 9), (Class::Output, 4)])
        );
        assert_eq!(read(Protocol::OpenaiChat, "\n\n"), Usage::MISSING);
        assert_eq!(read(Protocol::OpenaiChat, ""), Usage::MISSING);
        assert_eq!(read(Protocol::OpenaiChat, "7\n\n"), Usage::MISSING);
    }

    #[test]
    fn a_chat_may_state_it_in_its_choices_and_a_count_below_nothing_is_none() {
        let lines = |own: &str, choices: &str| format!("{own}{}{choices}", "\n".repeat(super::CHOICES));
        let good = r#"{"prompt_tokens":9,"completion_tokens":4}"#;
        let expected = Usage::of(Quality::Exact, &[(Class::Input, 9), (Class::Output, 4)]);
        let zeros = r#"{"prompt_tokens":0,"completion_tokens":0}"#;
        assert_eq!(read(Protocol::OpenaiChat, &lines("", &format!("[{zeros},{good}]"))), expected);
        assert_eq!(read(Protocol::OpenaiChat, &lines(zeros, &format!("[{good}]"))), expected);
        assert_eq!(read(Protocol::OpenaiChat, &lines(good, &format!("[{zeros}]"))), expected);
        let odd = r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":-1}}"#;
        let odd = read(Protocol::OpenaiChat, odd);
        assert_eq!((odd.quality, odd[Class::Input], odd[Class::Output]), (Quality::Estimated, 9, 4));
    }

    #[test]
    fn a_response_states_it_in_either_of_two_places() {
        let usage = r#"{"input_tokens":9,"output_tokens":4,"total_tokens":13}"#;
        let expected = Usage::of(Quality::Exact, &[(Class::Input, 9), (Class::Output, 4)]);
        assert_eq!(read(Protocol::OpenaiResponses, &format!("\n{usage}\n")), expected);
        assert_eq!(read(Protocol::OpenaiResponses, &format!("\n\n{usage}")), expected);
    }

    #[test]
    fn a_response_tells_of_its_tools_and_of_the_tier_that_served() {
        let samples = [
            "",
            "",
            r#"{"input_tokens":9,"output_tokens":4}"#,
            "",
            "",
            "\"flex\"",
            "",
            "",
            "",
            r#"["file_search_call","web_search_call","message"]"#,
            "",
            r#"["search"]"#,
        ];
        let usage = read(Protocol::OpenaiResponses, &samples.join("\n"));
        let amounts = [(Class::Input, 9), (Class::Output, 4), (Class::WebSearch, 1), (Class::FileSearch, 1)];
        assert_eq!(usage, Usage::of(Quality::Exact, &amounts).at_tier(ServiceTier::Flex));
    }

    #[test]
    fn the_lines_are_those_of_the_plan() {
        let plan = Openai::configure("{}").unwrap().plan();
        let path = |line: usize| (plan.usage_taps[line].protocol, plan.usage_taps[line].path.as_str());
        assert_eq!(path(super::CHAT), (Protocol::OpenaiChat, "usage"));
        assert_eq!(path(super::RESPONSE), (Protocol::OpenaiResponses, "usage"));
        assert_eq!(path(super::CHAT_TIER), (Protocol::OpenaiChat, "service_tier"));
        assert_eq!(path(super::CHOICES), (Protocol::OpenaiChat, "choices[].usage"));
        let told = [
            (super::RESPONSE, "usage"),
            (super::RESPONSE_TIER, "service_tier"),
            (super::TOOLS, "tool_usage"),
            (super::ITEMS, "output[].type"),
            (super::ACTIONS, "output[].action.type"),
            (super::CONTAINERS, "output[].container_id"),
        ];
        for (line, name) in told {
            assert_eq!(path(line), (Protocol::OpenaiResponses, name));
            assert_eq!(path(line + 1), (Protocol::OpenaiResponses, &*format!("response.{name}")));
        }
    }
}
