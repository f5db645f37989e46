//! Whether a key may go where a component says. What an operator names themselves may be anywhere; a component that the
//! binary carries is known by its bytes and trusted with its own hosts; any other needs the operator's word for each.

use std::sync::Arc;

use http::uri::Authority;
use tollgate_core::host::HostPattern;
use tollgate_runtime::Adapter;

use crate::config::Grants;

/// A host to which a component may not send keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the component `{component}` may not send keys to `{host}`: `tollgate plugin grant {component} {host}` allows it"
)]
pub(crate) struct Missing {
    /// The component's file, without `.wasm`.
    pub(crate) component: String,
    /// The host, or several that differ where the stars are.
    pub(crate) host: String,
}

/// A host that a component names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permission {
    /// The host, or several that differ where the stars are.
    pub(crate) host: HostPattern,
    /// Whether keys may go there, and by whose word.
    pub(crate) word: Word,
}

/// By whose word keys may go to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The binary's own: it carries the component.
    BuiltIn,
    /// The operator's.
    Granted,
    /// Nobody's.
    Missing,
}

impl Word {
    /// The name that operators see.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Granted => "granted",
            Self::Missing => "missing",
        }
    }
}

/// Every host that a component names, in their order.
pub(crate) fn permissions(adapter: &Adapter, component: &str, grants: &Grants) -> Vec<Permission> {
    let word = |host: &HostPattern| match adapter.is_built_in() {
        true => Word::BuiltIn,
        false if grants.covers(component, host) => Word::Granted,
        false => Word::Missing,
    };
    adapter.plan().hosts().into_iter().map(|host| Permission { word: word(&host), host }).collect()
}

/// What keeps a component from sending keys to a host that it names.
pub(crate) fn missing(adapter: &Adapter, grants: &Grants, authority: &Authority) -> Option<Arc<Missing>> {
    let (component, host) = (adapter.component(), authority.host());
    if adapter.is_built_in() || grants.allows(component, host, authority.port_u16()) {
        return None;
    }
    let host = authority.as_str().to_ascii_lowercase();
    Some(Arc::new(Missing { component: component.to_owned(), host }))
}
