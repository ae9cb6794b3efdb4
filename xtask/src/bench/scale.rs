//! What the control plane does with many pods, and what it does when there is nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Bench, Measured, machine, number};

/// Last writes of a rollout are over by then.
const SETTLE: Duration = Duration::from_secs(5);
/// Long enough that what happens every ten seconds happens twice.
const IDLE: Duration = Duration::from_secs(20);
/// Enough gaps for a median, quick enough for real containers.
const ORDERED_PODS: &str = "10";

/// The median time between two ordinals of an ordered set: what the control plane takes, and beside it what
/// it takes with real containers, whose own start is then in it.
pub(super) fn gap(bench: &Bench) -> anyhow::Result<Measured> {
    let (value, worst) = gaps(bench, &[], &["--runtime", "simulated"])?;
    let (real, real_worst) = gaps(bench, &["busybox"], &[])?;
    let note = format!(
        "as a watcher sees it; worst {worst:.0} ms; with a real container and its start {real:.0} ms, worst \
         {real_worst:.0} ms"
    );
    Ok(Measured { value, note })
}

/// The median gap and the longest, in milliseconds.
fn gaps(bench: &Bench, import: &[&str], arguments: &[&str]) -> anyhow::Result<(f64, f64)> {
    let cluster = bench.start(import, arguments)?;
    let load = bench.load(&cluster, &["set", "--replicas", ORDERED_PODS, "--gaps"])?;
    cluster.down()?;
    let gaps = load["gaps_ms"].as_array().context("no gaps were measured")?;
    let mut gaps: Vec<f64> = gaps.iter().filter_map(serde_json::Value::as_f64).collect();
    gaps.sort_by(f64::total_cmp);
    let median = *gaps.get(gaps.len() / 2).context("no gaps were measured")?;
    Ok((median, gaps.last().copied().unwrap_or_default()))
}

/// Pods a second of a parallel set.
pub(super) fn thousand(bench: &Bench) -> anyhow::Result<Measured> {
    let cluster = bench.start(&[], &["--runtime", "simulated"])?;
    let load = bench.load(&cluster, &["set", "--replicas", "1000", "--policy", "Parallel"])?;
    cluster.down()?;
    Ok(Measured::plain(number(&load, "per_second")?))
}

/// What one decision about a large set takes; beside it that about a small one, to show that size does not
/// matter.
pub(super) fn decision(bench: &Bench) -> anyhow::Result<Measured> {
    let (large, small) = (bench.decide("5000")?, bench.decide("50")?);
    let note = format!(
        "99th percentile {:.0} µs; of 50 replicas {:.1} µs",
        number(&large, "p99_us")?,
        number(&small, "p50_us")?
    );
    Ok(Measured { value: number(&large, "p50_us")?, note })
}

/// Pods a second of ten very large sets.
pub(super) fn large_sets(bench: &Bench) -> anyhow::Result<Measured> {
    many(bench, 10, 5_000)
}

/// Pods a second of a thousand sets.
pub(super) fn many_sets(bench: &Bench) -> anyhow::Result<Measured> {
    many(bench, 1_000, 50)
}

/// Pods a second of parallel sets; what each costs in memory is told beside it.
fn many(bench: &Bench, sets: u32, replicas: u32) -> anyhow::Result<Measured> {
    let cluster = bench.start(&[], &["--runtime", "simulated"])?;
    bench.load(&cluster, &["ready"])?;
    let before = machine::resident_megabytes(cluster.pid())?;
    let (count, each) = (sets.to_string(), replicas.to_string());
    let arguments = ["set", "--sets", &count, "--replicas", &each, "--policy", "Parallel"];
    let load = bench.load(&cluster, &arguments)?;
    thread::sleep(SETTLE);
    let grown = machine::resident_megabytes(cluster.pid())? - before;
    cluster.down()?;
    let kilobytes = grown * 1024.0 / f64::from(sets * replicas);
    let note = format!("{kilobytes:.1} KB of memory a pod, {:.0} s in all", number(&load, "seconds")?);
    Ok(Measured { value: number(&load, "per_second")?, note })
}

/// Share of a core that is used while a hundred pods run and nothing changes.
pub(super) fn idle_cpu(bench: &Bench) -> anyhow::Result<Measured> {
    let cluster = bench.start(&[], &["--runtime", "simulated"])?;
    bench.load(&cluster, &["set", "--replicas", "100", "--policy", "Parallel"])?;
    thread::sleep(SETTLE);
    let (before, started) = (machine::cpu_seconds(cluster.pid()), Instant::now());
    thread::sleep(IDLE);
    let used = machine::cpu_seconds(cluster.pid()) - before;
    let percent = used / started.elapsed().as_secs_f64() * 100.0;
    cluster.down()?;
    Ok(Measured::plain(percent))
}
