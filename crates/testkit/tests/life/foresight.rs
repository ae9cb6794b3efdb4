//! `ordinal plan` and `ordinal why`: what would be done, and what is waited for.

use std::path::PathBuf;

use serde_json::Value;

use crate::sets::{CLAIM, MOUNT, set};
use crate::space::Space;

/// A manifest in a file of its own, gone with the test.
struct Manifest(PathBuf);

impl Manifest {
    fn new(space: &Space, text: &str) -> Manifest {
        let path = std::env::temp_dir().join(format!("ordinal-{}-{}.yaml", std::process::id(), space.name));
        std::fs::write(&path, format!("---\n{text}\n")).expect("the manifest is written");
        Manifest(path)
    }
}

impl Drop for Manifest {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What `plan` says of the first object of a manifest, and whether nothing in it would be refused.
fn plan(space: &Space, manifest: &str, more: &[&str]) -> (Value, bool) {
    let (planned, is_allowed) = plan_all(space, manifest, more);
    (planned[0].clone(), is_allowed)
}

fn plan_all(space: &Space, manifest: &str, more: &[&str]) -> (Value, bool) {
    let file = Manifest::new(space, manifest);
    let path = file.0.display().to_string();
    let mut arguments = vec!["plan", "-n", &space.name, "-o", "json", "-f", &path];
    arguments.extend(more);
    let printed = space.cluster.ordinal(&arguments);
    let planned: Value = serde_json::from_str(&printed.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", printed.stdout, printed.stderr));
    (planned, printed.success)
}

fn moves(planned: &Value) -> Vec<String> {
    let moves = planned["forecast"]["moves"].as_array().expect("a forecast has moves");
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let pods = moves.iter().filter(|one| one.get("pod").is_some());
    pods.map(|one| format!("{} {}", text(one, "do"), text(one, "pod"))).collect()
}

#[test]
fn a_plan_foresees_what_then_happens_and_writes_nothing() {
    let Some(space) = Space::new() else { return };
    let manifest = set("w", 2, CLAIM, MOUNT);
    let (planned, _) = plan(&space, &manifest, &[]);
    assert_eq!(moves(&planned), ["createPod w-0", "createPod w-1"]);
    assert_eq!(planned["forecast"]["end"]["end"], "rests");
    assert_eq!(space.names("statefulsets"), Vec::<String>::new(), "nothing is written");
    space.apply(&manifest);
    space.wait_ready("w", 2);
    let (planned, _) = plan(&space, &manifest, &[]);
    assert_eq!(moves(&planned), Vec::<String>::new(), "{planned}");
    let changed = manifest.replacen("image: busybox", "image: busybox, env: [{name: A, value: b}]", 1);
    let (planned, _) = plan(&space, &changed, &[]);
    assert_eq!(planned["forecast"]["restarts"], serde_json::json!(["w-1", "w-0"]));
    assert_eq!(planned["forecast"]["unavailableAtWorst"], 1);
    // What is foreseen is what happens.
    let follower = space.follow_pods();
    follower.until(|words| words.starts_with(&["ADDED", "w-1"]));
    space.apply(&changed);
    let seen = follower.until(|words| words.starts_with(&["DELETED", "w-0"]));
    let gone: Vec<&str> = seen.iter().filter(|words| words[0] == "DELETED").map(|words| &*words[1]).collect();
    assert_eq!(gone, ["w-1"], "and then w-0");
    // A change that is forbidden is said before it is tried, and what can be done instead.
    let forbidden = changed.replacen("serviceName: w", "serviceName: other", 1);
    let (planned, is_allowed) = plan(&space, &forbidden, &[]);
    let refused = &planned["refused"];
    assert!(
        !is_allowed && refused["message"].as_str().is_some_and(|text| text.contains("forbidden")),
        "{planned}"
    );
    assert!(refused["instead"].as_str().is_some_and(|text| text.contains("--cascade=orphan")), "{planned}");
    let (planned, _) = plan(&space, &changed, &["--delete"]);
    let deletion = &planned["deletion"];
    assert_eq!(deletion["pods"], serde_json::json!(["w-1", "w-0"]), "{planned}");
    assert_eq!(deletion["claimsKept"], serde_json::json!(["data-w-0", "data-w-1"]), "{planned}");
}

#[test]
fn a_plan_takes_the_namespace_that_its_file_makes_as_there() {
    let Some(space) = Space::new() else { return };
    let later = format!("{}-later", space.name);
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {later}}}}}");
    let manifest = set("w", 2, CLAIM, MOUNT);
    let manifest = manifest.replacen("metadata: {", &format!("metadata: {{namespace: {later}, "), 1);
    let (planned, is_allowed) = plan_all(&space, &format!("{namespace}\n---\n{manifest}\n"), &[]);
    assert!(is_allowed, "{planned}");
    assert_eq!(moves(&planned[1]), ["createPod w-0", "createPod w-1"]);
    let (planned, is_allowed) = plan(&space, &manifest, &[]);
    let message = planned["refused"]["message"].as_str().unwrap_or_default();
    assert!(!is_allowed && message.contains(&format!("namespaces \"{later}\" not found")), "{planned}");
}

#[test]
fn any_client_can_ask_for_a_plan() {
    let Some(space) = Space::new() else { return };
    let question = format!(
        "{{apiVersion: ordinal.dev/v1, kind: StatefulSetReview, spec: {{manifest: {}}}}}",
        set("w", 2, "", "")
    );
    let file = Manifest::new(&space, &question);
    let path = file.0.display().to_string();
    let answer = space.run(&["create", "-f", &path, "-o", "jsonpath={.status.forecast.moves[*].pod}"]);
    assert_eq!(answer, "w-0 w-1");
    assert_eq!(space.names("statefulsets"), Vec::<String>::new(), "nothing is written");
    let explained = space.run(&["explain", "statefulsetreview.status.forecast.unavailableAtWorst"]);
    assert!(explained.contains("unavailable at worst"), "{explained}");
    let listed = space.cluster.kubectl(&["get", "statefulsetreviews", "-n", &space.name]);
    assert!(!listed.success, "there is nothing to list: {}", listed.stdout);
}

#[test]
fn why_leads_from_the_set_to_the_cause() {
    let Some(space) = Space::new() else { return };
    let manifest = set("w", 2, "", "").replacen("image: busybox", "image: \"localhost:1/none:1\"", 1);
    space.apply(&manifest);
    let why = |what: &str| space.cluster.ordinal(&["why", what, "-n", &space.name]).stdout;
    space.wait("the cause is told", || why("sts/w").contains("ImagePull"));
    let chain = why("sts/w");
    let lines =
        ["0 of 2 ready", "waiting for pod w-0 to be ready", "pod w-0 is Pending", "container c waits"];
    let mut at = 0;
    for line in lines {
        at += chain[at..].find(line).unwrap_or_else(|| panic!("{line} is not told in its turn:\n{chain}"));
    }
    assert!(why("pod/w-0").contains("localhost:1/none:1"), "{}", why("pod/w-0"));
    // The set runs without its Service, and is not as it should be.
    space.wait("the missing Service is told", || why("sts/w").contains("note: the Service w that"));
    let unknown = space.cluster.ordinal(&["why", "sts/none", "-n", &space.name]);
    assert!(!unknown.success && unknown.stderr.contains("not found"), "{}", unknown.stderr);
}
