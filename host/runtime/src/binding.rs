//! What an operator says about components: which to run, as what, with which configuration and bounds.

use std::path::PathBuf;
use std::time::Duration;

use crate::archive::Archive;
use crate::plan::place::KeyPlace;
use crate::plan::policy::FilterPlan;

/// What a component is used as: one world of `wit/` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Speaks for one provider.
    ProviderAdapter,
    /// Chooses the credential of an attempt.
    KeySelector,
    /// Says what a request costs.
    PricingPolicy,
    /// Decides what text may pass.
    ContentFilter,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] =
        [Self::ProviderAdapter, Self::KeySelector, Self::PricingPolicy, Self::ContentFilter];

    /// The interface of the contract that makes a component one.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::ProviderAdapter => "adapter",
            Self::KeySelector => "key-selection",
            Self::PricingPolicy => "pricing",
            Self::ContentFilter => "filtering",
        }
    }

    /// The name of its world, used in logs, records and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProviderAdapter => "provider-adapter",
            Self::KeySelector => "key-selector",
            Self::PricingPolicy => "pricing-policy",
            Self::ContentFilter => "content-filter",
        }
    }
}

/// What the gateway does when a component fails. The runtime only carries it; the data path acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnError {
    /// Refuse the request.
    Closed,
    /// Go on as if the component had allowed it.
    Open,
    /// Use the native rule instead.
    Fallback,
}

impl OnError {
    /// The name used in logs, records and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Fallback => "fallback",
        }
    }
}

/// Parts of a whole in which shares are given: 10 % are 100,000.
pub const WHOLE_PPM: u32 = 1_000_000;

/// One place in the gateway where a component works, and who works there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Unique among all bindings; adapters are looked up by it.
    pub name: String,
    /// What its components are used as.
    pub kind: Kind,
    /// The components that share the work: the shares of those that serve add up to [`WHOLE_PPM`].
    pub variants: Vec<Variant>,
    /// What to do when one of them fails.
    pub on_error: OnError,
    /// Longest run of one call, in milliseconds: the time that the machine runs something else does not count.
    pub deadline_ms: u32,
    /// Most linear memory of one instance, in bytes.
    pub memory_bytes_max: usize,
    /// Where the operator says that a provider takes its secret, where it is none of the usual places.
    pub key_place: KeyPlace,
}

/// One component of a binding, with its own configuration, counters and breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Unique in its binding; empty for the one that goes by the binding's own name.
    pub name: String,
    /// File stem: `<plugins_dir>/<component>.wasm` where that exists, else the embedded component of this name.
    pub component: String,
    /// JSON text, passed to `configure` as it is.
    pub config: String,
    /// The share of all keys that it serves, in millionths (see [`WHOLE_PPM`]); of a shadow, the share that it runs
    /// beside.
    pub share_ppm: u32,
    /// Whether it is loaded but never serves.
    pub shadow: bool,
}

impl Variant {
    /// The only variant of a binding, with this configuration.
    #[must_use]
    pub fn new(component: impl Into<String>, config: impl Into<String>) -> Self {
        Self {
            name: String::new(),
            component: component.into(),
            config: config.into(),
            share_ppm: WHOLE_PPM,
            shadow: false,
        }
    }
}

impl Binding {
    /// Default of [`Binding::deadline_ms`].
    pub const DEADLINE_MS: u32 = 5;
    /// Default of [`Binding::memory_bytes_max`].
    pub const MEMORY_BYTES_MAX: usize = 16 << 20;

    /// A binding of one component, with the default bounds, an empty configuration and the default `on_error` of its
    /// kind.
    #[must_use]
    pub fn new(name: impl Into<String>, component: impl Into<String>, kind: Kind) -> Self {
        Self::of(name, kind, vec![Variant::new(component, "{}")])
    }

    /// A binding of these variants, with the default bounds and the default `on_error` of its kind.
    #[must_use]
    pub fn of(name: impl Into<String>, kind: Kind, variants: Vec<Variant>) -> Self {
        let on_error = match kind {
            Kind::KeySelector => OnError::Fallback,
            Kind::ProviderAdapter | Kind::PricingPolicy | Kind::ContentFilter => OnError::Closed,
        };
        Self {
            name: name.into(),
            kind,
            variants,
            on_error,
            deadline_ms: Self::DEADLINE_MS,
            memory_bytes_max: Self::MEMORY_BYTES_MAX,
            key_place: KeyPlace::default(),
        }
    }
}

/// Bounds that hold for every component.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest component file, in bytes.
    pub file_bytes_max: u64,
    /// Most functions in a component.
    pub functions_max: u32,
    /// Largest body of one function, in bytes: compile time grows faster than this.
    pub function_bytes_max: u32,
    /// Longest compilation, in time of its thread. The gateway goes on with what it has meanwhile.
    pub compile: Duration,
    /// Longest `configure` of a fresh instance, in milliseconds.
    pub configure_ms: u32,
    /// Most bytes that one call may bring from the component into the host.
    pub answer_bytes_max: usize,
    /// Most exchanges under way that adapters translate: each has an instance to itself.
    pub exchanges_max: usize,
    /// Most linear memory that any binding may ask for, in bytes.
    pub memory_bytes_ceiling: usize,
}

impl Limits {
    /// The bounds that fit components of any language.
    pub const DEFAULT: Self = Self {
        file_bytes_max: 32 << 20,
        functions_max: 65_536,
        function_bytes_max: 512 << 10,
        compile: Duration::from_secs(30),
        configure_ms: 250,
        answer_bytes_max: 4 << 20,
        exchanges_max: 1024,
        memory_bytes_ceiling: 256 << 20,
    };
}

/// How long a changed component is watched before it counts as good.
#[derive(Debug, Clone, Copy)]
pub struct Probation {
    /// First calls that count.
    pub calls: u64,
    /// Time that counts.
    pub window: Duration,
}

impl Probation {
    /// A thousand calls or one minute, whichever ends first.
    pub const DEFAULT: Self = Self { calls: 1000, window: Duration::from_secs(60) };
}

/// A component that the binary itself carries.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// What bindings call it.
    pub name: String,
    /// Its bytes.
    pub bytes: &'static [u8],
}

/// Everything that the runtime is told at start.
pub struct Settings {
    /// Where component files are looked for first.
    pub plugins_dir: Option<PathBuf>,
    /// Where compiled code is kept between starts; nothing is kept when absent.
    pub cache_dir: Option<PathBuf>,
    /// Where pricing policies are kept for as long as there are receipts of theirs, and all files that served; none
    /// are when absent.
    pub archive: Option<Archive>,
    /// The file that says which versions were good and which failed; a restart knows neither when absent.
    pub versions_file: Option<PathBuf>,
    /// What the binary carries.
    pub embedded: Vec<Embedded>,
    /// Threads that will call components: sizes the pool of instances.
    pub workers: usize,
    /// When a changed component counts as good.
    pub probation: Probation,
    /// Bounds for every component.
    pub limits: Limits,
    /// Whether the data path can run a filter's plan (its patterns compile): part of loading, so that a bad pattern
    /// refuses the component instead of failing requests.
    pub filter_check: fn(&FilterPlan) -> Result<(), String>,
}
