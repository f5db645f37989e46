//! A component that is looked at beside traffic: loaded as a reload would load it, and bound to nothing.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::binding::{Binding, Kind};
use crate::choice::Policies;
use crate::digest::Digest;
use crate::error::{LoadError, ReloadError};
use crate::generation::{Loaded, Member};
use crate::registry::Registry;
use crate::runtime::Runtime;
use crate::source::Source;
use crate::spec::Spec;
use crate::status::ComponentStatus;
use crate::vitals::Vitals;
use crate::{check, loader};

/// A component that would be taken up.
pub struct Considered {
    loaded: Loaded,
}

impl Runtime {
    /// Loads bytes as the only variant of a binding, and tries them as a reload would: compiled, linked, configured,
    /// called. Nothing serves by it, and nothing is kept of it but compiled code. Compiles, so it blocks like
    /// [`Runtime::apply`].
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn consider(&self, binding: &Binding, bytes: Vec<u8>) -> Result<Considered, ReloadError> {
        self.registry().consider(binding, bytes)
    }
}

impl Registry {
    fn consider(&self, binding: &Binding, bytes: Vec<u8>) -> Result<Considered, ReloadError> {
        check::check(std::slice::from_ref(binding), &self.host.limits)?;
        let Some(variant) = binding.variants.first() else {
            return Err(ReloadError::Bindings(format!("`{}` has no component", binding.name)));
        };
        let refused = |cause| ReloadError::Load { name: binding.name.clone(), cause };
        let (size, limit) = (bytes.len() as u64, self.host.limits.file_bytes_max);
        if size > limit {
            return Err(refused(LoadError::TooLarge { size, limit }));
        }
        let (digest, spec) = (Digest::of(&bytes), Spec::new(binding, variant));
        let built_in = self.embedded.iter().any(|embedded| *embedded.bytes == *bytes);
        let component = self.compiler.compile(digest, bytes.into(), false).map_err(refused)?;
        let source = if built_in { Source::Embedded } else { Source::Nowhere };
        let vitals = Vitals::new(Arc::clone(&self.host), spec, component, (digest, source), built_in);
        let loaded = loader::load(vitals, self.filter_check).map_err(refused)?;
        Ok(Considered { loaded })
    }
}

impl Considered {
    /// What it is used as.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.loaded.vitals().spec.kind
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.loaded.vitals().digest
    }

    /// It, where it is an adapter.
    #[must_use]
    pub const fn adapter(&self) -> Option<&Arc<Adapter>> {
        match &self.loaded {
            Loaded::Adapter(adapter) => Some(adapter),
            _ => None,
        }
    }

    /// It as a policy, where it is one.
    #[must_use]
    pub fn policies(&self) -> Policies {
        let mut policies = Policies::default();
        match self.loaded.clone() {
            Loaded::Adapter(_) => {}
            Loaded::Selector(selector) => policies.selector = Some(selector),
            Loaded::Pricing(pricing) => policies.pricing = Some(pricing),
            Loaded::Filter(filter) => policies.filter = Some(filter),
        }
        policies
    }

    /// How it did so far.
    #[must_use]
    pub fn status(&self) -> ComponentStatus {
        let member = Member { loaded: self.loaded.clone(), binding: "".into(), share_ppm: 0, shadow: true };
        ComponentStatus::new(&member, None)
    }
}

impl std::fmt::Debug for Considered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind().name(), self.digest())
    }
}
