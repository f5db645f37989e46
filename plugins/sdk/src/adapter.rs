//! Provider adapters: world `provider-adapter` of `wit/provider.wit`, which documents every field.

use crate::types::{Operation, Protocol, Usage};

pub use crate::bindings::provider_adapter::exports::tollgate::plugin::adapter::{
    Check, ClientHeader, ClientParameter, Endpoint, Exchange, Failure, FailureClass, Framing, HeaderForm,
    HeaderTemplate, Member, MovedHeader, OauthRefresh, Plan, Platform, Refusal, Reply, Scheme,
    ServiceAccount, Setting, StreamOption, TextTap, Translation, UsageTap,
};

/// Speaks for one provider.
pub trait Adapter: Sized + 'static {
    /// Makes an adapter from the JSON text of the binding's `config` table (`{}` when there is none).
    ///
    /// # Errors
    /// What is wrong with the configuration, for the operator; then nothing changes in the gateway.
    fn configure(config: &str) -> Result<Self, String>;

    /// Everything about the provider that is data. Called once, after `configure`.
    fn plan(&self) -> Plan;

    /// Maps what the usage taps of [`plan`](Self::plan) saw to disjoint token classes. Called once per billed response.
    fn read_usage(&self, protocol: Protocol, operation: Operation, samples: &[u8]) -> Usage;

    /// Says what an answer with a status of 400 or more means. Called once per failed attempt.
    fn classify(&self, refusal: &Refusal) -> Failure;

    /// Translates a request into a protocol that the provider speaks, and says how its answer is translated back.
    /// Called once per attempt of the exchanges that [`plan`](Self::plan) lists in `translates`; the default, for
    /// adapters that list none, refuses.
    ///
    /// # Errors
    /// The answer to a request that cannot be expressed in the other protocol.
    fn translate(&self, _exchange: &Exchange, _body: &[u8]) -> Result<Translated, Reply> {
        Err(Reply {
            status: 400,
            body: br#"{"error":{"message":"This provider speaks other protocols only."}}"#.to_vec(),
        })
    }
}

/// A translated request, and the translator of its answer.
pub struct Translated {
    /// For the upstream.
    pub body: Vec<u8>,
    /// Paths of what the client asked for and the body lacks, with commas between them: only what the answer can do
    /// without, and nothing where [`Exchange::strict`] is set.
    pub left_out: String,
    /// Kept by the instance until the exchange has ended.
    pub answer: Box<dyn Answer>,
}

/// Translates the answer of one exchange: whole, failed, or in parts.
pub trait Answer {
    /// A whole answer with a status below 400.
    ///
    /// # Errors
    /// It is not of the upstream's protocol.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, String>;

    /// An answer of 400 or more that blames the request.
    fn failure(&mut self, status: u16, body: &[u8]) -> Reply;

    /// The next bytes of a stream, cut anywhere, as whole events of the client's protocol.
    fn part(&mut self, bytes: &[u8]) -> Vec<u8>;

    /// The stream has ended, in order or not.
    fn end(&mut self) -> Vec<u8>;
}

/// An empty plan, for `..Plan::default()`.
impl Default for Plan {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            auth: Vec::new(),
            defaults: Vec::new(),
            client_headers: Vec::new(),
            client_parameters: Vec::new(),
            usage_taps: Vec::new(),
            text_taps: Vec::new(),
            stream_options: Vec::new(),
            translates: Vec::new(),
            check: None,
            reset_headers: Vec::new(),
            error_header: None,
            platforms: Vec::new(),
        }
    }
}

/// An empty platform, for `..Platform::default()`.
impl Default for Platform {
    fn default() -> Self {
        Self {
            name: String::new(),
            base_url: String::new(),
            endpoints: Vec::new(),
            settings: Vec::new(),
            scheme: Scheme::Header,
            headers: Vec::new(),
            added: Vec::new(),
            framing: Framing::Plain,
            without: Vec::new(),
            members: Vec::new(),
            moved: Vec::new(),
            check: None,
            check_base_url: None,
        }
    }
}

/// Exports a type that implements [`Adapter`](crate::adapter::Adapter) as a component of world `provider-adapter`.
#[macro_export]
macro_rules! export_adapter {
    ($plugin:ty) => {
        $crate::__export_component!(
            $plugin,
            $crate::adapter::Adapter,
            __export_provider_adapter,
            provider_adapter
        );
    };
}
