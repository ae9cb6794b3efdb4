//! What happened in a simulation, in order: revisions, faults, what the user did, and the first broken rule.
//!
//! Two runs of one seed must make equal records. It must never hold anything of the machine it runs on.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Lines of a record that are printed with a broken rule: the last minute or so of a simulation.
const LINES_SHOWN: usize = 400;

/// A record that is longer than this tells of something that never ends: most have under two thousand lines.
const LINES_MAX: usize = 8_000;

/// So many calls in a row that change nothing and take no time are as endless.
const IDLE_CALLS_MAX: usize = 5_000;

/// The record of one simulation.
pub(crate) struct Record {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// Calls since the last line, and since when.
    calls: (usize, Option<Instant>),
    broken: Option<String>,
}

impl Record {
    pub(crate) fn new() -> Record {
        Record { began: Instant::now(), state: Mutex::default() }
    }

    /// Notes something.
    pub(crate) fn note(&self, text: &str) {
        let passed_ms = self.began.elapsed().as_millis();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = String::with_capacity(text.len() + 12);
        write!(line, "{:4}.{:03} {text}", passed_ms / 1000, passed_ms % 1000).expect("a string takes it");
        state.lines.push(line);
        state.calls.0 = 0;
    }

    /// Notes that a rule was broken. Only the first one counts: the others may follow from it.
    pub(crate) fn broke(&self, rule: &str) {
        self.note(&format!("BROKEN: {rule}"));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.broken.get_or_insert_with(|| rule.to_owned());
    }

    /// The first rule that was broken.
    pub(crate) fn broken(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).broken.clone()
    }

    /// Counts a call of a part. True once so much has happened that no end is in sight, and then that is the
    /// rule that was broken.
    pub(crate) fn is_endless(&self, part: &str, call: &str) -> bool {
        let (lines, calls) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Some(Instant::now());
            let calls = if state.calls.1 == now { state.calls.0 + 1 } else { 1 };
            state.calls = (calls, now);
            (state.lines.len(), calls)
        };
        let is_endless = lines > LINES_MAX || calls > IDLE_CALLS_MAX;
        if is_endless && self.broken().is_none() {
            self.broke(&format!(
                "rule 7: {part} calls without end, or the parts write without end; the last call is {call}"
            ));
        }
        is_endless
    }

    /// Everything, line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }
}

/// The end of a record, for people: without the nodes' signs of life.
pub(crate) fn tail(lines: &[String]) -> String {
    let lines: Vec<&str> =
        lines.iter().map(String::as_str).filter(|line| !line.contains("/leases/")).collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}
