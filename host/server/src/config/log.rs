//! What is logged, and what the request log keeps.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::Deserialize;

use super::value::{BodyBytes, LogFilter};

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level or a filter of levels.
    pub level: LogFilter,
    /// Shape of a line.
    pub format: LogFormat,
    /// What goes to files, too.
    pub files: LogFiles,
}

impl Default for Log {
    fn default() -> Self {
        let files = LogFiles::default();
        Self { level: LogFilter("info".to_owned()), format: LogFormat::Text, files }
    }
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which streams go to files, and when those begin anew.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFiles {
    /// Where; without it there are no files.
    pub dir: Option<PathBuf>,
    /// Whether what goes to standard error goes to `application.log`, too.
    pub application: bool,
    /// Whether `transactions.log` gets a line for each call.
    pub transactions: bool,
    /// Whether `debug.log` gets everything of its own level.
    pub debug: bool,
    /// What that is.
    pub debug_level: LogFilter,
    /// The time after which a file begins anew.
    pub rotate: Rotate,
    /// The size after which a file begins anew.
    pub rotate_bytes: u64,
    /// Files that have ended and are kept, of each stream.
    pub keep: u32,
}

impl Default for LogFiles {
    fn default() -> Self {
        Self {
            dir: None,
            application: true,
            transactions: true,
            debug: false,
            debug_level: LogFilter("debug".to_owned()),
            rotate: Rotate::Daily,
            rotate_bytes: 256 * 1024 * 1024,
            keep: 14,
        }
    }
}

/// The time after which a log file begins anew (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotate {
    /// With each hour.
    Hourly,
    /// With each day.
    Daily,
    /// By its size alone.
    Never,
}

impl Rotate {
    /// In milliseconds; 0 for never.
    #[must_use]
    pub const fn period_ms(self) -> u64 {
        match self {
            Self::Hourly => 3_600_000,
            Self::Daily => 86_400_000,
            Self::Never => 0,
        }
    }
}

/// How long the request log is kept, and where it goes then.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requests {
    /// Records of requests older than so many days go; 0 for never.
    pub keep_days: u64,
    /// Of more records than so many, the oldest go; 0 for never.
    pub keep_records: u64,
    /// Records are written to files in here before they go; without it they just go.
    pub archive_dir: Option<PathBuf>,
    /// Run on each such file when it is complete: a program and its arguments, the file's path behind them.
    pub archive_command: Vec<String>,
    /// What is kept of bodies, for API keys of which an operator wants them.
    pub bodies: KeepBodies,
}

/// What is kept of the bodies of calls. No key's are, unless an operator says so of the key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepBodies {
    /// Of a request, and of an answer, each.
    pub bytes_max: BodyBytes,
    /// Members of JSON whose values are taken out before anything is stored, whatever their case.
    pub redact: Vec<String>,
    /// Bodies of calls older than so many days go.
    pub retention_days: NonZeroU64,
}

impl Default for KeepBodies {
    fn default() -> Self {
        Self {
            bytes_max: BodyBytes(64 * 1024),
            redact: Vec::new(),
            retention_days: NonZeroU64::MIN.saturating_add(6),
        }
    }
}
