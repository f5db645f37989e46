//! What the kernel knows about processes, and where they may run.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Core for the process under test.
pub(crate) const PROXY_CORE: &str = "0";

/// Puts this process on the last core that it may use: not that of the process under test, where there are two.
pub(crate) fn pin_to_last_core() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core)).context("no core to run on")?;
    let mut own = CpuSet::new();
    own.set(last);
    sched_setaffinity(None, &own).context("choosing a core")
}

/// A process and the children that it had when this was made.
#[derive(Debug, Clone)]
pub(crate) struct Family(Vec<u32>);

impl Family {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        Ok(Self(std::iter::once(pid).chain(children).collect()))
    }

    /// CPU time so far of all threads, in user and kernel: the sum that `/proc/<pid>/stat` rounds to 10 ms.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for pid in &self.0 {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                // A thread may end between the two looks.
                let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
                nanoseconds += line.split(' ').next().unwrap_or("").parse::<u64>()?;
            }
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory now, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.0.iter().map(|pid| status_kib(*pid, "VmRSS:")).sum()
    }

    /// The most that was resident since [`Self::forget_peak`], in KiB.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        self.0.iter().map(|pid| status_kib(*pid, "VmHWM:")).sum()
    }

    /// Makes what is resident now the most that was.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        let forget = |pid: &u32| fs::write(format!("/proc/{pid}/clear_refs"), "5");
        self.0.iter().try_for_each(forget).context("forgetting the peak of resident memory")
    }
}

fn status_kib(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
