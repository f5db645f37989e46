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
use crate::instance::Instance;
use crate::plan::exchange::Terms;
use crate::slot;
use crate::state::State;
use crate::unit::Unit;
use crate::vitals::Vitals;

/// Growth over a request from which on its instance is not kept for the answer.
const HEAVY_BYTES: usize = 4 << 20;

/// An error answer in the client's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

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
    /// A request is its client's own work, so a fault over one is no reason to leave everyone else's alone: it counts
    /// against the component only where a small request fails as well.
    ///
    /// # Errors
    /// When the component failed, and when as many exchanges as may be are under way.
    pub fn begin(&self, terms: &Terms<'_>, body: &[u8]) -> Result<Begun, CallError> {
        let vitals = &self.unit.vitals;
        let seat = Seat::take(vitals)?;
        let begun = self.unit.attempt(|| match self.translate(terms, body) {
            Ok(begun) => Ok(Ok(begun)),
            Err(fault) if self.is_well(terms) => Ok(Err(fault)),
            Err(fault) => Err(fault),
        })?;
        match begun {
            Ok((instance, Ok(body))) => {
                let unit = Arc::clone(&self.unit);
                Ok(Begun::Translated(Exchange { unit, instance: Some(instance), _seat: seat }, body))
            }
            Ok((instance, Err(reply))) => {
                slot::give_back(&self.unit, instance);
                Ok(Begun::Refused(reply))
            }
            Err(fault) => {
                let exhausted = fault.kind.is_exhaustion();
                let error = vitals.excuse(fault);
                if exhausted { Ok(Begun::TooMuch) } else { Err(error) }
            }
        }
    }

    /// Calls the component for a request: the instance, and a body, or an answer for the client.
    fn translate(&self, terms: &Terms<'_>, body: &[u8]) -> Result<(Kept, Result<Vec<u8>, Reply>), Fault> {
        let mut instance = slot::take(&self.unit)?;
        let answer = instance.enter_with(body.len(), |world, store| {
            let adapter = world.tollgate_plugin_adapter();
            match adapter.call_translate_request(store, &terms.into(), body)? {
                Ok(body) => Ok(Ok(Ok(body))),
                Err(reply) => Ok(checked(reply).map(Err)),
            }
        })?;
        Ok((instance, answer))
    }

    /// Whether the component answers a request in which nothing can be wrong, be it with a refusal.
    fn is_well(&self, terms: &Terms<'_>) -> bool {
        let body = match terms.client {
            Protocol::OpenaiChat | Protocol::AnthropicMessages => {
                r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#
            }
            Protocol::OpenaiResponses => r#"{"model":"m","input":"hi"}"#,
            Protocol::Gemini => r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
        };
        let terms = Terms { operation: Operation::Generate, streaming: false, json_array: false, ..*terms };
        let answered = self.translate(&terms, body.as_bytes());
        answered.map(|(instance, _)| slot::give_back(&self.unit, instance)).is_ok()
    }
}

type Kept = Box<Instance<ProviderAdapter>>;

/// Nothing but an error may stand in for an answer.
fn checked(reply: wit_adapter::Reply) -> Result<Reply, Fault> {
    let wit_adapter::Reply { status, body } = reply;
    if (400..=599).contains(&status) {
        Ok(Reply { status, body })
    } else {
        Err(Fault::guest(format!("it answered an error with status {status}")))
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
    instance: Option<Box<Instance<ProviderAdapter>>>,
    _seat: Seat,
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
        self.call(body.len(), |adapter, store| Ok(Ok(adapter.call_translate_answer(store, body)?)))
    }

    /// Translates a failure that blames the request.
    ///
    /// # Errors
    /// When the component failed.
    pub fn failure(&mut self, status: u16, body: &[u8]) -> Result<Reply, CallError> {
        self.call(body.len(), |adapter, store| {
            Ok(checked(adapter.call_translate_failure(store, status, body)?))
        })
    }

    /// Translates the next bytes of a stream.
    ///
    /// # Errors
    /// When the component failed.
    pub fn part(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CallError> {
        self.call(bytes.len(), |adapter, store| Ok(Ok(adapter.call_translate_part(store, bytes)?)))
    }

    /// Ends a stream, which may have broken off.
    ///
    /// # Errors
    /// When the component failed.
    pub fn end(&mut self) -> Result<Vec<u8>, CallError> {
        self.call(0, |adapter, store| Ok(Ok(adapter.call_translate_end(store)?)))
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
        if let Ok((instance, Ok(_))) = adapter.translate(terms, body) {
            self.instance = Some(instance);
        }
    }

    /// Whether no call has failed.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.instance.is_some()
    }

    /// Calls the exchange's own instance. An open breaker does not stop what is under way; a fault ends it.
    fn call<R>(
        &mut self,
        bytes: usize,
        call: impl FnOnce(&wit_adapter::Guest, &mut wasmtime::Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, CallError> {
        let vitals = &self.unit.vitals;
        let Some(mut instance) = self.instance.take() else {
            return Err(vitals.fail(Fault::guest("its exchange has ended by a fault".to_owned())));
        };
        vitals.count_call();
        let answer = instance
            .enter_with(bytes, |world, store| call(world.tollgate_plugin_adapter(), store))
            .map_err(|fault| vitals.fail(fault))?;
        self.instance = Some(instance);
        Ok(answer)
    }
}
