//! What a store carries: the memory limit, and where the component's words go.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tollgate_core::line::plain;

use tracing::field::display;
use wasmtime::{ResourceLimiter, Store};

use crate::behalf;
use crate::bindings::{host, types};
use crate::deadline::Deadline;
use crate::digest::Digest;

/// Lines a second that a component may log.
const LINES_PER_SECOND: u32 = 20;
/// Longest line kept, in bytes.
const LINE_BYTES_MAX: usize = 2 << 10;
/// Lines that the text of a fault tells.
const SAID_LINES_MAX: usize = 5;
/// Longest of them, in bytes.
const SAID_LINE_BYTES_MAX: usize = 512;
/// Table elements that an instance may have.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Data of one store.
pub(crate) struct State {
    pub(crate) limiter: Limiter,
    pub(crate) deadline: Deadline,
    log: Arc<GuestLog>,
    stderr: Vec<u8>,
    /// The last lines that it logged or wrote, the oldest first: among them usually the reason of a panic.
    said: VecDeque<String>,
}

impl State {
    pub(crate) fn new(memory_bytes_max: usize, deadline: Deadline, log: Arc<GuestLog>) -> Self {
        let limiter = Limiter { memory_bytes_max, memory_bytes: 0, refused: false };
        Self { limiter, deadline, log, stderr: Vec::new(), said: VecDeque::new() }
    }

    /// Lets calls into `store` end at their deadline.
    pub(crate) fn install(store: &mut Store<Self>) {
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline.alarm()));
    }

    /// Gives the next call `ms` milliseconds.
    #[inline]
    pub(crate) fn arm(store: &mut Store<Self>, ms: u32) {
        store.set_epoch_deadline(Deadline::first_half(ms));
        store.data_mut().deadline.begin(ms);
    }

    /// Standard output and error of the component: logged line by line.
    pub(crate) fn write_stderr(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.flush_stderr(),
                _ if self.stderr.len() < LINE_BYTES_MAX => self.stderr.push(byte),
                _ => {}
            }
        }
    }

    fn flush_stderr(&mut self) {
        if !self.stderr.is_empty() {
            let line = String::from_utf8_lossy(&self.stderr).into_owned();
            self.stderr.clear();
            self.say(host::Level::Warn, &line);
        }
    }

    fn say(&mut self, level: host::Level, line: &str) {
        self.log.line(level, line);
        if self.said.len() == SAID_LINES_MAX {
            self.said.pop_front();
        }
        self.said.push_back(line[..line.floor_char_boundary(SAID_LINE_BYTES_MAX)].to_owned());
    }

    /// What the component said last, for the text of a fault.
    pub(crate) fn said(&mut self) -> String {
        self.flush_stderr();
        self.said.make_contiguous().join(" | ")
    }
}

impl types::Host for State {}

impl host::Host for State {
    fn log(&mut self, level: host::Level, message: String) {
        self.say(level, &message);
    }
}

/// Refuses growth past the binding's bound. The instance is ended at once: a component that was told "no" tends to spin
/// or to answer nonsense.
pub(crate) struct Limiter {
    memory_bytes_max: usize,
    /// Linear memory of the store.
    pub(crate) memory_bytes: usize,
    /// Whether growth was refused: the cause of whatever error follows.
    pub(crate) refused: bool,
}

impl Limiter {
    fn refuse(&mut self, what: &str) -> wasmtime::Result<bool> {
        self.refused = true;
        Err(wasmtime::format_err!("it asked for more {what} than it may have"))
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_bytes_max {
            return self.refuse("memory");
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX { self.refuse("table space") } else { Ok(true) }
    }

    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        4
    }
}

/// The log of one component, shared by all its instances.
pub(crate) struct GuestLog {
    name: Arc<str>,
    digest: Digest,
    window: Mutex<Window>,
    /// Lines that were not written because there were too many.
    pub(crate) dropped: AtomicU64,
}

struct Window {
    since: Instant,
    lines: u32,
}

impl GuestLog {
    pub(crate) fn new(name: Arc<str>, digest: Digest) -> Self {
        let window = Mutex::new(Window { since: Instant::now(), lines: 0 });
        Self { name, digest, window, dropped: AtomicU64::new(0) }
    }

    fn line(&self, level: host::Level, text: &str) {
        if !self.admit(Instant::now()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let text = plain(&text[..text.floor_char_boundary(LINE_BYTES_MAX)]);
        let (component, digest, request) = (&*self.name, self.digest, behalf::request().map(display));
        match level {
            host::Level::Error => {
                tracing::error!(target: "tollgate::component", component, %digest, request, "{text}");
            }
            host::Level::Warn => {
                tracing::warn!(target: "tollgate::component", component, %digest, request, "{text}");
            }
            host::Level::Info => {
                tracing::info!(target: "tollgate::component", component, %digest, request, "{text}");
            }
            host::Level::Debug => {
                tracing::debug!(target: "tollgate::component", component, %digest, request, "{text}");
            }
            host::Level::Trace => {
                tracing::trace!(target: "tollgate::component", component, %digest, request, "{text}");
            }
        }
    }

    /// Whether a line at `now` is among the first of its second.
    fn admit(&self, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.since) >= Duration::from_secs(1) {
            *window = Window { since: now, lines: 0 };
        }
        window.lines = window.lines.saturating_add(1);
        window.lines <= LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, GuestLog, LINE_BYTES_MAX, SAID_LINE_BYTES_MAX, State, host};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn log() -> Arc<GuestLog> {
        Arc::new(GuestLog::new("test".into(), Digest::of(b"")))
    }

    #[test]
    fn twenty_lines_a_second_are_kept() {
        let log = log();
        let start = Instant::now() + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| log.admit(start)).count(), 20);
        assert!(log.admit(start + Duration::from_secs(1)));
    }

    #[test]
    fn a_line_without_end_stays_small() {
        let clock = crate::engine::Clock::start(wasmtime::Engine::default()).unwrap();
        let mut state = State::new(0, super::Deadline::new(clock), log());
        (0..1000).for_each(|_| state.write_stderr(&[b'x'; 1024]));
        assert_eq!(state.stderr.len(), LINE_BYTES_MAX);
        assert_eq!(state.said().len(), SAID_LINE_BYTES_MAX);
    }

    #[test]
    fn the_last_lines_are_told_and_no_others() {
        let clock = crate::engine::Clock::start(wasmtime::Engine::default()).unwrap();
        let mut state = State::new(0, super::Deadline::new(clock), log());
        (0..9).for_each(|n| host::Host::log(&mut state, host::Level::Info, format!("line {n}")));
        state.write_stderr(b"panicked\nat the end");
        assert_eq!(state.said(), "line 6 | line 7 | line 8 | panicked | at the end");
    }
}
