//! `ordinal down` leaves nothing of the cluster on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use testkit::cluster::Cluster;

/// What there is on this machine, by kind.
type Inventory = BTreeMap<&'static str, BTreeSet<String>>;

fn lines(command: &mut Command) -> BTreeSet<String> {
    let output = command.output().expect("the tool is on the path");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Processes that see `directory`: in their arguments, or as a mount of theirs.
fn processes(directory: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let read = |file: &str| std::fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        let foreign = std::fs::read_link(format!("/proc/{id}/ns/mnt")).ok()
            != std::fs::read_link("/proc/self/ns/mnt").ok();
        let text = if foreign { [read("cmdline"), read("mountinfo")].concat() } else { read("cmdline") };
        String::from_utf8_lossy(&text).contains(directory)
    })
    .map(|id| id.to_string())
    .collect()
}

fn directories(path: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.insert(entry.path().display().to_string());
            directories(&entry.path(), found);
        }
    }
}

fn inventory(directory: &str) -> Inventory {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let mut cgroups = BTreeSet::new();
    directories(Path::new("/sys/fs/cgroup"), &mut cgroups);
    let links = lines(Command::new("ip").args(["-o", "link"]));
    let name =
        |line: String| line.split(": ").nth(1).map(|name| name.split('@').next().unwrap_or(name).to_owned());
    BTreeMap::from([
        ("process", processes(directory)),
        ("mount", mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()),
        ("interface", links.into_iter().filter_map(name).collect()),
        ("named network namespace", lines(Command::new("ip").args(["netns", "list"]))),
        ("nftables table", lines(Command::new("nft").args(["list", "tables"]))),
        ("cgroup", cgroups),
        ("loop device", lines(Command::new("losetup").arg("-a"))),
    ])
}

/// What is in the second and not in the first.
fn added(before: &Inventory, after: &Inventory) -> Inventory {
    after.iter().map(|(kind, now)| (*kind, now.difference(&before[kind]).cloned().collect())).collect()
}

#[test]
fn down_leaves_no_process_mount_interface_table_or_cgroup() {
    if !std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        eprintln!("SKIPPED: real containers need root");
        return;
    }
    // Every directory of the kind is told from this one by its name alone, so nothing can mention it yet.
    let before = inventory("/no such directory");
    let Some(mut cluster) = Cluster::native(&["busybox"]) else { return };
    let directory = cluster.data_dir().display().to_string();
    let set = crate::sets::set("w", 2, crate::sets::CLAIM, crate::sets::MOUNT);
    cluster.apply(&format!("---\n{set}"));
    cluster.run(&["create", "service", "clusterip", "w", "--tcp=80"]);
    cluster.wait_ready("w", 2);
    let made = added(&before, &inventory(&directory));
    for kind in ["process", "mount", "interface", "nftables table", "cgroup"] {
        assert!(!made[kind].is_empty(), "a running cluster has a {kind}");
    }
    let about = std::fs::read(cluster.data_dir().join("cluster.json")).expect("a description");
    let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
    let id = about["id"].as_str().expect("a name").to_owned();
    for kind in ["interface", "nftables table", "cgroup"] {
        assert!(made[kind].iter().any(|item| item.contains(&id)), "a {kind} of {id} in {made:?}");
    }
    cluster.down();
    // Clusters of tests beside this one came and go as well: what is left of ours would never go.
    cluster.wait_for("nothing is left", |_| {
        let after = inventory(&directory);
        let left: Vec<String> = made
            .iter()
            .flat_map(|(kind, items)| {
                items.intersection(&after[kind]).map(move |item| format!("{kind} {item}"))
            })
            .filter(|item| mine(item, &directory, &id))
            .collect();
        if !left.is_empty() {
            eprintln!("left: {left:?}");
        }
        left.is_empty()
    });
    let claims = std::fs::read_dir(cluster.data_dir().join("volumes")).expect("data stays").count();
    assert_eq!(claims, 2, "the volumes and their data stay");
    assert!(!cluster.kubeconfig().exists(), "the administrator's key goes");
    cluster.start();
    cluster.wait_ready("w", 2);
}

/// Whether a thing may be of this cluster: a mount says so by its path, what has a cluster's name by that.
fn mine(item: &str, directory: &str, id: &str) -> bool {
    let named = ["ord-", "ordinal_", "/ordinal/"].into_iter().find_map(|prefix| item.split_once(prefix));
    match named {
        Some((_, name)) => name.starts_with(id),
        None => !item.starts_with("mount ") || item.contains(directory),
    }
}
