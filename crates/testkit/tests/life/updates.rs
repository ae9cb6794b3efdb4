//! Updates of StatefulSets: the order, the canary, by hand, and back again.

use crate::sets::set;
use crate::space::Space;

const HASH: &str = "{.metadata.labels.controller-revision-hash}";

/// Changes the pod template.
fn change(space: &Space, value: &str) {
    let patch = format!(r#"{{"spec":{{"template":{{"metadata":{{"annotations":{{"v":"{value}"}}}}}}}}}}"#);
    space.run(&["patch", "statefulset", "w", "-p", &patch]);
}

fn hashes(space: &Space) -> Vec<String> {
    ["pod/w-0", "pod/w-1", "pod/w-2"].iter().map(|pod| space.value(pod, HASH)).collect()
}

#[test]
fn a_rolling_update_goes_from_the_highest_ordinal_down_and_undo_brings_back_the_revision() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 3, "", ""));
    space.wait_ready("w", 3);
    let first = space.value("statefulset/w", "{.status.updateRevision}");
    for command in [&["patch"][..], &["rollout", "undo", "statefulset/w"]] {
        let old = space.value("statefulset/w", "{.status.currentRevision}");
        let follower = space.follow_pods();
        follower.until(|words| words.starts_with(&["ADDED", "w-2"]));
        if command == ["patch"] {
            change(&space, "2");
        } else {
            space.run(command);
        }
        let seen = follower.until(|words| words.starts_with(&["DELETED", "w-0"]));
        let steps: Vec<String> = seen
            .iter()
            .filter(|words| words[0] == "DELETED" || words[0] == "MODIFIED" && words[2] != old)
            .filter(|words| words[0] == "DELETED" || words[3] == "true")
            .map(|words| format!("{} {}", words[0], words[1]))
            .collect();
        let mut order = steps.clone();
        order.dedup();
        let expected = ["DELETED w-2", "MODIFIED w-2", "DELETED w-1", "MODIFIED w-1"];
        assert_eq!(order, expected, "{seen:?}");
        space.run(&["rollout", "status", "statefulset/w", "--timeout=60s"]);
        let now = space.value("statefulset/w", "{.status.updateRevision}");
        assert_eq!(now == first, command != ["patch"], "undo brings back {first}");
        space.wait_value("statefulset/w", "{.status.currentRevision}", &now);
        assert_eq!(hashes(&space), [now.as_str(); 3]);
    }
    let history = space.run(&["rollout", "history", "statefulset/w"]);
    let numbers: Vec<&str> =
        history.lines().filter_map(|line| line.split_whitespace().next()).skip(2).collect();
    assert_eq!(numbers, ["2", "3"], "{history}");
}

#[test]
fn a_partition_lets_only_the_canary_change_and_its_end_lets_all_change() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 3, "updateStrategy: {rollingUpdate: {partition: 2}},", ""));
    space.wait_ready("w", 3);
    let old = space.value("statefulset/w", "{.status.updateRevision}");
    change(&space, "2");
    space.wait("a new revision", || space.value("statefulset/w", "{.status.updateRevision}") != old);
    let new = space.value("statefulset/w", "{.status.updateRevision}");
    space.wait_value("pod/w-2", HASH, &new);
    space.wait_ready("w", 3);
    assert_eq!(hashes(&space), [&*old, &*old, &*new]);
    space.run(&["delete", "pod", "w-1"]);
    space.wait_ready("w", 3);
    assert_eq!(hashes(&space), [&*old, &*old, &*new], "a pod below the partition comes back as it was");
    let patch = r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}"#;
    space.run(&["patch", "statefulset", "w", "-p", patch]);
    space.run(&["rollout", "status", "statefulset/w", "--timeout=60s"]);
    assert_eq!(hashes(&space), [&*new; 3]);
}

#[test]
fn on_delete_changes_only_what_is_deleted_by_hand() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 3, "updateStrategy: {type: OnDelete},", ""));
    space.wait_ready("w", 3);
    let old = space.value("statefulset/w", "{.status.updateRevision}");
    change(&space, "2");
    space.wait("a new revision", || space.value("statefulset/w", "{.status.updateRevision}") != old);
    let new = space.value("statefulset/w", "{.status.updateRevision}");
    space.run(&["delete", "pod", "w-1"]);
    space.wait_value("pod/w-1", HASH, &new);
    space.wait_ready("w", 3);
    assert_eq!(hashes(&space), [&*old, &*new, &*old]);
}
