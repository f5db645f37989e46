//! The configuration file, and the settings that come of it.
//!
//! Each value has a type that checks it while it is read, so that a bad one is reported with its line. The file is
//! documented in `tollgate.example.toml`, which a test holds equal to the defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use serde::{Deserialize, Serialize};

pub use crate::model_entry::{Model, Target};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listeners and directories.
    pub server: Server,
    /// Every bound on a request.
    pub limits: Limits,
    /// What is logged and how.
    pub log: Log,
    /// The request log.
    pub requests: Requests,
    /// The database.
    pub store: Store,
    /// Where components come from.
    pub plugins: Plugins,
    /// Upstreams by name.
    #[serde(deserialize_with = "with_default_providers")]
    pub providers: Providers,
    /// Who serves which model; the first entry that matches counts.
    pub models: Vec<Model>,
    /// What users may lend to each other.
    pub pool: Pool,
    /// Which component decides what.
    pub policies: Policies,
}

/// What users may lend to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Whether their own credentials may serve others, where they agree to it.
    pub enabled: bool,
}

/// Listeners and directories.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub admin_listen: SocketAddr,
    /// Serving threads; 0 means one per core.
    pub workers: usize,
    /// Home of everything that lasts.
    pub data_dir: PathBuf,
    /// How long a drain waits.
    pub drain_timeout_ms: Millis,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            workers: 0,
            data_dir: PathBuf::from("tollgate-data"),
            drain_timeout_ms: Millis(30_000),
        }
    }
}

/// Every bound on a request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body.
    pub request_body_bytes_max: usize,
    /// Bytes of a request head; at least 8192, which the HTTP library needs.
    pub request_head_bytes_max: HeadBytes,
    /// Time to send a request head.
    pub head_read_timeout_ms: Millis,
    /// Time between two pieces of a request body.
    pub body_read_timeout_ms: Millis,
    /// Time in which a client must take some bytes.
    pub client_write_timeout_ms: Millis,
    /// Time to connect upstream.
    pub upstream_connect_timeout_ms: Millis,
    /// Time to the first byte of an answer.
    pub upstream_first_byte_timeout_ms: Millis,
    /// Time between two pieces of an answer.
    pub upstream_idle_timeout_ms: Millis,
    /// Silence after which a client's event stream gets a comment; 0 for never.
    pub stream_keep_alive_ms: u64,
    /// Attempts per request.
    pub attempts_max: Attempts,
    /// Output tokens reserved where the request names no limit.
    pub default_output_tokens_max: u64,
    /// API keys that work, per user.
    pub api_keys_per_user: u32,
    /// Requests under way at one time; 0 for any number.
    pub concurrency_max: usize,
    /// Requests under way at one time at one provider, by its name; 0 for any number.
    pub provider_concurrency_max: BTreeMap<String, usize>,
    /// How long a request waits for its place among them.
    pub concurrency_timeout_ms: Millis,
    /// From a request's head to the end of its answer.
    pub request_timeout_ms: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body_bytes_max: 32 * 1024 * 1024,
            request_head_bytes_max: HeadBytes(64 * 1024),
            head_read_timeout_ms: Millis(30_000),
            body_read_timeout_ms: Millis(30_000),
            client_write_timeout_ms: Millis(60_000),
            upstream_connect_timeout_ms: Millis(5_000),
            upstream_first_byte_timeout_ms: Millis(300_000),
            upstream_idle_timeout_ms: Millis(120_000),
            stream_keep_alive_ms: 15_000,
            attempts_max: Attempts(3),
            default_output_tokens_max: 4096,
            api_keys_per_user: 10,
            concurrency_max: 0,
            provider_concurrency_max: BTreeMap::new(),
            concurrency_timeout_ms: Millis(30_000),
            request_timeout_ms: Millis(3_600_000),
        }
    }
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level or a filter of levels.
    pub level: LogFilter,
    /// Shape of a line.
    pub format: LogFormat,
    /// What goes to files, too.
    pub files: LogFiles,
}

