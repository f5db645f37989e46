//! Logging: three streams out of one subscriber.
//!
//! *Application*: what happens to the gateway; to standard error, and to a file where files are configured.
//! *Transactions*: one JSON line for each ended call, its record without the receipt; only to a file. *Debug*:
//! everything at a separate level; only to a file.
//!
//! Separate threads write the files ([`tracing_appender`]), fed through queues that never block: a line for which there
//! is no room is dropped and counted ([`lost`]), and so is one that cannot be written.

mod line;
mod rotate;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tollgate_core::usage::Class;
use tollgate_store::RequestRecord;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::DefaultFields;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use self::line::{PlainFields, PlainJson};
use self::rotate::{Rotating, Rule};
use crate::config::{Log, LogFiles, LogFormat};

/// The target of the transaction stream's events.
const TRANSACTION: &str = "tollgate::transaction";
/// What the targets of Tollgate's own lines begin with, components' among them.
const OWN: &str = "tollgate";
/// Lines that a stream's queue holds.
const QUEUE_LINES: usize = 16 * 1024;

/// A stream that goes to a file.
struct Stream {
    name: &'static str,
    dropped: ErrorCounter,
    refused: Arc<AtomicU64>,
    /// Writes what is queued when it is dropped.
    guard: Option<WorkerGuard>,
}

/// The files of this process: like the subscriber, there is one set of them.
static STREAMS: Mutex<Vec<Stream>> = Mutex::new(Vec::new());

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// A directory or file of the log that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct LogError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Starts logging. Later calls change nothing: tests start several gateways in one process.
///
/// # Errors
/// When a log file cannot be opened.
pub(crate) fn start(log: &Log) -> Result<(), LogError> {
    let mut streams = Vec::new();
    let mut layers: Vec<BoxedLayer> = vec![to_stderr(log)];
    if let Some(dir) = &log.files.dir {
        let made = std::fs::create_dir_all(dir);
        made.map_err(|source| LogError { doing: "creating", path: dir.clone(), source })?;
        let files = &log.files;
        if files.application {
            let to = open(files, dir, "application", &mut streams)?;
            layers.push(lines(log.format, to, application(&log.level.0)));
        }
        if files.transactions {
            let to = open(files, dir, "transactions", &mut streams)?;
            let shape = fmt::layer().json().flatten_event(true).with_level(false).with_target(false);
            let shape = shape.map_event_format(PlainJson);
            let only = Targets::new().with_target(TRANSACTION, tracing::Level::INFO);
            layers.push(shape.with_writer(to).with_filter(only).boxed());
        }
        if files.debug {
            let to = open(files, dir, "debug", &mut streams)?;
            layers.push(lines(LogFormat::Json, to, application(&files.debug_level.0)));
        }
    }
    match tracing_subscriber::registry().with(layers).try_init() {
        Ok(()) => *locked() = streams,
        Err(error) => tracing::debug!(%error, "logging had started before"),
    }
    Ok(())
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Writes what is queued and closes the files. What is logged later goes only to standard error.
pub(crate) fn finish() {
    let guards: Vec<_> = locked().iter_mut().filter_map(|stream| stream.guard.take()).collect();
    drop(guards);
}

/// Lines that were not written, by stream.
pub(crate) fn lost() -> Vec<(&'static str, u64)> {
    let count = |stream: &Stream| {
        let dropped = u64::try_from(stream.dropped.dropped_lines()).unwrap_or(u64::MAX);
        (stream.name, dropped.saturating_add(stream.refused.load(Ordering::Relaxed)))
    };
    locked().iter().map(count).collect()
}

/// Writes a line about an ended call, if the transaction stream is on; otherwise this costs a look at an atomic.
pub(crate) fn transaction(record: &RequestRecord) {
    if !tracing::enabled!(target: TRANSACTION, tracing::Level::INFO) {
        return;
    }
    let id = |id: Option<String>| id.unwrap_or_default();
    let usage = &record.usage;
    // `tracing` needs each field spelt out; the table of classes makes a field for each class.
    macro_rules! tell {
        ($(
            $(#[$doc:meta])+
            $class:ident = $code:literal, $name:ident, $unit:ident, $side:ident, $unpriced:ident $(($like:ident))?;
        )+) => {
            tracing::info!(
                target: TRANSACTION,
                request = %record.request,
                user = %record.user,
                key = id(record.api_key.map(|key| key.to_string())),
                protocol = record.protocol.map(|protocol| protocol.name()),
                operation = record.operation.map(|operation| operation.name()),
                provider = record.provider.as_deref(),
                model = record.model.as_deref(),
                credential = id(record.credential.map(|credential| credential.to_string())),
                outcome = record.outcome.name(),
                status = record.status,
                attempts = record.attempts,
                streamed = record.streamed,
                $($name = usage[Class::$class],)+
                quality = usage.quality.name(),
                points = %record.charge,
                latency_ms = record.latency_ms,
                ttft_ms = record.ttft_ms,
            );
        };
    }
    tollgate_core::each_class!(tell);
}

fn locked() -> std::sync::MutexGuard<'static, Vec<Stream>> {
    STREAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_stderr(log: &Log) -> BoxedLayer {
    let filter = application(&log.level.0);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            let layer = layer.with_ansi(std::io::stderr().is_terminal());
            layer.fmt_fields(PlainFields(DefaultFields::new())).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            layer.json().flatten_event(true).map_event_format(PlainJson).with_filter(filter).boxed()
        }
    }
}

