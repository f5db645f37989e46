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
    /// Streams that also go to files.
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

/// Which streams go to files, and when these are rotated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFiles {
    /// The directory; without it there are no files.
    pub dir: Option<PathBuf>,
    /// Whether what goes to standard error also goes to `application.log`.
    pub application: bool,
    /// Whether `transactions.log` gets a line for each call.
    pub transactions: bool,
    /// Whether `debug.log` gets everything of a level of its own.
    pub debug: bool,
    /// That level.
    pub debug_level: LogFilter,
    /// The time after which a file is rotated.
    pub rotate: Rotate,
    /// The size after which a file is rotated.
    pub rotate_bytes: u64,
    /// Rotated files that are kept, of each stream.
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

/// The time after which a log file is rotated (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotate {
    /// Every hour.
    Hourly,
    /// Every day.
    Daily,
    /// Only by size.
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

/// How long the request log is kept, and where old records go.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requests {
    /// Records of requests older than this many days are removed; 0 for never.
    pub keep_days: u64,
    /// Where there are more records than this, the oldest are removed; 0 for never.
    pub keep_records: u64,
    /// The directory of files to which records are written before they are removed; without it they are only removed.
    pub archive_dir: Option<PathBuf>,
    /// Run on each such file when it is complete: a program and its arguments, followed by the file's path.
    pub archive_command: Vec<String>,
    /// Bodies of calls, for API keys for which an operator keeps them.
    pub bodies: KeepBodies,
}

/// How bodies of calls are kept. Only for keys for which an operator asks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepBodies {
    /// The most bytes of a request, and of an answer.
    pub bytes_max: BodyBytes,
    /// Members of JSON whose values are taken out before anything is stored, whatever their case.
    pub redact: Vec<String>,
    /// Bodies of calls older than this many days are removed.
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
