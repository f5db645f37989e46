//! Adapter for Google Gemini: `generateContent` and its stream for clients of every protocol, its token counter and
//! embeddings, and interactions, untranslated.
//!
//! Configuration: [`Connection`]. The version is `/v1beta`, which has every method and field that `/v1` has;
//! `path_prefix = "/v1"` selects that one instead.

mod platforms;

use tollgate_plugin::adapter::{
    Adapter, ClientParameter, Endpoint, Exchange, Failure, HeaderForm, Plan, Refusal, Reply, TextTap,
    Translated, UsageTap,
};
use tollgate_plugin::types::{Class, Operation, Protocol, Quality, ServiceTier, Usage};
use tollgate_protocols::connection::{Connection, Route, client_headers};
use tollgate_protocols::gemini::{self, InteractionUsage, UsageMetadata};
use tollgate_protocols::sample;
use tollgate_protocols::target::{Abilities, Target};
use tollgate_translator::{Model, completed_by, counted_by, embedded_by, from_all_to, translate};

const VERSION: &str = "/v1beta";
const PROTOCOL: Protocol = Protocol::Gemini;

/// The stream is declared without `alt=sse`: whether it is events or one array is the client's choice, in its query.
const ROUTES: [Route; 6] = [
    route(Operation::Generate, false, "/models/{model}:generateContent"),
    route(Operation::Generate, true, "/models/{model}:streamGenerateContent"),
    route(Operation::CountTokens, false, "/models/{model}:countTokens"),
    route(Operation::Embed, false, "/models/{model}:embedContent"),
    route(Operation::EmbedBatch, false, "/models/{model}:batchEmbedContents"),
    route(Operation::ListModels, false, "/models"),
];

const fn route(operation: Operation, streaming: bool, path: &'static str) -> Route {
    Route { protocol: PROTOCOL, operation, streaming, path }
}

/// Interactions, which are generally available below another version. They are passed on as they are.
const INTERACTIONS_VERSION: &str = "/v1";
const INTERACTIONS: [Route; 2] =
    [route(Operation::Interact, false, "/interactions"), route(Operation::Interact, true, "/interactions")];

/// Files that are kept for later calls. They go up at another place than the one where they are.
const FILES: [Route; 2] =
    [route(Operation::KeepFile, false, "/files"), route(Operation::KeptFiles, false, "/files")];

/// Addresses of kept files, by what makes the address of any other call.
fn files(endpoint: impl Fn(&Route) -> Endpoint) -> impl Iterator<Item = Endpoint> {
    FILES.iter().map(move |route| match (route.operation, endpoint(route)) {
        (Operation::KeepFile, found) => Endpoint { path: format!("/upload{}", found.path), ..found },
        (_, found) => found,
    })
}

/// Where usage is stated; the constants below name the lines.
const USAGE_TAPS: [&str; 8] = [
    "usageMetadata",
    "usage",
    "interaction.usage",
    "service_tier",
    "interaction.service_tier",
    "candidates[].groundingMetadata.webSearchQueries",
    "modelVersion",
    "candidates[].groundingMetadata.groundingChunks[].maps.placeId",
];
/// Stated by nearly every chunk of a stream; the last one, which the gateway keeps, holds the totals.
const ANSWER: usize = 0;
/// An interaction as a whole.
const INTERACTION: usize = 1;
/// The event that completes one.
const INTERACTION_STREAM: usize = 2;

/// The tier that served an interaction, in both forms; an answer has it in its usage.
const TIER: usize = 3;
const TIER_STREAM: usize = 4;
/// What the candidates were searched for, and the model that did so.
const QUERIES: usize = 5;
const MODEL: usize = 6;
/// Places on maps that the answer rests on.
const PLACES: usize = 7;

/// Members of stream events that hold output.
const TEXT_TAPS: [&str; 2] = ["text", "arguments"];

/// The adapter.
#[derive(Debug)]
pub struct Gemini {
    connection: Connection,
}

