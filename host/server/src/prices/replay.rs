//! Prices receipts again: with the archived component that priced them, or with another one. No server is needed, and
//! nothing in the database changes.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use tollgate_core::points::{CHARGE_MAX, Micropoints};
use tollgate_core::receipt::{Reason, Receipt};
use tollgate_runtime::{
    Bill, Binding, CallError, Choice, Digest, Kind, Runtime, Settings, StartError, Variant,
};

use crate::config::Config;
use crate::proxy;
use crate::routing::components;
use crate::telemetry::chain;

/// Milliseconds that a call may run: computing a bill again may take longer than a request.
const DEADLINE_MS: u32 = 10_000;
/// Stands for the digest where no component priced.
const NONE: [u8; 32] = [0; 32];

/// The result of pricing a receipt again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priced {
    /// The charge.
    pub(crate) amount: Micropoints,
    /// Why.
    pub(crate) reason: Reason,
}

/// Why a receipt cannot be priced again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The component, or a place for it, cannot be read.
    #[error("reading {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The component or the configuration of this digest was not kept.
    #[error("reading {what} {digest}")]
    NotKept {
        /// `component` or `configuration`.
        what: &'static str,
        /// The digest.
        digest: Digest,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A server would refuse the component.
    #[error("{what} is refused")]
    Refused {
        /// The file, or the digest.
        what: String,
        /// Why.
        #[source]
        source: StartError,
    },
    /// No pricing policy was loaded.
    #[error("no pricing policy was loaded")]
    Nothing,
    /// The component failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A pricing policy that runs outside traffic.
pub(crate) struct Policy(Runtime);

impl Policy {
    /// The component in a file, with a configuration as JSON text.
    ///
    /// # Errors
    /// When it cannot be read, or would be refused by a server.
    pub(crate) fn of_file(config: &Config, file: &Path, config_json: &str) -> Result<Self, ReplayError> {
        let unread = |source| ReplayError::File { path: file.to_owned(), source };
        let dir = tempfile::tempdir().map_err(unread)?;
        std::fs::copy(file, dir.path().join("pricing.wasm")).map_err(unread)?;
        Self::start(config, dir.path(), "pricing", config_json)
            .map_err(|source| ReplayError::Refused { what: file.display().to_string(), source })
    }

    /// The archived component and configuration with these digests.
    fn kept(config: &Config, component: Digest, config_digest: Digest) -> Result<Self, ReplayError> {
        let archive = config.archive();
        let lost = |what, digest| move |source| ReplayError::NotKept { what, digest, source };
        archive.component(component).map_err(lost("component", component))?;
        let config_json = archive.config(config_digest).map_err(lost("configuration", config_digest))?;
        Self::start(config, archive.dir(), &component.to_string(), &config_json)
            .map_err(|source| ReplayError::Refused { what: component.to_string(), source })
    }

    fn start(config: &Config, dir: &Path, component: &str, config_json: &str) -> Result<Self, StartError> {
        let settings = Settings {
            plugins_dir: Some(dir.to_owned()),
            archive: None,
            versions_file: None,
            embedded: Vec::new(),
            ..components::settings(config, 1)
        };
        let binding = Binding {
            deadline_ms: DEADLINE_MS,
            memory_bytes_max: config.policies.pricing.memory_bytes_max,
            ..Binding::of("pricing", Kind::PricingPolicy, vec![Variant::new(component, config_json)])
        };
        Ok(Self(Runtime::start(settings, vec![binding], |_| {})?))
    }

    /// What this policy charges for the usage of a receipt.
    ///
    /// # Errors
    /// When the component fails.
    pub(crate) fn price(&self, receipt: &Receipt) -> Result<Priced, ReplayError> {
        // There is only one variant.
        let policies = self.0.current().choose(Choice::default());
        let pricing = policies.pricing.ok_or(ReplayError::Nothing)?;
        let bill = Bill {
            rates: receipt.charged_rates(),
            usage: receipt.usage,
            outcome: receipt.outcome,
            owner: receipt.owner,
            at: receipt.admitted_at,
        };
        let charge = pricing.recompute(&bill)?;
        // Version 0.1.0 knew no bound.
        let amount = charge.amount.min(CHARGE_MAX.max(receipt.charge));
        Ok(Priced { amount, reason: charge.reason })
    }
}

/// Every policy that receipts name, each loaded once.
pub(crate) struct Policies<'a> {
    config: &'a Config,
    loaded: HashMap<(Digest, Digest), Result<Policy, String>>,
}

impl<'a> Policies<'a> {
    /// The policies in the archive of this configuration's data directory.
    pub(crate) fn new(config: &'a Config) -> Self {
        Self { config, loaded: HashMap::new() }
    }

    /// What the component that priced a receipt charges for it now. `held` is what the record says was reserved.
    ///
    /// # Errors
    /// Why it cannot be computed: the component was not kept, or fails.
    pub(crate) fn price(&mut self, receipt: &Receipt, held: Micropoints) -> Result<Priced, String> {
        if receipt.pricing_component == NONE {
            let held = receipt.held.unwrap_or(held);
            let amount = proxy::settle::fallback(&receipt.charged_rates(), &receipt.usage, held);
            return Ok(Priced { amount, reason: Reason::Full });
        }
        let component = Digest::from_bytes(receipt.pricing_component);
        let config = Digest::from_bytes(receipt.config_digest);
        let policy = self
            .loaded
            .entry((component, config))
            .or_insert_with(|| Policy::kept(self.config, component, config).map_err(|error| chain(&error)));
        match policy {
            Ok(policy) => policy.price(receipt).map_err(|error| chain(&error)),
            Err(error) => Err(error.clone()),
        }
    }
}
