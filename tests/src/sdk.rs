//! Runs the providers' official Python SDKs against a gateway, by the scripts in `tests/sdk/`.
//!
//! The SDKs are installed once, in the versions of `tests/sdk/requirements.txt`, into `sdk-venv` of the target
//! directory. Only a machine that cannot install them skips: one without Python, or without its package index.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{process::Command, sync::OnceCell};

/// The scripts, in this crate's folder.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk");

/// Longer than any script takes; each single call in them has a timeout of its own.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(180);

/// Longer than the download takes on a poor line.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(600);

/// What pip says when the trouble is the way to the index, and not what was asked of it.
const OFFLINE_MARKS: [&str; 8] = [
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Failed to establish a new connection",
    "Network is unreachable",
    "(from versions: none)",
];

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Every check held; what the script printed.
    Passed(String),
    /// A check failed, or the SDKs do not install; both outputs.
    Failed(String),
    /// The SDKs cannot be had on this machine, and why.
    Skipped(String),
}

impl Outcome {
    /// Ends a test: prints what was checked or why nothing was.
    ///
    /// # Panics
    /// When the script failed, with its output.
    #[expect(clippy::print_stderr, reason = "a skipped test has to say so where its runner shows it")]
    pub fn expect_passed(self) {
        match self {
            Self::Passed(checks) => eprintln!("{checks}"),
            Self::Skipped(reason) => eprintln!("skipped: {reason}"),
            Self::Failed(output) => panic!("{output}"),
        }
    }
}

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
        Ok(run) if run.status.success() => Outcome::Passed(text(&run.stdout)),
        Ok(run) => Outcome::Failed(format!("{script}:\n{}{}", text(&run.stdout), text(&run.stderr))),
        Err(error) => Outcome::Failed(format!("{script}: {error}")),
    }
}

/// The interpreter of the venv, which the first caller makes.
async fn installed() -> Result<&'static Path, Outcome> {
    static INSTALLED: OnceCell<Result<PathBuf, Outcome>> = OnceCell::const_new();
    let installed =
        INSTALLED.get_or_init(|| async { install(&target_directory().join("sdk-venv")).await }).await;
    installed.as_deref().map_err(Clone::clone)
}

/// The target directory, from the place of the running test: `<target>/<profile>/deps/<test>`.
fn target_directory() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).map_or_else(std::env::temp_dir, Path::to_owned)
}

/// Makes the venv unless it stands with these very requirements. The stamp is written last, so that an installation
/// that was broken off is made again.
async fn install(venv: &Path) -> Result<PathBuf, Outcome> {
    let python = venv.join("bin/python");
    let stamp = venv.join("installed-requirements.txt");
    let requirements = Path::new(SCRIPTS).join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).map_err(|error| failed("the requirements", &error))?;
    let _alone =
        lock(&venv.with_extension("lock")).await.map_err(|error| failed("the lock of the venv", &error))?;
    if fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == wanted) {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(venv);
    match output(&mut make, INSTALL_TIME_MAX).await {
        Ok(made) if made.status.success() => {}
        Ok(made) => {
            return Err(Outcome::Skipped(format!("no venv: {}{}", text(&made.stdout), text(&made.stderr))));
        }
        Err(error) => return Err(Outcome::Skipped(format!("no python3: {error}"))),
    }
    download(&python, requirements.as_os_str()).await?;
    fs::write(&stamp, wanted).map_err(|error| failed("the stamp of the venv", &error))?;
    Ok(python)
}

async fn download(python: &Path, requirements: &OsStr) -> Result<(), Outcome> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args(["--retries", "1", "--timeout", "20", "--requirement"]).arg(requirements);
    let run = output(&mut pip, INSTALL_TIME_MAX).await.map_err(|error| failed("pip", &error))?;
    let complaint = text(&run.stderr);
    if run.status.success() {
        Ok(())
    } else if OFFLINE_MARKS.iter().any(|mark| complaint.contains(mark)) {
        Err(Outcome::Skipped(format!("the package index cannot be reached: {complaint}")))
    } else {
        Err(Outcome::Failed(format!("the SDKs do not install: {complaint}")))
    }
}

/// Waits for the venv to be ours alone: other test binaries may want it at the same time. Released on drop.
async fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    locked.await.map_err(io::Error::other)?
}

/// Runs a command to its end, which is also that of the waiting test should that end first.
async fn output(command: &mut Command, time_max: Duration) -> io::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let run = tokio::time::timeout(time_max, command.output()).await;
    run.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("not done in {time_max:?}")))?
}

fn failed(what: &str, error: &io::Error) -> Outcome {
    Outcome::Failed(format!("{what}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
