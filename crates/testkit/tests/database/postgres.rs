//! `examples/postgres.yaml`: a primary and its streaming replicas in one set, and the primary killed while a
//! client writes.

use std::collections::BTreeSet;
use std::process::Command;

use testkit::cluster::Cluster;

/// Rows that are written before the primary is killed, and again before the client is stopped.
const ROWS: usize = 300;
const PODS: [&str; 3] = ["pg-0", "pg-1", "pg-2"];
const READY: &str = "{.status.conditions[?(@.type=='Ready')].status}";

#[test]
fn no_acknowledged_row_is_lost_when_the_primary_is_killed_while_a_client_writes() {
    let Some(cluster) = Cluster::native(&["postgres"]) else { return };
    cluster.apply(include_str!("../../../../examples/postgres.yaml"));
    cluster.wait_ready("pg", 3);
    assert_became_ready_in_order(&cluster);
    assert_replicas_stream(&cluster);

    cluster.apply(include_str!("writer.yaml"));
    assert_written_through_one_service_is_read_through_the_other(&cluster);
    wait_for_rows(&cluster, ROWS);
    let before = Primary::now(&cluster);
    kill_container(&cluster, "pg-0");
    cluster.wait_for("the primary is back", |cluster| {
        let restarts = "{.status.containerStatuses[0].restartCount}";
        cluster.value("pod/pg-0", restarts) == "1" && cluster.value("pod/pg-0", READY) == "True"
    });
    assert_eq!(Primary::now(&cluster), before, "the same pod with the same disk");
    let ended = "{.status.containerStatuses[0].lastState.terminated.exitCode}";
    assert_eq!(cluster.value("pod/pg-0", ended), "137");

    // The client resumes by itself.
    let so_far = acknowledged(&cluster).len();
    wait_for_rows(&cluster, so_far + ROWS);
    cluster.run(&["exec", "writer", "--", "touch", "/tmp/stop"]);
    cluster.wait_for("the writer has stopped", |cluster| {
        cluster.value("pod/writer", "{.status.phase}") == "Succeeded"
    });
    let log = cluster.run(&["logs", "writer"]);
    let broken =
        log.lines().position(|line| line.parse::<u64>().is_err()).expect("the client lost its connection");
    assert!(broken > ROWS && log.lines().skip(broken).any(|line| line.parse::<u64>().is_ok()), "{log}");

    let acknowledged = acknowledged(&cluster);
    let kept = rows(&cluster, "pg-0");
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged rows are lost: {lost:?}", lost.len(), acknowledged.len());
    for replica in &PODS[1..] {
        cluster.wait_for(&format!("{replica} has caught up"), |cluster| rows(cluster, replica) == kept);
        assert_eq!(
            cluster.value(&format!("pod/{replica}"), "{.status.containerStatuses[0].restartCount}"),
            "0"
        );
    }
    assert_replicas_stream(&cluster);
}

/// What must stay the same when only a container is replaced.
#[derive(Debug, PartialEq, Eq)]
struct Primary {
    pod_uid: String,
    volume: String,
    database: String,
}

impl Primary {
    fn now(cluster: &Cluster) -> Primary {
        Primary {
            pod_uid: cluster.value("pod/pg-0", "{.metadata.uid}"),
            volume: cluster.value("pvc/data-pg-0", "{.spec.volumeName}"),
            database: sql(cluster, "pg-0", "SELECT system_identifier FROM pg_control_system()"),
        }
    }
}

fn assert_became_ready_in_order(cluster: &Cluster) {
    for (pod, next) in PODS.iter().zip(&PODS[1..]) {
        let ready = "{.status.conditions[?(@.type=='Ready')].lastTransitionTime}";
        let ready = cluster.value(&format!("pod/{pod}"), ready);
        let created = cluster.value(&format!("pod/{next}"), "{.metadata.creationTimestamp}");
        // Both in the same form, to the second: their texts are ordered as they are.
        assert!(
            !ready.is_empty() && ready <= created,
            "{pod} was ready at {ready}, {next} made at {created}"
        );
    }
}

