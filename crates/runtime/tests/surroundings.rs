//! What a container finds around it on the real kernel: devices, namespaces, kernel settings, its user, its
//! limits. As root.

mod machine;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use machine::{Machine, until};
use runtime::api::{ImageId, Runtime};

/// A network namespace that lives as long as this value.
struct Network(Child);

impl Network {
    async fn new() -> Network {
        let mut command = Command::new("unshare");
        let child = command.args(["--net", "sleep", "1000"]).stdin(Stdio::null()).spawn();
        let network = Network(child.expect("util-linux is there"));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        until("the namespace is made", || std::fs::read_link(network.path()).is_ok_and(|ns| ns != own)).await;
        network
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first of some files in the cgroup directories of a name.
fn limit(group: &str, files: &[&str]) -> Option<String> {
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(next) = pending.pop() {
        for child in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if !child.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if child.file_name().to_string_lossy() == group {
                let read = |file: &&str| std::fs::read_to_string(child.path().join(file)).ok();
                if let Some(text) = files.iter().find_map(read) {
                    return Some(text.trim().to_owned());
                }
            }
            pending.push(child.path());
        }
    }
    None
}

#[tokio::test]
async fn the_usual_devices_work_and_no_others() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let script =
        "set -e; b=/bin/busybox; echo x > /dev/null; echo random $(head -c 4 /dev/urandom | $b wc -c)
        echo zero $(head -c 3 /dev/zero | $b wc -c); [ -c /dev/random ]; [ -c /dev/tty ]; [ -L /dev/stdout ]
        echo x 2>/dev/null > /dev/full || echo full; [ -d /dev/pts ]; [ -c /dev/pts/ptmx ]
        echo shm > /dev/shm/file; echo fd > /dev/stdout
        [ $(id -u) != 0 ] || $b mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg 2>/dev/null || echo refused";
    for (name, user) in [("root", None), ("somebody", Some(999))] {
        let mut config = machine.config(name, script);
        config.security.run_as_user = user;
        assert_eq!(machine.run(&sandbox, config).await.code, 0, "{:?}", machine.log(name));
        let expected = ["random 4", "zero 3", "full", "fd", "refused"].map(|word| format!("stdout F {word}"));
        let lines: Vec<String> =
            machine.log(name).into_iter().filter(|line| line.starts_with("stdout")).collect();
        assert_eq!(lines, expected, "{name}");
        std::fs::remove_file(machine.root().join("sandboxes").join(&sandbox.0).join("shm/file")).unwrap();
    }
}

#[tokio::test]
async fn a_command_run_in_a_container_has_its_devices_and_limits() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut config = machine.config("main", "sleep 1000");
    config.security.run_as_user = Some(999);
    let id = machine.start(&sandbox, config).await;
    let script = "echo x > /dev/null; head -c 4 /dev/urandom | /bin/busybox wc -c; \
                  cat /proc/self/cgroup > /dev/stdout";
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let output = machine.runtime.exec_sync(&id, command, machine::DEADLINE).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.code == 0 && text.starts_with("4\n"), "{text}");
    assert!(text.contains(&format!("/ordinal/{}/uid-0/{}", machine.cluster, id.0)), "{text}");
}

