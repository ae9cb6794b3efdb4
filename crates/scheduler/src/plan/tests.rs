//! Decisions over small pictures.

use super::*;
use crate::view::Event;
use client::{Change, Typed};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use model::encoded::Revision;
use reconcile::picture::Picture;
use serde_json::{Value, json};

fn typed<K: Typed>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).expect("is of that kind"))
}

fn view(nodes: Vec<Value>, pods: Vec<Value>) -> View {
    view_with(nodes, pods, vec![], vec![])
}

fn view_with(nodes: Vec<Value>, pods: Vec<Value>, claims: Vec<Value>, volumes: Vec<Value>) -> View {
    fn reset<K: Typed>(values: Vec<Value>) -> Change<K> {
        Change::Reset(values.into_iter().map(typed).collect(), Revision(1))
    }
    let class = json!({"metadata": {"name": "local"}, "provisioner": "local.ordinal.dev",
                       "volumeBindingMode": "WaitForFirstConsumer"});
    let mut view = View::default();
    view.apply(Event::Nodes(reset::<Node>(nodes)));
    view.apply(Event::Claims(reset::<PersistentVolumeClaim>(claims)));
    view.apply(Event::Volumes(reset::<PersistentVolume>(volumes)));
    view.apply(Event::Classes(reset::<StorageClass>(vec![class])));
    view.apply(Event::Pods(reset::<Pod>(pods)));
    assert!(view.is_synced());
    view
}

fn node(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
           "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "3"}}})
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"namespace": "default", "name": name, "uid": name},
           "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[track_caller]
fn decides(view: &View, name: &str, expected: &str) {
    let plan = plan(view, &ObjectKey::new("default", name)).expect("a plan");
    assert_eq!(plan.to_string(), expected);
}

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
    let decision = plan(&view, &first).expect("a plan");
    view.note(&first, &decision);
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
        "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
    let view = view(vec![node("a", "1")], vec![refused]);
    assert!(plan(&view, &ObjectKey::new("default", "web-0")).expect("a plan").is_quiet());
}
