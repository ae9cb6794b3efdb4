//! What StatefulSets do better than upstream's, as somebody with kubectl sees it.

use crate::sets::set;
use crate::space::Space;

#[test]
fn a_broken_rollout_heals_when_the_template_does_and_conditions_tell_why_it_stood() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 2, "", ""));
    space.wait_ready("w", 2);
    space.run(&["wait", "--for=condition=Available", "statefulset/w", "--timeout=30s"]);
    let image = |image: &str| {
        format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}}}}}"#)
    };
    space.run(&["patch", "statefulset", "w", "-p", &image("localhost:1/none:1")]);
    let progressing = "{.status.conditions[?(@.type=='Progressing')].reason}";
    space.wait_value("statefulset/w", progressing, "ImagePullFailed");
    let said = space.value("statefulset/w", "{.status.conditions[?(@.type=='Available')].message}");
    assert!(said.starts_with("1 of 2 replicas are available, as many as the update strategy"), "{said}");
    assert!(said.contains("; waiting for pod w-1 to be ready"), "{said}");
    // Nobody deletes a pod: the corrected template alone heals it.
    space.run(&["patch", "statefulset", "w", "-p", &image("busybox")]);
    space.run(&["rollout", "status", "statefulset/w", "--timeout=60s"]);
    space.run(&["wait", "--for=condition=Available", "statefulset/w", "--timeout=30s"]);
    space.wait_value("statefulset/w", progressing, "Complete");
    let told = ["get", "events", "--field-selector", "reason=ReplacedBroken", "-o", "name"];
    space.wait("it is told", || !space.run(&told).is_empty());
}

#[test]
fn reserved_ordinals_leave_a_gap_and_a_specified_pod_goes_first() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 3, "reserveOrdinals: [1],", ""));
    space.wait_ready("w", 3);
    assert_eq!(space.names("pods"), ["w-0", "w-2", "w-3"]);
    space.run(&["label", "pod", "w-0", "apps.kruise.io/specified-delete=true"]);
    space.run(&["scale", "statefulset", "w", "--replicas=2"]);
    space.wait("the specified one to be gone", || space.names("pods") == ["w-2", "w-3"]);
    assert_eq!(space.value("statefulset/w", "{.spec.reserveOrdinals}"), r#"["0-1"]"#);
    let explained = space.run(&["explain", "statefulset.spec.reserveOrdinals"]);
    assert!(explained.contains("Ordinals that no replica has"), "{explained}");
}

#[test]
fn what_could_never_run_is_refused_at_once() {
    let Some(space) = Space::new() else { return };
    let refused = |manifest: &str| {
        let (printed, code) = space.with_input(&["apply", "-f", "-"], &format!("---\n{manifest}"));
        assert_ne!(code, 0, "{}", printed.stdout);
        printed.stderr
    };
    let long = refused(&set(&"w".repeat(53), 1, "", ""));
    assert!(long.contains("must be no more than 52 characters"), "{long}");
    let claims = |template: &str| {
        format!(
            "volumeClaimTemplates: [{{metadata: {{name: {template}}}, spec: {{accessModes: [ReadWriteOnce], \
             resources: {{requests: {{storage: 1Mi}}}}}}}}],"
        )
    };
    space.apply(&set("b-w", 0, &claims("data"), ""));
    let shared = refused(&set("w", 0, &claims("data-b"), ""));
    assert!(shared.contains("as those of the StatefulSet b-w"), "{shared}");
    let annotated =
        set("w", 0, "", "").replacen("name: w", "name: w, annotations: {ordinal.dev/rolout: strict}", 1);
    let unknown = refused(&annotated);
    assert!(unknown.contains("those are ordinal.dev/rollout and ordinal.dev/primary-label"), "{unknown}");
}
