//! Decisions over small pictures.

use super::*;
use crate::fixtures::{decides, decision, node, pod, typed, view, view_with};
use crate::view::Event;
use client::Change;
use k8s_openapi::api::storage::v1::StorageClass;
use reconcile::picture::Picture;
use serde_json::{Value, json};

#[test]
fn the_emptier_node_is_taken() {
    let mut running = pod("other", "1");
    running["spec"]["nodeName"] = "a".into();
    let view = view(vec![node("a", "2"), node("b", "2")], vec![running, pod("web-0", "500m")]);
    decides(&view, "web-0", "bind to b");
}

#[test]
fn what_was_decided_is_taken_before_the_api_has_heard_of_it() {
    let mut view = view(vec![node("a", "1")], vec![pod("web-0", "600m"), pod("web-1", "600m")]);
    let first = ObjectKey::new("default", "web-0");
    let decided = plan(&view, &first).expect("a plan");
    view.note(&first, &decided);
    decides(&view, "web-1", "unschedulable: 0/1 nodes are available: 1 Insufficient cpu.");
}

#[test]
fn every_reason_is_counted() {
    let mut tainted = node("b", "8");
    tainted["spec"] = json!({"taints": [{"key": "disk", "value": "slow", "effect": "NoSchedule"}]});
    let mut cordoned = node("c", "8");
    cordoned["spec"] = json!({"unschedulable": true});
    let view = view(vec![node("a", "1"), tainted, cordoned], vec![pod("web-0", "4")]);
    decides(
        &view,
        "web-0",
        "unschedulable: 0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint \
         {disk: slow}, 1 node(s) were unschedulable.",
    );
}

#[test]
fn a_selector_and_a_toleration_choose_the_node() {
    let mut tainted = node("b", "2");
    tainted["spec"] = json!({"taints": [{"key": "disk", "effect": "NoSchedule"}]});
    let mut wants = pod("web-0", "1");
    wants["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "b"});
    wants["spec"]["tolerations"] = json!([{"key": "disk", "operator": "Exists"}]);
    decides(&view(vec![node("a", "2"), tainted], vec![wants]), "web-0", "bind to b");
}

#[test]
fn two_pods_with_one_host_port_need_two_nodes() {
    let with_port = |name: &str| {
        let mut pod = pod(name, "100m");
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
        pod
    };
    let mut running = with_port("other");
    running["spec"]["nodeName"] = "a".into();
    let view = view(vec![node("a", "2")], vec![running, with_port("web-0")]);
    decides(
        &view,
        "web-0",
        "unschedulable: 0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod \
         ports.",
    );
}

fn pod_with_claim() -> Value {
    let mut pod = pod("web-0", "100m");
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    pod
}

fn claim() -> Value {
    json!({"metadata": {"namespace": "default", "name": "data"},
           "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"]},
           "status": {"phase": "Pending"}})
}

#[test]
fn a_claim_that_waits_gets_the_node_first_and_the_pod_follows_its_volume() {
    let nodes = || vec![node("a", "2"), node("b", "2")];
    let missing = view(nodes(), vec![pod_with_claim()]);
    decides(
        &missing,
        "web-0",
        "unschedulable: 0/2 nodes are available: persistentvolumeclaim \"data\" not found.",
    );

    let waiting = view_with(nodes(), vec![pod_with_claim()], vec![claim()], vec![]);
    decides(&waiting, "web-0", "have data provided for on a");

    let mut selected = claim();
    selected["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "b"});
    let selected = view_with(nodes(), vec![pod_with_claim()], vec![selected], vec![]);
    decides(&selected, "web-0", "wait for data");

    let mut bound = claim();
    bound["spec"]["volumeName"] = "pv-1".into();
    bound["status"]["phase"] = "Bound".into();
    let volume = json!({"metadata": {"name": "pv-1"}, "spec": {"nodeAffinity": {"required": {
        "nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}]}}}});
    let bound = view_with(nodes(), vec![pod_with_claim()], vec![bound], vec![volume]);
    decides(&bound, "web-0", "bind to b");
}

/// A free volume of the class `local` that only one node can use.
fn volume(name: &str, node: &str, storage: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "1"}, "status": {"phase": "Available"},
           "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": storage},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}})
}

fn claim_of(name: &str, storage: &str) -> Value {
    let mut claim = claim();
    claim["metadata"]["name"] = name.into();
    claim["metadata"]["uid"] = name.into();
    claim["spec"]["resources"] = json!({"requests": {"storage": storage}});
    claim
}

fn pod_with_claims(name: &str, claims: &[&str]) -> Value {
    let mut pod = pod(name, "100m");
    let volumes =
        claims.iter().map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
    pod["spec"]["volumes"] = volumes.collect();
    pod
}

#[test]
fn a_claim_that_waits_takes_the_smallest_volume_that_is_there_before_one_is_made() {
    let nodes = vec![node("a", "2"), node("b", "2")];
    let volumes = vec![
        volume("large", "b", "10Gi"),
        volume("fits", "b", "2Gi"),
        volume("small", "a", "500Mi"),
        json!({"metadata": {"name": "taken"}, "status": {"phase": "Bound"},
               "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"],
                        "capacity": {"storage": "1Gi"}, "claimRef": {"namespace": "x", "name": "y"}}}),
    ];
    let pods = vec![pod_with_claims("web-0", &["data"])];
    let view = view_with(nodes, pods, vec![claim_of("data", "1Gi")], volumes);
    decides(&view, "web-0", "give fits to data on b");
    let plan = plan(&view, &ObjectKey::new("default", "web-0")).expect("a plan");
    let Plan::Claims { promises, .. } = plan else { panic!("a volume is given") };
    let reference = model::volume::claim_reference(&promises[0]).expect("refers to the claim");
    assert_eq!((reference.name.as_deref(), reference.uid.as_deref()), (Some("data"), Some("data")));
    assert_eq!(promises[0].metadata.resource_version.as_deref(), Some("1"), "guarded by what was seen");
}

