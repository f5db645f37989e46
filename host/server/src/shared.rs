//! What all workers share, each part is replaced as a whole or safe for several threads.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tollgate_core::id::CredentialId;
use tollgate_runtime::{Pricing, Runtime};
use tollgate_store::Writer;

use crate::bodies::Bodies;
use crate::clock;
use crate::config::Config;
use crate::routing::preview;
pub(crate) use crate::routing::preview::{Asker, ModelPreview, PlacePreview};
use crate::routing::snapshot::RoutingSnapshot;
use crate::routing::table::Upstreams;
use crate::state::accounts::Accounts;
use crate::state::affinity::Conversations;
use crate::state::concurrency::Gates;
use crate::state::configuration::FileInForce;
use crate::state::credentials::Credentials;
use crate::state::directory::Directory;
use crate::state::habits::Habits;
use crate::state::limiter::Limiter;
use crate::state::memory::Memory;
use crate::state::metrics::Metrics;
use crate::state::tokens::Tokens;
use crate::state::trace::DryRuns;
use crate::transport;
use crate::upstream::check::{Check, Found, Subject};

/// The gateway's state.
pub(crate) struct Shared {
    /// The configuration as it was at the start.
    pub(crate) settings: Config,
    /// What became of the file since.
    pub(crate) configuration: FileInForce,
    /// Components.
    pub(crate) runtime: Runtime,
    /// Callers, credentials, prices.
    pub(crate) directory: ArcSwap<Directory>,
    /// Upstreams and the models that they serve, as last configured.
    pub(crate) upstreams: ArcSwap<Upstreams>,
    /// The pricing policy that last settled a request.
    pub(crate) last_good: ArcSwapOption<Pricing>,
    /// What users may spend.
    pub(crate) accounts: Accounts,
    /// What API keys may do now.
    pub(crate) limiter: Limiter,
    /// Who may use a credential.
    pub(crate) credentials: Credentials,
    /// How many requests may be under way.
    pub(crate) gates: Gates,
    /// How many bytes they may hold.
    pub(crate) memory: Arc<Memory>,
    /// Which credential a conversation began with.
    pub(crate) conversations: Conversations,
    /// What the answers of each model have been like.
    pub(crate) habits: Habits,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// Test requests that an admin is about to make.
    pub(crate) dry_runs: DryRuns,
    /// Access tokens of credentials that need some.
    pub(crate) tokens: Arc<Tokens>,
    /// How requests reach the providers.
    pub(crate) transport: transport::Settings,
    /// Where copies of bodies go.
    pub(crate) bodies: Bodies,
    /// Writes to the ledger.
    pub(crate) writer: Writer,
    /// Movements of the books that cannot be, and that no balance counts.
    pub(crate) quarantined: u64,
}

impl Shared {
    /// What would become of a user's calls of these models, or of all, in the order of their names: of those after
    /// `after`, at most `limit`.
    pub(crate) fn preview(
        &self,
        asker: &Asker<'_>,
        (models, after): (&[String], Option<&str>),
        limit: usize,
    ) -> Vec<ModelPreview> {
        let snapshot = RoutingSnapshot::new(self.runtime.current(), self.upstreams.load_full());
        let (directory, at) = (self.directory.load(), clock::now());
        let names = match models {
            [] => preview::names(&snapshot, &directory, at),
            some => some.to_vec(),
        };
        let wanted = names.iter().filter(|name| after.is_none_or(|after| name.as_str() > after));
        wanted.take(limit).map(|name| preview::preview(&snapshot, &directory, asker, (name, at))).collect()
    }

    /// Checks a credential with the components and providers of the running gateway. A credential that serves here
    /// shares its access tokens with its requests.
    pub(crate) async fn check(&self, subject: Subject, id: Option<CredentialId>) -> Found {
        let directory = self.directory.load_full();
        let serving = id.and_then(|id| directory.all().find(|credential| credential.id == id).cloned());
        let upstreams = self.upstreams.load();
        let check = Check {
            runtime: self.runtime.clone(),
            provider: upstreams.providers.get(&subject.provider).cloned(),
            grants: Arc::clone(&upstreams.grants),
            transport: self.transport.clone(),
            subject,
            serving: serving.map(|credential| (Arc::clone(&self.tokens), credential)),
        };
        check.run().await
    }
}