impl Default for Log {
    fn default() -> Self {
        let files = LogFiles::default();
        Self { level: LogFilter("info".to_owned()), format: LogFormat::Text, files }
    }
}

/// Which streams go to files, and when those begin anew.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFiles {
    /// Where; without it there are no files.
    pub dir: Option<PathBuf>,
    /// Whether what goes to standard error goes to `application.log`, too.
    pub application: bool,
    /// Whether `transactions.log` gets a line for each call.
    pub transactions: bool,
    /// Whether `debug.log` gets everything of its own level.
    pub debug: bool,
    /// What that is.
    pub debug_level: LogFilter,
    /// The time after which a file begins anew.
    pub rotate: Rotate,
    /// The size after which a file begins anew.
    pub rotate_bytes: u64,
    /// Files that have ended and are kept, of each stream.
    pub keep: u32,
}

impl Default for LogFiles {
    fn default() -> Self {
        Self {
            dir: None,
            application: true,
            transactions: true,
            debug: false,
            debug_level: LogFilter("debug".to_owned()),
            rotate: Rotate::Daily,
            rotate_bytes: 256 * 1024 * 1024,
            keep: 14,
        }
    }
}

/// The time after which a log file begins anew (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotate {
    /// With each hour.
    Hourly,
    /// With each day.
    Daily,
    /// By its size alone.
    Never,
}

impl Rotate {
    /// In milliseconds; 0 for never.
    #[must_use]
    pub const fn period_ms(self) -> u64 {
        match self {
            Self::Hourly => 3_600_000,
            Self::Daily => 86_400_000,
            Self::Never => 0,
        }
    }
}

/// How long the request log is kept, and where it goes then.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requests {
    /// Records of requests older than so many days go; 0 for never.
    pub keep_days: u64,
    /// Of more records than so many, the oldest go; 0 for never.
    pub keep_records: u64,
    /// Records are written to files in here before they go; without it they just go.
    pub archive_dir: Option<PathBuf>,
    /// Run on each such file when it is complete: a program and its arguments, the file's path behind them.
    pub archive_command: Vec<String>,
    /// What is kept of bodies, for API keys of which an operator wants them.
    pub bodies: KeepBodies,
}

/// What is kept of the bodies of calls. No key's are, unless an operator says so of the key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepBodies {
    /// Of a request, and of an answer, each.
    pub bytes_max: BodyBytes,
    /// Members of JSON whose values are taken out before anything is stored, whatever their case.
    pub redact: Vec<String>,
    /// Bodies of calls older than so many days go.
    pub retention_days: NonZeroU64,
}

impl Default for KeepBodies {
    fn default() -> Self {
        Self {
            bytes_max: BodyBytes(64 * 1024),
            redact: Vec::new(),
            retention_days: NonZeroU64::MIN.saturating_add(6),
        }
    }
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// What a commit survives.
    pub sync: Sync,
}

impl Default for Store {
    fn default() -> Self {
        Self { sync: Sync::Full }
    }
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// A power cut.
    Full,
    /// The end of the process.
    Normal,
}

/// Where components come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// Files in here replace built-in components; `None` is `plugins` below the data directory.
    pub dir: Option<PathBuf>,
    /// Compiled code is kept here between starts; `None` is `cache` below the data directory.
    pub cache_dir: Option<PathBuf>,
    /// Whether a changed file is taken up by itself.
    pub watch: bool,
    /// Largest component file, in bytes.
    pub file_bytes_max: u64,
    /// Longest compilation of one component, in time of its thread.
    pub compile_timeout_ms: Millis,
    /// Longest `configure` of a fresh instance.
    pub configure_timeout_ms: Millis,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            dir: None,
            cache_dir: None,
            watch: true,
            file_bytes_max: 32 << 20,
            compile_timeout_ms: Millis(30_000),
            configure_timeout_ms: Millis(250),
        }
    }
}

/// Providers by name, in the order of their names.
pub type Providers = BTreeMap<String, Provider>;

