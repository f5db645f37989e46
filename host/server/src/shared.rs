//! What all workers share, each part replaced as a whole or safe to touch from several threads.

use arc_swap::{ArcSwap, ArcSwapOption};
use tollgate_core::time::Timestamp;
use tollgate_runtime::{Generation, Runtime};
use tollgate_store::Writer;

use crate::bodies::Bodies;
use crate::config::Config;
use crate::conversation::Conversations;
use crate::directory::Directory;
use crate::gates::Gates;
use crate::metrics::Metrics;
use crate::model_routes::Upstreams;
use crate::tokens::Tokens;
use crate::trial::Trials;

/// The gateway's state.
pub(crate) struct Shared {
    /// What the file said at start.
    pub(crate) settings: Config,
    /// Components.
    pub(crate) runtime: Runtime,
    /// Callers, credentials, prices.
    pub(crate) directory: ArcSwap<Directory>,
    /// Upstreams and the models that they serve, as last configured.
    pub(crate) upstreams: ArcSwap<Upstreams>,
    /// The generation whose pricing component last settled a request.
    pub(crate) last_good: ArcSwapOption<Generation>,
    /// How many requests may be under way.
    pub(crate) gates: Gates,
    /// Which credential a conversation began with.
    pub(crate) conversations: Conversations,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// Requests that an admin is about to try.
    pub(crate) trials: Trials,
    /// Access tokens of credentials that need some.
    pub(crate) tokens: Tokens,
    /// Where copies of bodies go.
    pub(crate) bodies: Bodies,
    /// The way to the database.
    pub(crate) writer: Writer,
}

/// The time by the calendar.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A new id's random part.
pub(crate) fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    fastrand::fill(&mut bytes);
    bytes
}
