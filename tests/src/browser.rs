//! Runs the scripts of `tests/console/`, which open the console in a headless Chromium and use it as people do.
//!
//! What drives the browser is installed once, in the versions of `tests/console/package.json`; the browser is the
//! machine's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

pub use crate::install::Outcome;
use crate::install::{both, node, output};
use crate::sdk::{Variables, copy};

/// The scripts, in this crate's folder.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
/// Names under which the browser is found.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
/// Longer than any script takes; each single wait in them has an end of its own.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(600);

/// Runs a script with these variables. Skipped without Node.js, its index or a browser.
pub async fn run(script: &str, variables: Variables<'_>) -> Outcome {
    let Some(browser) = browser() else {
        return Outcome::Skipped("no Chromium: install Debian's package `chromium`".to_owned());
    };
    let folder = match node("console-node", &Path::new(SCRIPTS).join("package.json")).await {
        Ok(folder) => folder,
        Err(outcome) => return outcome,
    };
    if let Err(error) = copy(Path::new(SCRIPTS), &folder) {
        return Outcome::failed("the scripts", &error);
    }
    let home = folder.join("home");
    if let Err(error) = fs::create_dir_all(&home) {
        return Outcome::failed("a home for the browser", &error);
    }
    let mut command = Command::new("node");
    command.arg(folder.join(script)).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().copied()).env("CHROMIUM", browser).env("HOME", home);
    match output(&mut command, SCRIPT_TIME_MAX).await {
        Ok(run) if run.status.success() => Outcome::Passed(both(&run)),
        Ok(run) => Outcome::Failed(format!("{script}:\n{}", both(&run))),
        Err(error) => Outcome::failed(script, &error),
    }
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    BROWSERS.iter().find_map(|name| places.iter().map(|place| place.join(name)).find(|file| file.is_file()))
}