fn lines(format: LogFormat, to: NonBlocking, filter: EnvFilter) -> BoxedLayer {
    let layer = fmt::layer().with_writer(to).with_ansi(false);
    match format {
        LogFormat::Text => layer.fmt_fields(PlainFields(DefaultFields::new())).with_filter(filter).boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).map_event_format(PlainJson).with_filter(filter).boxed()
        }
    }
}

/// What the configuration asks for, without the transactions, which have a file of their own.
fn application(filter: &str) -> EnvFilter {
    // The configuration has checked the filter.
    EnvFilter::try_new(directives(filter)).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// A filter as it is meant: a level that names no target is Tollgate's own. Of what it is made of, one compiler alone
/// would write a quarter of a million lines where a component is compiled; those who want to see them name it.
fn directives(filter: &str) -> String {
    let own = |part: &str| match part.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => format!("info,{OWN}={level}"),
        _ => part.trim().to_owned(),
    };
    let parts: Vec<String> = filter.split(',').map(own).chain([format!("{TRANSACTION}=off")]).collect();
    parts.join(",")
}

fn open(
    files: &LogFiles,
    dir: &Path,
    name: &'static str,
    streams: &mut Vec<Stream>,
) -> Result<NonBlocking, LogError> {
    let path = dir.join(format!("{name}.log"));
    let rule = Rule { bytes_max: files.rotate_bytes, period_ms: files.rotate.period_ms(), keep: files.keep };
    let refused: Arc<AtomicU64> = Arc::default();
    let file = Rotating::open(path.clone(), rule, Arc::clone(&refused)).map_err(|source| LogError {
        doing: "opening the log file",
        path,
        source,
    })?;
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES);
    let (writer, guard) = builder.thread_name("tollgate-log").finish(file);
    let dropped = writer.error_counter();
    streams.push(Stream { name, dropped, refused, guard: Some(guard) });
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn a_level_is_of_tollgates_own_lines_and_a_target_of_what_it_names() {
        let check = |filter: &str, expect: &str| {
            assert_eq!(directives(filter), format!("{expect},tollgate::transaction=off"), "{filter}");
        };
        check("info", "info");
        check("warn", "warn");
        check("off", "off");
        check("debug", "info,tollgate=debug");
        check("TRACE", "info,tollgate=trace");
        check("5", "info,tollgate=trace");
        check("debug, hyper=debug", "info,tollgate=debug,hyper=debug");
        check("cranelift_codegen=debug,debug", "cranelift_codegen=debug,info,tollgate=debug");
        check("tollgate_server::proxy=trace", "tollgate_server::proxy=trace");
    }
}