#[test]
fn one_volume_goes_to_one_claim_and_the_other_claim_gets_a_new_one() {
    let pods = vec![pod_with_claims("web-0", &["data", "logs"]), pod_with_claims("web-1", &["more"])];
    let claims = vec![claim_of("data", "2Gi"), claim_of("logs", "1Gi"), claim_of("more", "1Gi")];
    let volumes = vec![volume("one", "a", "2Gi")];
    let mut view = view_with(vec![node("a", "2"), node("b", "2")], pods, claims, volumes);
    let first = ObjectKey::new("default", "web-0");
    decides(&view, "web-0", "give one to logs, have data provided for on a");
    let decided = plan(&view, &first).expect("a plan");
    view.note(&first, &decided);
    decides(&view, "web-1", "have more provided for on a");
    decides(&view, "web-0", "give one to logs, have data provided for on a");
}

#[test]
fn a_claim_that_was_promised_a_volume_waits_for_it_on_that_volumes_node() {
    let mut promised = volume("one", "b", "2Gi");
    promised["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": "data"});
    let pods = || vec![pod_with_claims("web-0", &["data"])];
    let claims = || vec![claim_of("data", "1Gi")];
    let both = || vec![node("a", "2"), node("b", "2")];
    decides(&view_with(both(), pods(), claims(), vec![promised.clone()]), "web-0", "wait for data");
    let mut named = claims();
    named[0]["spec"]["volumeName"] = "one".into();
    decides(&view_with(both(), pods(), named, vec![promised.clone()]), "web-0", "wait for data");
    decides(
        &view_with(vec![node("a", "2")], pods(), claims(), vec![promised]),
        "web-0",
        "unschedulable: 0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.",
    );
}

#[test]
fn where_nobody_makes_volumes_a_claim_goes_only_where_one_is() {
    let class = json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner",
                       "volumeBindingMode": "WaitForFirstConsumer"});
    let decided = |volumes: Vec<Value>| {
        let pods = vec![pod_with_claims("web-0", &["data"])];
        let nodes = vec![node("a", "2"), node("b", "2")];
        let mut view = view_with(nodes, pods, vec![claim_of("data", "1Gi")], volumes);
        view.apply(Event::Classes(Change::Apply(typed::<StorageClass>(class.clone()))));
        decision(&view, "web-0")
    };
    assert_eq!(decided(vec![volume("one", "b", "1Gi")]), "give one to data on b");
    assert_eq!(
        decided(vec![volume("small", "b", "1Mi")]),
        "unschedulable: 0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
    );
}

#[test]
fn a_claim_for_one_pod_is_not_shared() {
    let mut alone = claim();
    alone["spec"] = json!({"accessModes": ["ReadWriteOncePod"], "volumeName": "pv-1"});
    alone["status"]["phase"] = "Bound".into();
    let mut running = pod_with_claim();
    running["metadata"]["name"] = "other".into();
    running["spec"]["nodeName"] = "a".into();
    let volume = json!({"metadata": {"name": "pv-1"}, "spec": {}});
    let view = view_with(vec![node("a", "2")], vec![running, pod_with_claim()], vec![alone], vec![volume]);
    let plan = plan(&view, &ObjectKey::new("default", "web-0")).expect("a plan").to_string();
    assert!(plan.contains("ReadWriteOncePod access mode"), "{plan}");
}

#[test]
fn a_refusal_that_is_known_is_not_written_again() {
    let mut refused = pod("web-0", "4");
    refused["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 \
                    Preemption is not helpful for scheduling."}]});
    let view = view(vec![node("a", "1")], vec![refused]);
    assert!(plan(&view, &ObjectKey::new("default", "web-0")).expect("a plan").is_quiet());
}
