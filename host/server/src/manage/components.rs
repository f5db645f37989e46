//! What a component is, what it will be shown and what it may do: for whoever decides about it.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use tempfile::NamedTempFile;
use tollgate_runtime::{
    Binding, Digest, Inspection, KeyPlace, Kind, LoadError, Ran, Variant, history, inspect, rolled_back,
};

use super::ManageError;
use crate::config::Config;
use crate::config::bounds::{ADAPTER_MEMORY_BYTES_MAX, bounded, limits};

/// The contract that this gateway speaks.
pub(crate) const CONTRACT: &str = "0.2.0";
/// The contract that it goes on serving for pricing policies, whose receipts name them for ever.
const FIRST_CONTRACT: &str = "0.1.0";

/// A component file, by its bytes alone.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ComponentFile {
    /// SHA-256 of the file.
    pub digest: String,
    /// What it can be used as; null where it exports nothing of the contract.
    pub kind: Option<&'static str>,
    /// The version of the contract that it speaks.
    pub contract: Option<String>,
    /// Whether this gateway serves that: `current`, `earlier`, or `none`.
    pub served: &'static str,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of code in it.
    pub code_bytes: u64,
    /// Functions in it.
    pub functions: u32,
    /// Whether it names its functions, so that a trap says where it was.
    pub names_functions: bool,
    /// Languages and tools that it says it was made with.
    pub made_with: Vec<String>,
    /// What it will be shown.
    pub shown: Vec<&'static str>,
    /// What it may do.
    pub may: Vec<&'static str>,
    /// What it never gets, whatever it is.
    pub never: Vec<&'static str>,
}

/// Looks at a component file; nothing of it is run.
///
/// # Errors
/// When it is no component, or one that is built to exhaust the compiler.
pub(crate) fn inspect_component(config: &Config, bytes: &[u8]) -> Result<ComponentFile, LoadError> {
    let limits = limits(&config.plugins);
    let (size, limit) = (bytes.len() as u64, limits.file_bytes_max);
    if size > limit {
        return Err(LoadError::TooLarge { size, limit });
    }
    Ok(told(inspect(bytes, &limits)?))
}

fn told(found: Inspection) -> ComponentFile {
    let served = match (found.kind, found.contract.as_deref()) {
        (Some(_), Some(CONTRACT)) => "current",
        (Some(Kind::PricingPolicy), Some(FIRST_CONTRACT)) => "earlier",
        _ => "none",
    };
    let calls_nobody = !found.imports.iter().any(|import| import.starts_with("tollgate:plugin/host@"));
    let mut never = NEVER.to_vec();
    never.extend(
        calls_nobody.then_some("anything beside its arguments: it asks for no function of the gateway"),
    );
    ComponentFile {
        digest: found.digest.map(|digest| digest.to_string()).unwrap_or_default(),
        kind: found.kind.map(Kind::name),
        contract: found.contract,
        served,
        imports: found.imports,
        exports: found.exports,
        bytes: found.bytes,
        code_bytes: found.code_bytes,
        functions: found.functions,
        names_functions: found.names_functions,
        made_with: found.made_with,
        shown: found.kind.map(shown).unwrap_or_default(),
        may: found.kind.map(may).unwrap_or_default(),
        never,
    }
}

/// What no component gets.
const NEVER: [&str; 3] = [
    "keys, passwords and names of users",
    "files, network, environment, clock and chance of the machine: what it imports of WASI is empty here",
    "more time and memory for a call than its binding gives",
];

fn shown(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::ProviderAdapter => vec![
            "the parts of answers where its plan says that usage stands",
            "status, kind and body of a provider's failure, with keys covered",
            "where it translates: requests and answers as they are, but for long values",
        ],
        Kind::KeySelector => vec![
            "of each credential that may serve: whose it is (the caller's, the platform's, lent), its state, weight, \
             calls under way, failures in a row, time since it served, and how much of the conversation it has cached",
            "a random number and the number of the attempt",
        ],
        Kind::PricingPolicy => vec![
            "units and prices by class, how the request ended, whose credential served it, and when it came",
            "before dispatch, where its plan asks for that: the same by estimate",
        ],
        Kind::ContentFilter => {
            vec![
                "texts of requests, and of answers where its plan says so: up to 256 KiB around what its rules found",
            ]
        }
    }
}

fn may(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::ProviderAdapter => vec![
            "say how the provider is called: paths, headers, what of a client's headers and query goes on",
            "name hosts for keys, which the operator has to grant where the binary does not carry it",
            "say what an answer used and what a failure means; change requests and answers where it translates",
            "write lines to the log",
        ],
        Kind::KeySelector => {
            vec!["choose one of the credentials, or refuse the request", "write lines to the log"]
        }
        Kind::PricingPolicy => vec![
            "charge what a call costs, from nothing to 10^9 points, and say what is held before",
            "say what bringing and lending a key earns",
        ],
        Kind::ContentFilter => {
            vec!["refuse a request, end an answer, or cover what its rules found", "write lines to the log"]
        }
    }
}

/// The binding of a component that is looked at, with the bounds that one of its kind has here.
#[must_use]
pub(crate) fn binding_of(config: &Config, kind: Kind, config_json: &str, key_place: KeyPlace) -> Binding {
    let binding = Binding::of("checked", kind, vec![Variant::new("checked", config_json)]);
    let policies = &config.policies;
    match kind {
        Kind::ProviderAdapter => Binding { memory_bytes_max: ADAPTER_MEMORY_BYTES_MAX, key_place, ..binding },
        Kind::KeySelector => bounded(binding, &policies.key_selection),
        Kind::PricingPolicy => bounded(binding, &policies.pricing),
        Kind::ContentFilter => bounded(binding, &policies.content_filter),
    }
}

