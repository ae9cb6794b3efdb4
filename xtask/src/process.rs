//! Starting programs, and ending exactly those that were started.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, bail};

/// Where administrators' programs lie, also when the path of a plain user leaves them out.
const ALSO: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The program of this name on the path, among the tools built here, or among administrators' programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([crate::tree::tools()]).chain(ALSO.map(PathBuf::from));
    let mut files = places.map(|place| place.join(program));
    files.find(|file| {
        fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

/// The path with the tools built here and administrators' programs at its end.
pub(crate) fn path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([crate::tree::tools()]).chain(ALSO.map(PathBuf::from));
    env::join_paths(places).unwrap_or(path)
}

/// Runs a program to its end, its output on ours.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", name(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", name(command));
    }
    Ok(())
}

/// Runs a program to its end and gives what it printed, without the last line break.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("start {}", name(command)))?;
    if !status.success() {
        bail!("{} ended with {status}: {}", name(command), String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned())
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args().take(3) {
        name.push(' ');
        name.push_str(&argument.to_string_lossy());
    }
    name
}

/// A process with all that it started, deepest last.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent(child) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        family.extend(children.remove(&family[at]).unwrap_or_default());
        at += 1;
    }
    family
}

fn parent(pid: u32) -> Option<u32> {
    // The name of the program stands in brackets and may hold anything, so count from its end.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal to processes that we started; those that are gone do not matter.
pub(crate) fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let _ =
        Command::new("kill").arg(format!("-{name}")).args(pids).stderr(std::process::Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_and_can_be_ended() {
        let mut child = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().expect("starts");
        let family = (0..10_000).map(|_| family(child.id())).find(|family| family.len() == 2);
        let family = family.expect("the shell starts its child");
        signal("KILL", &family);
        assert!(!child.wait().expect("ends").success());
    }

    #[test]
    fn a_failed_program_says_which_it_was_and_why() {
        let error = output(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).expect_err("fails");
        assert_eq!(error.to_string(), "sh -c echo no >&2; exit 3 ended with exit status: 3: no");
    }
}
