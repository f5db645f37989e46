//! Provider adapters: the plan that the host runs natively, and the two calls that remain where nothing is translated.

use std::sync::Arc;

use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::usage::Usage;
use wasmtime::Store;

use crate::bindings::adapter_world::ProviderAdapter;
use crate::digest::Digest;
use crate::error::CallError;
use crate::plan::adapter::{AdapterPlan, Failure, Refusal};
use crate::state::State;
use crate::unit::Unit;

/// One provider adapter of a generation.
#[derive(Debug)]
pub struct Adapter {
    pub(crate) unit: Arc<Unit<ProviderAdapter>>,
    pub(crate) plan: AdapterPlan,
}

impl Adapter {
    /// Name of its binding.
    #[must_use]
    pub fn name(&self) -> &str {
        self.unit.name()
    }

    /// Digest of the component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.unit.digest()
    }

    /// The file that it is, without `.wasm`, or what the binary calls it.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.unit.vitals.spec.component
    }

    /// Whether the binary carries it, byte by byte.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.unit.vitals.built_in
    }

    /// What the host runs natively.
    #[must_use]
    pub const fn plan(&self) -> &AdapterPlan {
        &self.plan
    }

    /// The usage that `samples` state: one tapped JSON value per line, in the order of the plan's taps. Called once per
    /// billed response.
    ///
    /// # Errors
    /// When the component failed; the usage is then unknown, never zero.
    pub fn read_usage(
        &self,
        protocol: Protocol,
        operation: Operation,
        samples: &[u8],
    ) -> Result<Usage, CallError> {
        let read = |world: &ProviderAdapter, store: &mut Store<State>, samples: &[u8]| {
            let adapter = world.tollgate_plugin_adapter();
            adapter.call_read_usage(store, protocol.into(), operation.into(), samples)
        };
        self.unit.call_with(
            samples.len(),
            |world, store| Ok(Ok(read(world, store, samples)?.into())),
            |world, store| read(world, store, b"{}").map(|_| Ok(())),
        )
    }

    /// What an upstream answer with a status of 400 or more means.
    ///
    /// # Errors
    /// When the component failed.
    pub fn classify(&self, refusal: &Refusal<'_>) -> Result<Failure, CallError> {
        let classify = |world: &ProviderAdapter, store: &mut Store<State>, refusal: &Refusal<'_>| {
            world.tollgate_plugin_adapter().call_classify(store, &refusal.into())
        };
        let ordinary = Refusal { status: refusal.status, retry_after_ms: None, kind: "", body: b"{}" };
        self.unit.call_with(
            refusal.body.len(),
            |world, store| Ok(Ok(classify(world, store, refusal)?.into())),
            |world, store| classify(world, store, &ordinary).map(|_| Ok(())),
        )
    }
}
