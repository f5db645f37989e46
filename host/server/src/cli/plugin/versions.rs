//! `tollgate plugin history`, `use` and `back`: which versions served, and the way back to one.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{Running, print, segment};
use crate::cli::output::Output;
use crate::config::Config;
use crate::manage::components::component_versions;

/// What is told of each version.
const COLUMNS: [&str; 9] =
    ["name", "component", "digest", "since", "until", "kept", "config", "rolled_back", "current"];

/// Whose versions.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// What the configuration calls it, or its file without `.wasm`; all without it.
    component: Option<String>,
}

/// A version that is to serve.
#[derive(Debug, Args)]
pub(crate) struct Use {
    /// What the configuration calls it, or its file without `.wasm`.
    component: String,
    /// Digest of a version that served before, or the beginning of it.
    digest: String,
    #[command(flatten)]
    running: Running,
}

/// A component of which the version before is to serve.
#[derive(Debug, Args)]
pub(crate) struct Back {
    /// What the configuration calls it, or its file without `.wasm`.
    component: String,
    #[command(flatten)]
    running: Running,
}

impl History {
    /// Reads the data directory; no server need run.
    pub(super) fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let moment = |ms| crate::cli::shown(tollgate_core::time::Timestamp::from_millis(ms));
        let versions = component_versions(config, self.component.as_deref());
        let rows: Vec<Vec<Value>> = versions
            .into_iter()
            .map(|it| {
                vec![
                    it.name.into(),
                    it.component.into(),
                    it.digest.into(),
                    moment(it.since_ms).into(),
                    it.until_ms.map(moment).into(),
                    it.kept.into(),
                    it.config.into(),
                    it.rolled_back.into(),
                    it.until_ms.is_none().into(),
                ]
            })
            .collect();
        output.many(&COLUMNS, &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Use {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let path = format!("/management/v1/plugins/{}/use", segment(&self.component));
        let body = json!({"digest": self.digest});
        print(&self.running.ask(config, Method::POST, &path, Some(&body)).await?, output)
    }
}

impl Back {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let path = format!("/management/v1/plugins/{}/back", segment(&self.component));
        print(&self.running.ask(config, Method::POST, &path, None).await?, output)
    }
}