#[tokio::test]
async fn a_pod_joins_its_network_namespace_and_sets_its_own_kernel_settings() {
    let ports = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = std::fs::read_to_string(ports).unwrap();
    let network = Network::new().await;
    let machine = Machine::new();
    let mut config = machine.sandbox_config();
    config.network_namespace = Some(network.path());
    config.sysctls = [("net.ipv4.ip_unprivileged_port_start", "77"), ("kernel.shm_rmid_forced", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let sandbox = machine.runtime.run_sandbox(config.clone()).await.unwrap();
    let script = format!(
        "/bin/busybox readlink /proc/self/ns/net; cat {ports} /proc/sys/kernel/shm_rmid_forced; \
         /bin/busybox grep -c : /proc/net/dev"
    );
    assert_eq!(machine.run(&sandbox, machine.config("main", &script)).await.code, 0);
    let namespace = std::fs::read_link(network.path()).unwrap().display().to_string();
    let seen = machine.log("main");
    assert_eq!(seen[..3], [namespace, "77".to_owned(), "1".to_owned()].map(|s| format!("stdout F {s}")));
    assert_eq!(std::fs::read_to_string(ports).unwrap(), before, "the machine's own is as it was");

    config.uid = "uid-1".to_owned();
    config.sysctls = [("no.such.setting".to_owned(), "1".to_owned())].into();
    let refused = machine.runtime.run_sandbox(config).await.unwrap_err().to_string();
    assert!(refused.contains("no.such.setting"), "{refused}");
    assert_eq!(machine.runtime.list_sandboxes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_container_runs_as_the_user_of_its_image() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    for (user, expected) in [
        ("redis", "uid=999(redis) gid=1000(redis) groups=101(extra)"),
        ("redis:extra", "uid=999(redis) gid=101(extra)"),
        ("1234", "uid=1234 gid=0(root)"),
        ("1234:5678", "uid=1234 gid=5678"),
    ] {
        let name = user.replace(':', "-");
        let mut config = machine.config(&name, "id");
        config.image = ImageId(format!("sha256:user={user}"));
        config.security.must_not_be_root = true;
        assert_eq!(machine.run(&sandbox, config).await.code, 0);
        let line = machine.log(&name).remove(0);
        assert!(line.starts_with(&format!("stdout F {expected}")), "{line}");
    }
    let mut config = machine.config("main", "id");
    config.image = ImageId("sha256:user=nobody-here".to_owned());
    let refused = machine.runtime.create_container(&sandbox, config).await.unwrap_err();
    assert!(refused.to_string().contains("unable to find user nobody-here"), "{refused}");
}

#[tokio::test]
async fn limits_of_processor_and_processes_hold() {
    let machine = Machine::new();
    let mut config = machine.sandbox_config();
    config.resources.pids_limit = Some(100);
    config.resources.memory_limit_bytes = Some(256 << 20);
    let sandbox = machine.runtime.run_sandbox(config).await.unwrap();
    assert_eq!(limit_of_pod(&machine, &["pids.max"]), "100");
    assert_eq!(limit_of_pod(&machine, &["memory.max", "memory.limit_in_bytes"]), (256 << 20).to_string());

    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; echo all";
    let mut config = machine.config("forks", script);
    config.resources.pids_limit = Some(6);
    config.resources.cpu_quota_us = Some(25_000);
    config.resources.cpu_period_us = Some(100_000);
    config.resources.cpu_shares = Some(512);
    let id = machine.start(&sandbox, config.clone()).await;
    assert_ne!(machine::ended(&machine.runtime, &id).await.code, 0);
    let log = machine.log("forks").join("\n");
    assert!(log.contains("fork") && !log.contains("all"), "{log}");

    config.command = ["sleep", "1000"].map(str::to_owned).to_vec();
    let id = machine.start(&sandbox, config).await;
    let quota = limit(&id.0, &["cpu.max", "cpu.cfs_quota_us"]).unwrap();
    assert!(quota == "25000" || quota == "25000 100000", "{quota}");
    // 512 of the v1 scale is 20 of the v2 scale by the OCI specification's mapping.
    let share = limit(&id.0, &["cpu.weight", "cpu.shares"]).unwrap();
    assert!(share == "512" || share == "20", "{share}");
}

fn limit_of_pod(machine: &Machine, files: &[&str]) -> String {
    let below = Path::new("ordinal").join(&machine.cluster).join("uid-0");
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let mut places = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]);
    let found = places.find_map(|hierarchy| {
        files.iter().find_map(|file| std::fs::read_to_string(hierarchy.join(&below).join(file)).ok())
    });
    found.expect("the pod's group has the limit").trim().to_owned()
}

#[tokio::test]
async fn a_privileged_container_may_do_what_others_may_not() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let script = "b=/bin/busybox; mount -t tmpfs none /tmp 2>/dev/null && echo mounts
        $b mknod /kmsg c 1 11 2>/dev/null && head -c 1 /kmsg >/dev/null 2>&1 && echo devices
        ( : >> /proc/sys/kernel/domainname ) 2>/dev/null && echo settings
        echo end";
    assert_eq!(machine.run(&sandbox, machine.config("plain", script)).await.code, 0);
    assert_eq!(machine.log("plain"), ["stdout F end"]);
    let mut config = machine.config("privileged", script);
    config.security.privileged = true;
    assert_eq!(machine.run(&sandbox, config).await.code, 0);
    let expected = ["mounts", "devices", "settings", "end"].map(|word| format!("stdout F {word}"));
    assert_eq!(machine.log("privileged"), expected);
}
