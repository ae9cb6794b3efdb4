//! `examples/redis.yaml`: a key outlives the pod that took it.

use testkit::cluster::Cluster;

#[test]
fn a_key_is_there_after_its_pod_was_deleted() {
    let Some(cluster) = Cluster::native(&["redis"]) else { return };
    cluster.apply(include_str!("../../../../examples/redis.yaml"));
    cluster.wait_ready("redis", 3);
    let redis = |pod: &str, arguments: &[&str]| {
        let command = ["exec", pod, "--", "redis-cli"];
        cluster.run(&[&command[..], arguments].concat())
    };
    assert_eq!(redis("redis-0", &["set", "greeting", "hello"]), "OK");
    let uid = cluster.value("pod/redis-0", "{.metadata.uid}");
    let volume = cluster.value("pvc/data-redis-0", "{.spec.volumeName}");
    assert!(!volume.is_empty());

    cluster.run(&["delete", "pod", "redis-0"]);
    cluster.wait_for("another redis-0 is ready", |cluster| {
        let now = cluster.value("pod/redis-0", "{.metadata.uid}");
        let ready = "{.status.conditions[?(@.type=='Ready')].status}";
        !now.is_empty() && now != uid && cluster.value("pod/redis-0", ready) == "True"
    });

    assert_eq!(redis("redis-0", &["get", "greeting"]), "hello");
    assert_eq!(cluster.value("pvc/data-redis-0", "{.spec.volumeName}"), volume);
    // Under its name, which leads to the new pod's address, and only from its own disk.
    assert_eq!(redis("redis-1", &["-h", "redis-0.redis", "get", "greeting"]), "hello");
    assert_eq!(redis("redis-1", &["get", "greeting"]), "");
}
