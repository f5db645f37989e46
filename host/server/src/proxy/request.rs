//! A request, and what decides about it: its caller, its policies, its prices.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;
use tollgate_core::decisions::Screened;
use tollgate_core::hold::Quote;
use tollgate_core::id::RequestId;
use tollgate_core::price::{ModelPrice, PriceRate, Rates};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;
use tollgate_runtime::{Behalf, Policies};

use super::counted::Counted;
use super::dialect::ErrorDialect;
use super::limit::KeyPermit;
use super::prompt::Prompt;
use crate::routing::plan::Target;
use crate::routing::snapshot::{RoutingSnapshot, Screen};
use crate::state::accounts;
use crate::state::concurrency::Permit;
use crate::state::directory::{Caller, Directory};
use crate::state::habits::Shown;
use crate::state::trace::Trace;
use crate::upstream::CallKind;

/// Who asks for what, and what decides about it. Nothing of it changes on the way.
pub(crate) struct Request {
    /// Its id.
    pub(crate) id: RequestId,
    /// When it came, by the clock that cannot jump.
    pub(crate) started: Instant,
    /// When it came.
    pub(crate) at: Timestamp,
    /// Who pays.
    pub(crate) caller: Arc<Caller>,
    /// What the client asks for.
    pub(crate) call: CallKind,
    /// Prompt tokens by the size of the request: rather too many, for what is kept back.
    pub(crate) input_estimate: u64,
    /// What of it the model reads.
    pub(crate) prompt: Prompt,
    /// Bytes of its body.
    pub(crate) body_bytes: u64,
    /// The most output tokens that it allows, all its answers together.
    pub(crate) output_limit: Option<u64>,
    /// Searches of the web that its answer begins with, where no answer states them.
    pub(crate) searches: u64,
    /// What of it the gateway counts itself.
    pub(crate) counted: Option<Counted>,
    /// Its place among the calls of a limited key.
    pub(crate) key_permit: Option<KeyPermit>,
    /// Its place among all requests under way.
    pub(crate) permit: Permit,
    /// The generation that it began with.
    pub(crate) snapshot: Rc<RoutingSnapshot>,
    /// The policies of that generation that decide about it: of several variants, the caller's.
    pub(crate) policies: Policies,
    /// What the content filter said of it, once it was asked.
    pub(crate) screened: Screened,
    /// Where its steps note what they decide, where it is a dry run.
    pub(crate) trace: Option<Arc<Trace>>,
}

impl Request {
    /// The content filter that serves it, where there is one.
    pub(crate) fn screen(&self) -> Option<&Screen> {
        self.snapshot.screen(&self.policies)
    }

    /// What components are told that are called for it.
    pub(crate) fn behalf(&self) -> Behalf {
        Behalf::of(self.id).by(self.caller.user)
    }

    /// Where its steps note what they decide.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// In whose words its client is told of errors.
    pub(crate) fn dialect(&self) -> ErrorDialect {
        ErrorDialect::of(self.call.protocol, self.call.operation)
    }

    /// Makes room for other requests. Later calls change nothing.
    pub(super) fn leave(&mut self) {
        if let Some(key_permit) = &mut self.key_permit {
            key_permit.leave();
        }
        self.permit.leave();
    }
}

/// What a request is priced by: the table is the one that was in force when it came.
#[derive(Debug, Clone)]
pub(crate) struct Priced {
    /// Version of the price table.
    pub(crate) version: u64,
    /// The model's prices.
    pub(crate) price: ModelPrice,
    /// The entry that they stand in, where it is the default of a provider.
    pub(crate) default_price: Option<Arc<str>>,
    /// What the caller pays of them.
    pub(crate) rate: PriceRate,
}

impl Priced {
    /// What `request` pays for calls of a target, where they are billed.
    pub(crate) fn of(request: &Request, directory: &Directory, target: &Target<'_>) -> Option<Self> {
        let price = target.price?.clone();
        Some(Self {
            version: directory.prices.at(request.at).version(),
            price,
            default_price: target.default_price.map(Arc::from),
            rate: request.caller.price_rate,
        })
    }

    /// What the caller pays for such a usage: what the pricing policy is given. The policy never sees what of it
    /// is the table's price and what the user's rate, so that no component has to know of rates, and none can tell.
    pub(crate) fn rates(&self, usage: &Usage) -> Rates {
        self.published(usage).charged_at(self.rate)
    }

    /// The published prices of what was used, in the tier that served it.
    pub(crate) fn published(&self, usage: &Usage) -> Rates {
        self.price.rates(usage.prompt_total()).at_factor(self.price.tiers.ppm(usage.tier))
    }
}

/// What is reserved for a billed request, and by what it is priced.
pub(crate) struct Hold {
    /// What is kept back on the caller's account.
    pub(crate) granted: accounts::Hold,
    /// By what it is priced: by the target that serves, so far as one is known.
    pub(crate) priced: Priced,
    /// What of the answer is covered.
    pub(crate) cover: Cover,
}

/// How much of an answer a hold covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cover {
    /// What the hold follows from, but for the length of the answer.
    pub(crate) quote: Quote,
    /// Output tokens that are covered.
    pub(crate) tokens: u64,
    /// Tokens that are covered at a time where more pass: those of a typical answer.
    pub(crate) slice: u64,
    /// Whether less is covered than what may come.
    pub(crate) grows: bool,
    /// Answers that come at once.
    pub(crate) answers: u64,
    /// How much of it shows.
    pub(crate) shown: Shown,
}
