//! What is decided about mirrored Endpoints, without an API.

use std::sync::Arc;

use client::Change;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::encoded::Revision;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::plan::plan;
use super::view::{Event, View};
use crate::endpoints::slices::SliceWrites;

fn of<K: DeserializeOwned>(object: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(object).expect("is of its kind"))
}

/// A view that plays the API: what a plan writes is there at once.
struct World {
    view: View,
    counter: u64,
}

impl World {
    fn new(selector: Value) -> World {
        let mut view = View::default();
        let service = of::<Service>(json!({
            "metadata": { "name": "outside", "namespace": "default" }, "spec": { "selector": selector },
        }));
        view.apply(Event::Services(Change::Reset(vec![service], Revision(1))));
        view.apply(Event::Endpoints(Change::Reset(Vec::new(), Revision(1))));
        view.apply(Event::Slices(Change::Reset(Vec::new(), Revision(1))));
        assert!(view.is_synced());
        World { view, counter: 0 }
    }

    fn endpoints(&mut self, metadata: Value, subsets: Value) {
        let mut endpoints = json!({
            "metadata": { "name": "outside", "namespace": "default", "uid": "endpoints" },
            "subsets": subsets,
        });
        for (field, value) in metadata.as_object().expect("is an object") {
            endpoints["metadata"][field] = value.clone();
        }
        self.view.apply(Event::Endpoints(Change::Apply(of::<Endpoints>(endpoints))));
    }

    fn plan(&self) -> SliceWrites {
        plan(&self.view, &ObjectKey::new("default", "outside"))
    }

    /// Carries out what is planned; says how many slices were made, changed and removed.
    fn settle(&mut self) -> (usize, usize, usize) {
        let SliceWrites { create, update, delete } = self.plan();
        let counts = (create.len(), update.len(), delete.len());
        for mut slice in create {
            self.counter += 1;
            slice.metadata.name = Some(format!("outside-{}", self.counter));
            slice.metadata.uid = Some(self.counter.to_string());
            self.view.apply(Event::Slices(Change::Apply(Arc::new(slice))));
        }
        for slice in update {
            self.view.apply(Event::Slices(Change::Apply(Arc::new(slice))));
        }
        for (name, _) in delete {
            let all: Vec<EndpointSlice> = self.slices();
            let gone = all.into_iter().find(|slice| slice.metadata.name.as_ref() == Some(&name));
            self.view.apply(Event::Slices(Change::Delete(Arc::new(gone.expect("is there")))));
        }
        assert!(self.plan().is_empty(), "it comes to rest");
        counts
    }

    fn slices(&self) -> Vec<EndpointSlice> {
        self.view.slices(&ObjectKey::new("default", "outside")).cloned().collect()
    }

    fn told(&self) -> Vec<String> {
        let line = |slice: &EndpointSlice| {
            let ports: Vec<String> = slice
                .ports
                .iter()
                .flatten()
                .map(|port| {
                    format!("{}:{}", port.name.as_deref().unwrap_or("-"), port.port.unwrap_or_default())
                })
                .collect();
            let endpoints: Vec<String> = slice
                .endpoints
                .iter()
                .flatten()
                .map(|endpoint| {
                    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
                    let mark = if ready == Some(true) { "" } else { "!" };
                    format!("{}{mark}", endpoint.addresses.join("+"))
                })
                .collect();
            format!("{} {} {}", slice.address_type, ports.join(","), endpoints.join(" "))
        };
        self.slices().iter().map(line).collect()
    }
}

fn subset(ready: &[&str], not_ready: &[&str], port: i32) -> Value {
    let all = |all: &[&str]| all.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<Value>>();
    json!({
        "addresses": all(ready), "notReadyAddresses": all(not_ready), "ports": [{ "name": "db", "port": port }],
    })
}

