//! A runtime over a temporary directory, and the calls that the tests make.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tollgate_core::hold::Quote;
use tollgate_core::outcome::Outcome;
use tollgate_core::price::Rates;
use tollgate_core::protocol::Owner;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_runtime::{
    Bill, Binding, CallError, Candidate, Choice, ComponentStatus, Digest, Embedded, Event, Generation,
    Health, Kind, Limits, Policies, Probation, Runtime, SelectRequest, Settings, StartError, Variant,
};

/// A running runtime with its own plugins directory and everything that it reported.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    pub(crate) dir: TempDir,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Bench {
    /// Starts with these bindings; first-party components and guests are embedded.
    pub(crate) fn start(bindings: Vec<Binding>) -> Self {
        Self::try_start(settings, bindings).unwrap()
    }

    /// Starts with settings made for a temporary directory.
    pub(crate) fn try_start(
        settings: impl FnOnce(&Path) -> Settings,
        bindings: Vec<Binding>,
    ) -> Result<Self, StartError> {
        let dir = tempfile::tempdir().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let runtime =
            Runtime::start(settings(dir.path()), bindings, move |event| log.lock().unwrap().push(event))?;
        Ok(Self { runtime, dir, events })
    }

    /// Serves as a gateway does, from directories that outlive it.
    pub(crate) fn serve(settings: Settings, bindings: Vec<Binding>) -> Result<Self, StartError> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let runtime = Runtime::serve(settings, bindings, move |event| log.lock().unwrap().push(event))?;
        Ok(Self { runtime, dir: tempfile::tempdir().unwrap(), events })
    }

    /// The status of the only component.
    pub(crate) fn status(&self) -> ComponentStatus {
        self.runtime.status().into_iter().next().unwrap()
    }

    /// Puts a component file in place the way careful tools do: under another name first.
    pub(crate) fn install(&self, name: &str, bytes: &[u8]) {
        let (fresh, path) = (self.dir.path().join("fresh"), self.file(name));
        fs::write(&fresh, bytes).unwrap();
        fs::rename(&fresh, path).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.wasm"))
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until an event is among those reported.
    pub(crate) fn await_event(&self, wanted: impl Fn(&Event) -> bool) {
        eventually("the event", || self.events.lock().unwrap().iter().any(&wanted));
    }

    /// Calls the selector of the current generation.
    pub(crate) fn select(&self, attempt: u32) -> Result<Option<u32>, CallError> {
        select(&self.runtime.current(), attempt)
    }
}

/// Waits for something that another thread does.
pub(crate) fn eventually(what: &str, happened: impl Fn() -> bool) {
    let start = Instant::now();
    while !happened() {
        // Less than the watch's poll: an event that never comes must not be made good by it.
        assert!(start.elapsed() < Duration::from_secs(25), "still waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Settings with `dir` for the plugins and no cache.
pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        plugins_dir: Some(dir.to_owned()),
        cache_dir: None,
        archive: None,
        versions_file: None,
        embedded: embedded(),
        workers: 4,
        probation: Probation::DEFAULT,
        limits: Limits::DEFAULT,
        filter_check: |_| Ok(()),
    }
}

fn embedded() -> Vec<Embedded> {
    let own = tollgate_components::COMPONENTS.iter().map(|component| (component.name, component.bytes));
    let guests = tollgate_components::GUESTS.iter().map(|guest| (guest.name, guest.bytes));
    own.chain(guests).map(|(name, bytes)| Embedded { name: name.to_owned(), bytes }).collect()
}

/// The bytes of a guest.
pub(crate) fn guest(name: &str) -> &'static [u8] {
    tollgate_components::find_guest(name).unwrap().bytes
}

/// The bytes of a first-party component.
pub(crate) fn component(name: &str) -> &'static [u8] {
    tollgate_components::find(name).unwrap().bytes
}

/// The same component under another digest: with a custom section that says nothing.
pub(crate) fn rebuilt(bytes: &[u8], note: u8) -> Vec<u8> {
    let section = [0, 6, 4, b'n', b'o', b't', b'e', note];
    [bytes, &section].concat()
}

/// Binds `component` as the selector.
pub(crate) fn selector(component: &str) -> Binding {
    Binding::new("selector", component, Kind::KeySelector)
}

/// Binds `component` as the pricing policy.
pub(crate) fn pricing(component: &str, config: &str) -> Binding {
    Binding::of("pricing", Kind::PricingPolicy, vec![Variant::new(component, config)])
}

/// The policies of a generation in which each has one variant.
pub(crate) fn chosen(generation: &Generation) -> Policies {
    generation.choose(Choice::default())
}

/// A choice between two candidates, 4 and 9.
pub(crate) fn select(generation: &Generation, attempt: u32) -> Result<Option<u32>, CallError> {
    select_by(&chosen(generation), attempt)
}

/// The same by the policies of one request.
pub(crate) fn select_by(policies: &Policies, attempt: u32) -> Result<Option<u32>, CallError> {
    let candidate = |handle| Candidate {
        handle,
        owner: Owner::Platform,
        health: Health::Available,
        weight: 100,
        in_flight: 0,
        failures: 0,
        idle_ms: 1000,
        affinity: 0,
    };
    let request = SelectRequest { seed: 5, attempt };
    policies.selector.as_ref().unwrap().select(request, &[candidate(4), candidate(9)])
}

/// A thousand points for a million tokens, in or out.
const RATES: Rates = Rates::of(0, &[(Class::Input, 1_000_000_000), (Class::Output, 1_000_000_000)]);

/// What `tokens` of prompt cost on the platform's credential, in micro-points.
pub(crate) fn price(generation: &Generation, tokens: u64) -> Result<i64, CallError> {
    settle(&chosen(generation), tokens)
}

/// The same by the policies of one request.
pub(crate) fn settle(policies: &Policies, tokens: u64) -> Result<i64, CallError> {
    let charge = policies.pricing.as_ref().unwrap().settle(&bill(tokens));
    charge.map(|charge| charge.amount.get())
}

/// A bill for `tokens` of prompt on the platform's credential.
pub(crate) fn bill(tokens: u64) -> Bill {
    let usage = Usage::of(Quality::Exact, &[(Class::Input, tokens)]);
    let at = Timestamp::from_millis(1_700_000_000_000);
    Bill { rates: RATES, usage, outcome: Outcome::Ok, owner: Owner::Platform, at }
}

/// What is reserved for `tokens` of prompt, in micro-points.
pub(crate) fn hold(generation: &Generation, tokens: u64) -> Result<i64, CallError> {
    let quote = Quote {
        rates: RATES,
        input_tokens: tokens,
        output_tokens_max: 0,
        own_credential: false,
        platform_credential: true,
        at: Timestamp::from_millis(1_700_000_000_000),
    };
    chosen(generation).pricing.unwrap().hold(&quote).map(tollgate_core::points::Micropoints::get)
}

/// Digest of these bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}
