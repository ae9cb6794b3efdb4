//! Looks at the states of the StatefulSet model, many millions of them, for the benchmark.
//!
//! Prints one JSON object: how many distinct states, how deep, how many a second, and which rules broke
//! (with the way there on the standard error). Exits with 1 when one did.

#![allow(clippy::disallowed_methods, reason = "a stopwatch reads the system clock")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use testkit::set_model::{Bounds, Planner, SetModel};

#[derive(Parser)]
struct Arguments {
    /// Stop each check after about this many steps between states
    #[arg(long)]
    steps: Option<usize>,
    /// Changes of the spec
    #[arg(long, default_value_t = 2)]
    changes: u8,
    /// Faults
    #[arg(long, default_value_t = 1)]
    faults: u8,
    /// Events of one kind that a controller may lag behind
    #[arg(long, default_value_t = 2)]
    lag: usize,
    /// Only with so many controllers
    #[arg(long)]
    controllers: Option<usize>,
}

fn main() -> ExitCode {
    let Arguments { steps, changes, faults, lag, controllers } = Arguments::parse();
    let (mut states, mut depth, mut seconds, mut has_broken) = (0, 0, 0.0, false);
    for count in 1..=2 {
        for is_ordered in [true, false] {
            if controllers.is_some_and(|wanted| wanted != count) {
                continue;
            }
            let bounds = Bounds { is_ordered, controllers: count, changes, faults, lag };
            let begun = Instant::now();
            let report = SetModel::new(bounds, Planner::REAL).check(steps);
            let took = begun.elapsed().as_secs_f64();
            eprintln!(
                "{bounds:?}: {} states, depth {}, {} plans, {took:.1} s",
                report.states, report.depth, report.plans
            );
            for (rule, way) in &report.broken {
                has_broken = true;
                eprintln!("broken: {rule}\n{way}");
            }
            states += report.states;
            depth = depth.max(report.depth);
            seconds += took;
        }
    }
    let per_second = states as f64 / seconds;
    println!(
        "{{\"states\":{states},\"depth\":{depth},\"per_second\":{per_second:.0},\"broken\":{has_broken}}}"
    );
    if has_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
