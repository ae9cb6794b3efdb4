//! Small pictures for tests.

use std::sync::Arc;

use client::{Change, Typed};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use model::encoded::Revision;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use crate::plan::{Plan, plan};
use crate::view::{Event, View};

pub(crate) fn typed<K: Typed>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).expect("is of that kind"))
}

pub(crate) fn view(nodes: Vec<Value>, pods: Vec<Value>) -> View {
    view_with(nodes, pods, vec![], vec![])
}

pub(crate) fn view_with(
    nodes: Vec<Value>,
    pods: Vec<Value>,
    claims: Vec<Value>,
    volumes: Vec<Value>,
) -> View {
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
    view.apply(Event::Namespaces(reset::<Namespace>(vec![])));
    view.apply(Event::Budgets(reset::<PodDisruptionBudget>(vec![])));
    view.apply(Event::Pods(reset::<Pod>(pods)));
    assert!(view.is_synced());
    view
}

pub(crate) fn node(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
           "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "3"}}})
}

pub(crate) fn pod(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"namespace": "default", "name": name, "uid": name},
           "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

/// What is decided about a pod, without what is said about preemption.
pub(crate) fn decision(view: &View, name: &str) -> String {
    let plan = plan(view, &ObjectKey::new("default", name)).expect("a plan");
    without_preemption(&plan)
}

/// A plan's text without what is said about preemption.
pub(crate) fn without_preemption(plan: &Plan) -> String {
    plan.to_string().split(" preemption: ").next().unwrap_or_default().to_owned()
}

#[track_caller]
pub(crate) fn decides(view: &View, name: &str, expected: &str) {
    assert_eq!(decision(view, name), expected);
}

/// A node in a zone, with room for ten pods.
pub(crate) fn zoned(name: &str, zone: &str) -> Value {
    let mut node = node(name, "8");
    node["metadata"]["labels"]["zone"] = zone.into();
    node["status"]["allocatable"]["pods"] = "10".into();
    node
}

/// A pod with labels and some more of a spec.
pub(crate) fn labelled(name: &str, labels: Value, spec: &Value) -> Value {
    let mut pod = pod(name, "100m");
    pod["metadata"]["labels"] = labels;
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// The same on a node.
pub(crate) fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = node.into();
    pod
}

/// A change of a pod.
pub(crate) fn told(pod: Value) -> Event {
    Event::Pods(Change::Apply(typed(pod)))
}
