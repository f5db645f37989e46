//! From a compiled component to one that may serve: linked to nothing but what its kind is given, configured and tried.

use std::sync::Arc;

use tollgate_core::hold::Quote;
use tollgate_core::line::plain;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::{CHARGE_MAX, Micropoints};
use tollgate_core::price::Rates;
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality, Usage};
use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use crate::adapter::Adapter;
use crate::binding::Kind;
use crate::bindings::host;
use crate::bindings::selector_world::KeySelector;
use crate::error::{Fault, LoadError};
use crate::generation::Loaded;
use crate::instance::{Configured, Instance};
use crate::plan::adapter::AdapterPlan;
use crate::plan::policy::{Bill, Candidate, FilterPlan, Health, HoldRule, PricingPlan};
use crate::policy::{Filter, Pricing, Selector, check_choice};
use crate::pricing::PricingWorld;
use crate::state::State;
use crate::unit::{SlotIndex, Unit};
use crate::vitals::Vitals;
use crate::world::World;
use crate::{purity, wasi};

/// Types that every world may name.
const TYPES: &str = "tollgate:plugin/types@0.2.0";
/// The same in the contract of version 0.1.0, which is kept for pricing policies.
const FIRST_TYPES: &str = "tollgate:plugin/types@0.1.0";
/// The gateway's own functions; not for pricing, which is pure.
const HOST: &str = "tollgate:plugin/host@0.2.0";
/// Longest text that a component may give an operator to read.
const WORDS_BYTES_MAX: usize = 2 << 10;
/// Most rules of a filter.
const FILTER_RULES_MAX: usize = 10_000;

/// Links a compiled component as what its binding says, and tries it: a first instance is configured and, where a
/// harmless call exists, called.
pub(crate) fn load(
    vitals: Arc<Vitals>,
    filter_check: fn(&FilterPlan) -> Result<(), String>,
) -> Result<Loaded, LoadError> {
    let pre = link(&vitals)?;
    Ok(match vitals.spec.kind {
        Kind::ProviderAdapter => {
            let (unit, plan) = prepare(pre, vitals, |_, _, _| Ok(Ok(())))?;
            let plan: AdapterPlan = plan;
            plan.check(&unit.vitals.spec.key_place).map_err(|words| LoadError::Plan(shortened(words)))?;
            Loaded::Adapter(Arc::new(Adapter { unit, plan }))
        }
        Kind::KeySelector => {
            let (unit, ()) = prepare(pre, vitals, try_selector)?;
            Loaded::Selector(Arc::new(Selector { unit }))
        }
        Kind::PricingPolicy => {
            let (unit, plan) = prepare(pre, vitals, try_pricing)?;
            plan.check().map_err(LoadError::Plan)?;
            purity::check(&unit)?;
            Loaded::Pricing(Arc::new(Pricing { unit, plan }))
        }
        Kind::ContentFilter => {
            let (unit, plan) = prepare(pre, vitals, |_, _, _| Ok(Ok(())))?;
            let plan: FilterPlan = plan;
            if plan.rules.len() > FILTER_RULES_MAX {
                return Err(LoadError::Plan(format!("more than {FILTER_RULES_MAX} rules")));
            }
            filter_check(&plan).map_err(|words| LoadError::Plan(shortened(words)))?;
            Loaded::Filter(Arc::new(Filter { unit, plan }))
        }
    })
}

/// Gives the component what its kind may have, and refuses it when it wants more.
fn link(vitals: &Vitals) -> Result<InstancePre<State>, LoadError> {
    let kind = vitals.spec.kind;
    let engine = &vitals.host.engine;
    let failed = |error: wasmtime::Error| LoadError::World { kind, cause: format!("{error:#}") };
    let mut linker = Linker::new(engine);
    for (import, item) in vitals.component.component_type().imports(engine) {
        match import {
            TYPES => {}
            FIRST_TYPES if kind == Kind::PricingPolicy => {}
            HOST if kind != Kind::PricingPolicy => {
                host::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state).map_err(failed)?;
            }
            _ if wasi::serves(import) && matches!(item.ty, ComponentItem::ComponentInstance(_)) => {
                wasi::define(&mut linker.root(), engine, import, import, &item.ty).map_err(failed)?;
            }
            _ => return Err(LoadError::Import { kind, import: import.to_owned() }),
        }
    }
    linker.instantiate_pre(&vitals.component).map_err(failed)
}

