//! `cargo xtask bench`: the figures that SPECIFICATION.md promises, measured against the shipped binary.
//!
//! Prints a Markdown table: what was to be reached, the median of several runs, and whether it holds. A
//! figure that cannot be measured here says why; one that is missed is shown as missed. It must never be
//! run beside other work: two cores are shared by the cluster and by the client that loads it.
//!
//! `cargo xtask bench model` counts instead the states in which the StatefulSet plan was looked at.
//!
//! Read next: [`startup`], [`memory`], [`writes`], [`scale`], [`model`].

mod machine;
mod memory;
mod model;
mod scale;
mod startup;
mod writes;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cluster::{self, Cluster};
use crate::test::tools;
use crate::{images, process, tree};

#[derive(Args)]
pub(crate) struct Options {
    /// Something else than the figures
    what: Option<What>,
    /// Only figures whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measure the programs in this directory instead of building the shipped ones
    #[arg(long)]
    programs: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// The model of StatefulSets: takes minutes and a few gigabytes of memory, and needs no root
    Model,
}

/// One row of the table.
struct Figure {
    name: &'static str,
    unit: &'static str,
    reach: Reach,
    /// Measured once, because it takes minutes.
    once: bool,
    measure: fn(&Bench) -> anyhow::Result<Measured>,
}

/// What is promised.
#[derive(Clone, Copy)]
enum Reach {
    AtMost(f64),
    AtLeast(f64),
}

/// One run of one figure.
struct Measured {
    value: f64,
    /// What else is worth knowing about it.
    note: String,
}

impl Measured {
    fn plain(value: f64) -> Measured {
        Measured { value, note: String::new() }
    }
}

const FIGURES: &[Figure] = &[
    Figure {
        name: "`ordinal up` (empty data dir) to `/readyz` ok",
        unit: "s",
        reach: Reach::AtMost(0.5),
        once: false,
        measure: startup::readyz,
    },
    Figure {
        name: "`ordinal up -f redis.yaml`, image present, to all 3 ready and DNS answering",
        unit: "s",
        reach: Reach::AtMost(3.0),
        once: false,
        measure: startup::redis,
    },
    Figure {
        name: "resident memory of all of Ordinal, idle, one node, no pods",
        unit: "MB",
        reach: Reach::AtMost(60.0),
        once: false,
        measure: memory::idle,
    },
    Figure { name: "shim, each", unit: "MB", reach: Reach::AtMost(4.0), once: false, measure: memory::shim },
    Figure {
        name: "control-plane time between \"ordinal i ready\" and \"ordinal i+1's container starts\"",
        unit: "ms",
        reach: Reach::AtMost(50.0),
        once: false,
        measure: scale::gap,
    },
    Figure {
        name: "1,000 replicas, Parallel, simulated runtime, to all ready",
        unit: "pods/s",
        reach: Reach::AtLeast(500.0),
        once: false,
        measure: scale::thousand,
    },
    Figure {
        name: "durable creates of 1 KiB ConfigMaps, 64 clients over TLS",
        unit: "/s",
        reach: Reach::AtLeast(5000.0),
        once: false,
        measure: writes::creates,
    },
    Figure {
        name: "idle CPU with 100 running simulated pods",
        unit: "% of a core",
        reach: Reach::AtMost(1.0),
        once: false,
        measure: scale::idle_cpu,
    },
    Figure {
        name: "one plan for a set of 5,000 replicas of which one pod changed",
        unit: "µs",
        reach: Reach::AtMost(100.0),
        once: false,
        measure: scale::decision,
    },
    // Upstream's own report of its controller before it was mended is what they are held against.
    Figure {
        name: "10 sets of 5,000 replicas, Parallel, simulated runtime, to all ready",
        unit: "pods/s",
        reach: Reach::AtLeast(6.0),
        once: true,
        measure: scale::large_sets,
    },
    Figure {
        name: "1,000 sets of 50 replicas, Parallel, simulated runtime, to all ready",
        unit: "pods/s",
        reach: Reach::AtLeast(120.0),
        once: true,
        measure: scale::many_sets,
    },
];

impl Reach {
    fn holds(self, value: f64) -> bool {
        match self {
            Reach::AtMost(most) => value <= most,
            Reach::AtLeast(least) => value >= least,
        }
    }

    fn describe(self, unit: &str) -> String {
        match self {
            Reach::AtMost(most) => format!("≤ {most} {unit}"),
            Reach::AtLeast(least) => format!("≥ {least} {unit}"),
        }
    }
}

/// The programs that are measured.
struct Bench {
    ordinal: PathBuf,
    load: PathBuf,
    decide: PathBuf,
    /// Holds the data directory of each cluster until all has been measured: for some time after many files
    /// were deleted, some filesystems are slow to make new ones, which would be charged to the next figure.
    scratch: PathBuf,
    clusters: Cell<u32>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

impl Bench {
    /// A cluster with an empty data directory, in which `import` has been imported already.
    fn start(&self, import: &[&str], arguments: &[&str]) -> anyhow::Result<Cluster> {
        self.clusters.set(self.clusters.get() + 1);
        let data_dir = self.scratch.join(self.clusters.get().to_string());
        fs::create_dir_all(&data_dir).with_context(|| format!("make {}", data_dir.display()))?;
        if !import.is_empty() {
            let archives = images::build(&tree::images(), import)?;
            let mut command = Command::new(&self.ordinal);
            command.args(["image", "import", "--data-dir"]).arg(&data_dir).args(archives);
            process::output(&mut command)?;
        }
        let mut cluster = Cluster::start(&self.ordinal, &data_dir, arguments)?;
        cluster.keep_data();
        Ok(cluster)
    }

