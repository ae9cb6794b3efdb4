//! How many durable writes the API takes.

use super::{Bench, Measured, number};

/// 64 clients, each with its own TLS connection, create ConfigMaps of 1 KiB one after the other.
pub(super) fn creates(bench: &Bench) -> anyhow::Result<Measured> {
    let cluster = bench.start(&[], &["--runtime", "simulated"])?;
    let load = bench.load(&cluster, &["create", "--clients", "64", "--seconds", "10"])?;
    cluster.down()?;
    let note = format!("p50 {:.1} ms, p99 {:.1} ms", number(&load, "p50_ms")?, number(&load, "p99_ms")?);
    Ok(Measured { value: number(&load, "per_second")?, note })
}