fn prepare<W: World>(
    pre: InstancePre<State>,
    vitals: Arc<Vitals>,
    smoke: impl FnOnce(&W, &mut Store<State>, &W::Plan) -> wasmtime::Result<Result<(), Fault>>,
) -> Result<(Arc<Unit<W>>, W::Plan), LoadError> {
    let pre =
        W::check(pre).map_err(|error| LoadError::World { kind: W::KIND, cause: format!("{error:#}") })?;
    let unit = Arc::new(Unit { pre, slot: SlotIndex::take(), vitals });
    let configured = rehearse(&unit, smoke);
    let plan = configured.map_err(|fault| LoadError::Canary { kind: fault.kind, detail: fault.detail })?;
    Ok((unit, plan.map_err(|words| LoadError::Configure(shortened(words)))?))
}

/// What a first instance says to its configuration, once it has stood the trial; it is dropped again.
fn rehearse<W: World>(
    unit: &Arc<Unit<W>>,
    smoke: impl FnOnce(&W, &mut Store<State>, &W::Plan) -> wasmtime::Result<Result<(), Fault>>,
) -> Result<Configured<W>, Fault> {
    let (mut instance, configured) = Instance::make(unit)?;
    if let Ok(plan) = &configured {
        instance.enter(|world, store| smoke(world, store, plan))?;
    }
    Ok(configured)
}

/// A component's own words, as far as a person would read them.
pub(crate) fn shortened(mut words: String) -> String {
    words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
    plain(&words).into_owned()
}

/// One choice between two candidates.
fn try_selector(
    world: &KeySelector,
    store: &mut Store<State>,
    (): &(),
) -> wasmtime::Result<Result<(), Fault>> {
    let candidate = |handle| Candidate {
        handle,
        owner: Owner::Platform,
        health: Health::Available,
        weight: 100,
        in_flight: 0,
        failures: 0,
        idle_ms: u64::MAX,
        affinity: 0,
    };
    let candidates = [candidate(3), candidate(7)];
    let list: Vec<_> = candidates.iter().map(Into::into).collect();
    let request = crate::bindings::wit_selector::Request { seed: 1, attempt: 0 };
    let chosen = world.tollgate_plugin_key_selection().call_select(store, request, &list)?;
    Ok(check_choice(chosen, &candidates).map(drop))
}

/// One small request, settled and, by a policy that wants to be asked, held.
fn try_pricing(
    world: &PricingWorld,
    store: &mut Store<State>,
    plan: &PricingPlan,
) -> wasmtime::Result<Result<(), Fault>> {
    let rates = Rates::of(0, &[(Class::Input, 1_000_000), (Class::Output, 2_000_000)]);
    let at = Timestamp::from_millis(1_700_000_000_000);
    let quote = Quote {
        rates,
        input_tokens: 10,
        output_tokens_max: 10,
        own_credential: true,
        platform_credential: true,
        at,
    };
    let usage = Usage::of(Quality::Exact, &[(Class::Input, 10), (Class::Output, 10)]);
    let bill = Bill { rates, usage, outcome: Outcome::Ok, owner: Owner::Platform, at };
    let hold = match plan.hold {
        HoldRule::Rated(rule) => rule.amount(&quote).get(),
        HoldRule::Ask => world.hold(&mut *store, &quote)?,
    };
    let charge = world.settle(store, &bill)?;
    let sound = hold >= 0 && (Micropoints::ZERO..=CHARGE_MAX).contains(&charge.amount);
    let complaint =
        || Fault::guest(format!("it priced a small request at {hold} and {}", charge.amount.get()));
    Ok(if sound { Ok(()) } else { Err(complaint()) })
}
