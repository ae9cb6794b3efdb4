//! Who a container runs as, and what it may touch.

use crate::space::{IDLE, Space};

#[test]
fn volumes_belong_to_the_group_of_the_pod_and_containers_run_as_whom_they_are_said_to() {
    let Some(space) = Space::new() else { return };
    space.apply(
        "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: claim}, spec: {accessModes: \
         [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}",
    );
    let spec = "securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000}, volumes: \
                [{name: e, emptyDir: {}}, {name: c, persistentVolumeClaim: {claimName: claim}}],";
    let mounts = "volumeMounts: [{name: e, mountPath: /e}, {name: c, mountPath: /c}],";
    space.pod("p", IDLE, mounts, spec);
    space.wait_pod("p");
    assert_eq!(space.exec("p", "id -u; id -g; id -G"), "1000\n3000\n3000 2000");
    for volume in ["/e", "/c"] {
        let made = format!("echo mine > {volume}/file; stat -c '%u %g' {volume}/file; stat -c %g {volume}");
        assert_eq!(space.exec("p", &made), "1000 2000\n2000", "in {volume}");
    }
    assert!(!space.kubectl(&["exec", "p", "--", "touch", "/etc/file"]).success, "the image is root's");
}

#[test]
fn a_privileged_container_has_the_devices_of_the_machine_and_no_other_has() {
    let Some(space) = Space::new() else { return };
    space.pod("may", IDLE, "securityContext: {privileged: true},", "");
    space.pod("may-not", IDLE, "", "");
    space.wait_pod("may");
    space.wait_pod("may-not");
    let list = "cd /dev; for one in *; do [ ! -L $one ] && [ -c $one -o -b $one ] && echo $one; done; true";
    let (all, few) = (space.exec("may", list), space.exec("may-not", list));
    assert_eq!(few, "full\nnull\nrandom\ntty\nurandom\nzero");
    let device = |name: &str| {
        use std::os::unix::fs::FileTypeExt;
        let kind = std::fs::metadata(format!("/dev/{name}")).map(|metadata| metadata.file_type());
        kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
    };
    for name in ["kmsg", "loop-control", "fuse", "sda", "vda"].into_iter().filter(|name| device(name)) {
        assert!(all.lines().any(|one| one == name), "{name} is not among {all}");
    }
    // It is more than a name: reading zeroes of one's own making shows that the device answers.
    assert_eq!(space.exec("may", "mknod /tmp/zero c 1 5; head -c 4 /tmp/zero | wc -c"), "4");
}
