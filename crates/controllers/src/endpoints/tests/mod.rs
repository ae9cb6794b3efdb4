//! What is decided about services, without an API.

use std::sync::Arc;

use client::Change;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::encoded::Revision;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::legacy;
use super::plan::{EndpointsWrite, Plan, plan};
use super::slices::SliceWrites;
use super::view::{Event, Touched, View};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("is a time")
}

fn of<K: DeserializeOwned>(object: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(object).expect("is of its kind"))
}

/// A view that plays the API: what a plan writes is there at once.
struct World {
    view: View,
    counter: u64,
}

impl World {
    fn new() -> World {
        let mut view = View::default();
        view.apply(Event::Services(Change::Reset(Vec::new(), Revision(1))));
        view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1))));
        view.apply(Event::Slices(Change::Reset(Vec::new(), Revision(1))));
        view.apply(Event::Endpoints(Change::Reset(Vec::new(), Revision(1))));
        assert!(view.is_synced());
        World { view, counter: 1 }
    }

    fn service(&mut self, spec: Value) -> Touched {
        let service = of::<Service>(json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "service" },
            "spec": spec,
        }));
        self.view.apply(Event::Services(Change::Apply(service)))
    }

    fn pod(&mut self, index: usize, app: &str, change: impl FnOnce(&mut Value)) -> Touched {
        let mut pod = json!({
            "metadata": {
                "name": format!("web-{index}"), "namespace": "default", "uid": format!("pod-{index}"),
                "labels": { "app": app },
            },
            "spec": {
                "nodeName": "node-a",
                "containers": [{ "name": "app", "ports": [{ "name": "web", "containerPort": 8080 }] }],
            },
            "status": {
                "phase": "Running",
                "podIP": format!("10.0.{}.{}", index / 200, index % 200 + 1),
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        change(&mut pod);
        self.view.apply(Event::Pods(Change::Apply(of::<Pod>(pod))))
    }

    fn plan(&self) -> Plan {
        plan(&self.view, &web(), now())
    }

    /// Carries the plan out and returns it.
    fn settle(&mut self) -> Plan {
        let plan = self.plan();
        for slice in &plan.slices.create {
            self.counter += 1;
            let mut slice = slice.clone();
            slice.metadata.name = Some(format!("web-{}", self.counter));
            slice.metadata.uid = Some(format!("slice-{}", self.counter));
            self.view.apply(Event::Slices(Change::Apply(Arc::new(slice))));
        }
        for slice in &plan.slices.update {
            self.view.apply(Event::Slices(Change::Apply(Arc::new(slice.clone()))));
        }
        for (name, _) in &plan.slices.delete {
            let slices = self.view.slices(&web());
            let slice = slices.into_iter().find(|slice| slice.metadata.name.as_ref() == Some(name));
            let slice = Arc::new(slice.expect("is there").clone());
            self.view.apply(Event::Slices(Change::Delete(slice)));
        }
        if let Some(EndpointsWrite::Create(endpoints) | EndpointsWrite::Update(endpoints)) = &plan.endpoints {
            self.view.apply(Event::Endpoints(Change::Apply(Arc::new((**endpoints).clone()))));
        }
        assert!(self.plan().is_quiet(), "nothing is left to do: {}", self.plan());
        plan
    }

    fn slices(&self) -> Vec<EndpointSlice> {
        self.view.slices(&web()).into_iter().cloned().collect()
    }

    fn legacy(&self) -> &Endpoints {
        self.view.endpoints(&web()).expect("is there")
    }
}

fn web() -> ObjectKey {
    ObjectKey::new("default", "web")
}

fn selecting_web() -> Value {
    json!({
        "clusterIP": "None",
        "selector": { "app": "web" },
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": "web" }],
    })
}

fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
    slices.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).collect()
}

#[test]
fn a_pod_touches_the_services_that_select_it_and_no_other() {
    let mut world = World::new();
    assert_eq!(world.pod(0, "web", |_| {}), Touched::new());
    world.service(selecting_web());
    assert_eq!(world.pod(0, "web", |pod| pod["status"]["podIP"] = json!("10.9.9.9")), Touched::from([web()]));
    assert_eq!(world.pod(1, "other", |_| {}), Touched::new());
    assert_eq!(world.pod(0, "other", |_| {}), Touched::from([web()]), "it leaves");
    assert_eq!(world.pod(0, "other", |_| {}), Touched::new());
}

