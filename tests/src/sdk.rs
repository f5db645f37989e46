//! Runs the providers' official Python SDKs against a gateway, by the scripts in `tests/sdk/`.
//!
//! The SDKs are installed once, in the versions of `tests/sdk/requirements.txt`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

pub use crate::install::Outcome;
use crate::install::{both, output, python};

/// The scripts, in this crate's folder.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk");

/// Longer than any script takes; each single call in them has a timeout of its own.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(180);

/// Runs `script` of `tests/sdk/` against the gateway at `base_url` (no path) with an API key of that gateway.
pub async fn run(script: &str, base_url: &str, key: &str) -> Outcome {
    let python = match installed().await {
        Ok(python) => python,
        Err(outcome) => return outcome,
    };
    let mut command = Command::new(python);
    // The SDKs read many variables of the environment: none may stand in for what the script sets.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("BASE_URL", base_url).env("API_KEY", key);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    match output(command.arg(Path::new(SCRIPTS).join(script)), SCRIPT_TIME_MAX).await {
        Ok(run) if run.status.success() => Outcome::Passed(both(&run)),
        Ok(run) => Outcome::Failed(format!("{script}:\n{}", both(&run))),
        Err(error) => Outcome::failed(script, &error),
    }
}

/// The interpreter, which the first caller installs.
async fn installed() -> Result<&'static Path, Outcome> {
    static INSTALLED: OnceCell<Result<PathBuf, Outcome>> = OnceCell::const_new();
    let requirements = Path::new(SCRIPTS).join("requirements.txt");
    let installed = INSTALLED.get_or_init(|| async { python("sdk-venv", &requirements).await }).await;
    installed.as_deref().map_err(Clone::clone)
}
