//! From bytes to machine code, away from the threads that serve, within bounds of size and time.

use std::borrow::Cow;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::thread::Pid;
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::binding::Limits;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::error::LoadError;

/// Compilations that may have outlived their deadline before new ones are refused.
const OVERDUE_MAX: usize = 2;
/// Compiling deep expressions recurses.
const STACK_BYTES: usize = 16 << 20;
/// Least time between two looks at a compilation that is nearly over its limit.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Longest time between two such looks.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a compilation sends when it is over.
type Compiled = Result<Component, String>;

/// Compiles one component at a time, and keeps what it made where there is a cache.
pub(crate) struct Compiler {
    engine: Engine,
    cache: Option<Arc<Cache>>,
    limits: Limits,
    /// Compilations under way, those included that nobody waits for any more.
    running: Arc<AtomicUsize>,
}

impl Compiler {
    pub(crate) fn new(engine: Engine, cache: Option<Cache>, limits: Limits) -> Self {
        Self { engine, cache: cache.map(Arc::new), limits, running: Arc::default() }
    }

    /// The compiled form of `bytes`, whose digest this is. It may take any time where `patient`.
    pub(crate) fn compile(
        &self,
        digest: Digest,
        bytes: Cow<'static, [u8]>,
        patient: bool,
    ) -> Result<Component, LoadError> {
        inspect(&bytes, &self.limits)?;
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, &digest)) {
            return Ok(component);
        }
        if !patient && self.running.load(Ordering::Relaxed) >= OVERDUE_MAX {
            return Err(LoadError::Compile("earlier compilations are still running".to_owned()));
        }
        let limit = if patient { Duration::MAX } else { self.limits.compile };
        self.compile_elsewhere(digest, bytes, limit)
    }

    /// A compilation cannot be interrupted: one that takes too long is left to end by itself.
    fn compile_elsewhere(
        &self,
        digest: Digest,
        bytes: Cow<'static, [u8]>,
        limit: Duration,
    ) -> Result<Component, LoadError> {
        let (engine, cache, running) = (self.engine.clone(), self.cache.clone(), Arc::clone(&self.running));
        let (done, outcome) = mpsc::channel();
        running.fetch_add(1, Ordering::Relaxed);
        let compiling = Arc::new(OnceLock::new());
        let own = Arc::clone(&compiling);
        let work = move || {
            // Nobody else fills it.
            let _ = own.set(rustix::thread::gettid());
            let compiled = panic::catch_unwind(AssertUnwindSafe(|| Component::new(&engine, &bytes)));
            running.fetch_sub(1, Ordering::Relaxed);
            let compiled = match compiled {
                Ok(compiled) => compiled.map_err(|error| format!("{error:#}")),
                Err(_) => Err("the compiler panicked".to_owned()),
            };
            let compiled = match &cache {
                Some(cache) => compiled.map(|component| cache.exchange(&engine, &digest, component)),
                None => compiled,
            };
            // Nobody listens any more when it took too long.
            let _ = done.send(compiled);
        };
        let thread = thread::Builder::new().name("tollgate-compile".into()).stack_size(STACK_BYTES);
        thread.spawn(work).map_err(|error| {
            self.running.fetch_sub(1, Ordering::Relaxed);
            LoadError::Compile(error.to_string())
        })?;
        wait(&outcome, &compiling, limit)
    }

    /// Whether a compilation that took too long has ended since, and left what it made.
    pub(crate) fn has_kept(&self, digest: &Digest) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.holds(digest))
    }
}

/// Waits until the compilation is done, or until its thread has run for as long as it may: on a busy machine that is
/// later than the same time by the clock.
fn wait(
    outcome: &Receiver<Compiled>,
    thread: &OnceLock<Pid>,
    limit: Duration,
) -> Result<Component, LoadError> {
    let begun = Instant::now();
    let mut left = limit;
    loop {
        match outcome.recv_timeout(left.min(WAIT_MAX)) {
            Ok(compiled) => return compiled.map_err(LoadError::Compile),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(LoadError::Compile("its thread ended".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let ran = match thread.get() {
            Some(&thread) => thread_time(thread).unwrap_or_else(|| begun.elapsed()),
            None => Duration::ZERO,
        };
        left = limit.saturating_sub(ran);
        if left.is_zero() {
            return Err(LoadError::CompileTimeout { limit });
        }
        left = left.max(LOOK_AGAIN);
    }
}

/// For how long a thread of this process has run; `None` where the kernel does not count that.
fn thread_time(thread: Pid) -> Option<Duration> {
    let statistics =
        fs::read_to_string(format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero())).ok()?;
    let nanoseconds = statistics.split_ascii_whitespace().next()?;
    Some(Duration::from_nanos(nanoseconds.parse().ok()?))
}

/// Refuses bytes that are no component, and those made to exhaust the compiler: its time grows with the number of
/// functions and faster than the length of one.
pub(crate) fn inspect(bytes: &[u8], limits: &Limits) -> Result<(), LoadError> {
    let malformed = |error: BinaryReaderError| LoadError::Malformed(error.to_string());
    if Parser::is_core_wasm(bytes) {
        return Err(LoadError::CoreModule);
    }
    if !Parser::is_component(bytes) {
        return Err(LoadError::Malformed("it does not begin like one".to_owned()));
    }
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding: Encoding::Module, range, .. } if range.start == 0 => {
                return Err(LoadError::Malformed("it is a core module".to_owned()));
            }
            Payload::CodeSectionEntry(body) => {
                functions += 1;
                let length = body.range().len();
                if functions > limits.functions_max {
                    return Err(LoadError::TooComplex(format!(
                        "more than {} functions",
                        limits.functions_max
                    )));
                }
                if length > limits.function_bytes_max as usize {
                    return Err(LoadError::TooComplex(format!("a function of {length} bytes")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
