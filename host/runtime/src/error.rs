//! What can go wrong with a component: when it is called ([`CallError`]), loaded ([`LoadError`]), or when a set of
//! bindings is refused ([`ReloadError`], [`StartError`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tollgate_core::line::plain;

use crate::binding::{Kind, OnError};
use crate::digest::Digest;

/// How a call failed. Each kind but `Tripped` costs the component its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It executed an illegal instruction: a panic, a division by zero, an access out of bounds.
    Trap,
    /// It ran longer than its deadline.
    Deadline,
    /// It asked for more memory or table space than its binding allows.
    Memory,
    /// It recursed too deeply.
    Stack,
    /// It answered with more data than a call may return.
    Oversize,
    /// It answered something that the contract forbids, or refused its own configuration.
    Guest,
    /// No instance could be made.
    Unavailable,
    /// The host itself panicked while serving the call.
    Host,
    /// The breaker is open: the component was not called.
    Tripped,
}

impl FaultKind {
    /// All kinds, in the order of the counters in [`crate::ComponentStatus`].
    pub const ALL: [Self; 9] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Stack,
        Self::Oversize,
        Self::Guest,
        Self::Unavailable,
        Self::Host,
        Self::Tripped,
    ];

    /// Whether a call ended because it used up what it may use: larger input is enough for that.
    pub(crate) const fn is_exhaustion(self) -> bool {
        matches!(self, Self::Deadline | Self::Memory | Self::Stack | Self::Oversize)
    }

    /// The name used in logs, metrics and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Oversize => "oversize",
            Self::Guest => "guest",
            Self::Unavailable => "unavailable",
            Self::Host => "host",
            Self::Tripped => "tripped",
        }
    }
}

/// One failed call. The caller acts on [`CallError::on_error`]; the runtime has already counted and logged it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("component `{name}` ({digest}) failed: {}: {detail}", kind.name())]
pub struct CallError {
    /// How it failed.
    pub kind: FaultKind,
    /// Name of the binding.
    pub name: Arc<str>,
    /// Digest of the component that failed.
    pub digest: Digest,
    /// What the binding says should happen now.
    pub on_error: OnError,
    /// For the log: never for callers of the gateway.
    pub detail: String,
}

/// A fault before it is attributed to a component.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        Self { kind, detail: plain(&detail).into_owned() }
    }

    /// The component broke the contract in a way that types cannot rule out.
    pub(crate) fn guest(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::Guest, detail)
    }
}

/// Why one component was not loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// Neither a file nor an embedded component has the name.
    #[error("there is no component named `{component}`")]
    Missing {
        /// What the binding asked for.
        component: String,
    },
    /// The file could not be read.
    #[error("reading {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// It could not be kept, so that its bills could not be computed again.
    #[error("it cannot be kept for its receipts: {cause}")]
    Archive {
        /// What the system said.
        cause: String,
    },
    /// The file kept changing while it was read.
    #[error("{} is still being written", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
    },
    /// The file is larger than the limit.
    #[error("{size} bytes are more than the {limit} that a component may have")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes are no WebAssembly component, or end too early.
    #[error("not a complete WebAssembly component: {0}")]
    Malformed(String),
    /// It is WebAssembly, but not a component.
    #[error("a core module, not a component: build it for the target wasm32-wasip2")]
    CoreModule,
    /// The component is built to exhaust the compiler, or is larger than any sensible one.
    #[error("too complex to compile: {0}")]
    TooComplex(String),
    /// It imports something that its kind is not given.
    #[error("a {kind} may not import `{import}`", kind = kind.name())]
    Import {
        /// What the binding uses it as.
        kind: Kind,
        /// The first import outside the allow-list.
        import: String,
    },
    /// It does not export what its kind exports.
    #[error("not a {kind}: {cause}", kind = kind.name())]
    World {
        /// What the binding uses it as.
        kind: Kind,
        /// What is missing.
        cause: String,
    },
    /// The compiler refused it.
    #[error("compiling: {0}")]
    Compile(String),
    /// The compiler took too long.
    #[error("compiling took longer than {limit:?}")]
    CompileTimeout {
        /// The limit.
        limit: Duration,
    },
    /// `configure` answered with an error: the component's own words.
    #[error("the component refused its configuration: {0}")]
    Configure(String),
    /// The first instance failed.
    #[error("the trial run failed: {kind}: {detail}", kind = kind.name())]
    Canary {
        /// How.
        kind: FaultKind,
        /// For the operator.
        detail: String,
    },
    /// A pricing policy that remembers.
    #[error(
        "its charges depend on earlier requests: the same bill cost {first} micro-points, and {other} in another order"
    )]
    Impure {
        /// What a bill cost.
        first: i64,
        /// What the same bill cost after others.
        other: i64,
    },
    /// The plan it returned cannot be run.
    #[error("its plan cannot be run: {0}")]
    Plan(String),
}

impl LoadError {
    /// The same on one line: names in it may be the component's own.
    pub(crate) fn words(&self) -> String {
        plain(&self.to_string()).into_owned()
    }
}

/// Why a set of bindings was not put in force. Everything is as it was before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReloadError {
    /// The bindings contradict each other.
    #[error("bindings: {0}")]
    Bindings(String),
    /// A component was refused.
    #[error("component `{name}` was refused")]
    Load {
        /// Name of the binding.
        name: String,
        /// Why.
        #[source]
        cause: LoadError,
    },
}

/// Why the runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine cannot run on this machine.
    #[error("making the WebAssembly engine: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("starting a thread of the runtime")]
    Thread(#[from] std::io::Error),
    /// The first generation was refused.
    #[error("loading the first generation")]
    Load(#[from] ReloadError),
}
