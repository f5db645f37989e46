//! What all workers share, each part replaced as a whole or safe to touch from several threads.

use arc_swap::{ArcSwap, ArcSwapOption};
use tollgate_runtime::{Generation, Runtime};
use tollgate_store::Writer;

use crate::bodies::Bodies;
use crate::config::Config;
use crate::routing::table::Upstreams;
use crate::state::affinity::Conversations;
use crate::state::concurrency::Gates;
use crate::state::directory::Directory;
use crate::state::metrics::Metrics;
use crate::state::trace::DryRuns;
use crate::upstream::access_token::Tokens;

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
    /// Requests that an admin is about to make to see what becomes of them.
    pub(crate) dry_runs: DryRuns,
    /// Access tokens of credentials that need some.
    pub(crate) tokens: Tokens,
    /// Where copies of bodies go.
    pub(crate) bodies: Bodies,
    /// The way to the database.
    pub(crate) writer: Writer,
}
