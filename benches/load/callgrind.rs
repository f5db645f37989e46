//! What callgrind has to say of a process: it is told when to count, and what it wrote is read.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// A core like that of an ordinary server: 32 KiB of the first level for code and for data, a megabyte behind them.
const CACHES: [&str; 4] = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64"];
/// What callgrind counts, in its own order: instructions, reads, writes, then misses of the first level's code.
const CODE_MISSES: usize = 3;

/// The command line that runs a program under callgrind. It counts nothing until [`count`] says so.
pub(crate) fn under(dir: &Path) -> Vec<String> {
    let mut words = vec!["valgrind".to_owned(), "--tool=callgrind".to_owned()];
    words.extend(["--instr-atstart=no", "--separate-threads=yes"].map(str::to_owned));
    words.push(format!("--callgrind-out-file={}", dir.join("counts").display()));
    words.extend(CACHES.map(str::to_owned));
    words
}

/// Whether valgrind is installed.
pub(crate) fn is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|said| said.status.success())
}

/// Begins to count, in the process with this id.
pub(crate) fn count(pid: u32) -> anyhow::Result<()> {
    tell(pid, &["instrumentation", "on"])
}

/// Has the process write down what it counted so far.
pub(crate) fn write(pid: u32) -> anyhow::Result<()> {
    tell(pid, &["dump"])
}

fn tell(pid: u32, words: &[&str]) -> anyhow::Result<()> {
    let said = Command::new("vgdb").arg(format!("--pid={pid}")).args(words).output().context("vgdb")?;
    if !said.status.success() {
        bail!("vgdb does not reach the process: {}", String::from_utf8_lossy(&said.stderr));
    }
    Ok(())
}

/// What was counted of a function, or of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) instructions: u64,
    /// Instructions that the first level of the cache did not have.
    pub(crate) code_misses: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.instructions += other.instructions;
        self.code_misses += other.code_misses;
    }
}

/// A function of one thread.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Function {
    /// Its own instructions.
    pub(crate) own: Cost,
    /// And those of what it called.
    pub(crate) with_calls: Cost,
    /// How often it was called.
    pub(crate) calls: u64,
}

/// One thread's functions by name.
pub(crate) struct Thread {
    pub(crate) functions: BTreeMap<String, Function>,
}

impl Thread {
    /// All that it did.
    pub(crate) fn total(&self) -> Cost {
        let mut total = Cost::default();
        self.functions.values().for_each(|function| total += function.own);
        total
    }

    /// Whether a function with this in its name was called.
    pub(crate) fn called(&self, name: &str) -> bool {
        self.functions.iter().any(|(known, function)| known.contains(name) && function.calls > 0)
    }
}

/// The threads that were counted, as they were written into this directory.
pub(crate) fn threads(dir: &Path) -> anyhow::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("counts.") {
            threads.push(Reader::default().read(&fs::read_to_string(file.path())?));
        }
    }
    Ok(threads)
}

/// Reads one file in callgrind's format, in which a name is spelt out once and is a number from there on.
#[derive(Default)]
struct Reader {
    names: HashMap<String, String>,
    functions: BTreeMap<String, Function>,
    own: String,
    callee: String,
    /// How often the callee was called, where the next line says what that cost.
    calls: Option<u64>,
}

impl Reader {
    fn read(mut self, text: &str) -> Thread {
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                self.own = self.name(name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                self.callee = self.name(name);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                self.calls = calls.split(' ').next().and_then(|calls| calls.parse().ok());
            } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                self.cost(line);
            }
        }
        Thread { functions: self.functions }
    }

    /// A function's name; callgrind adds `'2` to it where it calls itself.
    fn name(&mut self, text: &str) -> String {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        if name.is_empty() {
            return self.names.get(number).cloned().unwrap_or_default();
        }
        let name = name.split('\'').next().unwrap_or(name).to_owned();
        self.names.insert(number.to_owned(), name.clone());
        name
    }

    fn cost(&mut self, line: &str) {
        let figures: Vec<u64> = line.split(' ').skip(1).filter_map(|figure| figure.parse().ok()).collect();
        let figure = |at: usize| figures.get(at).copied().unwrap_or(0);
        let cost = Cost { instructions: figure(0), code_misses: figure(CODE_MISSES) };
        let function = self.functions.entry(self.own.clone()).or_default();
        match self.calls.take() {
            None => {
                function.own += cost;
                function.with_calls += cost;
            }
            Some(calls) if self.callee != self.own => {
                function.with_calls += cost;
                self.functions.entry(self.callee.clone()).or_default().calls += calls;
            }
            Some(_) => {}
        }
    }
}