impl Adapter for Gemini {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { connection: Connection::configure(config)? })
    }

    fn plan(&self) -> Plan {
        let answers = ROUTES.iter().map(|route| self.connection.endpoint(VERSION, route));
        let interactions =
            INTERACTIONS.iter().map(|route| self.connection.endpoint(INTERACTIONS_VERSION, route));
        let usage_tap = |path: &str| UsageTap { protocol: PROTOCOL, path: path.to_owned() };
        let text_tap = |member: &str| TextTap { protocol: PROTOCOL, member: member.to_owned() };
        let files = files(|route| self.connection.endpoint(VERSION, route));
        let headers = [("x-server-timeout", HeaderForm::Word), ("api-revision", HeaderForm::Word)];
        let events =
            |operation| ClientParameter { operation, name: "alt".to_owned(), value: "sse".to_owned() };
        Plan {
            endpoints: answers.chain(interactions).chain(files).collect(),
            auth: vec![self.connection.auth("x-goog-api-key")],
            defaults: Vec::new(),
            client_headers: client_headers(&headers),
            client_parameters: [Operation::Generate, Operation::Interact].map(events).to_vec(),
            usage_taps: USAGE_TAPS.into_iter().map(usage_tap).collect(),
            text_taps: TEXT_TAPS.into_iter().map(text_tap).collect(),
            stream_options: Vec::new(),
            translates: [
                from_all_to(PROTOCOL),
                completed_by(PROTOCOL),
                counted_by(PROTOCOL),
                embedded_by(PROTOCOL),
            ]
            .concat(),
            reset_headers: Vec::new(),
            error_header: None,
            platforms: platforms::all(),
            check: Some(self.connection.check(VERSION, "/models", None)),
        }
    }

    fn read_usage(&self, _protocol: Protocol, operation: Operation, samples: &[u8]) -> Usage {
        if operation == Operation::KeepFile {
            return Usage::of(Quality::Exact, &[]);
        }
        let stated: Option<UsageMetadata> = if operation == Operation::Interact {
            let usage =
                sample::read(samples, INTERACTION_STREAM).or_else(|| sample::read(samples, INTERACTION));
            usage.map(|usage: InteractionUsage| usage.into())
        } else {
            sample::read(samples, ANSWER)
        };
        let Some(stated) = stated else { return Usage::MISSING };
        let mut usage = stated.classes(operation);
        if operation == Operation::Interact {
            let tier: Option<String> =
                sample::read(samples, TIER_STREAM).or_else(|| sample::read(samples, TIER));
            usage.tier = tier.map_or(ServiceTier::Standard, |name| gemini::tier(&name));
        } else {
            let queries: Vec<Vec<String>> = sample::read(samples, QUERIES).unwrap_or_default();
            let model: String = sample::read(samples, MODEL).unwrap_or_default();
            usage[Class::WebSearch] = gemini::searches(&queries, &model);
            // A prompt is billed once, where it found any place.
            let places: Vec<String> = sample::read(samples, PLACES).unwrap_or_default();
            usage[Class::MapSearch] = u64::from(!places.is_empty());
        }
        usage.estimated_if(sample::is_odd(samples))
    }

    fn classify(&self, refusal: &Refusal) -> Failure {
        gemini::classify(refusal.status, refusal.retry_after_ms, &refusal.body)
    }

    fn translate(&self, exchange: &Exchange, body: &[u8]) -> Result<Translated, Reply> {
        translate(exchange, body, model(&exchange.model))
    }
}

/// What a model can do, by its name: before 2.5 none could think. The protocol does not require a limit for the output.
fn model(name: &str) -> Model {
    let thinks = !["gemini-1", "gemini-2.0", "gemma"].iter().any(|old| name.starts_with(old));
    let abilities = Abilities { reasoning: thinks, ..Target::new(name).abilities };
    Model { abilities, output_tokens_max: 8192 }
}

#[cfg(feature = "component")]
tollgate_plugin::export_adapter!(Gemini);

#[cfg(test)]
mod tests {
    use super::{Adapter, Gemini, Operation, Protocol, Usage};
    use tollgate_plugin::types::{Class, Quality, ServiceTier};

    #[test]
    fn every_method_has_its_address_and_leaves_the_query_to_the_client() {
        let plan = Gemini::configure("{}").unwrap().plan();
        let paths: Vec<_> = plan.endpoints.iter().map(|endpoint| endpoint.path.as_str()).collect();
        let expected = [
            "/v1beta/models/{model}:generateContent",
            "/v1beta/models/{model}:streamGenerateContent",
            "/v1beta/models/{model}:countTokens",
            "/v1beta/models/{model}:embedContent",
            "/v1beta/models/{model}:batchEmbedContents",
            "/v1beta/models",
            "/v1/interactions",
            "/v1/interactions",
            "/upload/v1beta/files",
            "/v1beta/files",
        ];
        assert_eq!(paths, expected);
        let streaming = plan.endpoints.iter().filter(|endpoint| endpoint.streaming);
        assert_eq!(streaming.count(), 2);
        assert_eq!(
            (plan.auth[0].name.as_str(), plan.auth[0].value.as_str()),
            ("x-goog-api-key", "{credential}")
        );
    }

    #[test]
    fn the_version_can_be_changed() {
        let plan = Gemini::configure(r#"{"path_prefix":"/v1"}"#).unwrap().plan();
        assert_eq!(plan.endpoints[0].path, "/v1/models/{model}:generateContent");
    }

    #[test]
    fn usage_metadata_is_read_and_its_absence_is_not_zero() {
        let gemini = Gemini::configure("{}").unwrap();
        let read =
            |samples: &str, operation| gemini.read_usage(Protocol::Gemini, operation, samples.as_bytes());
        let samples = r#"{"promptTokenCount":12,"candidatesTokenCount":3,"totalTokenCount":15}"#;
        let expected = Usage::of(Quality::Exact, &[(Class::Input, 12), (Class::Output, 3)]);
        assert_eq!(read(samples, Operation::Generate), expected);
        let beside = "\n\n\n\n\n[[\"a\",\"b\"]]\n\"gemini-2.5-flash\"\n[\"places/x\",\"places/y\"]";
        let grounded = expected.with(Class::WebSearch, 1).with(Class::MapSearch, 1);
        assert_eq!(read(&[samples, beside].concat(), Operation::Generate), grounded);
        let on_vertex = samples.replace('{', r#"{"trafficType":"ON_DEMAND_PRIORITY","#);
        assert_eq!(read(&on_vertex, Operation::Generate), expected.at_tier(ServiceTier::Priority));
        assert_eq!(read("", Operation::Generate), Usage::MISSING);
        assert_eq!(read("", Operation::Embed), Usage::MISSING);
        assert_eq!(read(samples, Operation::Interact), Usage::MISSING);
        let usage = r#"{"total_input_tokens":12,"total_output_tokens":3,"total_tokens":15}"#;
        assert_eq!(read(&format!("\n{usage}\n"), Operation::Interact), expected);
        assert_eq!(read(&format!("\n\n{usage}"), Operation::Interact), expected);
    }
}
