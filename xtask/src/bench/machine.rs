//! The machine that measured, and what its kernel says about processes.

use std::fs;

use anyhow::Context;

use crate::process;

/// One line that says what the figures were measured on.
pub(super) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kilobytes = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let memory = kilobytes.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let gibibytes = memory / f64::from(1 << 20);
    format!("{cores} cores of {model}, {gibibytes:.0} GiB, Linux {}", kernel.trim())
}

/// Resident memory of one process, in megabytes.
pub(super) fn resident_megabytes(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's memory")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
    let kilobytes: f64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}

/// Seconds of CPU that a process and those it started have used.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    process::family(pid).iter().filter_map(|pid| cpu_ticks(*pid)).sum::<f64>() / TICKS_PER_SECOND
}

/// Linux counts for programs in hundredths on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

fn cpu_ticks(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // The 14th and 15th of all; the first two end at the bracket.
    Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
}

/// Processes whose command line names this directory and this word.
pub(super) fn processes_of(directory: &std::path::Path, word: &str) -> Vec<u32> {
    let directory = directory.to_string_lossy();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(word) && line.contains(&*directory)
    })
    .collect()
}
