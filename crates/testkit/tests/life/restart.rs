//! Ordinal is killed at random moments while clients write and containers run.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use testkit::cluster::Cluster;

/// How often, unless `ORDINAL_TEST_KILLS` says otherwise.
const KILLS: u32 = 100;
/// Clients that write at the same time.
const WRITERS: u64 = 2;
/// ConfigMaps that one kubectl creates, each with a request of its own.
const BATCH: u64 = 20;
/// Latest moment of a kill after the API answers.
const LATEST: u64 = 400;

/// Host process and start time of each container whose only process is `sleep <marker>`.
fn sleepers(marker: &str) -> BTreeSet<(u32, String)> {
    let command = format!("sleep\0{marker}\0");
    let processes = std::fs::read_dir("/proc").expect("procfs").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| {
        let arguments = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let started = stat.rsplit(") ").next()?.split(' ').nth(19)?;
        (arguments == command.as_bytes()).then(|| (id, started.to_owned()))
    })
    .collect()
}

/// Creates a batch of ConfigMaps; the names that were acknowledged.
fn write(cluster: &Cluster, first: u64) -> Vec<String> {
    let mut command = cluster.kubectl_command();
    command.args(["create", "--validate=false", "-o", "name", "-f", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("kubectl is on the path");
    let mut stdin = child.stdin.take().expect("was asked for");
    for number in first..first + BATCH {
        let object = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"c-{number}\"}},\
             \"data\":{{\"n\":\"{number}\"}}}}\n"
        );
        // Where kubectl gave up its output says what was acknowledged.
        let _ = stdin.write_all(object.as_bytes());
    }
    drop(stdin);
    let output = child.wait_with_output().expect("kubectl ends");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn a_hundred_kills_lose_no_acknowledged_write_and_disturb_no_container() {
    let Some(mut cluster) = Cluster::native(&["busybox"]) else { return };
    let kills = std::env::var("ORDINAL_TEST_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let marker = format!("9{:07}", cluster.pid());
    let set = crate::sets::set("w", 2, crate::sets::CLAIM, crate::sets::MOUNT);
    let set = set.replace(crate::space::IDLE, &format!("[sleep, \"{marker}\"]"));
    cluster.apply(&format!("---\n{set}"));
    cluster.wait_ready("w", 2);
    let before = sleepers(&marker);
    assert_eq!(before.len(), 2, "one process in each container");
    let number = AtomicU64::new(0);
    let acknowledged = Mutex::new(BTreeSet::new());
    let mut random = rand::rngs::StdRng::from_os_rng();
    for round in 0..kills {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                let reader = &cluster;
                let (over, number, acknowledged) = (&over, &number, &acknowledged);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let names = write(reader, number.fetch_add(BATCH, Ordering::Relaxed));
                        acknowledged.lock().expect("no panic").extend(names);
                    }
                });
            }
            // Not a wait for something: the moment of the kill is what is random.
            std::thread::sleep(Duration::from_millis(random.random_range(0..LATEST)));
            over.store(true, Ordering::Relaxed);
            kill(cluster.pid());
        });
        cluster.kill();
        assert_eq!(sleepers(&marker), before, "round {round}: without Ordinal the containers go on");
        cluster.start();
        let there = cluster.run(&["get", "configmaps", "-o", "name", "--chunk-size=0"]);
        let there: BTreeSet<&str> = there.lines().collect();
        let acknowledged = acknowledged.lock().expect("no panic");
        let lost: Vec<&String> = acknowledged.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?} of {}", acknowledged.len());
    }
    let written = acknowledged.lock().expect("no panic").len();
    println!("{kills} kills, {written} acknowledged writes");
    assert!(written >= kills as usize, "the kills came under writes");
    cluster.wait_ready("w", 2);
    assert_eq!(sleepers(&marker), before, "the same containers");
    let restarts =
        cluster.run(&["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"]);
    assert_eq!(restarts, "0 0");
    cluster.run(&["scale", "statefulset", "w", "--replicas=3"]);
    cluster.wait_ready("w", 3);
    cluster.run(&["delete", "pod", "w-0", "--now"]);
    cluster.wait_for("the pod is replaced", |cluster| {
        cluster.value("statefulset/w", "{.status.readyReplicas}") == "3" && sleepers(&marker).len() == 3
    });
}

/// SIGKILL, while others still use the cluster.
fn kill(pid: u32) {
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.expect("kill is on the path").success());
}
