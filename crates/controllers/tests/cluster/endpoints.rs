//! Slices and Endpoints of services.

use std::sync::Arc;

use client::{Client, DeleteOptions, Propagation};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::world::{Cluster, Found};

fn headless() -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "default", "labels": { "tier": "front" } },
        "spec": {
            "clusterIP": "None",
            "selector": { "app": "web" },
            "ports": [{ "name": "http", "port": 80, "targetPort": "web" }],
        },
    })
}

/// Address and readiness of every endpoint, sorted.
fn endpoints(slices: &Found<EndpointSlice>) -> Vec<(String, bool)> {
    let all = slices.values().flat_map(|slice| slice.endpoints.iter().flatten());
    let mut all: Vec<(String, bool)> = all
        .map(|endpoint| {
            let conditions = endpoint.conditions.as_ref().expect("has conditions");
            (endpoint.addresses[0].clone(), conditions.ready == Some(true))
        })
        .collect();
    all.sort();
    all
}

fn pair(address: &str, is_ready: bool) -> (String, bool) {
    (address.to_owned(), is_ready)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_headless_service_gets_slices_and_endpoints_that_follow_its_pods() {
    let mut cluster = Cluster::start().await;
    cluster.run_endpoints();
    let service = cluster.create::<Service>(headless()).await;
    cluster.until::<EndpointSlice>("a slice without endpoints", |slices| slices.len() == 1).await;
    for index in 0..3 {
        let name = format!("web-{index}");
        cluster.pod(&name, json!({ "app": "web" })).await;
        cluster.pod_runs(&name, &format!("10.0.0.{index}"), index != 2).await;
    }
    cluster.pod("other", json!({ "app": "other" })).await;
    cluster.pod_runs("other", "10.0.0.9", true).await;

    let wanted = [pair("10.0.0.0", true), pair("10.0.0.1", true), pair("10.0.0.2", false)];
    let slices =
        cluster.until::<EndpointSlice>("three endpoints", |slices| endpoints(slices) == wanted).await;
    assert_eq!(slices.len(), 1);
    let slice = slices.values().next().expect("there is one");
    let labels = slice.metadata.labels.as_ref().expect("has labels");
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslice-controller.k8s.io");
    assert_eq!(labels["service.kubernetes.io/headless"], "");
    assert_eq!(labels["tier"], "front");
    let owner = &slice.metadata.owner_references.as_ref().expect("has an owner")[0];
    assert_eq!((Some(&owner.uid), owner.controller), (service.metadata.uid.as_ref(), Some(true)));
    let port = &slice.ports.as_ref().expect("has ports")[0];
    assert_eq!((port.name.as_deref(), port.port), (Some("http"), Some(8080)));
    let endpoint = &slice.endpoints.as_ref().expect("has endpoints")[0];
    assert_eq!(endpoint.node_name.as_deref(), Some("node-a"));
    assert!(endpoint.hostname.as_deref().is_some_and(|hostname| hostname.starts_with("web-")));

    let legacy = cluster
        .until::<Endpoints>("the older form", |all| {
            all.get("default/web").and_then(|found| found.subsets.as_ref()).is_some_and(|subsets| {
                let subset = &subsets[0];
                subset.addresses.as_ref().map_or(0, Vec::len) == 2
                    && subset.not_ready_addresses.as_ref().map_or(0, Vec::len) == 1
            })
        })
        .await;
    assert_eq!(legacy.len(), 1);

    cluster.client.delete::<Pod>("default", "web-0", now()).await.expect("is deleted");
    let wanted = [pair("10.0.0.1", true), pair("10.0.0.2", false)];
    cluster.until::<EndpointSlice>("one less", |slices| endpoints(slices) == wanted).await;
    cluster.delete::<Service>("default", "web", Propagation::Background).await;
    cluster.until::<Endpoints>("no endpoints without a service", Found::is_empty).await;
    cluster.stop().await;
}

fn now() -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_readiness_is_in_the_slice() {
    let mut cluster = Cluster::start().await;
    cluster.run_endpoints();
    cluster.create::<Service>(headless()).await;
    cluster.pod("web-0", json!({ "app": "web" })).await;
    for round in 0..20 {
        let is_ready = round % 2 == 0;
        cluster.pod_runs("web-0", "10.0.0.1", is_ready).await;
        let wanted = [pair("10.0.0.1", is_ready)];
        cluster.until::<EndpointSlice>("the endpoint", |slices| endpoints(slices) == wanted).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_makes_no_difference_writes_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.run_endpoints();
    cluster.create::<Service>(headless()).await;
    cluster.pod("web-0", json!({ "app": "web" })).await;
    cluster.pod_runs("web-0", "10.0.0.1", true).await;
    let wanted = [pair("10.0.0.1", true)];
    let before = cluster.until::<EndpointSlice>("the endpoint", |slices| endpoints(slices) == wanted).await;
    let annotations = json!({ "metadata": { "annotations": { "note": "x" } } });
    cluster.patch::<Pod>("web-0", "", annotations).await;
    // A second service is answered after the first one's turn would have come.
    let second = json!({
        "metadata": { "name": "second", "namespace": "default" },
        "spec": { "selector": { "app": "none" }, "ports": [{ "port": 80 }] },
    });
    cluster.create::<Service>(second).await;
    let after = cluster.until::<EndpointSlice>("the second's slice", |slices| slices.len() == 2).await;
    for (name, slice) in &before {
        assert_eq!(slice.metadata.resource_version, after[name].metadata.resource_version);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_endpoints_are_spread_over_slices_of_a_hundred() {
    let mut cluster = Cluster::start().await;
    cluster.create::<Service>(headless()).await;
    let cluster_ref = &cluster;
    let made = (0..250).map(|index| async move {
        let name = format!("web-{index}");
        cluster_ref.pod(&name, json!({ "app": "web" })).await;
        cluster_ref.pod_runs(&name, &format!("10.0.{}.{}", index / 200, index % 200 + 1), true).await;
    });
    futures::future::join_all(made).await;
    cluster.run_endpoints();
    let slices =
        cluster.until::<EndpointSlice>("250 endpoints", |slices| endpoints(slices).len() == 250).await;
    let mut sizes: Vec<usize> =
        slices.values().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_selector_is_left_alone() {
    let mut cluster = Cluster::start().await;
    cluster.run_endpoints();
    let service = json!({
        "metadata": { "name": "manual", "namespace": "default" },
        "spec": { "ports": [{ "port": 80 }] },
    });
    cluster.create::<Service>(service).await;
    let manual = json!({
        "metadata": { "name": "manual", "namespace": "default" },
        "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "ports": [{ "port": 80 }] }],
    });
    let made: Arc<Endpoints> = cluster.create(manual).await;
    cluster.create::<Service>(headless()).await;
    cluster.until::<EndpointSlice>("the other service's slice", |slices| slices.len() == 1).await;
    let client: &Client = &cluster.client;
    let found = client.get::<Endpoints>("default", "manual").await.expect("is there");
    assert_eq!(found.metadata.resource_version, made.metadata.resource_version);
    cluster.stop().await;
}
