//! How long the request log is kept: records are moved, oldest first, to a file of the archive, if there is one, and
//! then removed from the database.
//!
//! A few hundred at a time, each batch in its own transaction, so that the ledger never waits long. A batch is in the
//! file, and on the disk, before it is removed: a crash in between archives it twice and loses nothing. The file is
//! named after its first request; it ends in `.part` until the run is over, and a run that was cut short is completed
//! by the next one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tollgate_core::time::{DAY_MS, Timestamp};

use crate::clock::now;
use crate::config::Requests;
use crate::manage::{LogCall, LogReader, ManageError, Management, Retention};
use crate::telemetry::chain;

/// Records of one transaction.
const BATCH: u32 = 250;
/// Pause between transactions, so that others can write.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a server looks.
const INTERVAL: Duration = Duration::from_secs(600);
/// How long the operator's command may take for one file.
const COMMAND_PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked after.
const COMMAND_LOOK: Duration = Duration::from_millis(20);
/// What the command is told of the gateway's environment.
const KEPT: [&str; 10] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE"];
/// The ending of an incomplete file.
const PART: &str = "part";

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Records that are gone.
    pub(crate) records: u64,
    /// The file that holds them.
    pub(crate) file: Option<PathBuf>,
}

/// Why old records are still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetentionError {
    /// The database failed.
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// The archive could not be written.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A record could not be serialized.
    #[error("writing a record down")]
    Record(#[source] serde_json::Error),
    /// The operator's command could not be started.
    #[error("running {program}")]
    Command {
        /// The command.
        program: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The operator's command said that it failed.
    #[error("{program} failed on {}: {status}", path.display())]
    CommandFailed {
        /// The command.
        program: String,
        /// The file that it was given.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The thread that writes the archive has panicked.
    #[error("the thread that writes the archive ended early")]
    Thread(#[source] tokio::task::JoinError),
}

/// An action on a file, for the text of its failure.
fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RetentionError {
    move |source| RetentionError::File { doing, path: path.to_owned(), source }
}

/// Keeps the log within its bounds, in an endless loop.
pub(crate) async fn watch(management: Management, rule: Requests) {
    if rule.keep_days == 0 && rule.keep_records == 0 {
        return;
    }
    loop {
        match prune(&management, &rule).await {
            Ok(Pruned { records: 0, .. }) => {}
            Ok(done) => {
                tracing::info!(records = done.records, file = ?done.file, "removed old records of requests")
            }
            Err(error) => tracing::error!(error = chain(&error), "old records could not be removed"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Removes what may be removed now.
///
/// # Errors
/// When the database or the archive fails: what was not archived is still there. When the command fails: all files are
/// there.
pub(crate) async fn prune(management: &Management, rule: &Requests) -> Result<Pruned, RetentionError> {
    let oldest = now().millis().saturating_sub(rule.keep_days.saturating_mul(DAY_MS));
    let keep = Retention {
        before: (rule.keep_days > 0).then(|| Timestamp::from_millis(oldest)),
        records_max: Some(rule.keep_records).filter(|records| *records > 0),
    };
    if let Some(dir) = rule.archive_dir.clone() {
        let command = rule.archive_command.clone();
        aside(move || left_over(&dir, &command)).await?;
    }
    let mut done = Pruned::default();
    let mut archive: Option<Archive> = None;
    loop {
        let batch = management.expired_requests(&keep, BATCH).await?;
        let Some((first, last)) = batch.first().zip(batch.last()) else { break };
        let (last, count) = (last.request, batch.len() as u64);
        if let Some(dir) = rule.archive_dir.clone() {
            let (begun, name) = (archive.take(), first.request.to_string());
            let mut calls = Vec::with_capacity(batch.len());
            for record in &batch {
                calls.push(management.with_attempts(record, LogReader::Operator).await?);
            }
            let written = move || {
                let mut archive = begun.map_or_else(|| Archive::create(&dir, &name), Ok)?;
                archive.add(&calls)?;
                Ok(archive)
            };
            archive = Some(aside(written).await?);
        }
        management.remove_requests(last).await?;
        done.records += count;
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(archive) = archive {
        let command = rule.archive_command.clone();
        done.file = Some(aside(move || completed(&archive.path, &command)).await?);
    }
    Ok(done)
}

/// Runs work that waits for files and programs on another thread.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RetentionError> + Send + 'static,
) -> Result<T, RetentionError> {
    tokio::task::spawn_blocking(work).await.map_err(RetentionError::Thread)?
}

/// A file of the archive that is being written.
struct Archive {
    path: PathBuf,
    file: File,
}

impl Archive {
    fn create(dir: &Path, first: &str) -> Result<Self, RetentionError> {
        std::fs::create_dir_all(dir).map_err(file("creating", dir))?;
        let path = dir.join(format!("requests-{first}.jsonl.{PART}"));
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = opened.map_err(file("opening", &path))?;
        Ok(Self { path, file })
    }

    /// Writes calls and waits until the disk has them.
    fn add(&mut self, calls: &[LogCall]) -> Result<(), RetentionError> {
        let mut lines = Vec::new();
        for call in calls {
            serde_json::to_writer(&mut lines, call).map_err(RetentionError::Record)?;
            lines.push(b'\n');
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        written.map_err(file("writing", &self.path))
    }
}

/// Completes what an interrupted run has left.
fn left_over(dir: &Path, command: &[String]) -> Result<(), RetentionError> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == PART) {
            completed(&path, command)?;
        }
    }
    Ok(())
}

/// Gives the file its name, and hands it to the operator's command.
fn completed(part: &Path, command: &[String]) -> Result<PathBuf, RetentionError> {
    let path = part.with_extension("");
    std::fs::rename(part, &path).map_err(file("completing", &path))?;
    if let Some((program, arguments)) = command.split_first() {
        let mut command = Command::new(program);
        command.args(arguments).arg(&path);
        let status = run(command, COMMAND_PATIENCE);
        let program = program.clone();
        let status = status.map_err(|source| RetentionError::Command { program: program.clone(), source })?;
        if !status.success() {
            return Err(RetentionError::CommandFailed { program, path, status });
        }
    }
    Ok(path)
}

/// Runs an operator's command: without the secrets that the environment of the gateway holds, with nothing to read, in
/// a group of its own, and for so long at most.
fn run(mut command: Command, patience: Duration) -> io::Result<ExitStatus> {
    command.env_clear();
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            break;
        }
        std::thread::sleep(COMMAND_LOOK);
    }
    // What it has started goes with it.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
    }
    child.wait()?;
    let told = format!("it was not done within {} s", patience.as_secs());
    Err(io::Error::new(io::ErrorKind::TimedOut, told))
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut patience = Duration::from_millis(100);
        // Until it has come so far as to start something.
        let started = loop {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("sleep 600 & echo $! > {}; sleep 600", file.display()));
            assert_eq!(run(command, patience).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
            match std::fs::read_to_string(&file).unwrap_or_default().trim().parse::<u32>() {
                Ok(started) => break started,
                Err(_) => patience *= 2,
            }
        };
        let is_alive = || {
            let state = std::fs::read_to_string(format!("/proc/{started}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        while is_alive() {
            std::thread::yield_now();
        }
    }
}
