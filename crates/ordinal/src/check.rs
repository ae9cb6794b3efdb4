//! `ordinal check`: what this machine can and cannot do, and the fix for each.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::cli::CheckArguments;
use crate::data_dir::DataDir;
use crate::output;

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Real containers do not run without it.
    Required,
    /// Something is less good without it.
    Useful,
}

struct Finding {
    what: &'static str,
    good: bool,
    need: Need,
    /// What was seen, or what to do.
    detail: String,
}

/// Carries the command out; an error when something required is missing.
pub(crate) fn run(arguments: &CheckArguments) -> Result<()> {
    let data_dir = DataDir::find(&arguments.data_dir)?;
    let findings = findings(&data_dir);
    let colour = output::coloured(std::io::IsTerminal::is_terminal(&std::io::stdout()));
    for finding in &findings {
        let (mark, code) = match (finding.good, finding.need) {
            (true, _) => ("ok      ", "32"),
            (false, Need::Required) => ("MISSING ", "1;31"),
            (false, Need::Useful) => ("optional", "33"),
        };
        let mark = if colour { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_owned() };
        output::line(format_args!("{mark}  {:<18} {}", finding.what, finding.detail));
    }
    let missing = findings.iter().filter(|one| !one.good && one.need == Need::Required).count();
    if missing > 0 {
        bail!(
            "{missing} of what real containers need is missing; without it: ordinal up --runtime simulated"
        );
    }
    Ok(())
}

fn findings(data_dir: &DataDir) -> Vec<Finding> {
    let root = rustix::process::geteuid().is_root();
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let overlay =
        filesystems.lines().any(|line| line.ends_with("overlay")) || succeeds("modprobe", &["overlay"]);
    let cgroups = cgroups();
    let forward = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    let mut findings = vec![
        finding(
            "root",
            root,
            Need::Required,
            "this user is root",
            "run as root (containers, mounts and networks need it)",
        ),
        finding(
            "overlayfs",
            overlay,
            Need::Required,
            "images share their layers",
            "load the kernel module: modprobe overlay",
        ),
        Finding {
            what: "cgroups",
            good: cgroups.is_some(),
            need: Need::Required,
            detail: cgroups.unwrap_or_else(|| "mount cgroups at /sys/fs/cgroup".to_owned()),
        },
        finding(
            "nft",
            succeeds("nft", &["--version"]),
            Need::Required,
            "services become nftables rules",
            "install the package nftables",
        ),
        finding(
            "nftables in kernel",
            !root || succeeds("nft", &["list", "tables"]),
            Need::Required,
            "the kernel takes rules",
            "load the kernel module: modprobe nf_tables",
        ),
        finding(
            "forwarding",
            forward.trim() == "1" || root,
            Need::Useful,
            "pods reach beyond this host",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        finding(
            "kubectl",
            succeeds("kubectl", &["version", "--client"]),
            Need::Useful,
            "the client is there",
            "install kubectl 1.30 or newer",
        ),
    ];
    findings.push(oom_scores());
    findings.push(room(data_dir.root()));
    findings
}

fn finding(what: &'static str, good: bool, need: Need, seen: &str, fix: &str) -> Finding {
    Finding { what, good, need, detail: if good { seen } else { fix }.to_owned() }
}

fn cgroups() -> Option<String> {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").ok();
    if v2.is_some_and(|controllers| controllers.contains("memory")) {
        return Some("version 2".to_owned());
    }
    let has = |name: &str| Path::new("/sys/fs/cgroup").join(name).is_dir();
    if ["cpu", "memory", "pids"].into_iter().all(has) {
        let hybrid = has("unified") || has("systemd");
        return Some(if hybrid { "version 1, hybrid" } else { "version 1" }.to_owned());
    }
    None
}

/// CAP_SYS_RESOURCE is bit 24 of the effective capabilities (capabilities(7)).
fn oom_scores() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or_default();
    finding(
        "CAP_SYS_RESOURCE",
        effective & (1 << 24) != 0,
        Need::Useful,
        "guaranteed pods are protected from the out-of-memory killer",
        "without it pods are not protected from the out-of-memory killer; grant the capability",
    )
}

fn room(path: &Path) -> Finding {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let free_gib = rustix::fs::statvfs(existing).map_or(0, |stat| (stat.f_bavail * stat.f_frsize) >> 30);
    Finding {
        what: "disk",
        good: free_gib >= 2,
        need: Need::Useful,
        detail: format!("{free_gib} GiB free at {}", existing.display()),
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
