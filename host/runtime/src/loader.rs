//! From bytes to a component that may serve: inspected, compiled, linked to nothing but what its kind is given, and tried.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use tollgate_core::outcome::Outcome;
use tollgate_core::price::Rates;
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Quality, Usage};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Engine, Store};

use crate::adapter::Adapter;
use crate::binding::{Kind, Limits};
use crate::bindings::host;
use crate::bindings::pricing_world::PricingPolicy;
use crate::bindings::selector_world::KeySelector;
use crate::cache::Cache;
use crate::error::{Digest, Fault, LoadError};
use crate::generation::Loaded;
use crate::policy::{Bill, Candidate, Filter, FilterPlan, Health, Pricing, Quote, Selector, check_choice};
use crate::slot::SlotIndex;
use crate::state::State;
use crate::unit::Unit;
use crate::vitals::Vitals;
use crate::wasi;
use crate::world::World;

/// Types that every world may name.
const TYPES: &str = "tollgate:plugin/types@0.1.0";
/// The gateway's own functions; not for pricing, which is pure.
const HOST: &str = "tollgate:plugin/host@0.1.0";
/// Compilations that may have outlived their deadline before new ones are refused.
const COMPILATIONS_MAX: usize = 3;
/// Compiling deep expressions recurses.
const COMPILE_STACK_BYTES: usize = 16 << 20;
/// Most rules of a filter.
const FILTER_RULES_MAX: usize = 10_000;

