//! Where things are in this checkout, and which files it consists of.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The top of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("the directory of xtask lies in the workspace").to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |named| root().join(named))
}

/// The binary of the profile that tests and the demo use (`debug`) or that is shipped (`release`).
pub(crate) fn binary(profile: &str) -> PathBuf {
    target().join(profile).join("ordinal")
}

/// Where `cargo xtask images` puts the archives.
pub(crate) fn images() -> PathBuf {
    target().join("images")
}

/// A directory for programs that were built because the machine has none.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// Every file of the checkout that is, or could become, part of it: relative paths, sorted.
pub(crate) fn files() -> anyhow::Result<Vec<PathBuf>> {
    let root = root();
    let mut files = if root.join(".git").exists() { listed(&root)? } else { walked(&root)? };
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

fn listed(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("start git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    Ok(text.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// For a checkout without its history, as in an archive of the sources.
fn walked(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(directory) = ahead.pop() {
        let place = root.join(&directory);
        for entry in fs::read_dir(&place).with_context(|| format!("list {}", place.display()))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if !entry.file_type()?.is_dir() {
                files.push(path);
            } else if entry.file_name() != "target" && entry.file_name() != ".git" {
                ahead.push(path);
            }
        }
    }
    Ok(files)
}