/// A version of a component that served here.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ComponentVersion {
    /// What the configuration calls it.
    pub name: String,
    /// The file that it was, without `.wasm`, or what the binary calls it.
    pub component: String,
    /// SHA-256 of the file.
    pub digest: String,
    /// When it began to serve.
    pub since_ms: u64,
    /// When another took its place; null for what served last.
    pub until_ms: Option<u64>,
    /// What it was configured with, as JSON text; null where that was not kept.
    pub config: Option<String>,
    /// Where its bytes are: the `binary`, the `archive`, or `none` where they were not kept.
    pub kept: &'static str,
    /// Why it was rolled back, where it was.
    pub rolled_back: Option<String>,
}

/// All versions that served under a name, of a binding or of a file, or under any: the newest first.
#[must_use]
pub(crate) fn component_versions(config: &Config, name: Option<&str>) -> Vec<ComponentVersion> {
    let (ran, failed) = (history(&config.versions_file()), rolled_back(&config.versions_file()));
    let archive = config.archive();
    let mut later: HashMap<String, u64> = HashMap::new();
    let mut versions = Vec::new();
    for Ran { name: of, component, digest, config: settings, at_ms } in ran.into_iter().rev() {
        let until_ms = later.insert(of.clone(), at_ms);
        if name.is_some_and(|name| name != of && name != component) {
            continue;
        }
        let bytes = kept(config, &component, digest);
        let settings = archive.config(settings).or_else(|_| archive.carried().config(settings));
        versions.push(ComponentVersion {
            rolled_back: failed.iter().find(|it| (&it.0, it.1) == (&of, digest)).map(|it| it.2.clone()),
            name: of,
            component,
            digest: digest.to_string(),
            since_ms: at_ms,
            until_ms,
            config: settings.ok(),
            kept: bytes.map_or("none", |(_, place)| place),
        });
    }
    versions
}

/// The bytes of a version, and where they are.
fn kept(config: &Config, component: &str, digest: Digest) -> Option<(Vec<u8>, &'static str)> {
    if let Some(carried) = carried(component).filter(|bytes| Digest::of(bytes) == digest) {
        return Some((carried.to_vec(), "binary"));
    }
    let archive = config.archive();
    let bytes = archive.component(digest).or_else(|_| archive.carried().component(digest)).ok()?;
    Some((bytes, "archive"))
}

/// What the binary carries under a name.
fn carried(component: &str) -> Option<&'static [u8]> {
    tollgate_components::find(component).map(|component| component.bytes)
}

/// A version to put in force, found by a digest or the beginning of one.
///
/// # Errors
/// Where none or several are meant, or its bytes were not kept.
pub(crate) fn version_to_use(config: &Config, name: &str, digest: &str) -> Result<Chosen, ManageError> {
    let versions = component_versions(config, Some(name));
    let meant: Vec<&ComponentVersion> = versions.iter().filter(|it| it.digest.starts_with(digest)).collect();
    let Some(first) = meant.first() else { return Err(ManageError::not_found("version of it", digest)) };
    if digest.is_empty() || meant.iter().any(|it| it.digest != first.digest) {
        return Err(ManageError::invalid("digest", "several versions begin like that"));
    }
    chosen(config, first)
}

/// The version that served before the one that serves now, but for those that were rolled back.
///
/// # Errors
/// Where there was none, or its bytes were not kept.
pub(crate) fn version_before(config: &Config, name: &str, serves: &str) -> Result<Chosen, ManageError> {
    let versions = component_versions(config, Some(name));
    let earlier = versions.iter().find(|it| it.digest != serves && it.rolled_back.is_none());
    chosen(config, earlier.ok_or_else(|| ManageError::not_found("version before this one of", name))?)
}

fn chosen(config: &Config, version: &ComponentVersion) -> Result<Chosen, ManageError> {
    let (component, digest) = (version.component.clone(), version.digest.clone());
    let found = digest.parse().ok().and_then(|digest| kept(config, &component, digest));
    let (bytes, place) = found.ok_or_else(|| ManageError::not_found("kept version", &digest))?;
    let bytes = (place != "binary").then_some(bytes);
    Ok(Chosen { path: config.plugins_dir().join(format!("{component}.wasm")), component, digest, bytes })
}

/// A version that is to be put in force.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// The file that makes it serve.
    path: PathBuf,
    /// Its name, without `.wasm`.
    pub component: String,
    /// SHA-256 of it.
    pub digest: String,
    /// What it holds; `None` where the binary carries it, and no file is to be there.
    bytes: Option<Vec<u8>>,
}

impl Chosen {
    /// Whether the binary carries it: what is kept of a file is to be forgotten then.
    #[must_use]
    pub(crate) const fn is_carried(&self) -> bool {
        self.bytes.is_none()
    }

    /// Puts its file in place in one step, or takes away what is there. Gives what undoes that.
    ///
    /// # Errors
    /// As the system answers.
    pub(crate) fn put(&self) -> io::Result<Self> {
        let before = match fs::read(&self.path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match &self.bytes {
            None if before.is_none() => {}
            None => fs::remove_file(&self.path)?,
            Some(bytes) => write_whole(&self.path, bytes)?,
        }
        Ok(Self {
            path: self.path.clone(),
            component: self.component.clone(),
            digest: String::new(),
            bytes: before,
        })
    }
}

/// Writes a file under another name first, so that nobody sees half of it. The name has no `.wasm` at its end.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