/// One upstream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Whether requests may go there.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The component that speaks for it.
    pub adapter: String,
    /// What the adapter's paths are put behind.
    pub base_url: BaseUrl,
    /// Handed to the adapter.
    #[serde(default)]
    pub config: toml::Table,
}

const fn yes() -> bool {
    true
}

/// The file's tables over the built-in ones, member by member.
fn with_default_providers<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Providers, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Partial {
        enabled: Option<bool>,
        adapter: Option<String>,
        base_url: Option<BaseUrl>,
        config: Option<toml::Table>,
    }
    let mut providers = default_providers();
    for (name, part) in BTreeMap::<String, Partial>::deserialize(input)? {
        let missing = |field| serde::de::Error::custom(format!("provider `{name}` needs `{field}`"));
        let known = providers.remove(&name);
        let adapter = part.adapter.or_else(|| known.as_ref().map(|p| p.adapter.clone()));
        let base_url = part.base_url.or_else(|| known.as_ref().map(|p| p.base_url.clone()));
        let provider = Provider {
            enabled: part.enabled.unwrap_or(true),
            adapter: adapter.ok_or_else(|| missing("adapter"))?,
            base_url: base_url.ok_or_else(|| missing("base_url"))?,
            config: part.config.unwrap_or_default(),
        };
        providers.insert(name, provider);
    }
    Ok(providers)
}

fn default_providers() -> Providers {
    let provider = |adapter: &str, host: &'static str| Provider {
        enabled: true,
        adapter: adapter.to_owned(),
        base_url: BaseUrl::https(host),
        config: toml::Table::new(),
    };
    BTreeMap::from([
        ("openai".to_owned(), provider("openai", "api.openai.com")),
        ("anthropic".to_owned(), provider("claude", "api.anthropic.com")),
        ("google".to_owned(), provider("gemini", "generativelanguage.googleapis.com")),
    ])
}

/// Which component decides what.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// Chooses credentials.
    #[serde(deserialize_with = "key_selection")]
    pub key_selection: Policy,
    /// Says what a request costs.
    #[serde(deserialize_with = "pricing")]
    pub pricing: Policy,
    /// Decides what may pass.
    #[serde(deserialize_with = "content_filter")]
    pub content_filter: Policy,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            key_selection: Policy::new("key-selection", OnError::Fallback),
            pricing: Policy::new("discount-points", OnError::Fallback),
            content_filter: Policy::new("content-filter", OnError::Closed),
        }
    }
}

/// One policy binding.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// File stem of the component.
    pub component: String,
    /// What happens to a request when the component fails.
    pub on_error: OnError,
    /// Longest call.
    pub deadline_ms: Millis,
    /// Most linear memory.
    pub memory_bytes_max: usize,
    /// Handed to the component.
    pub config: toml::Table,
}

impl Policy {
    fn new(component: &str, on_error: OnError) -> Self {
        Self {
            component: component.to_owned(),
            on_error,
            deadline_ms: Millis(5),
            memory_bytes_max: 16 * 1024 * 1024,
            config: toml::Table::new(),
        }
    }

    /// The file's members over this binding.
    fn read<'de, D: serde::Deserializer<'de>>(self, input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Partial {
            component: Option<String>,
            on_error: Option<OnError>,
            deadline_ms: Option<Millis>,
            memory_bytes_max: Option<usize>,
            config: Option<toml::Table>,
        }
        let part = Partial::deserialize(input)?;
        Ok(Self {
            component: part.component.unwrap_or(self.component),
            on_error: part.on_error.unwrap_or(self.on_error),
            deadline_ms: part.deadline_ms.unwrap_or(self.deadline_ms),
            memory_bytes_max: part.memory_bytes_max.unwrap_or(self.memory_bytes_max),
            config: part.config.unwrap_or(self.config),
        })
    }
}

fn key_selection<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Policy, D::Error> {
    Policies::default().key_selection.read(input)
}

fn pricing<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Policy, D::Error> {
    Policies::default().pricing.read(input)
}

fn content_filter<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Policy, D::Error> {
    Policies::default().content_filter.read(input)
}