    /// What the load client measured about the cluster.
    fn load(&self, cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.load);
        command.args(["--address", cluster.address(), "--data-dir"]).arg(cluster.data_dir()).args(arguments);
        serde_json::from_str(&process::output(&mut command)?).context("read what the load client measured")
    }
}

impl Bench {
    /// What one decision about a set of so many replicas takes.
    fn decide(&self, replicas: &str) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.decide);
        command.args(["--replicas", replicas]);
        serde_json::from_str(&process::output(&mut command)?).context("read what the stopwatch measured")
    }
}

fn number(measured: &Value, field: &str) -> anyhow::Result<f64> {
    measured[field].as_f64().with_context(|| format!("the load client did not measure {field}"))
}

/// The system clock, for moments that two processes compare.
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Measures and prints the table; whether every figure was reached.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    if let Some(What::Model) = options.what {
        return count_states(options);
    }
    if !tools::is_root() {
        bail!("real containers need root; try: sudo -E cargo xtask bench");
    }
    if options.runs == 0 {
        bail!("--runs must be at least 1");
    }
    let programs = programs(options)?;
    let bench = Bench {
        ordinal: programs.join("ordinal"),
        load: programs.join("load"),
        decide: programs.join("decide"),
        scratch: cluster::temporary_directory("bench"),
        clusters: Cell::new(0),
    };
    println!("{}\n", machine::describe());
    println!("| figure | to reach | measured (median of {}) | range | |", options.runs);
    println!("|---|---|---|---|---|");
    let mut all_hold = true;
    for figure in FIGURES {
        if options.only.as_ref().is_some_and(|part| !figure.name.contains(part.as_str())) {
            continue;
        }
        let measured: anyhow::Result<Vec<Measured>> =
            (0..if figure.once { 1 } else { options.runs }).map(|_| (figure.measure)(&bench)).collect();
        let (row, holds) = row(figure, measured);
        println!("{row}");
        all_hold &= holds;
    }
    Ok(all_hold)
}

fn programs(options: &Options) -> anyhow::Result<PathBuf> {
    options.programs.clone().map_or_else(build, Ok)
}

fn count_states(options: &Options) -> anyhow::Result<bool> {
    let programs = programs(options)?;
    let figure = Figure {
        name: "distinct states of the StatefulSet model",
        unit: "states",
        reach: Reach::AtLeast(10_000_000.0),
        once: true,
        measure: |_| unreachable!("it is measured here"),
    };
    println!("{}\n\n| figure | to reach | measured | range | |\n|---|---|---|---|---|", machine::describe());
    let (row, holds) = row(&figure, model::states(&programs).map(|measured| vec![measured]));
    println!("{row}");
    Ok(holds)
}

fn build() -> anyhow::Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--package", "ordinal", "--package", "testkit", "--bins"]);
    process::run(command.current_dir(tree::root()))?;
    Ok(tree::binary("release").parent().unwrap_or(Path::new("")).to_owned())
}

fn row(figure: &Figure, measured: anyhow::Result<Vec<Measured>>) -> (String, bool) {
    let reach = figure.reach.describe(figure.unit);
    let mut measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            let error = format!("{error:#}").replace(['\n', '|'], " ");
            return (format!("| {} | {reach} | not measured | | {error} |", figure.name), false);
        }
    };
    measured.sort_by(|a, b| a.value.total_cmp(&b.value));
    let (first, last) = (measured[0].value, measured[measured.len() - 1].value);
    let median = &measured[measured.len() / 2];
    let holds = figure.reach.holds(median.value);
    let verdict = if holds { "reached" } else { "**missed**" };
    let note = if median.note.is_empty() { String::new() } else { format!("; {}", median.note) };
    let row = format!(
        "| {} | {reach} | {} {} | {} – {} | {verdict}{note} |",
        figure.name,
        rounded(median.value),
        figure.unit,
        rounded(first),
        rounded(last)
    );
    (row, holds)
}

/// Three digits that matter.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(reach: Reach) -> Figure {
        Figure { name: "a", unit: "s", reach, once: false, measure: |_| Ok(Measured::plain(0.0)) }
    }

    #[test]
    fn the_median_decides_and_the_range_is_shown() {
        let runs = || Ok([0.7, 0.1, 0.4].map(Measured::plain).into());
        let (text, holds) = row(&figure(Reach::AtMost(0.5)), runs());
        assert_eq!((text.as_str(), holds), ("| a | ≤ 0.5 s | 0.40 s | 0.10 – 0.70 | reached |", true));
        let (text, holds) = row(&figure(Reach::AtLeast(0.5)), runs());
        assert_eq!((text.as_str(), holds), ("| a | ≥ 0.5 s | 0.40 s | 0.10 – 0.70 | **missed** |", false));
    }

    #[test]
    fn what_cannot_be_measured_says_so_and_is_not_reached() {
        let (text, holds) = row(&figure(Reach::AtMost(1.0)), Err(anyhow::anyhow!("no\nway")));
        assert_eq!((text.as_str(), holds), ("| a | ≤ 1 s | not measured | | no way |", false));
    }
}
