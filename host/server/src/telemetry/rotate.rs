//! A log file that is rotated when it is full or its time is over; the last few are kept.
//!
//! The current file has the stream's name; when it ends it becomes `name.1`, what was `name.1` becomes `name.2`, and so
//! on. One thread writes it, apart from those that serve. Lines that cannot be written are counted and dropped: a full
//! disk must not stop a gateway.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_core::time::Timestamp;

use crate::clock::now;

/// When a file ends, and how many are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// A file ends before it would hold more bytes.
    pub(super) bytes_max: u64,
    /// A file ends with the period of this many milliseconds (UTC) in which it began; 0 for never.
    pub(super) period_ms: u64,
    /// Rotated files that are kept.
    pub(super) keep: u32,
}

/// The file.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    rule: Rule,
    file: File,
    bytes: u64,
    period: u64,
    lost: Arc<AtomicU64>,
}

impl Rotating {
    /// Opens the file, and appends to an existing one. `lost` counts the writes that failed.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(path: PathBuf, rule: Rule, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let file = append(&path)?;
        let about = file.metadata()?;
        let written = about.modified().ok().filter(|_| about.len() > 0);
        let since = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let at = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        let period = period(rule, at.map_or_else(now, Timestamp::from_millis));
        Ok(Self { path, rule, file, bytes: about.len(), period, lost })
    }

    fn write_line(&mut self, line: &[u8], at: Timestamp) -> io::Result<()> {
        let length = line.len() as u64;
        let full = self.bytes > 0 && self.bytes.saturating_add(length) > self.rule.bytes_max;
        if full || period(self.rule, at) != self.period {
            self.turn(at)?;
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    /// Ends the file and begins the next.
    fn turn(&mut self, at: Timestamp) -> io::Result<()> {
        for number in (1..self.rule.keep).rev() {
            moved(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
        }
        match self.rule.keep {
            0 => std::fs::remove_file(&self.path)?,
            _ => moved(&self.path, &numbered(&self.path, 1))?,
        }
        self.file = append(&self.path)?;
        (self.bytes, self.period) = (0, period(self.rule, at));
        Ok(())
    }
}

impl Write for Rotating {
    /// Always takes a line: failures are counted.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.write_line(line, now()).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // The log is private: it says who called which model.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// A missing file need not be moved.
fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

fn period(rule: Rule, at: Timestamp) -> u64 {
    at.millis().checked_div(rule.period_ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tollgate_core::time::{DAY_MS, Timestamp};

    use super::{Rotating, Rule};

    fn names(dir: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let rule = Rule { bytes_max: 8, period_ms: 0, keep: 2 };
        let mut log = Rotating::open(dir.path().join("a.log"), rule, Arc::default()).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "a longer one\n", "six\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(names(dir.path()), ["a.log", "a.log.1", "a.log.2"]);
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            (text("a.log"), text("a.log.1"), text("a.log.2")),
            ("six\n".into(), "a longer one\n".into(), "four\n".into())
        );
    }

    #[test]
    fn a_file_ends_with_its_day_and_a_restart_goes_on_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let rule = Rule { bytes_max: u64::MAX, period_ms: DAY_MS, keep: 5 };
        let path = dir.path().join("a.log");
        let today = crate::clock::now();
        for _ in 0..2 {
            let mut log = Rotating::open(path.clone(), rule, Arc::default()).unwrap();
            log.write_line(b"today\n", today).unwrap();
        }
        let mut log = Rotating::open(path.clone(), rule, Arc::default()).unwrap();
        log.write_line(b"tomorrow\n", Timestamp::from_millis(today.millis() + DAY_MS)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "tomorrow\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "today\ntoday\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let lost: Arc<AtomicU64> = Arc::default();
        let rule = Rule { bytes_max: 4, period_ms: 0, keep: 1 };
        let mut log = Rotating::open(dir.path().join("a.log"), rule, Arc::clone(&lost)).unwrap();
        log.write_all(b"one\n").unwrap();
        // The next file cannot be created where the folder is gone.
        drop(dir);
        log.write_all(b"two\n").unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 1);
    }
}
