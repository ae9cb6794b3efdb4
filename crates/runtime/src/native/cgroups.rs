//! The cgroups of a cluster: `/ordinal/<cluster>/<pod uid>/<container>`, on v1, hybrid and v2.
//!
//! libcontainer makes and limits the containers' own; this file makes the pods', finds and ends the processes
//! in any of them, and removes them. It must never touch a cgroup outside `/ordinal/<cluster>`.
//!
//! Read next: `runtime.rs` (who calls it), `plan.rs` (the container's limits).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::api::Resources;

/// Where cgroup file systems are mounted, and what kind each is.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    prefix: PathBuf,
}

#[derive(Debug, Clone)]
struct Hierarchy {
    mount: PathBuf,
    /// Names of the v1 controllers here; empty for v2.
    controllers: Vec<String>,
    unified: bool,
}

/// How often the processes of a group are killed before it is given up: a fork bomb may outrun one pass,
/// but each pass kills everything the last one missed.
const KILL_PASSES_MAX: usize = 100;

impl Cgroups {
    /// Reads where the hierarchies of this machine are.
    pub(crate) fn discover(cluster: &str) -> io::Result<Cgroups> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Cgroups { hierarchies: parse(&mounts), prefix: Path::new("ordinal").join(cluster) })
    }

    /// The path that an OCI configuration names, from the root of each hierarchy.
    pub(crate) fn path(&self, pod_uid: &str, container: &str) -> String {
        format!("/{}", self.prefix.join(pod_uid).join(container).display())
    }

    /// Makes a pod's group and limits it. A limit that this kernel does not have is left out.
    pub(crate) fn make_pod(&self, pod_uid: &str, resources: &Resources) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            let mut directory = hierarchy.mount.clone();
            for part in self.prefix.join(pod_uid).components() {
                if hierarchy.unified {
                    enable_controllers(&directory);
                }
                directory.push(part);
                match fs::create_dir(&directory) {
                    Ok(()) => inherit_cpuset(&directory, hierarchy),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            if hierarchy.unified {
                enable_controllers(&directory);
            }
            for (file, value) in limits(resources, hierarchy) {
                match fs::write(directory.join(file), value) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Puts a process into a pod's group.
    pub(crate) fn enter(&self, pod_uid: &str, leaf: &str, pid: u32) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            let directory = hierarchy.mount.join(&self.prefix).join(pod_uid).join(leaf);
            fs::create_dir_all(&directory)?;
            inherit_cpuset(&directory, hierarchy);
            fs::write(directory.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// The file that counts the out-of-memory kills of a container, where there is one.
    pub(crate) fn oom_file(&self, pod_uid: &str, container: &str) -> Option<PathBuf> {
        let below = self.prefix.join(pod_uid).join(container);
        let v1 = self.hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == "memory"));
        if let Some(hierarchy) = v1 {
            return Some(hierarchy.mount.join(below).join("memory.oom_control"));
        }
        let v2 = self.hierarchies.iter().find(|h| h.unified)?;
        Some(v2.mount.join(below).join("memory.events"))
    }

    /// Kills every process in a group and the groups below it. `below` is relative to the cluster's own
    /// group; empty for all of the cluster.
    pub(crate) fn kill(&self, below: &Path) -> io::Result<()> {
        for _ in 0..KILL_PASSES_MAX {
            let mut pids = Vec::new();
            for hierarchy in &self.hierarchies {
                collect(&hierarchy.mount.join(&self.prefix).join(below), &mut pids);
            }
            pids.sort_unstable();
            pids.dedup();
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Err(io::Error::other("processes remain after they were killed"))
    }

    /// Removes a group and those below it, in all hierarchies; one that is gone is fine.
    pub(crate) fn remove(&self, below: &Path) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            remove_tree(&hierarchy.mount.join(&self.prefix).join(below))?;
        }
        Ok(())
    }

    /// Removes the cluster's group and, when no other cluster is left, the one above.
    pub(crate) fn remove_cluster(&self) -> io::Result<()> {
        self.remove(Path::new(""))?;
        for hierarchy in &self.hierarchies {
            let _ = fs::remove_dir(hierarchy.mount.join("ordinal"));
        }
        Ok(())
    }
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
        let mount = PathBuf::from(mount);
        match kind {
            "cgroup2" => found.push(Hierarchy { mount, controllers: Vec::new(), unified: true }),
            "cgroup" => {
                let controllers = options.split(',').filter(|o| *o != "rw" && *o != "ro");
                let controllers = controllers.map(str::to_owned).collect();
                found.push(Hierarchy { mount, controllers, unified: false });
            }
            _ => {}
        }
    }
    // A hybrid machine's v2 hierarchy holds no controllers and containers do not enter it.
    if found.iter().any(|h| !h.unified) {
        found.retain(|h| !h.unified);
    }
    found
}

