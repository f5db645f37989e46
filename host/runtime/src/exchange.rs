//! A translated exchange: one instance of an adapter that serves one attempt, from its request to the end of its
//! answer.
//!
//! What the translation has to remember is state inside of the instance, so no other call may reach it meanwhile. The
//! instance goes back to its thread when the exchange is dropped, however far it came; one that faulted is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollgate_core::protocol::{Operation, Protocol};

use crate::adapter::Adapter;
use crate::bindings::adapter_world::ProviderAdapter;
use crate::bindings::wit_adapter;
use crate::error::{CallError, Fault};
use crate::plan::exchange::Terms;
use crate::probe::{self, Work};
use crate::slot;
use crate::state::State;
use crate::translate::{Own, Reply, checked, translate};
use crate::unit::{Judged, Unit};
use crate::vitals::Vitals;

/// Growth over a request from which on its instance is not kept for the answer.
const HEAVY_BYTES: usize = 4 << 20;

/// What came of a request.
#[derive(Debug)]
pub enum Begun {
    /// This body goes upstream, and the exchange translates what comes back.
    Translated(Exchange, Vec<u8>),
    /// It cannot be said in the upstream's protocol: this is the answer.
    Refused(Reply),
    /// It takes more time or memory than the adapter has, which small requests do not.
    TooMuch,
}

impl Adapter {
    /// Begins an exchange by translating its request.
    ///
    /// A request is its client's own work, so a fault over one is no reason to leave everyone else's alone: see
    /// `probe.rs`.
    ///
    /// # Errors
    /// When the component failed, and when as many exchanges as may be are under way.
    pub fn begin(&self, terms: &Terms<'_>, body: &[u8]) -> Result<Begun, CallError> {
        let vitals = &self.unit.vitals;
        let seat = Seat::take(vitals)?;
        let work = || translate(&self.unit, terms, body);
        let begun = self.unit.judge(work, || probe::translates(&self.unit, terms, Work::Request));
        match begun {
            Ok((instance, Ok(wit_adapter::Translated { body, left_out }))) => {
                let (unit, instance) = (Arc::clone(&self.unit), Some(instance));
                let kept = Kept { client: terms.client, upstream: terms.upstream, model: terms.model.into() };
                let exchange = Exchange { unit, instance, kept, told: 0, left_out, _seat: seat };
                Ok(Begun::Translated(exchange, body))
            }
            Ok((instance, Err(reply))) => {
                slot::give_back(&self.unit, instance);
                Ok(Begun::Refused(reply))
            }
            Err(Judged::Excused(error)) if error.kind.is_exhaustion() => Ok(Begun::TooMuch),
            Err(Judged::Excused(error) | Judged::Blamed(error)) => Err(error),
        }
    }
}

/// A place among the exchanges under way.
struct Seat(Arc<Vitals>);

impl Seat {
    fn take(vitals: &Arc<Vitals>) -> Result<Self, CallError> {
        let (taken, max) = (&vitals.host.exchanges, vitals.host.limits.exchanges_max);
        let seat = taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < max).then_some(taken + 1));
        seat.map(|_| Self(Arc::clone(vitals))).map_err(|_| vitals.busy())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.host.exchanges.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An exchange under way. Dropping it ends it.
pub struct Exchange {
    unit: Arc<Unit<ProviderAdapter>>,
    /// `None` once it has faulted.
    instance: Option<Own>,
    kept: Kept,
    /// Bytes that it was told: what it says last may repeat all of it.
    told: usize,
    left_out: String,
    _seat: Seat,
}

/// What an exchange keeps of its terms.
struct Kept {
    client: Protocol,
    upstream: Protocol,
    model: Box<str>,
}

impl Kept {
    fn terms(&self) -> Terms<'_> {
        Terms {
            client: self.client,
            upstream: self.upstream,
            operation: Operation::Generate,
            model: &self.model,
            request_id: "",
            now_s: 0,
            streaming: false,
            json_array: false,
            output_limit: u64::MAX,
            strict: false,
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("unit", &self.unit).finish_non_exhaustive()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            slot::give_back(&self.unit, instance);
        }
    }
}

impl Exchange {
    /// Translates a whole answer. The inner error is the component's word on an answer that is not of its protocol.
    ///
    /// # Errors
    /// When the component failed.
    pub fn answer(&mut self, body: &[u8]) -> Result<Result<Vec<u8>, String>, CallError> {
        self.call(Work::Answer, body.len(), |adapter, store| {
            Ok(Ok(adapter.call_translate_answer(store, body)?))
        })
    }

    /// Translates a failure that blames the request.
    ///
    /// # Errors
    /// When the component failed.
    pub fn failure(&mut self, status: u16, body: &[u8]) -> Result<Reply, CallError> {
        self.call(Work::Failure, body.len(), |adapter, store| {
            Ok(checked(adapter.call_translate_failure(store, status, body)?))
        })
    }

    /// Translates the next bytes of a stream.
    ///
    /// # Errors
    /// When the component failed.
    pub fn part(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CallError> {
        self.call(Work::Stream, bytes.len(), |adapter, store| {
            Ok(Ok(adapter.call_translate_part(store, bytes)?))
        })
    }

    /// Ends a stream, which may have broken off.
    ///
    /// # Errors
    /// When the component failed.
    pub fn end(&mut self) -> Result<Vec<u8>, CallError> {
        self.call(Work::Stream, 0, |adapter, store| Ok(Ok(adapter.call_translate_end(store)?)))
    }

    /// What of the request the component says that it has left out: paths of members, with commas between them. It may
    /// be any text.
    #[must_use]
    pub fn left_out(&self) -> &str {
        &self.left_out
    }

    /// Bytes of memory of its instance.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, |instance| instance.memory_bytes())
    }

    /// Whether its instance has grown by more than a request of usual length makes it.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.growth_bytes() > HEAVY_BYTES)
    }

    /// Goes on in a fresh instance, which is given `body` in place of the request that it has translated: memory never
    /// shrinks. One that does not take it leaves all as it was.
    pub fn relieve(&mut self, adapter: &Adapter, terms: &Terms<'_>, body: &[u8]) {
        if let Ok((instance, Ok(_))) = translate(&adapter.unit, terms, body) {
            self.instance = Some(instance);
        }
    }

    /// Whether no call has failed.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.instance.is_some()
    }

    /// Calls the exchange's own instance. An open breaker does not stop what is under way; a fault ends it, and is the
    /// component's only where it fails over what is ordinary too.
    fn call<R>(
        &mut self,
        work: Work,
        bytes: usize,
        call: impl FnOnce(&wit_adapter::Guest, &mut wasmtime::Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, CallError> {
        let vitals = &self.unit.vitals;
        let Some(mut instance) = self.instance.take() else {
            return Err(vitals.ended());
        };
        vitals.count_call();
        let before = self.told;
        self.told = before.saturating_add(bytes);
        let call = |world: &ProviderAdapter, store: &mut wasmtime::Store<State>| {
            call(world.tollgate_plugin_adapter(), store)
        };
        let answer = instance.enter_after(before, bytes, call);
        let answer = answer.map_err(|fault| {
            let excused = probe::translates(&self.unit, &self.kept.terms(), work);
            if excused { vitals.excuse(fault) } else { vitals.fail(fault) }
        })?;
        self.instance = Some(instance);
        Ok(answer)
    }
}
