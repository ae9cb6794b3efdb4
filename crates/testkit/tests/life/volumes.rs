//! Volumes that are made of objects.

use crate::space::{IDLE, Space};

#[test]
fn volumes_show_objects_and_config_maps_change_live() {
    let Some(space) = Space::new() else { return };
    space.run(&["create", "configmap", "c", "--from-literal=colour=blue", "--from-literal=size=big"]);
    space.run(&["create", "secret", "generic", "s", "--from-literal=word=hush"]);
    let spec = "volumes: [{name: c, configMap: {name: c}}, {name: s, secret: {secretName: s, defaultMode: 256}}, \
        {name: e, emptyDir: {}}, {name: m, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, \
        {name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}, \
        {name: p, projected: {sources: [{configMap: {name: c, items: [{key: size, path: a/size}]}}, \
        {secret: {name: s}}]}}],";
    let mounts = "volumeMounts: [{name: c, mountPath: /c}, {name: s, mountPath: /s, readOnly: true}, \
        {name: e, mountPath: /e}, {name: e, mountPath: /sub, subPath: below}, {name: m, mountPath: /m}, \
        {name: d, mountPath: /d}, {name: p, mountPath: /p}, {name: c, mountPath: /one, subPath: colour}],";
    space.pod("p", IDLE, mounts, spec);
    space.wait_pod("p");
    assert_eq!(space.exec("p", "cat /c/colour; echo; cat /s/word; echo; cat /one"), "blue\nhush\nblue");
    assert_eq!(space.exec("p", "cat /d/labels; echo; cat /p/a/size /p/word"), "app=\"p\"\nbighush");
    assert_eq!(space.exec("p", "echo x > /sub/file; cat /e/below/file; stat -Lc %a /s/word"), "x\n400");
    assert!(!space.kubectl(&["exec", "p", "--", "touch", "/s/more"]).success, "a read-only mount");
    assert!(space.exec("p", "grep ' /m ' /proc/mounts").contains("tmpfs"));
    space.run(&["patch", "configmap", "c", "-p", r#"{"data":{"colour":"red"}}"#]);
    space.wait("the file has changed", || space.exec("p", "cat /c/colour") == "red");
    assert_eq!(space.exec("p", "cat /one"), "blue", "a mount of one file stays as it was");
}