fn enable_controllers(directory: &Path) {
    // Each by itself: one that is not available must not keep the others from being enabled.
    for controller in ["cpu", "memory", "pids", "cpuset", "io"] {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A fresh v1 cpuset holds no processor and takes no process until it is given what its parent has.
fn inherit_cpuset(directory: &Path, hierarchy: &Hierarchy) {
    if !hierarchy.controllers.iter().any(|c| c == "cpuset") {
        return;
    }
    let Some(parent) = directory.parent() else { return };
    for (file, bare) in [("cpuset.cpus", "cpus"), ("cpuset.mems", "mems")] {
        for name in [file, bare] {
            if let Ok(value) = fs::read_to_string(parent.join(name)) {
                let _ = fs::write(directory.join(name), value.trim());
            }
        }
    }
}

fn limits(resources: &Resources, hierarchy: &Hierarchy) -> Vec<(&'static str, String)> {
    let has = |name: &str| hierarchy.controllers.iter().any(|c| c == name);
    let mut limits = Vec::new();
    let period = resources.cpu_period_us.unwrap_or(100_000);
    if hierarchy.unified {
        if let Some(shares) = resources.cpu_shares {
            limits.push(("cpu.weight", weight_of_shares(shares).to_string()));
        }
        if let Some(quota) = resources.cpu_quota_us.filter(|quota| *quota > 0) {
            limits.push(("cpu.max", format!("{quota} {period}")));
        }
        limits.extend(resources.memory_limit_bytes.map(|bytes| ("memory.max", bytes.to_string())));
        limits.extend(resources.pids_limit.map(|count| ("pids.max", count.to_string())));
        return limits;
    }
    if has("cpu") {
        limits.extend(resources.cpu_shares.map(|shares| ("cpu.shares", shares.to_string())));
        if let Some(quota) = resources.cpu_quota_us.filter(|quota| *quota > 0) {
            limits.push(("cpu.cfs_period_us", period.to_string()));
            limits.push(("cpu.cfs_quota_us", quota.to_string()));
        }
    }
    if has("memory") {
        limits.extend(resources.memory_limit_bytes.map(|b| ("memory.limit_in_bytes", b.to_string())));
    }
    if has("pids") {
        limits.extend(resources.pids_limit.map(|count| ("pids.max", count.to_string())));
    }
    limits
}

/// The OCI runtime specification's own mapping of v1 shares (2 to 262144) to v2 weight (1 to 10000).
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn collect(directory: &Path, pids: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for child in children(directory) {
        collect(&child, pids);
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        remove_tree(&child)?;
    }
    // A killed process leaves its group a moment after it is dead; half a second is a hundred such moments.
    for _ in 0..100 {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(16) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_hybrid_machine_uses_its_v1_hierarchies() {
        let found = parse(HYBRID);
        assert_eq!(found.len(), 2);
        let resources =
            Resources { memory_limit_bytes: Some(7), cpu_shares: Some(512), ..Resources::default() };
        assert_eq!(limits(&resources, &found[0]), [("cpu.shares", "512".to_owned())]);
        assert_eq!(limits(&resources, &found[1]), [("memory.limit_in_bytes", "7".to_owned())]);
    }

    #[test]
    fn a_unified_machine_takes_weights_and_maxima() {
        let found = parse("30 1 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
        let resources = Resources { cpu_quota_us: Some(5000), cpu_shares: Some(2), ..Resources::default() };
        let expected = [("cpu.weight", "1".to_owned()), ("cpu.max", "5000 100000".to_owned())];
        assert_eq!(limits(&resources, &found[0]), expected);
        assert_eq!(weight_of_shares(262_144), 10_000);
    }
}