/// What happens to a request when a component fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The request is refused.
    Closed,
    /// The request goes on without the policy.
    Open,
    /// The gateway's own rule is used.
    Fallback,
}

/// A time of 1 ms to 1 day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Millis(u64);

impl Millis {
    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Millis {
    type Error = &'static str;

    fn try_from(value: u64) -> Result<Self, Self::Error> {
        if (1..=86_400_000).contains(&value) {
            Ok(Self(value))
        } else {
            Err("must be between 1 and 86400000 milliseconds")
        }
    }
}

/// Attempts per request: 1 to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Attempts(pub u32);

impl TryFrom<u32> for Attempts {
    type Error = &'static str;

    fn try_from(value: u32) -> Result<Self, Self::Error> {
        if (1..=16).contains(&value) { Ok(Self(value)) } else { Err("must be between 1 and 16") }
    }
}

/// Bytes of a request head: 8 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct HeadBytes(pub usize);

impl TryFrom<usize> for HeadBytes {
    type Error = &'static str;

    fn try_from(value: usize) -> Result<Self, Self::Error> {
        if (8192..=1 << 20).contains(&value) {
            Ok(Self(value))
        } else {
            Err("must be between 8192 and 1048576 bytes")
        }
    }
}

/// Bytes of a body that is kept: 1 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct BodyBytes(pub usize);

impl TryFrom<usize> for BodyBytes {
    type Error = &'static str;

    fn try_from(value: usize) -> Result<Self, Self::Error> {
        if (1024..=1 << 20).contains(&value) {
            Ok(Self(value))
        } else {
            Err("must be between 1024 and 1048576 bytes")
        }
    }
}

/// A filter that `tracing` understands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(pub String);

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match tracing_subscriber::EnvFilter::try_new(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(format!("not a log filter: {error}")),
        }
    }
}

/// Scheme, authority and path prefix of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Path prefix without its last slash; often empty.
    pub prefix: String,
}

impl BaseUrl {
    fn https(host: &'static str) -> Self {
        Self { scheme: Scheme::HTTPS, authority: Authority::from_static(host), prefix: String::new() }
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err("needs a scheme and a host, as in https://api.example.com".to_owned());
        };
        let path = parts.path_and_query.as_ref();
        if path.is_some_and(|path| path.query().is_some()) {
            return Err("must have no query".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("must hold no user or password".to_owned());
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err("must begin with http:// or https://".to_owned());
        }
        let prefix = path.map_or("", |path| path.path()).trim_end_matches('/').to_owned();
        Ok(Self { scheme, authority, prefix })
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        format!("{}://{}{}", url.scheme, url.authority, url.prefix)
    }
}

/// Why a configuration was refused. The text names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, excerpt and reason.
        reason: String,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] when it cannot be read, [`ConfigError::Parse`] with line and reason when it is not right.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let refuse = |reason| ConfigError::Parse { path: path.to_owned(), reason };
        let config: Self = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        config.check().map_err(refuse)?;
        Ok(config)
    }

    /// What no single line shows to be wrong.
    fn check(&self) -> Result<(), String> {
        if self.requests.archive_dir.is_none() && !self.requests.archive_command.is_empty() {
            return Err("[requests]: archive_command needs archive_dir".to_owned());
        }
        for model in &self.models {
            if let Some(provider) = model.stranger(|name| self.providers.contains_key(name)) {
                return Err(format!("[[models]]: model `{}` names no provider: `{provider}`", model.name));
            }
        }
        Ok(())
    }

    /// Where compiled components are kept.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.plugins.cache_dir.clone().unwrap_or_else(|| self.server.data_dir.join("cache"))
    }

    /// Where plugins are looked for.
    #[must_use]
    pub fn plugins_dir(&self) -> PathBuf {
        self.plugins.dir.clone().unwrap_or_else(|| self.server.data_dir.join("plugins"))
    }
}

