//! How long one waits for a cluster, and for a set on it.

use super::{Bench, Measured, number, unix_seconds};
use crate::tree;

/// From starting the program to the first `/readyz` that says ok.
pub(super) fn readyz(bench: &Bench) -> anyhow::Result<Measured> {
    let started = unix_seconds();
    let cluster = bench.start(&[], &[])?;
    let ready = bench.load(&cluster, &["ready"])?;
    cluster.down()?;
    Ok(Measured::plain(number(&ready, "at_unix_ns")? / 1e9 - started))
}

/// From starting the program to three Redis servers that are ready and whose last name resolves.
pub(super) fn redis(bench: &Bench) -> anyhow::Result<Measured> {
    let manifest = tree::root().join("examples/redis.yaml");
    let manifest = manifest.to_string_lossy();
    // The import is before the start, since the image is to be present.
    let cluster = bench.start(&["redis"], &["-f", &manifest])?;
    let waited = cluster.started().elapsed().as_secs_f64();
    let started = unix_seconds() - waited;
    let name = "redis-2.redis.default.svc.cluster.local";
    let ready = bench.load(&cluster, &["wait", "--set", "redis", "--replicas", "3", "--name", name])?;
    cluster.down()?;
    Ok(Measured::plain(number(&ready, "at_unix_ns")? / 1e9 - started))
}
