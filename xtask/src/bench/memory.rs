//! What Ordinal holds in memory.

use std::thread;
use std::time::Duration;

use anyhow::ensure;

use super::{Bench, Measured, machine};
use crate::process;

/// What was needed only to start is given back by then.
const SETTLE: Duration = Duration::from_secs(5);
const PODS: usize = 3;

/// Everything that `ordinal up` runs, some seconds after it was ready.
pub(super) fn idle(bench: &Bench) -> anyhow::Result<Measured> {
    let cluster = bench.start(&[], &[])?;
    bench.load(&cluster, &["ready"])?;
    thread::sleep(SETTLE);
    let mut megabytes = 0.0;
    let family = process::family(cluster.pid());
    for pid in &family {
        megabytes += machine::resident_megabytes(*pid)?;
    }
    cluster.down()?;
    Ok(Measured { value: megabytes, note: format!("{} process(es)", family.len()) })
}

/// The mean over the shims of a few containers.
pub(super) fn shim(bench: &Bench) -> anyhow::Result<Measured> {
    let cluster = bench.start(&["busybox"], &[])?;
    bench.load(&cluster, &["set", "--replicas", &PODS.to_string(), "--policy", "Parallel"])?;
    thread::sleep(SETTLE);
    let shims = machine::processes_of(cluster.data_dir(), "shim");
    ensure!(shims.len() >= PODS, "{} shims for {PODS} containers", shims.len());
    let mut megabytes = 0.0;
    for pid in &shims {
        megabytes += machine::resident_megabytes(*pid)?;
    }
    cluster.down()?;
    Ok(Measured { value: megabytes / shims.len() as f64, note: format!("{} shims", shims.len()) })
}