/// The configuration of an empty file.
impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            limits: Limits::default(),
            log: Log::default(),
            requests: Requests::default(),
            store: Store::default(),
            plugins: Plugins::default(),
            providers: default_providers(),
            models: Vec::new(),
            pool: Pool::default(),
            policies: Policies::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    const EXAMPLE: &str = include_str!("../tollgate.example.toml");

    fn check_refused(text: &str, line: &str, reason: &str) {
        let error = toml::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error.contains(line) && error.contains(reason), "{text:?} gave: {error}");
    }

    #[test]
    fn the_example_says_what_applies_without_it() {
        let mut example: Config = toml::from_str(EXAMPLE).unwrap();
        for policy in [
            &mut example.policies.key_selection,
            &mut example.policies.pricing,
            &mut example.policies.content_filter,
        ] {
            assert!(
                !std::mem::take(&mut policy.config).is_empty(),
                "shown with the component's own defaults"
            );
        }
        assert_eq!(example, Config::default());
    }

    #[test]
    fn an_empty_file_is_the_standard_configuration() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line_and_the_reason() {
        check_refused("[server]\nlisten = \"nowhere\"", "line 2", "invalid socket address");
        check_refused("[server]\nlissten = \"127.0.0.1:1\"", "line 2", "unknown field `lissten`");
        check_refused("[limits]\nattempts_max = 0", "line 2", "between 1 and 16");
        check_refused("[limits]\nbody_read_timeout_ms = 0", "line 2", "between 1 and 86400000");
        check_refused("[requests.bodies]\nbytes_max = 1", "line 2", "between 1024 and 1048576");
        check_refused("[requests.bodies]\nretention_days = 0", "line 2", "nonzero");
        check_refused("[log]\n\nlevel = \"a=b=c\"", "line 3", "not a log filter");
        check_refused("[providers.x]\nbase_url = \"http://h\"", "line 1", "needs `adapter`");
        check_refused("[providers.openai]\nbase_url = \"ftp://h\"", "line 2", "http://");
        check_refused("[providers.openai]\nbase_url = \"http://u:p@h\"", "line 2", "no user or password");
        check_refused("[policies.pricing]\non_error = \"shrug\"", "line 2", "unknown variant");
        check_refused("[policies.other]\n", "line 1", "unknown field");
        check_refused("nonsense", "line 1", "expected");
    }

    #[test]
    fn a_model_is_served_by_a_provider_that_is_there() {
        let check = |text: &str| toml::from_str::<Config>(text).unwrap().check();
        assert_eq!(check("[[models]]\nname = \"gpt-*\"\nprovider = \"openai\"\nmodel = \"x\""), Ok(()));
        let error = check("[[models]]\nname = \"gpt-*\"\nprovider = \"nobody\"").unwrap_err();
        assert!(error.contains("`gpt-*`") && error.contains("`nobody`"), "{error}");
        check_refused("[[models]]\nname = \"\"\nprovider = \"openai\"", "line 1", "a name that is empty");
        check_refused("[[models]]\nname = \"x\"", "line 1", "needs `provider` or `targets`");
    }

    #[test]
    fn the_examples_entry_for_a_model_is_one() {
        let entry = EXAMPLE.split_once("# [[models]]").map(|(_, rest)| rest).unwrap();
        let lines: Vec<&str> = entry.lines().skip(1).map_while(|line| line.strip_prefix("# ")).collect();
        let config: Config = toml::from_str(&format!("[[models]]\n{}", lines.join("\n"))).unwrap();
        assert_eq!(config.check(), Ok(()));
        let shown = serde_json::to_string(&config.models).unwrap();
        for member in ["aliases", "fallbacks", "model", "base_url", "credentials", "weight", "priority"] {
            assert!(shown.contains(member), "{member} is not shown");
        }
    }

    #[test]
    fn one_changed_member_keeps_the_rest_of_a_builtin_provider() {
        let config: Config =
            toml::from_str("[providers.openai]\nbase_url = \"http://127.0.0.1:9/v2/\"").unwrap();
        let openai = &config.providers["openai"];
        assert_eq!((openai.adapter.as_str(), openai.base_url.prefix.as_str()), ("openai", "/v2"));
        assert_eq!(config.providers.len(), 3);
    }
}