/// Refuses bytes that are no component, and those made to exhaust the compiler: its time grows with the number of
/// functions and faster than the length of one.
pub(crate) fn inspect(bytes: &[u8], limits: &Limits) -> Result<(), LoadError> {
    let malformed = |error: wasmparser::BinaryReaderError| LoadError::Malformed(error.to_string());
    if !Parser::is_component(bytes) {
        return Err(LoadError::Malformed("it does not begin like one".to_owned()));
    }
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding: Encoding::Module, range, .. } if range.start == 0 => {
                return Err(LoadError::Malformed("it is a core module".to_owned()));
            }
            Payload::CodeSectionEntry(body) => {
                functions += 1;
                let length = body.range().len();
                if functions > limits.functions_max {
                    return Err(LoadError::TooComplex(format!(
                        "more than {} functions",
                        limits.functions_max
                    )));
                }
                if length > limits.function_bytes_max as usize {
                    return Err(LoadError::TooComplex(format!("a function of {length} bytes")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Compiles away from the calling thread and gives up on it after a while.
///
/// A compilation cannot be interrupted. One that takes too long goes on by itself, and while too many do, new ones are
/// refused.
pub(crate) fn compile(
    engine: &Engine,
    cache: Option<&Arc<Cache>>,
    digest: Digest,
    bytes: Cow<'static, [u8]>,
    limits: &Limits,
) -> Result<Component, LoadError> {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    if let Some(component) = cache.and_then(|cache| cache.load(engine, &digest)) {
        return Ok(component);
    }
    if RUNNING.load(Ordering::Relaxed) >= COMPILATIONS_MAX {
        return Err(LoadError::Compile("earlier compilations are still running".to_owned()));
    }
    RUNNING.fetch_add(1, Ordering::Relaxed);
    let (engine, cache) = (engine.clone(), cache.cloned());
    let (done, outcome) = mpsc::channel();
    let work = move || {
        let compiled = Component::new(&engine, &bytes).map_err(|error| format!("{error:#}"));
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        if let (Some(cache), Ok(component)) = (&cache, &compiled) {
            cache.store(&digest, component);
        }
        // Nobody listens any more when it took too long.
        let _ = done.send(compiled);
    };
    let spawned = thread::Builder::new().name("tollgate-compile".into()).stack_size(COMPILE_STACK_BYTES);
    spawned.spawn(work).map_err(|error| LoadError::Compile(error.to_string()))?;
    match outcome.recv_timeout(limits.compile) {
        Ok(compiled) => compiled.map_err(LoadError::Compile),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(LoadError::CompileTimeout { limit: limits.compile }),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(LoadError::Compile("the compiler panicked".to_owned()))
        }
    }
}

/// Links a compiled component as what its binding says, and tries it: a first instance is configured and, where a harmless
/// call exists, called.
pub(crate) fn load(
    vitals: Arc<Vitals>,
    filter_check: fn(&FilterPlan) -> Result<(), String>,
) -> Result<Loaded, LoadError> {
    let pre = link(&vitals)?;
    Ok(match vitals.binding.kind {
        Kind::ProviderAdapter => {
            let (unit, plan) = prepare(pre, vitals, |_, _| Ok(Ok(())))?;
            let plan: crate::adapter::AdapterPlan = plan;
            plan.check().map_err(LoadError::Plan)?;
            Loaded::Adapter(Arc::new(Adapter { unit, plan }))
        }
        Kind::KeySelector => {
            let (unit, ()) = prepare(pre, vitals, try_selector)?;
            Loaded::Selector(Arc::new(Selector { unit }))
        }
        Kind::PricingPolicy => {
            let (unit, ()) = prepare(pre, vitals, try_pricing)?;
            Loaded::Pricing(Arc::new(Pricing { unit }))
        }
        Kind::ContentFilter => {
            let (unit, plan) = prepare(pre, vitals, |_, _| Ok(Ok(())))?;
            let plan: FilterPlan = plan;
            if plan.rules.len() > FILTER_RULES_MAX {
                return Err(LoadError::Plan(format!("more than {FILTER_RULES_MAX} rules")));
            }
            filter_check(&plan).map_err(LoadError::Plan)?;
            Loaded::Filter(Arc::new(Filter { unit, plan }))
        }
    })
}

/// Gives the component what its kind may have, and refuses it when it wants more.
fn link(vitals: &Vitals) -> Result<InstancePre<State>, LoadError> {
    let kind = vitals.binding.kind;
    let engine = &vitals.host.engine;
    let failed = |error: wasmtime::Error| LoadError::World { kind, cause: format!("{error:#}") };
    let mut linker = Linker::new(engine);
    for (import, item) in vitals.component.component_type().imports(engine) {
        match import {
            TYPES => {}
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
    smoke: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<(), Fault>>,
) -> Result<(Arc<Unit<W>>, W::Plan), LoadError> {
    let pre =
        W::check(pre).map_err(|error| LoadError::World { kind: W::KIND, cause: format!("{error:#}") })?;
    let unit = Arc::new(Unit { pre, slot: SlotIndex::take(), vitals });
    let configured = unit.rehearse(smoke);
    let plan = configured.map_err(|fault| LoadError::Canary { kind: fault.kind, detail: fault.detail })?;
    Ok((unit, plan.map_err(LoadError::Configure)?))
}

/// One choice between two candidates.
fn try_selector(world: &KeySelector, store: &mut Store<State>) -> wasmtime::Result<Result<(), Fault>> {
    let candidate = |handle| Candidate {
        handle,
        owner: Owner::Platform,
        health: Health::Available,
        weight: 100,
        in_flight: 0,
        failures: 0,
        idle_ms: u64::MAX,
    };
    let candidates = [candidate(3), candidate(7)];
    let list: Vec<_> = candidates.iter().map(Into::into).collect();
    let request = crate::bindings::wit_selector::Request { seed: 1, attempt: 0 };
    let chosen = world.tollgate_plugin_key_selection().call_select(store, request, &list)?;
    Ok(check_choice(chosen, &candidates).map(drop))
}

/// One small request, held and settled.
fn try_pricing(world: &PricingPolicy, store: &mut Store<State>) -> wasmtime::Result<Result<(), Fault>> {
    let rates = Rates { input: 1_000_000, output: 2_000_000, ..Rates::default() };
    let at = Timestamp::from_millis(1_700_000_000_000);
    let quote = Quote {
        rates,
        input_tokens: 10,
        output_tokens_max: 10,
        own_credential: true,
        platform_credential: true,
        at,
    };
    let usage = Usage { input: 10, output: 10, quality: Quality::Exact, ..Usage::default() };
    let bill = Bill { rates, usage, outcome: Outcome::Ok, owner: Owner::Platform, at };
    let pricing = world.tollgate_plugin_pricing();
    let hold = pricing.call_hold(&mut *store, (&quote).into())?;
    let charge = pricing.call_settle(store, (&bill).into())?;
    let sound = hold >= 0 && charge.amount >= 0;
    let complaint = || Fault::guest(format!("it priced a small request at {hold} and {}", charge.amount));
    Ok(if sound { Ok(()) } else { Err(complaint()) })
}
