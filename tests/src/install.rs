//! Installs what tests need from the package indexes, once, below the target directory: Python packages into a venv,
//! npm packages into a folder.
//!
//! Only a machine that cannot install them skips: one without the language, or without its package index.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Longer than the download takes on a poor line.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(600);

/// The oldest Node.js that the packages are made for.
const NODE_MAJOR_MIN: u32 = 20;

/// What pip and npm say when they cannot reach the index, as opposed to other errors.
const OFFLINE_MARKS: [&str; 14] = [
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Failed to establish a new connection",
    "Network is unreachable",
    "(from versions: none)",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "ENOTFOUND",
    "ETIMEDOUT",
];

/// The result of something that needs more than this repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Every check held; what was printed.
    Passed(String),
    /// A check failed, or what it needs does not install; all output.
    Failed(String),
    /// What it needs cannot be had on this machine, and why.
    Skipped(String),
}

impl Outcome {
    /// Ends a test: prints what was checked or why nothing was.
    ///
    /// # Panics
    /// When it failed, with the output.
    #[expect(clippy::print_stderr, reason = "a skipped test has to say so where its runner shows it")]
    pub fn expect_passed(self) {
        match self {
            Self::Passed(checks) => eprintln!("{checks}"),
            Self::Skipped(reason) => eprintln!("skipped: {reason}"),
            Self::Failed(output) => panic!("{output}"),
        }
    }

    pub(crate) fn failed(what: &str, error: &io::Error) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// The interpreter of the venv `name`, which holds exactly what `requirements` names in the versions that it names.
///
/// # Errors
/// [`Outcome::Skipped`] without Python or its index, [`Outcome::Failed`] where the packages do not install.
pub async fn python(name: &str, requirements: &Path) -> Result<PathBuf, Outcome> {
    let venv = target_directory().join(name);
    let python = venv.join("bin/python");
    once(&venv, requirements, async || {
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&venv);
        match output(&mut make, INSTALL_TIME_MAX).await {
            Ok(made) if made.status.success() => {}
            Ok(made) => return Err(Outcome::Skipped(format!("no venv: {}", both(&made)))),
            Err(error) => return Err(Outcome::Skipped(format!("no python3: {error}"))),
        }
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        pip.args(["--retries", "1", "--timeout", "20", "--requirement"]).arg(requirements);
        download(&mut pip).await
    })
    .await?;
    Ok(python)
}

/// A folder `name` with the packages of `manifest`, a `package.json` whose versions are exact, in its `node_modules`.
///
/// # Errors
/// [`Outcome::Skipped`] without Node.js or its index, [`Outcome::Failed`] where the packages do not install.
pub async fn node(name: &str, manifest: &Path) -> Result<PathBuf, Outcome> {
    let folder = target_directory().join(name);
    once(&folder, manifest, async || {
        let version = output(Command::new("node").arg("--version"), INSTALL_TIME_MAX).await;
        let version = version.map_err(|error| Outcome::Skipped(format!("no node: {error}")))?;
        if node_major(&both(&version)).is_none_or(|major| major < NODE_MAJOR_MIN) {
            return Err(Outcome::Skipped(format!("node {} is too old", both(&version).trim())));
        }
        let copied =
            fs::create_dir_all(&folder).and_then(|()| fs::copy(manifest, folder.join("package.json")));
        copied.map_err(|error| Outcome::failed("the package's manifest", &error))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=1"]);
        download(npm.current_dir(&folder)).await
    })
    .await?;
    Ok(folder)
}

/// Runs a command to its end, which is also that of the waiting test should that end first.
///
/// # Errors
/// When it cannot be started or is not done in time.
pub async fn output(command: &mut Command, time_max: Duration) -> io::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let run = tokio::time::timeout(time_max, command.output()).await;
    run.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("not done in {time_max:?}")))?
}

/// Standard output, then standard error.
#[must_use]
pub fn both(run: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr))
}

/// The target directory, from the place of the running test: `<target>/<profile>/deps/<test>`.
#[must_use]
pub fn target_directory() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).map_or_else(std::env::temp_dir, Path::to_owned)
}

/// Makes `place` unless it stands with this very list of packages. The stamp is written last, so that an interrupted
/// installation is repeated; other test binaries may need it at the same time.
async fn once(
    place: &Path,
    list: &Path,
    make: impl AsyncFnOnce() -> Result<(), Outcome>,
) -> Result<(), Outcome> {
    let stamp = place.join("installed.txt");
    let wanted = fs::read_to_string(list).map_err(|error| Outcome::failed("the list of packages", &error))?;
    let lock = lock(&place.with_extension("lock")).await;
    let _alone = lock.map_err(|error| Outcome::failed("the lock of the packages", &error))?;
    if fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == wanted) {
        return Ok(());
    }
    make().await?;
    fs::write(&stamp, wanted).map_err(|error| Outcome::failed("the stamp of the packages", &error))
}

/// 20 of `v20.11.1`.
fn node_major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

async fn download(command: &mut Command) -> Result<(), Outcome> {
    let run = output(command, INSTALL_TIME_MAX).await;
    let run = run.map_err(|error| Outcome::Skipped(format!("no installer of packages: {error}")))?;
    let complaint = both(&run);
    if run.status.success() {
        Ok(())
    } else if OFFLINE_MARKS.iter().any(|mark| complaint.contains(mark)) {
        Err(Outcome::Skipped(format!("the package index cannot be reached: {complaint}")))
    } else {
        Err(Outcome::Failed(format!("packages do not install: {complaint}")))
    }
}

/// Waits for exclusive use of a place. Released on drop.
async fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    locked.await.map_err(io::Error::other)?
}
