//! `tollgate plugin inspect` and `tollgate plugin check`: what a component file is, and whether it would be taken up.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_core::line::plain;
use tollgate_runtime::{Considered, HoldRule, KeyPlace, Kind, Runtime, Settings, Trigger};

use super::{KindName, granted};
use crate::cli::output::Output;
use crate::config::{Config, file};
use crate::manage::components::{binding_of, inspect_component};
use crate::routing::components;
use crate::telemetry::chain;
use crate::upstream::permission::permissions;

/// A file to look at.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component: a file, or the name of one that the binary carries.
    file: PathBuf,
}

/// A file to check.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    tried: Tried,
}

/// A file that is loaded beside traffic, and as what.
#[derive(Debug, Args)]
pub(super) struct Tried {
    /// The component.
    file: PathBuf,
    /// What it is to be used as; what it says itself where this is not given.
    #[arg(long, value_enum)]
    kind: Option<KindName>,
    /// Configuration as JSON.
    #[arg(long, default_value = "{}")]
    config_json: String,
    /// The header in which the provider takes its key, where that is none of the usual.
    #[arg(long)]
    secret_header: Option<String>,
}

impl Inspect {
    pub(super) fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let bytes = match embedded(&self.file) {
            Some(bytes) => bytes.to_vec(),
            None => read(config, &self.file)?,
        };
        let found = match inspect_component(config, &bytes) {
            Ok(found) => serde_json::to_value(found)?,
            Err(error) => bail!("{} is refused: {}", self.file.display(), plain(&error.to_string())),
        };
        let name = |name: &str| name.replace('_', " ");
        let found = found.as_object().map(|found| found.iter()).into_iter().flatten();
        let fields: Vec<(String, Value)> = match output.is_json() {
            true => found.map(|(key, value)| (key.clone(), value.clone())).collect(),
            false => found.map(|(key, value)| (name(key), in_words(value))).collect(),
        };
        let fields: Vec<(&str, Value)> =
            fields.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        output.one(&fields)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A component that the binary carries, where no file has that name.
fn embedded(name: &Path) -> Option<&'static [u8]> {
    let carried = name.to_str().and_then(tollgate_components::find).map(|component| component.bytes);
    carried.filter(|_| !name.exists())
}

/// A list as one text.
fn in_words(value: &Value) -> Value {
    let Some(list) = value.as_array() else { return value.clone() };
    let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    words.join("; ").into()
}

impl Check {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let considered = self.tried.bench(config)?.consider(self.tried.settings())?;
        let mut fields: Vec<(&str, Value)> = vec![
            ("file", self.tried.file.display().to_string().into()),
            ("kind", considered.kind().name().into()),
            ("digest", considered.digest().to_string().into()),
            ("result", "would be taken up".into()),
        ];
        fields.extend(plan(&considered));
        if let Some(adapter) = considered.adapter() {
            let component = self.tried.file.file_stem().unwrap_or_default().to_string_lossy();
            let granted = granted(config).await?;
            let hosts = permissions(adapter, &component, &granted);
            let told = hosts.iter().map(|it| format!("{} ({})", it.host, it.word.name()));
            fields.push(("keys in", adapter.plan().key_places().join(", ").into()));
            fields.push(("keys to", told.collect::<Vec<_>>().join(", ").into()));
        }
        output.one(&fields)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a policy asked the gateway to do by itself.
fn plan(considered: &Considered) -> Vec<(&'static str, Value)> {
    let policies = considered.policies();
    if let Some(filter) = &policies.filter {
        let plan = filter.plan();
        let asked = match plan.trigger {
            Trigger::OnMatch => "where a rule found something",
            Trigger::Always => "about every text",
        };
        return vec![
            ("rules", json!(plan.rules.len())),
            ("asked", asked.into()),
            ("answer_window_chars", plan.response_window_chars.into()),
        ];
    }
    let Some(pricing) = &policies.pricing else { return Vec::new() };
    let hold = match pricing.plan().hold {
        HoldRule::Rated(_) => "by a rule of its plan",
        HoldRule::Ask => "by a call for each request",
    };
    vec![("hold", hold.into()), ("lender_ppm", pricing.plan().rewards.lender_ppm.into())]
}

impl Tried {
    /// What the file is looked at with.
    pub(super) fn bench<'c>(&self, config: &'c Config) -> anyhow::Result<Bench<'c>> {
        let bytes = read(config, &self.file)?;
        let refused = |reason: &str| format!("{} is refused: {}", self.file.display(), plain(reason));
        let kind = match self.kind {
            Some(kind) => kind.into(),
            None => {
                let found = inspect_component(config, &bytes);
                let found = found.map_err(|error| anyhow::anyhow!(refused(&error.to_string())))?;
                let kind = Kind::ALL.into_iter().find(|kind| Some(kind.name()) == found.kind);
                kind.with_context(|| refused("it exports nothing of the contract; --kind says what it is"))?
            }
        };
        let key_place = KeyPlace { header: self.secret_header.clone(), scheme: None };
        hear_components();
        let cache = tempfile::tempdir()?;
        let settings = Settings { cache_dir: Some(cache.path().to_owned()), ..components::apart(config) };
        let runtime = Runtime::start(settings, Vec::new(), |_| {})?;
        let name = self.file.display().to_string();
        Ok(Bench { runtime, config, name, bytes, kind, key_place, _cache: cache })
    }

    /// The settings that are given, as JSON text.
    pub(super) fn settings(&self) -> &str {
        &self.config_json
    }
}

/// A component file in a runtime that serves nobody.
pub(super) struct Bench<'c> {
    runtime: Runtime,
    config: &'c Config,
    name: String,
    bytes: Vec<u8>,
    kind: Kind,
    key_place: KeyPlace,
    /// Other settings take no other compilation.
    _cache: TempDir,
}

impl Bench<'_> {
    /// What it is used as.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// How long the file is.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Loads the file with these settings. What it says meanwhile goes to standard error.
    pub(super) fn consider(&self, settings: &str) -> anyhow::Result<Considered> {
        self.load(&self.name, self.bytes.clone(), settings)
    }

    /// Loads what the binary carries of the same kind, with its own defaults.
    pub(super) fn built_in(&self) -> Option<anyhow::Result<Considered>> {
        let name = match self.kind {
            Kind::ProviderAdapter => "openai",
            Kind::KeySelector => "key-selection",
            Kind::PricingPolicy => "discount-points",
            Kind::ContentFilter => "content-filter",
        };
        let component = tollgate_components::find(name)?;
        Some(self.load(name, component.bytes.to_vec(), "{}"))
    }

    fn load(&self, name: &str, bytes: Vec<u8>, settings: &str) -> anyhow::Result<Considered> {
        let binding = binding_of(self.config, self.kind, settings, self.key_place.clone());
        // What it is called within is the component's own to say.
        let considered = self.runtime.consider(&binding, bytes);
        considered.map_err(|error| anyhow::anyhow!("{name} is refused: {}", plain(&chain(&error))))
    }
}

/// The bytes of a file.
fn read(config: &Config, path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = file::read(path, config.plugins.file_bytes_max);
    bytes.with_context(|| format!("reading {}", path.display()))
}

/// Has lines of components printed as they come.
fn hear_components() {
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("off,tollgate::component=trace")
        .without_time()
        .with_target(false)
        .with_ansi(false);
    // Whoever set one up before hears them there.
    let _heard = lines.try_init();
}
