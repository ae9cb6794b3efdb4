//! `cargo xtask tidy`: what a compiler cannot check.
//!
//! Each rule is a function from text to [`Offence`]s, so that each is tested on a few lines; nothing here
//! changes a file. Read next: [`layers`] (who may depend on whom), [`sources`] (each Rust file), [`modules`]
//! (no dead files), [`documents`] (links and words).

mod documents;
mod layers;
mod modules;
mod sources;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::tree;

/// A place in the tree that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offence {
    file: PathBuf,
    /// Counted from 1; 0 where the whole file is meant.
    line: usize,
    what: String,
}

impl Offence {
    fn new(file: &Path, line: usize, what: impl Into<String>) -> Offence {
        Offence { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}

/// Prints every offence; whether there was none.
pub(crate) fn run() -> anyhow::Result<bool> {
    let offences = offences()?;
    for offence in &offences {
        println!("{offence}");
    }
    let formatted = formatted()?;
    match offences.len() {
        0 if formatted => println!("tidy: nothing to complain of"),
        0 => println!("tidy: run cargo fmt --all"),
        count => println!("tidy: {count} offences"),
    }
    Ok(offences.is_empty() && formatted)
}

fn offences() -> anyhow::Result<Vec<Offence>> {
    let root = tree::root();
    let files = tree::files()?;
    let known: BTreeSet<PathBuf> = files.iter().cloned().collect();
    let mut found = Vec::new();
    let (mut rust, mut written) = (Vec::new(), Vec::new());
    for file in files {
        let bytes = fs::read(root.join(&file)).with_context(|| format!("read {}", file.display()))?;
        // What is not text is data of a test.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        found.extend(documents::words(&file, &text));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                found.extend(sources::check(&file, &text));
                rust.push((file, text));
            }
            Some("md") => {
                found.extend(documents::links(&file, &text, &known));
                written.push((file, text));
            }
            Some("toml") if file.ends_with("Cargo.toml") => found.extend(layers::check(&file, &text)),
            _ => {}
        }
    }
    found.extend(modules::dead(&rust));
    for (file, text) in &written {
        found.extend(documents::tests(file, text, &rust));
    }
    found.sort();
    Ok(found)
}

fn formatted() -> anyhow::Result<bool> {
    let output = Command::new("cargo")
        .args(["fmt", "--all", "--", "--check", "-l"])
        .current_dir(tree::root())
        .output()
        .context("start cargo fmt")?;
    let root = tree::root();
    // A file that several tests include is named once for each.
    let files: BTreeSet<PathBuf> =
        String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect();
    for file in &files {
        println!("{}: not as rustfmt would have it", file.strip_prefix(&root).unwrap_or(file).display());
    }
    if !output.status.success() && output.stdout.is_empty() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}
