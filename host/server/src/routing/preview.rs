//! What someone may call, and who would serve it, without a call: what the road would find at this moment, for those
//! who set limits and for those who have to live within them.

use std::collections::BTreeMap;

use tollgate_core::health::Standing;
use tollgate_core::id::UserId;
use tollgate_core::limits::KeyLimits;
use tollgate_core::price::ModelPrice;
use tollgate_core::protocol::{Operation, Owner, Protocol};
use tollgate_core::time::Timestamp;

use super::plan::{Destination, Target, Tier, Unserved};
use super::snapshot::RoutingSnapshot;
use crate::state::directory::Directory;
use crate::upstream::CallKind;

/// Who would call.
pub(crate) struct Asker<'a> {
    /// The user.
    pub(crate) user: UserId,
    /// What the key may do.
    pub(crate) limits: &'a KeyLimits,
}

/// What would become of calls of one model.
#[derive(Debug)]
pub(crate) struct ModelPreview {
    /// As the client names it.
    pub(crate) model: String,
    /// Why no call of it would be served; `None` where one would.
    pub(crate) why_not: Option<WhyNot>,
    /// The protocols in which it can be called.
    pub(crate) protocols: Vec<Protocol>,
    /// Who would serve it, in the order in which they are tried, in the first of the protocols.
    pub(crate) places: Vec<PlacePreview>,
    /// The prices of the first that has any, and whether they are the default of its provider.
    pub(crate) price: Option<(ModelPrice, bool)>,
}

/// Why no call would be served: what says more comes later, and what a key forbids says more than what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WhyNot {
    /// There is no such model.
    Unknown,
    /// It has no price.
    Unpriced,
    /// Its provider has no such calls.
    NoOperation,
    /// Its provider is switched off.
    SwitchedOff,
    /// The key may not call it.
    ModelNotAllowed,
    /// The key may use no provider of it.
    ProviderNotAllowed,
    /// The key may speak none of the protocols in which it can be called.
    ProtocolNotAllowed,
    /// Nobody has a credential for it.
    NoCredential,
    /// All credentials for it rest or are disabled.
    AllDown,
}

impl WhyNot {
    /// The name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ModelNotAllowed => "model-not-allowed",
            Self::ProtocolNotAllowed => "protocol-not-allowed",
            Self::ProviderNotAllowed => "provider-not-allowed",
            Self::Unknown => "unknown-model",
            Self::Unpriced => "unpriced",
            Self::SwitchedOff => "provider-off",
            Self::NoOperation => "no-such-calls",
            Self::NoCredential => "no-credential",
            Self::AllDown => "all-down",
        }
    }

    const fn of(unserved: &Unserved<'_>) -> Self {
        match unserved {
            Unserved::Unknown => Self::Unknown,
            Unserved::Unpriced(_) => Self::Unpriced,
            Unserved::SwitchedOff => Self::SwitchedOff,
            Unserved::Foreign => Self::NoOperation,
        }
    }
}

/// A place that may serve a model.
#[derive(Debug)]
pub(crate) struct PlacePreview {
    /// The provider; `None` for any that speaks the client's protocol.
    pub(crate) provider: Option<String>,
    /// What is paid: the model, or one that stands in for it.
    pub(crate) paid: String,
    /// 0 for the model asked for, then counting those that stand in.
    pub(crate) order: usize,
    /// What it is called there.
    pub(crate) called: String,
    /// Whether the client's own words go there.
    pub(crate) own_words: bool,
    /// Credentials by owner: those that are fit, and all.
    pub(crate) credentials: BTreeMap<&'static str, (usize, usize)>,
}

