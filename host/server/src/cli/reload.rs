//! `tollgate reload`

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use http::Method;
use serde_json::json;

use super::output::Output;
use super::plugin::Running;
use crate::config::Config;

/// Has the running server look at its configuration file now. Ends with 1 where the file is not in force then.
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Take the file up though it leaves out providers, policies or models that are in force.
    #[arg(long)]
    accept_removals: bool,
    #[command(flatten)]
    running: Running,
}

impl Reload {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let body = json!({"accept_removals": self.accept_removals});
        let path = "/management/v1/configuration/reload";
        let answer = self.running.ask(config, Method::POST, path, Some(&body)).await?;
        if answer["followed"] == false {
            bail!("the server was started without a configuration file, and follows none");
        }
        let (held_back, refused) = (&answer["held_back"], &answer["refused"]);
        output.one(&[("held_back", held_back.clone()), ("refused", refused.clone())])?;
        let is_in_force = held_back.as_array().is_none_or(Vec::is_empty) && refused.is_null();
        Ok(if is_in_force { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
