//! The whole cluster in one thread, from one seed, with faults.
//!
//! Every test runs whole lives of clusters: a user changes his mind for a while, everything that can fail
//! does, and at every revision the safety rules must hold; then the faults end, and the cluster must become
//! what its specs say and write nothing more. A seed that fails is printed with how to run it again:
//! `ORDINAL_SEED=17 cargo test --workspace --test simulation -- replay --nocapture`.
//!
//! Read next: [`simulation`].

mod broken;
mod dice;
mod faults;
mod machine;
mod parts;
mod record;
mod rest;
mod safety;
mod server;
mod simulation;
mod user;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use faults::Lie;
use simulation::{Broken, run};

/// Seeds in a test run; `ORDINAL_SEEDS` asks for more.
const SEEDS: u64 = 1_000;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What to show of a seed that broke a rule.
fn report(seed: u64, rule: &str, lines: &[String]) -> String {
    format!(
        "{}\n\nseed {seed} broke a rule:\n  {rule}\nrun it again:\n  ORDINAL_SEED={seed} cargo test \
         --workspace --test simulation -- replay --nocapture",
        record::tail(lines)
    )
}

#[test]
fn whatever_fails_clusters_keep_every_rule_and_come_to_rest() {
    let seeds = from_environment("ORDINAL_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let outcome = run(seed, Broken::Nothing);
                    if let Some(rule) = outcome.broken {
                        failed.lock().unwrap().push((seed, rule, outcome.lines));
                        next.fetch_max(seeds, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    if let Some((seed, rule, lines)) = failed.into_iter().min_by_key(|(seed, ..)| *seed) {
        panic!("{}", report(seed, &rule, &lines));
    }
}

#[test]
fn replay_of_the_seed_in_the_environment() {
    let seed = from_environment("ORDINAL_SEED").unwrap_or(1);
    let outcome = run(seed, Broken::Nothing);
    if let Some(rule) = outcome.broken {
        panic!("{}", report(seed, &rule, &outcome.lines));
    }
    println!("{}", outcome.lines.join("\n"));
}

#[test]
fn one_seed_gives_one_history() {
    for seed in 0..10 {
        let (first, second) = (run(seed, Broken::Nothing), run(seed, Broken::Nothing));
        for (number, (left, right)) in first.lines.iter().zip(&second.lines).enumerate() {
            assert_eq!(
                left,
                right,
                "seed {seed}, line {number}, after\n{}",
                record::tail(&first.lines[..number])
            );
        }
        assert_eq!(first.lines.len(), second.lines.len(), "seed {seed}");
    }
}

/// Some of the first seeds must find what is broken, and say which rule it breaks.
fn is_found(broken: Broken, rule: &str) {
    let found = (0..60).find_map(|seed| run(seed, broken).broken);
    let found = found.unwrap_or_else(|| panic!("no seed finds {broken:?}"));
    assert!(found.contains(rule), "{broken:?} was found by {found}");
}

#[test]
fn a_controller_that_does_not_wait_for_readiness_is_found() {
    is_found(Broken::SetController(Lie::AllReady), "rule 4");
}

#[test]
fn a_controller_that_deletes_whatever_has_the_name_is_found() {
    is_found(Broken::SetController(Lie::NoPreconditions), "rule 4");
}

#[test]
fn a_runtime_that_leaves_containers_running_is_found() {
    is_found(Broken::Runtimes, "rule 2");
}

#[test]
fn a_part_that_deletes_claims_is_found() {
    is_found(Broken::ClaimEater, "rule 5");
}

#[test]
fn a_part_that_never_stops_writing_is_found() {
    is_found(Broken::Scribbler, "rule 7");
}