/// All names that somebody may call: those with prices, and those of routes.
pub(crate) fn names(snapshot: &RoutingSnapshot, directory: &Directory, at: Timestamp) -> Vec<String> {
    let prices = directory.prices.at(at);
    let names = prices.models().map(|(name, _)| name).chain(snapshot.routes().listed());
    // What stands for the rest of a provider's models is no model.
    let mut names: Vec<String> = names.filter(|name| !name.contains('*')).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What would become of calls of a model.
pub(crate) fn preview(
    snapshot: &RoutingSnapshot,
    directory: &Directory,
    asker: &Asker<'_>,
    (model, at): (&str, Timestamp),
) -> ModelPreview {
    let mut seen = ModelPreview {
        model: model.to_owned(),
        why_not: None,
        protocols: Vec::new(),
        places: Vec::new(),
        price: None,
    };
    let mut why_not = WhyNot::Unknown;
    if !asker.limits.allows_model(model) {
        seen.why_not = Some(WhyNot::ModelNotAllowed);
        return seen;
    }
    for protocol in Protocol::ALL {
        match find(snapshot, directory, asker, (model, at), protocol) {
            Err(why) => why_not = why_not.max(why),
            Ok(_) if !asker.limits.allows_protocol(protocol) => {
                why_not = why_not.max(WhyNot::ProtocolNotAllowed);
            }
            Ok(destination) => {
                if seen.protocols.is_empty() {
                    seen.places = places(directory, asker, (model, at), &destination);
                    seen.price = destination.targets().find_map(|target| {
                        target.price.map(|price| (price.clone(), target.default_price.is_some()))
                    });
                }
                seen.protocols.push(protocol);
            }
        }
    }
    let total = |count: fn(&(usize, usize)) -> usize| {
        seen.places.iter().flat_map(|place| place.credentials.values()).map(count).sum::<usize>()
    };
    seen.why_not = match (seen.protocols.is_empty(), total(|(fit, _)| *fit), total(|(_, all)| *all)) {
        (true, ..) => Some(why_not),
        (false, _, 0) => Some(WhyNot::NoCredential),
        (false, 0, _) => Some(WhyNot::AllDown),
        (false, ..) => None,
    };
    seen
}

/// Who may serve a model in a protocol. A model without output makes embeddings.
fn find<'a>(
    snapshot: &'a RoutingSnapshot,
    directory: &'a Directory,
    asker: &Asker<'_>,
    (model, at): (&str, Timestamp),
    protocol: Protocol,
) -> Result<Destination<'a>, WhyNot> {
    let prices = directory.prices.at(at);
    let mut why_not = WhyNot::Unknown;
    for operation in [Operation::Generate, Operation::Embed] {
        let call = CallKind { protocol, operation, streaming: false };
        let mut destination = match Destination::find(snapshot, prices, call, model) {
            Ok(destination) => destination,
            Err(unserved) => {
                why_not = why_not.max(WhyNot::of(&unserved));
                continue;
            }
        };
        let embeds = |target: &Target<'_>| target.price.is_some_and(|price| price.output_tokens_max == 0);
        if destination.targets().all(embeds) != (operation == Operation::Embed) {
            why_not = why_not.max(WhyNot::NoOperation);
            continue;
        }
        destination.tiers.retain(|tier| asker.limits.allows_model(&tier.model));
        for tier in &mut destination.tiers {
            let allows = |target: &Target<'_>| {
                target.provider().is_none_or(|provider| asker.limits.allows_provider(provider))
            };
            tier.targets.retain(allows);
        }
        destination.tiers.retain(|tier| !tier.targets.is_empty());
        if destination.tiers.is_empty() {
            return Err(WhyNot::ProviderNotAllowed);
        } else {
            return Ok(destination);
        }
    }
    Err(why_not)
}

fn places(
    directory: &Directory,
    asker: &Asker<'_>,
    (model, at): (&str, Timestamp),
    destination: &Destination<'_>,
) -> Vec<PlacePreview> {
    let place = |tier: &Tier<'_>, target: &Target<'_>| PlacePreview {
        provider: target.provider().map(str::to_owned),
        paid: tier.model.to_string(),
        order: tier.order,
        called: target.model.as_deref().unwrap_or(model).to_owned(),
        own_words: target.is_in_own_words(),
        credentials: credentials(directory, asker, target, at),
    };
    let tiers = destination.tiers.iter();
    tiers.flat_map(|tier| tier.targets.iter().map(move |target| place(tier, target))).collect()
}

/// Who could serve a target, by whose they are: those that are fit, and all.
fn credentials(
    directory: &Directory,
    asker: &Asker<'_>,
    target: &Target<'_>,
    at: Timestamp,
) -> BTreeMap<&'static str, (usize, usize)> {
    let mut counts: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
    let own = directory.own.get(&asker.user).map_or(&[][..], |own| own);
    for credential in directory.serving(asker.user, own) {
        let own_only = asker.limits.own_only && credential.owner != Owner::User;
        let allowed = asker.limits.allows_provider(&credential.provider) && !own_only;
        if !allowed || target.upstream(credential).is_none() {
            continue;
        }
        let (fit, all) = counts.entry(owner(credential.owner)).or_default();
        *all += 1;
        let standing = credential.live.standing(at);
        *fit += usize::from(matches!(standing, Standing::Available | Standing::HalfOpen));
    }
    counts
}

const fn owner(owner: Owner) -> &'static str {
    match owner {
        Owner::User => "own",
        Owner::Shared => "lent",
        Owner::Platform => "platform",
    }
}
