//! Where the gateway listens and keeps its data, and the bounds on requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use http::header::HeaderName;
use serde::Deserialize;

use super::network::{AddressHeader, Network};
use super::origin::Origin;
use super::value::{Attempts, BaseUrl, HeadBytes, Millis};

/// Listeners and directories.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub admin_listen: SocketAddr,
    /// Where users manage what is theirs; without it they cannot.
    pub users_listen: Option<SocketAddr>,
    /// Where clients are told to connect, where that is not `listen`.
    pub public_url: Option<BaseUrl>,
    /// What a point is called.
    pub point_name: String,
    /// Serving threads; 0 means one per core.
    pub workers: usize,
    /// The directory of everything that lasts.
    pub data_dir: PathBuf,
    /// How long a shutdown waits for open requests.
    pub drain_timeout_ms: Millis,
    /// With it, clients must speak TLS.
    pub tls: Option<Tls>,
    /// With it, operators must speak TLS.
    pub admin_tls: Option<Tls>,
    /// With it, users must speak TLS.
    pub users_tls: Option<Tls>,
    /// Proxies that are believed when they say who they heard from.
    pub trusted_proxies: Vec<Network>,
    /// Where they say it.
    pub client_address_header: AddressHeader,
    /// Web pages that may call, by their origin.
    pub cors_origins: Vec<Origin>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            users_listen: None,
            public_url: None,
            point_name: "points".to_owned(),
            workers: 0,
            data_dir: PathBuf::from("tollgate-data"),
            drain_timeout_ms: Millis(30_000),
            tls: None,
            admin_tls: None,
            users_tls: None,
            trusted_proxies: Vec::new(),
            client_address_header: AddressHeader(HeaderName::from_static("x-forwarded-for")),
            cors_origins: Vec::new(),
        }
    }
}

/// The certificate of a listener. Both files are PEM, and are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, followed by those that lead to a root.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Time for a handshake.
    #[serde(default = "handshake_timeout_ms")]
    pub handshake_timeout_ms: Millis,
}

const fn handshake_timeout_ms() -> Millis {
    Millis(10_000)
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
    /// Bytes a second that a client must send of a body, and take of an answer that waits for it, once the times above
    /// are used up; 0 for any.
    pub client_rate_bytes_min: u64,
    /// Connections of clients at one time; 0 for half of the descriptors that the system gives.
    pub connections_max: usize,
    /// Connections of operators at one time.
    pub admin_connections_max: NonZeroUsize,
    /// Bytes that are read and dropped of a body that was refused before it was read.
    pub refused_body_bytes_max: u64,
    /// Time for that.
    pub refused_body_timeout_ms: Millis,
    /// Time in which a client must take some bytes.
    pub client_write_timeout_ms: Millis,
    /// Requests under way at one time on one HTTP/2 connection.
    pub http2_streams_max: NonZeroU32,
    /// Time to connect upstream.
    pub upstream_connect_timeout_ms: Millis,
    /// Time to the first byte of an answer.
    pub upstream_first_byte_timeout_ms: Millis,
    /// Time between two pieces of an answer.
    pub upstream_idle_timeout_ms: Millis,
    /// Silence after which a client's event stream gets a sign of life; 0 for never.
    pub stream_keep_alive_ms: u64,
    /// Bytes of an answer that must be seen whole before the client sees any of it.
    pub answer_bytes_max: usize,
    /// Bytes of requests and answers that all exchanges together may hold; 0 for any number.
    pub memory_bytes_max: usize,
    /// Attempts per request.
    pub attempts_max: Attempts,
    /// Output limit of a request that names none; 0 for that of its model.
    pub default_output_tokens_max: u64,
    /// Output tokens of a typical answer, of a model that has not answered here yet.
    pub typical_output_tokens: u64,
    /// Prompt tokens of what a request only names: a file, a conversation, a cache.
    pub unseen_prompt_tokens: u64,
    /// What a user's open calls may cost beyond their holds, in points.
    pub unsecured_points_max: u64,
    /// What is served without a price of its own, by name; `*` at the end stands for the rest of it.
    pub unpriced_allowed: Vec<String>,
    /// What becomes of an answer whose client has left, by the name of the provider.
    pub on_leave: BTreeMap<String, OnLeave>,
    /// How long the rest of it is read for what was used, where that is known to be more than what was seen.
    pub leave_grace_ms: u64,
    /// How long it is read at most, where it is to be read to its end.
    pub leave_drain_ms: Millis,
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
            client_rate_bytes_min: 512,
            connections_max: 0,
            admin_connections_max: const { NonZeroUsize::new(256).unwrap() },
            refused_body_bytes_max: 64 * 1024 * 1024,
            refused_body_timeout_ms: Millis(30_000),
            client_write_timeout_ms: Millis(60_000),
            http2_streams_max: const { NonZeroU32::new(200).unwrap() },
            upstream_connect_timeout_ms: Millis(5_000),
            upstream_first_byte_timeout_ms: Millis(300_000),
            upstream_idle_timeout_ms: Millis(120_000),
            stream_keep_alive_ms: 15_000,
            answer_bytes_max: 64 * 1024 * 1024,
            memory_bytes_max: 1024 * 1024 * 1024,
            attempts_max: Attempts(3),
            default_output_tokens_max: 0,
            typical_output_tokens: 1_024,
            unseen_prompt_tokens: 200_000,
            unsecured_points_max: 250,
            unpriced_allowed: Vec::new(),
            on_leave: BTreeMap::new(),
            leave_grace_ms: 1_000,
            leave_drain_ms: Millis(30_000),
            api_keys_per_user: 10,
            concurrency_max: 0,
            provider_concurrency_max: BTreeMap::new(),
            concurrency_timeout_ms: Millis(30_000),
            request_timeout_ms: Millis(3_600_000),
        }
    }
}

/// What becomes of an answer whose client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLeave {
    /// It is ended at once, but for a moment in which a provider may still state what was used, where a part of the
    /// answer is hidden or may be.
    #[default]
    Settle,
    /// It is ended at once.
    Cancel,
    /// It is read to its end: for a provider that bills all of it whoever listens.
    Drain,
}

/// What users may lend to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lending {
    /// Whether users' own credentials may serve others, if they agree to it.
    pub enabled: bool,
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
