//! Runs the providers' official SDKs against a gateway, by the scripts in `tests/sdk/`: Python beside this text,
//! JavaScript in the folder of that name.
//!
//! The SDKs are installed once, in the versions of `requirements.txt` and `javascript/package.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

pub use crate::install::Outcome;
use crate::install::{both, node, output, python};

/// The scripts, in this crate's folder.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk");

/// Longer than any script takes; each single call in them has a timeout of its own.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(180);

/// The variables of a script, by name and value.
pub type Variables<'a> = &'a [(&'a str, &'a str)];

/// Runs `script` of `tests/sdk/` against the gateway at `base_url` (no path) with an API key of that gateway.
pub async fn run(script: &str, base_url: &str, key: &str) -> Outcome {
    run_python(script, &[("BASE_URL", base_url), ("API_KEY", key)]).await
}

/// Runs `script` of `tests/sdk/` with these variables.
pub async fn run_python(script: &str, variables: Variables<'_>) -> Outcome {
    static INSTALLED: OnceCell<Result<PathBuf, Outcome>> = OnceCell::const_new();
    let requirements = Path::new(SCRIPTS).join("requirements.txt");
    let installed = INSTALLED.get_or_init(|| async { python("sdk-venv", &requirements).await }).await;
    let python = match installed {
        Ok(python) => python,
        Err(outcome) => return outcome.clone(),
    };
    let mut command = Command::new(python);
    command.arg(Path::new(SCRIPTS).join(script));
    finish(script, command, variables).await
}

/// Runs `script` of `tests/sdk/javascript/` with these variables. The scripts are copied to where their packages are:
/// that is where Node.js looks for them.
pub async fn run_javascript(script: &str, variables: Variables<'_>) -> Outcome {
    let scripts = Path::new(SCRIPTS).join("javascript");
    let folder = match node("sdk-node", &scripts.join("package.json")).await {
        Ok(folder) => folder,
        Err(outcome) => return outcome,
    };
    if let Err(error) = copy(&scripts, &folder) {
        return Outcome::failed("the scripts", &error);
    }
    let mut command = Command::new("node");
    command.arg(folder.join(script));
    finish(script, command, variables).await
}

/// Copies the scripts of a folder beside the packages that they need.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|kind| kind == "mjs")) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

async fn finish(script: &str, mut command: Command, variables: Variables<'_>) -> Outcome {
    // The SDKs read many variables of the environment: none may stand in for what the script sets.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().copied());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    match output(&mut command, SCRIPT_TIME_MAX).await {
        Ok(run) if run.status.success() => Outcome::Passed(both(&run)),
        Ok(run) => Outcome::Failed(format!("{script}:\n{}", both(&run))),
        Err(error) => Outcome::failed(script, &error),
    }
}
