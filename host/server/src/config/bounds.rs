//! What the configuration allows components, as the runtime takes it.

use std::path::PathBuf;
use std::time::Duration;

use tollgate_runtime::{Archive, Binding, Limits, OnError};

use super::{Config, Millis, Plugins, Policy, policy};

/// Memory of an adapter, enough to translate a request of the largest size by default: its text, the translation, and
/// everything in between.
pub(crate) const ADAPTER_MEMORY_BYTES_MAX: usize = 128 << 20;

/// The bounds that hold for every component.
pub(crate) fn limits(plugins: &Plugins) -> Limits {
    Limits {
        file_bytes_max: plugins.file_bytes_max,
        compile: Duration::from_millis(plugins.compile_timeout_ms.get()),
        configure_ms: milliseconds(plugins.configure_timeout_ms),
        ..Limits::DEFAULT
    }
}

/// A binding with the bounds of a policy.
pub(crate) fn bounded(binding: Binding, policy: &Policy) -> Binding {
    let on_error = match policy.on_error {
        policy::OnError::Closed => OnError::Closed,
        policy::OnError::Open => OnError::Open,
        policy::OnError::Fallback => OnError::Fallback,
    };
    let (deadline_ms, memory_bytes_max) = (milliseconds(policy.deadline_ms), policy.memory_bytes_max);
    Binding { on_error, deadline_ms, memory_bytes_max, ..binding }
}

/// At most a day, which fits.
fn milliseconds(limit: Millis) -> u32 {
    u32::try_from(limit.get()).unwrap_or(u32::MAX)
}

impl Config {
    /// Where components are kept: those of receipts, and all that served.
    pub(crate) fn archive(&self) -> Archive {
        Archive::new(self.server.data_dir.join("components"))
    }

    /// The file that says which versions of components served, were good, or failed.
    pub(crate) fn versions_file(&self) -> PathBuf {
        self.server.data_dir.join("components.txt")
    }
}
