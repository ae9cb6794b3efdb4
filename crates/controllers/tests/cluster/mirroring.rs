//! Services whose Endpoints somebody else writes.

use client::Propagation;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::world::{Cluster, Found};

/// The addresses in a service's slices.
fn addresses(slices: &Found<EndpointSlice>, service: &str) -> Vec<String> {
    let of_it = slices.values().filter(|slice| {
        let labels = slice.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get("kubernetes.io/service-name")).is_some_and(|name| name == service)
    });
    of_it.flat_map(|slice| slice.endpoints.iter().flatten().flat_map(|one| one.addresses.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_a_user_makes_for_a_service_without_a_selector_are_mirrored() {
    let mut cluster = Cluster::start().await;
    cluster.run_endpoints();
    cluster.run_garbage_collector();
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::endpoint_mirroring::run(client, clock, ready, stop));
    cluster
        .create::<Service>(json!({
            "metadata": { "name": "outside", "namespace": "default" },
            "spec": { "ports": [{ "port": 5432 }] },
        }))
        .await;
    cluster
        .create::<Endpoints>(json!({
            "metadata": { "name": "outside", "namespace": "default" },
            "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "ports": [{ "port": 5432 }] }],
        }))
        .await;
    let made = cluster
        .until::<EndpointSlice>("a slice", |slices| addresses(slices, "outside") == ["192.0.2.1"])
        .await;
    let uid = |slices: &Found<EndpointSlice>| slices.values().next().and_then(|one| one.metadata.uid.clone());
    let subsets = json!({ "subsets": [{
        "addresses": [{ "ip": "192.0.2.7" }, { "ip": "192.0.2.8" }], "ports": [{ "port": 5432 }],
    }]});
    cluster.patch::<Endpoints>("outside", "", subsets).await;
    let changed = cluster
        .until::<EndpointSlice>("the new addresses", |slices| {
            addresses(slices, "outside") == ["192.0.2.7", "192.0.2.8"]
        })
        .await;
    assert_eq!(uid(&changed), uid(&made), "the slice is kept");
    let skipped = json!({ "metadata": { "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } } });
    cluster.patch::<Endpoints>("outside", "", skipped).await;
    cluster.until::<EndpointSlice>("no slice", Found::is_empty).await;
    let mirrored = json!({ "metadata": { "labels": { "endpointslice.kubernetes.io/skip-mirror": null } } });
    cluster.patch::<Endpoints>("outside", "", mirrored).await;
    cluster.until::<EndpointSlice>("a slice", |slices| addresses(slices, "outside").len() == 2).await;
    cluster.delete::<Endpoints>("default", "outside", Propagation::Background).await;
    cluster.until::<EndpointSlice>("no slice", Found::is_empty).await;
    cluster.stop().await;
}