#[test]
fn endpoints_of_a_service_without_a_selector_are_mirrored_by_family_and_ports() {
    let mut world = World::new(Value::Null);
    let metadata = json!({
        "labels": { "team": "a" },
        "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes" },
    });
    let subsets = json!([
        subset(&["192.0.2.1", "2001:db8::1"], &["192.0.2.2"], 5432),
        subset(&["192.0.2.1"], &[], 9187),
        subset(&["192.0.2.3"], &[], 5432),
    ]);
    world.endpoints(metadata, subsets);
    assert_eq!(world.settle(), (3, 0, 0));
    let expected =
        ["IPv4 db:5432 192.0.2.1 192.0.2.2! 192.0.2.3", "IPv6 db:5432 2001:db8::1", "IPv4 db:9187 192.0.2.1"];
    assert_eq!(world.told(), expected);
    let metadata = world.slices()[0].metadata.clone();
    let labels = metadata.labels.expect("has some");
    let manager = labels.get("endpointslice.kubernetes.io/managed-by").map(String::as_str);
    assert_eq!(manager, Some("endpointslicemirroring-controller.k8s.io"));
    assert_eq!(labels.get("kubernetes.io/service-name").map(String::as_str), Some("outside"));
    assert_eq!(labels.get("team").map(String::as_str), Some("a"));
    let annotations: Vec<String> = metadata.annotations.expect("has one").into_keys().collect();
    assert_eq!(annotations, ["kept"]);
    let owners = metadata.owner_references.expect("has one");
    assert_eq!((owners[0].kind.as_str(), owners[0].uid.as_str()), ("Endpoints", "endpoints"));
}

#[test]
fn a_change_of_addresses_or_of_ports_is_one_update() {
    let mut world = World::new(Value::Null);
    world.endpoints(json!({}), json!([subset(&["192.0.2.1"], &[], 1)]));
    assert_eq!(world.settle(), (1, 0, 0));
    world.endpoints(json!({}), json!([subset(&["192.0.2.2"], &[], 1)]));
    assert_eq!(world.settle(), (0, 1, 0));
    world.endpoints(json!({}), json!([subset(&["192.0.2.2"], &[], 2)]));
    assert_eq!(world.settle(), (0, 1, 0));
    world.endpoints(json!({}), json!([]));
    assert_eq!(world.settle(), (0, 0, 1));
}

#[test]
fn what_is_not_to_be_mirrored_loses_its_slices() {
    let subsets = || json!([subset(&["192.0.2.1"], &[], 1)]);
    for metadata in [
        json!({ "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } }),
        json!({ "annotations": { "control-plane.alpha.kubernetes.io/leader": "{}" } }),
        json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }),
    ] {
        let mut world = World::new(Value::Null);
        world.endpoints(json!({}), subsets());
        assert_eq!(world.settle(), (1, 0, 0));
        world.endpoints(metadata, subsets());
        assert_eq!(world.settle(), (0, 0, 1));
    }
    let mut world = World::new(json!({ "app": "web" }));
    world.endpoints(json!({}), subsets());
    assert_eq!(world.settle(), (0, 0, 0), "a service with a selector has a controller of its own");
}

#[test]
fn a_thousand_addresses_of_a_subset_are_mirrored_the_ready_ones_first() {
    let mut world = World::new(Value::Null);
    let addresses = |third: u32| -> Vec<String> {
        (0..600).map(|index| format!("10.{third}.{}.{}", index / 250, index % 250)).collect()
    };
    let (ready, not_ready) = (addresses(0), addresses(1));
    let ready: Vec<&str> = ready.iter().map(String::as_str).collect();
    let not_ready: Vec<&str> = not_ready.iter().map(String::as_str).collect();
    world.endpoints(json!({}), json!([subset(&ready, &not_ready, 1)]));
    assert_eq!(world.settle(), (1, 0, 0));
    let slice = world.slices().remove(0);
    let is_ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
    };
    let endpoints = slice.endpoints.expect("has some");
    assert_eq!((endpoints.len(), endpoints.iter().filter(is_ready).count()), (1_000, 600));
}
