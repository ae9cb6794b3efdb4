//! Background, foreground and orphan deletion.

use client::Propagation;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::meta::is_terminating;
use serde_json::{Value, json};

use crate::world::{Cluster, owned_by};

fn map(name: &str, owners: &[Value]) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default", "ownerReferences": owners } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependents_of_a_deleted_owner_are_deleted_down_to_the_last_generation() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    let owner = cluster.create::<ConfigMap>(map("owner", &[])).await;
    let child = cluster.create::<Secret>(map("child", &[owned_by(&*owner, false)])).await;
    cluster.create::<ConfigMap>(map("grandchild", &[owned_by(&*child, false)])).await;
    cluster.create::<ConfigMap>(map("stranger", &[])).await;
    cluster.delete::<ConfigMap>("default", "owner", Propagation::Background).await;
    let maps = cluster.until::<ConfigMap>("the grandchild is gone", |maps| maps.len() == 1).await;
    assert!(maps.contains_key("default/stranger"));
    assert!(cluster.list::<Secret>().await.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependent_made_after_its_owner_went_is_deleted_too() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.create::<ConfigMap>(map("owner", &[])).await;
    cluster.delete::<ConfigMap>("default", "owner", Propagation::Background).await;
    cluster.run_garbage_collector();
    cluster.create::<Secret>(map("late", &[owned_by(&*owner, false)])).await;
    cluster.until::<Secret>("the late one is gone", |secrets| secrets.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_of_the_same_name_but_another_uid_does_not_count() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    let owner = cluster.create::<ConfigMap>(map("owner", &[])).await;
    cluster.create::<Secret>(map("child", &[owned_by(&*owner, false)])).await;
    cluster.delete::<ConfigMap>("default", "owner", Propagation::Background).await;
    cluster.create::<ConfigMap>(map("owner", &[])).await;
    cluster.until::<Secret>("the child is gone", |secrets| secrets.is_empty()).await;
    assert_eq!(cluster.list::<ConfigMap>().await.len(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_with_another_owner_stays_and_forgets_the_one_that_is_gone() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    let first = cluster.create::<ConfigMap>(map("first", &[])).await;
    let second = cluster.create::<ConfigMap>(map("second", &[])).await;
    let owners = [owned_by(&*first, false), owned_by(&*second, false)];
    cluster.create::<Secret>(map("child", &owners)).await;
    cluster.delete::<ConfigMap>("default", "first", Propagation::Background).await;
    let secrets = cluster
        .until::<Secret>("one owner is left", |secrets| {
            let owners = secrets.values().next().and_then(|child| child.metadata.owner_references.as_ref());
            owners.is_some_and(|owners| owners.len() == 1)
        })
        .await;
    let owners = secrets["default/child"].metadata.owner_references.as_ref().expect("has owners");
    assert_eq!(owners[0].name, "second");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreground_deletion_waits_for_dependents_that_block_it() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    let owner = cluster.create::<ConfigMap>(map("owner", &[])).await;
    let mut blocking = map("blocking", &[owned_by(&*owner, true)]);
    blocking["metadata"]["finalizers"] = json!(["example.com/held"]);
    cluster.create::<Secret>(blocking).await;
    cluster.delete::<ConfigMap>("default", "owner", Propagation::Foreground).await;
    cluster
        .until::<Secret>("the dependent is being deleted", |secrets| {
            secrets.values().all(|secret| is_terminating(&secret.metadata))
        })
        .await;
    let owner = cluster.client.get::<ConfigMap>("default", "owner").await.expect("still waits");
    assert!(is_terminating(&owner.metadata));
    cluster.patch::<Secret>("blocking", "", json!({ "metadata": { "finalizers": null } })).await;
    cluster.until::<ConfigMap>("the owner is gone", |maps| maps.is_empty()).await;
    assert!(cluster.list::<Secret>().await.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreground_deletion_reaches_every_generation_from_below() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    let owner = cluster.create::<ConfigMap>(map("owner", &[])).await;
    let child = cluster.create::<ConfigMap>(map("child", &[owned_by(&*owner, true)])).await;
    cluster.create::<ConfigMap>(map("grandchild", &[owned_by(&*child, true)])).await;
    cluster.until::<ConfigMap>("all are there", |maps| maps.len() == 3).await;
    cluster.delete::<ConfigMap>("default", "owner", Propagation::Foreground).await;
    cluster.until::<ConfigMap>("all are gone", |maps| maps.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay_and_forget_their_owner() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    let owner = cluster.create::<ConfigMap>(map("owner", &[])).await;
    for index in 0..40 {
        cluster.create::<Secret>(map(&format!("child-{index}"), &[owned_by(&*owner, true)])).await;
    }
    cluster.delete::<ConfigMap>("default", "owner", Propagation::Orphan).await;
    cluster.until::<ConfigMap>("the owner is gone", |maps| maps.is_empty()).await;
    let secrets = cluster.list::<Secret>().await;
    assert_eq!(secrets.len(), 40);
    assert!(secrets.values().all(|secret| secret.metadata.owner_references.is_none()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependent_may_have_an_owner_outside_namespaces() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    let node = cluster.create::<Node>(json!({ "metadata": { "name": "node-a" } })).await;
    cluster.create::<Secret>(map("child", &[owned_by(&*node, false)])).await;
    let owner = cluster.create::<ConfigMap>(map("owner", &[])).await;
    // A reference out of the cluster's scope into a namespace means nothing, and deletes nothing.
    let mut odd = json!({ "metadata": { "name": "node-b" } });
    odd["metadata"]["ownerReferences"] = json!([owned_by(&*owner, false)]);
    cluster.create::<Node>(odd).await;
    cluster.delete::<ConfigMap>("default", "owner", Propagation::Background).await;
    cluster.delete::<Node>("", "node-a", Propagation::Background).await;
    cluster.until::<Secret>("the node's child is gone", |secrets| secrets.is_empty()).await;
    assert_eq!(cluster.list::<Node>().await.into_keys().collect::<Vec<_>>(), ["node-b"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_and_slices_go_with_what_owns_them() {
    let mut cluster = Cluster::start().await;
    cluster.run_garbage_collector();
    cluster.run_endpoints();
    let pod = cluster.pod("web-0", json!({ "app": "web" })).await;
    cluster
        .create::<PersistentVolumeClaim>(json!({
            "metadata": {
                "name": "data-web-0", "namespace": "default", "ownerReferences": [owned_by(&*pod, false)],
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Gi" } },
            },
        }))
        .await;
    let service = json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "clusterIP": "None", "selector": { "app": "web" } },
    });
    cluster.create::<Service>(service).await;
    cluster.until::<EndpointSlice>("a slice", |slices| slices.len() == 1).await;
    cluster.delete::<Service>("default", "web", Propagation::Background).await;
    cluster.until::<EndpointSlice>("no slice", |slices| slices.is_empty()).await;
    let at_once = client::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    let deleted = cluster.client.delete::<k8s_openapi::api::core::v1::Pod>("default", "web-0", at_once);
    deleted.await.expect("is deleted");
    cluster
        .until::<PersistentVolumeClaim>("the claim is being deleted", |claims| {
            claims.values().all(|claim| is_terminating(&claim.metadata))
        })
        .await;
    cluster.stop().await;
}