#[test]
fn a_change_that_endpoints_do_not_show_touches_nothing() {
    let mut world = World::new();
    world.service(selecting_web());
    world.pod(0, "web", |_| {});
    let annotated = world.pod(0, "web", |pod| pod["metadata"]["annotations"] = json!({ "note": "x" }));
    assert_eq!(annotated, Touched::new());
    let unready = world.pod(0, "web", |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    assert_eq!(unready, Touched::from([web()]));
}

#[test]
fn a_service_without_endpoints_has_one_empty_slice() {
    let mut world = World::new();
    world.service(selecting_web());
    world.settle();
    assert_eq!(sizes(&world.slices()), [0]);
    world.pod(0, "web", |_| {});
    let SliceWrites { create, update, delete } = world.settle().slices;
    assert_eq!((create.len(), update.len(), delete.len()), (0, 1, 0), "the empty one is taken");
    assert_eq!(sizes(&world.slices()), [1]);
    world.pod(0, "other", |_| {});
    world.settle();
    assert_eq!(sizes(&world.slices()), [0]);
}

#[test]
fn one_more_pod_writes_one_slice_and_leaves_the_others() {
    let mut world = World::new();
    world.service(selecting_web());
    for index in 0..250 {
        world.pod(index, "web", |_| {});
    }
    let made = world.settle();
    assert_eq!((made.slices.create.len(), sizes(&world.slices())), (3, vec![100, 100, 50]));
    world.pod(250, "web", |_| {});
    let plan = world.settle();
    assert_eq!((plan.slices.create.len(), plan.slices.update.len()), (0, 1));
    assert_eq!(sizes(&world.slices()), [100, 100, 51]);
    world.pod(3, "web", |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    let plan = world.settle();
    assert_eq!((plan.slices.update.len(), plan.slices.delete.len()), (1, 0));
}

#[test]
fn an_ending_pod_serves_until_it_is_unready_but_is_not_ready() {
    let mut world = World::new();
    world.service(selecting_web());
    world.pod(0, "web", |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z"));
    world.settle();
    let slices = world.slices();
    let endpoint = &slices[0].endpoints.as_ref().expect("has endpoints")[0];
    let conditions = endpoint.conditions.as_ref().expect("has conditions");
    let (ready, serving, terminating) = (conditions.ready, conditions.serving, conditions.terminating);
    assert_eq!((ready, serving, terminating), (Some(false), Some(true), Some(true)));
    assert_eq!(legacy::count(world.legacy()), 0, "the older form leaves it out");
}

#[test]
fn a_service_may_publish_addresses_that_are_not_ready() {
    let mut world = World::new();
    let mut spec = selecting_web();
    spec["publishNotReadyAddresses"] = json!(true);
    world.service(spec);
    world.pod(0, "web", |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    world.settle();
    let slices = world.slices();
    let conditions = slices[0].endpoints.as_ref().expect("has endpoints")[0].conditions.clone();
    let conditions = conditions.expect("has conditions");
    assert_eq!((conditions.ready, conditions.serving), (Some(true), Some(false)));
    let subsets = world.legacy().subsets.as_ref().expect("has subsets");
    assert_eq!(subsets[0].addresses.as_ref().map(Vec::len), Some(1));
}

#[test]
fn pods_that_are_over_or_have_no_address_are_no_endpoints() {
    let mut world = World::new();
    world.service(selecting_web());
    world.pod(0, "web", |pod| pod["status"]["phase"] = json!("Succeeded"));
    world.pod(1, "web", |pod| pod["status"]["podIP"] = Value::Null);
    world.settle();
    assert_eq!(sizes(&world.slices()), [0]);
}

#[test]
fn a_named_port_at_different_numbers_makes_slices_and_subsets_of_their_own() {
    let mut world = World::new();
    world.service(selecting_web());
    world.pod(0, "web", |_| {});
    world.pod(1, "web", |pod| {
        pod["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
    });
    world.settle();
    let slices = world.slices();
    let ports = slices.iter().flat_map(|slice| slice.ports.iter().flatten());
    assert_eq!(ports.map(|port| port.port).collect::<Vec<_>>(), [Some(8080), Some(9090)]);
    assert_eq!(world.legacy().subsets.as_ref().map(Vec::len), Some(2));
}

#[test]
fn a_headless_service_without_ports_has_endpoints_too() {
    let mut world = World::new();
    world.service(json!({ "clusterIP": "None", "selector": { "app": "web" } }));
    world.pod(0, "web", |_| {});
    world.settle();
    assert_eq!(sizes(&world.slices()), [1]);
    let subsets = world.legacy().subsets.as_ref().expect("has subsets");
    assert_eq!((subsets[0].addresses.as_ref().map(Vec::len), &subsets[0].ports), (Some(1), &None));
}

#[test]
fn a_hostname_is_told_only_under_the_subdomain_of_the_service() {
    let mut world = World::new();
    world.service(selecting_web());
    for (index, subdomain) in ["web", "other"].into_iter().enumerate() {
        world.pod(index, "web", |pod| {
            pod["spec"]["hostname"] = json!(format!("web-{index}"));
            pod["spec"]["subdomain"] = json!(subdomain);
        });
    }
    world.settle();
    let slices = world.slices();
    let endpoints = slices[0].endpoints.as_ref().expect("has endpoints");
    let hostnames: Vec<Option<&str>> =
        endpoints.iter().map(|endpoint| endpoint.hostname.as_deref()).collect();
    assert_eq!(hostnames, [Some("web-0"), None]);
}

#[test]
fn endpoints_hold_a_thousand_addresses_and_say_when_there_are_more() {
    let mut world = World::new();
    world.service(selecting_web());
    for index in 0..=legacy::ADDRESSES_MAX {
        let is_ready = if index == 0 { "False" } else { "True" };
        world.pod(index, "web", |pod| pod["status"]["conditions"][0]["status"] = json!(is_ready));
    }
    world.settle();
    assert_eq!(legacy::count(world.legacy()), legacy::ADDRESSES_MAX);
    let subsets = world.legacy().subsets.as_ref().expect("has subsets");
    assert_eq!(subsets[0].not_ready_addresses, None, "those that are not ready are left out first");
    let annotations = world.legacy().metadata.annotations.as_ref().expect("has annotations");
    assert_eq!(annotations[legacy::OVER_CAPACITY], "truncated");
    assert_eq!(sizes(&world.slices()).iter().sum::<usize>(), legacy::ADDRESSES_MAX + 1);
}

#[test]
fn large_endpoints_are_not_rewritten_with_every_pod() {
    let mut world = World::new();
    world.service(selecting_web());
    for index in 0..500 {
        world.pod(index, "web", |_| {});
    }
    world.settle();
    world.view.endpoints_sent(&web(), now());
    world.pod(500, "web", |_| {});
    let plan = world.plan();
    assert_eq!(plan.endpoints, None);
    assert_eq!(plan.slices.create.len() + plan.slices.update.len(), 1, "slices do not wait");
    let pause = plan.requeue_after.expect("comes back");
    assert_eq!(pause.as_millis(), 501);
    let later = now() + SignedDuration::from_millis(501);
    assert!(super::plan::plan(&world.view, &web(), later).endpoints.is_some());
}

#[test]
fn slices_of_an_earlier_service_of_that_name_are_replaced() {
    let mut world = World::new();
    world.service(selecting_web());
    world.pod(0, "web", |_| {});
    world.settle();
    let recreated = of::<Service>(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "another" },
        "spec": selecting_web(),
    }));
    world.view.apply(Event::Services(Change::Apply(recreated)));
    let plan = world.settle();
    assert_eq!((plan.slices.create.len(), plan.slices.delete.len()), (1, 1));
}

#[test]
fn what_has_no_selector_or_is_an_alias_is_left_alone() {
    let mut world = World::new();
    world.service(json!({ "ports": [{ "port": 80 }] }));
    assert!(world.plan().is_quiet());
    let alias =
        json!({ "type": "ExternalName", "externalName": "example.com", "selector": { "app": "web" } });
    world.service(alias);
    assert!(world.plan().is_quiet());
}

#[test]
fn endpoints_of_a_service_that_is_gone_are_deleted_only_if_they_are_ours() {
    let mut world = World::new();
    let endpoints = |labels: Value| {
        of::<Endpoints>(json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "e", "labels": labels },
        }))
    };
    world.view.apply(Event::Endpoints(Change::Apply(endpoints(json!({})))));
    assert_eq!(world.plan().endpoints, None);
    let ours = json!({ super::ENDPOINTS_MANAGED_BY_LABEL: super::NAME });
    world.view.apply(Event::Endpoints(Change::Apply(endpoints(ours))));
    assert_eq!(world.plan().endpoints, Some(EndpointsWrite::Delete { uid: "e".to_owned() }));
}
