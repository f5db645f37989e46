//! What happens to components, for whoever counts or records it.

use std::sync::Arc;

use crate::digest::Digest;
use crate::error::CallError;

/// Something worth a metric or a record. Given to the callback of [`crate::Runtime::start`] on the thread where it
/// happened, a request's own one for faults: the callback must not block.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new generation serves new requests.
    Published {
        /// Its id.
        generation: u64,
        /// Names of the bindings that changed.
        changed: Vec<String>,
    },
    /// A new file or configuration was refused; what was there goes on.
    Refused {
        /// Name of the binding.
        name: String,
        /// Why, in words for the operator.
        reason: String,
    },
    /// A new version failed on trial; the last good one serves again.
    RolledBack {
        /// Name of the binding.
        name: Arc<str>,
        /// The version that failed.
        from: Digest,
        /// The version that serves.
        to: Digest,
        /// Id of the generation that was published for it.
        generation: u64,
    },
    /// A call failed.
    Fault(CallError),
    /// A breaker opened.
    Tripped {
        /// Name of the binding.
        name: Arc<str>,
        /// The component.
        digest: Digest,
    },
    /// A breaker closed.
    Recovered {
        /// Name of the binding.
        name: Arc<str>,
        /// The component.
        digest: Digest,
    },
}
