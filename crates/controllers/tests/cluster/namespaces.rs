//! What every namespace gets, and how one goes.

use client::Propagation;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount};
use serde_json::json;

use crate::world::{Cluster, Found};

const CA: &str = "-----BEGIN CERTIFICATE-----\n";

fn run(cluster: &mut Cluster) {
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::service_account::run(client, clock, CA.to_owned(), ready, stop));
    let (client, clock, ready, stop) = cluster.inputs();
    let resources = cluster.resources.clone();
    cluster.run(controllers::namespace::run(client, clock, resources, ready, stop));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_namespace_gets_its_account_and_its_root_certificate() {
    let mut cluster = Cluster::start().await;
    run(&mut cluster);
    cluster.until::<Namespace>("the system's namespaces", |all| all.len() == 4).await;
    cluster.create::<Namespace>(json!({ "metadata": { "name": "mine" } })).await;
    cluster.until::<ServiceAccount>("an account", |all| all.contains_key("mine/default")).await;
    let maps = cluster.until::<ConfigMap>("a map", |all| all.contains_key("mine/kube-root-ca.crt")).await;
    assert_eq!(maps["mine/kube-root-ca.crt"].data.as_ref().expect("has data")["ca.crt"], CA);

    let spoiled = json!({ "data": { "ca.crt": "none", "more": "x" } });
    cluster.until::<ConfigMap>("default's map", |all| all.contains_key("default/kube-root-ca.crt")).await;
    cluster.patch::<ConfigMap>("kube-root-ca.crt", "", spoiled).await;
    cluster
        .until::<ConfigMap>("the map is put right", |all| {
            let data = all.get("default/kube-root-ca.crt").and_then(|map| map.data.as_ref());
            data.is_some_and(|data| data.len() == 1 && data["ca.crt"] == CA)
        })
        .await;
    let before = cluster.list::<ServiceAccount>().await["mine/default"].metadata.uid.clone();
    cluster.delete::<ServiceAccount>("mine", "default", Propagation::Background).await;
    cluster
        .until::<ServiceAccount>("the account is made again", |all| {
            all.get("mine/default").is_some_and(|account| account.metadata.uid != before)
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_namespace_takes_all_it_holds_with_it() {
    let mut cluster = Cluster::start().await;
    run(&mut cluster);
    cluster.run_garbage_collector();
    cluster.create::<Namespace>(json!({ "metadata": { "name": "mine" } })).await;
    cluster.until::<ServiceAccount>("an account", |all| all.contains_key("mine/default")).await;
    let template = json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
    });
    cluster
        .create::<StatefulSet>(json!({
            "metadata": { "name": "web", "namespace": "mine" },
            "spec": {
                "serviceName": "web", "replicas": 1, "template": template,
                "selector": { "matchLabels": { "app": "web" } },
            },
        }))
        .await;
    let pod = json!({
        "metadata": { "name": "web-0", "namespace": "mine" },
        "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
    });
    cluster.create::<Pod>(pod).await;
    cluster.create::<Secret>(json!({ "metadata": { "name": "key", "namespace": "mine" } })).await;
    cluster.create::<Secret>(json!({ "metadata": { "name": "key", "namespace": "default" } })).await;
    cluster.delete::<Namespace>("", "mine", Propagation::Background).await;
    cluster.until::<Namespace>("the namespace is gone", |all| !all.contains_key("mine")).await;
    assert!(cluster.list::<StatefulSet>().await.is_empty());
    assert!(cluster.list::<Pod>().await.is_empty());
    let is_elsewhere = |name: &String| !name.starts_with("mine/");
    assert!(cluster.list::<ConfigMap>().await.keys().all(is_elsewhere));
    assert!(cluster.list::<ServiceAccount>().await.keys().all(is_elsewhere));
    assert_eq!(cluster.list::<Secret>().await.into_keys().collect::<Vec<_>>(), ["default/key"]);
    cluster.stop().await;
}

fn condition(all: &Found<Namespace>, type_: &str) -> Option<(String, String)> {
    let conditions = all.get("mine")?.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((found.status.clone(), found.message.clone().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_says_what_holds_it_and_goes_when_that_lets_go() {
    let mut cluster = Cluster::start().await;
    run(&mut cluster);
    cluster.create::<Namespace>(json!({ "metadata": { "name": "mine" } })).await;
    cluster
        .create::<Secret>(json!({
            "metadata": { "name": "held", "namespace": "mine", "finalizers": ["example.com/held"] },
        }))
        .await;
    cluster.delete::<Namespace>("", "mine", Propagation::Background).await;
    cluster
        .until::<Namespace>("the conditions say what remains", |all| {
            condition(all, "NamespaceContentRemaining")
                == Some((
                    "True".to_owned(),
                    "Some resources are remaining: secrets. has 1 resource instances".to_owned(),
                ))
                && condition(all, "NamespaceFinalizersRemaining")
                    == Some((
                        "True".to_owned(),
                        "Some content in the namespace has finalizers remaining: example.com/held in 1 \
                         resource instances"
                            .to_owned(),
                    ))
        })
        .await;
    let patch = json!({ "metadata": { "finalizers": null } });
    let kind = client::PatchKind::Merge;
    cluster.client.patch::<Secret>("mine", "held", "", kind, patch).await.expect("is patched");
    cluster.until::<Namespace>("the namespace is gone", |all| !all.contains_key("mine")).await;
    cluster.stop().await;
}