/// The first pod is the primary, all others follow it.
fn assert_replicas_stream(cluster: &Cluster) {
    let roles = PODS.map(|pod| sql(cluster, pod, "SELECT pg_is_in_recovery()"));
    assert_eq!(roles, ["f", "t", "t"]);
    cluster.wait_for("both replicas stream", |cluster| {
        let query = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1";
        sql(cluster, "pg-0", query) == "pg-1\npg-2"
    });
}

fn assert_written_through_one_service_is_read_through_the_other(cluster: &Cluster) {
    cluster.wait_for("the writer runs", |cluster| cluster.value("pod/writer", READY) == "True");
    let through = |service: &str, query: &str| {
        let address = format!("host={service}");
        cluster.kubectl(&["exec", "writer", "--", "psql", "-qAtX", "-c", query, &address])
    };
    let write = "CREATE TABLE greeting AS SELECT 'hello' AS text";
    let written = through("pg-rw", write);
    assert!(written.success, "{}", written.stderr);
    let addresses: BTreeSet<String> =
        PODS.iter().map(|pod| cluster.value(&format!("pod/{pod}"), "{.status.podIP}")).collect();
    let answered = std::cell::RefCell::new(BTreeSet::new());
    cluster.wait_for("every pod has answered through pg-ro", |_| {
        let read = through("pg-ro", "SELECT host(inet_server_addr()) FROM greeting WHERE text = 'hello'");
        // A replica may not have the table yet.
        if read.success {
            answered.borrow_mut().insert(read.stdout.trim().to_owned());
        }
        *answered.borrow() == addresses
    });
    let refused = through("pg-1.pg", "DROP TABLE greeting");
    assert!(refused.stderr.contains("read-only transaction"), "{}", refused.stderr);
}

/// What the writer was told is written.
fn acknowledged(cluster: &Cluster) -> BTreeSet<u64> {
    cluster.run(&["logs", "writer"]).lines().filter_map(|line| line.parse().ok()).collect()
}

fn wait_for_rows(cluster: &Cluster, count: usize) {
    cluster
        .wait_for(&format!("{count} rows are acknowledged"), |cluster| acknowledged(cluster).len() > count);
}

fn rows(cluster: &Cluster, pod: &str) -> BTreeSet<u64> {
    let rows = sql(cluster, pod, "SELECT number FROM written");
    rows.lines().map(|line| line.parse().expect("a number")).collect()
}

fn sql(cluster: &Cluster, pod: &str, query: &str) -> String {
    cluster.run(&["exec", pod, "--", "psql", "-U", "postgres", "-qAtX", "-c", query])
}

/// Ends the first process of a pod's only container from outside, as the machine's administrator could.
fn kill_container(cluster: &Cluster, pod: &str) {
    let id = cluster.value(&format!("pod/{pod}"), "{.status.containerStatuses[0].containerID}");
    let id = id.strip_prefix("ordinal://").expect("an id of ours");
    let mut pids = std::fs::read_dir("/proc").expect("proc").filter_map(|entry| {
        let pid = entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok()?;
        is_first_process(pid, id).then_some(pid)
    });
    let pid = pids.next().expect("the container runs");
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
    assert_eq!(name.trim(), "postgres");
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill is there");
    assert!(killed.success());
}

/// It is in the container's cgroup, and process 1 in its own namespace.
fn is_first_process(pid: u32, container: &str) -> bool {
    // A process may end while it is looked at.
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let inside = read("cgroup").lines().any(|line| line.ends_with(&format!("/{container}")));
    let is_one = |line: &str| line.starts_with("NSpid:") && line.split_whitespace().last() == Some("1");
    inside && read("status").lines().any(is_one)
}
