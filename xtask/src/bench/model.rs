//! How far the StatefulSet plan was looked at: the states of its model, in the shipped profile.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::{Measured, number};
use crate::process;

/// Steps from one state to another in each of the four checks (two policies, one controller and two): about
/// half of them lead to a state that is new, and a million of those take a gigabyte of memory at most.
const STEPS: &str = "8000000";

/// Runs the model; an error when a rule broke.
pub(super) fn states(programs: &Path) -> anyhow::Result<Measured> {
    let output = process::output(Command::new(programs.join("set-model")).args(["--steps", STEPS]))?;
    let found: Value = serde_json::from_str(&output).context("read what the model found")?;
    let note = format!(
        "depth {:.0}, {:.0} states/s, no rule broken",
        number(&found, "depth")?,
        number(&found, "per_second")?
    );
    Ok(Measured { value: number(&found, "states")?, note })
}
