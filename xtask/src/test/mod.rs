//! `cargo xtask test`: everything that must hold, from a clean checkout to one line that counts it.
//!
//! Tools, tidy, one build of everything, the images, then every test of the workspace. The last line is
//! `N passed, N failed`; the exit code is 0 only when nothing failed. Nothing is retried: a test that passes
//! the second time has found something. Read next: [`tools`] (what is installed), [`libtest`] (how it is
//! counted).

mod libtest;
pub(crate) mod tools;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::{demo, images, process, tidy, tree};
use libtest::{Reader, Tally};

/// A run from a clean checkout is to be over within 30 minutes on two cores. This is no measure of that but
/// a guard: what is not over after twice that time hangs, and the count is worth more than the wait.
const LIMIT_MINUTES: u64 = 60;

#[derive(Args)]
pub(crate) struct Options {
    /// Only the tests of these packages; the whole workspace when none is named
    #[arg(short, long)]
    package: Vec<String>,
    /// Only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// End what is still running after so many minutes, and count it as failed
    #[arg(long, default_value_t = LIMIT_MINUTES)]
    limit_minutes: u64,
}

/// Runs everything; whether nothing failed.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(options.limit_minutes * 60);
    let mut tally = Tally::default();
    step(&mut tally, "tools", || tools::install().map(|()| true));
    step(&mut tally, "tidy", tidy::run);
    // The same features as `cargo test` resolves to, so that nothing is compiled twice.
    let build = ["build", "--workspace", "--lib", "--bins", "--tests"];
    if step(&mut tally, "build", || within(deadline, cargo().args(build), |line| println!("{line}"))) {
        step(&mut tally, "images", || images::build(&tree::images(), &[]).map(|_| true));
        let ran = tests(options, deadline)?;
        tally.passed += ran.passed;
        tally.failed.extend(ran.failed);
        tally.skipped.extend(ran.skipped);
        if options.package.is_empty() && options.filter.is_none() {
            demonstrate(&mut tally);
        }
    }
    summary(&tally);
    Ok(tally.failed.is_empty())
}

/// One thing that must hold besides the tests themselves, counted as one of them.
fn step(tally: &mut Tally, name: &str, work: impl FnOnce() -> anyhow::Result<bool>) -> bool {
    println!("== {name}");
    let started = Instant::now();
    let held = work().unwrap_or_else(|error| {
        println!("{name}: {error:#}");
        false
    });
    println!("== {name}: {} in {} s", if held { "ok" } else { "FAILED" }, started.elapsed().as_secs());
    if held {
        tally.passed += 1;
    } else {
        tally.failed.push(name.to_owned());
    }
    held
}

/// The demo checks what it shows.
fn demonstrate(tally: &mut Tally) {
    if !tools::is_root() {
        tally.skipped.push(("demo --once".to_owned(), "real containers need root".to_owned()));
        return;
    }
    step(tally, "demo --once", || {
        demo::run(&demo::Options { once: true, binary: Some(tree::binary("debug")) })
    });
}

fn tests(options: &Options, deadline: Instant) -> anyhow::Result<Tally> {
    println!("== tests");
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    if options.package.is_empty() {
        command.arg("--workspace");
    }
    for package in &options.package {
        command.args(["--package", package]);
    }
    command.args(["--", "--show-output"]).args(&options.filter);
    let mut reader = Reader::default();
    let ended = within(deadline, &mut command, |line| {
        if reader.feed(line) {
            println!("{line}");
        }
    })?;
    let mut tally = reader.finish();
    if !ended && tally.failed.is_empty() {
        tally.failed.push("cargo test itself".to_owned());
    }
    Ok(tally)
}

fn cargo() -> Command {
    // Both streams in one pipe: the order of cargo's lines and the tests' lines matters.
    let mut command = Command::new("sh");
    command.args(["-c", "exec cargo \"$@\" 2>&1", "cargo"]).current_dir(tree::root());
    command.env("CARGO_TERM_COLOR", "never").env("CARGO_TARGET_DIR", tree::target());
    command.env("ORDINAL_BIN", tree::binary("debug")).env("ORDINAL_IMAGES", tree::images());
    command.env("PATH", process::path());
    command
}

/// Runs the command, gives its lines to `show`, and ends it with all it started when the time is over.
fn within(deadline: Instant, command: &mut Command, mut show: impl FnMut(&str)) -> anyhow::Result<bool> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start cargo")?;
    let stdout = child.stdout.take().expect("it was asked for");
    // A line in the pipe waits for the one before it to be shown; 1 keeps that order without a queue.
    let (send, lines) = mpsc::sync_channel::<String>(1);
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stdout).split(b'\n').map_while(Result::ok);
        for line in lines {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let timely = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => show(&line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
        let _ = std::io::stdout().flush();
    };
    if !timely {
        end(&child);
        println!("the time is over; what was still running was ended");
    }
    drop(lines);
    let status = child.wait().context("wait for cargo")?;
    if timely {
        let _ = reader.join();
    }
    Ok(timely && status.success())
}

fn end(child: &Child) {
    // Twice: what was started while the first list was made is in the second.
    for _ in 0..2 {
        process::signal("KILL", &process::family(child.id())[1..]);
    }
    process::signal("KILL", &[child.id()]);
}

fn summary(tally: &Tally) {
    println!("== summary");
    for (test, reason) in &tally.skipped {
        println!("skipped {test}: {reason}");
    }
    for test in &tally.failed {
        println!("failed  {test}");
    }
    if !tally.skipped.is_empty() {
        println!("{} skipped", tally.skipped.len());
    }
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_hangs_is_ended_and_fails() {
        let deadline = Instant::now() + Duration::from_millis(300);
        let mut seen = Vec::new();
        let done =
            within(deadline, &mut shell("echo a; sleep 600 & wait"), |line| seen.push(line.to_owned()));
        assert!(!done.expect("runs"));
        assert_eq!(seen, ["a"]);
    }

    #[test]
    fn a_failing_step_is_counted_and_the_others_go_on() {
        let mut tally = Tally::default();
        step(&mut tally, "good", || Ok(true));
        step(&mut tally, "bad", || Ok(false));
        step(&mut tally, "worse", || anyhow::bail!("no"));
        assert_eq!((tally.passed, tally.failed), (1, vec!["bad".to_owned(), "worse".to_owned()]));
    }
}
