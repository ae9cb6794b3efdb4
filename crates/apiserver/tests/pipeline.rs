//! The pipeline over the in-process transport and a store in memory.

use std::sync::Arc;

use apiserver::{Api, bootstrap};
use client::review::{Change, Forecaster};
use client::transport::{Body, Target, Verb};
use client::{Client, DeleteOptions, PatchKind, Precondition, Propagation, Reply, Scope, WatchEventKind};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use model::clock::FixedClock;
use model::resource::GroupVersionResource;
use model::status::{Reason, Status};
use serde_json::{Value, json};

async fn cluster() -> (Arc<Api>, Client) {
    let now = "2026-03-01T00:00:00Z".parse().expect("a time");
    let api = Api::in_memory(Arc::new(FixedClock(now)));
    bootstrap::ensure(&api, [127, 0, 0, 1].into(), 6443).await.expect("bootstraps");
    let client = Client::new(api.transport(), "test");
    (api, client)
}

fn target(resource: &'static str, namespace: &str, name: &str) -> Target {
    Target {
        resource: GroupVersionResource::constant("", "v1", resource),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: "",
    }
}

async fn create(
    client: &Client,
    resource: &'static str,
    namespace: &str,
    object: Value,
) -> Result<Value, Status> {
    let reply = client.call(Verb::Create, target(resource, namespace, ""), Body::Object(object)).await?;
    match reply {
        Reply::Object(object) => Ok(object.value().expect("is JSON")),
        other => panic!("{other:?}"),
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn a_created_object_is_stamped_and_can_be_read() {
    let (_api, client) = cluster().await;
    let made = create(&client, "configmaps", "default", map("a")).await.expect("creates");
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-03-01T00:00:00Z");
    assert_eq!(made["metadata"]["uid"].as_str().expect("a uid").len(), 36);
    let read = client.get::<ConfigMap>("default", "a").await.expect("is there");
    assert_eq!(read.metadata.resource_version.as_deref(), made["metadata"]["resourceVersion"].as_str());
    let again = create(&client, "configmaps", "default", map("a")).await.expect_err("is there");
    assert_eq!(again.message, "configmaps \"a\" already exists");
}

#[tokio::test]
async fn views_share_the_object_that_the_store_decoded() {
    let (_api, client) = cluster().await;
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    let one = client.get::<ConfigMap>("default", "a").await.expect("is there");
    let (all, _) = client.list::<ConfigMap>(&Scope::default()).await.expect("lists");
    assert!(all.iter().any(|other| Arc::ptr_eq(other, &one)));
}

#[tokio::test]
async fn generated_names_differ() {
    let (_api, client) = cluster().await;
    let body = json!({"metadata": {"generateName": "x-"}});
    let one = create(&client, "configmaps", "default", body.clone()).await.expect("creates");
    let two = create(&client, "configmaps", "default", body).await.expect("creates");
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
}

#[tokio::test]
async fn a_stale_update_conflicts_and_an_equal_one_writes_nothing() {
    let (api, client) = cluster().await;
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    let first = client.get::<ConfigMap>("default", "a").await.expect("is there");
    let before = api.revision();
    client.update(first.as_ref()).await.expect("is accepted");
    assert_eq!(api.revision(), before, "an equal update must not write");
    let mut changed = ConfigMap::clone(&first);
    changed.data = None;
    client.update(&changed).await.expect("updates");
    let status = client.update(&changed).await.expect_err("is stale");
    assert_eq!(status.reason, Reason::Conflict);
    assert!(status.message.contains("the object has been modified"), "{status}");
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let (_api, client) = cluster().await;
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    for (kind, patch, key) in [
        (PatchKind::Merge, json!({"data": {"b": "2"}}), "b"),
        (PatchKind::StrategicMerge, json!({"data": {"c": "3"}}), "c"),
        (PatchKind::Json, json!([{"op": "add", "path": "/data/d", "value": "4"}]), "d"),
    ] {
        let patched = client.patch::<ConfigMap>("default", "a", "", kind, patch).await.expect("patches");
        assert!(patched.data.as_ref().is_some_and(|data| data.contains_key(key)), "{key}");
    }
}

#[tokio::test]
async fn a_watch_sees_every_change_with_the_revision_of_a_deletion() {
    let (api, client) = cluster().await;
    let scope = Scope { namespace: "default".to_owned(), ..Scope::default() };
    let mut watch = client.watch::<ConfigMap>(&scope, api.revision()).await.expect("watches");
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    let patch = json!({"data": {"b": "2"}});
    client.patch::<ConfigMap>("default", "a", "", PatchKind::Merge, patch).await.expect("patches");
    client.delete::<ConfigMap>("default", "a", DeleteOptions::default()).await.expect("deletes");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = watch.next().await.expect("goes on").expect("is an event");
        seen.push((event.kind, event.object.revision()));
        let version = event.object.metadata().expect("metadata").resource_version.clone();
        assert_eq!(version, Some(event.object.revision().to_string()));
    }
    let kinds: Vec<_> = seen.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [WatchEventKind::Added, WatchEventKind::Modified, WatchEventKind::Deleted]);
    assert_eq!(seen[2].1, api.revision());
}

#[tokio::test]
async fn a_watch_with_a_selector_turns_changes_into_arrivals_and_departures() {
    let (api, client) = cluster().await;
    let mut scope = Scope::default();
    scope.options.label_selector = "app=x".to_owned();
    let mut watch = client.watch::<ConfigMap>(&scope, api.revision()).await.expect("watches");
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    for label in [json!("x"), json!("y")] {
        let patch = json!({"metadata": {"labels": {"app": label}}});
        client.patch::<ConfigMap>("default", "a", "", PatchKind::Merge, patch).await.expect("patches");
    }
    let first = watch.next().await.expect("goes on").expect("is an event");
    assert_eq!(first.kind, WatchEventKind::Added);
    let second = watch.next().await.expect("goes on").expect("is an event");
    assert_eq!(second.kind, WatchEventKind::Deleted);
    assert_eq!(second.object.revision(), api.revision());
    assert_eq!(second.object.metadata().expect("metadata").labels.as_ref().expect("labels")["app"], "x");
}

#[tokio::test]
async fn finalizers_hold_a_deletion_until_the_last_is_gone() {
    let (_api, client) = cluster().await;
    let mut body = map("a");
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&client, "configmaps", "default", body).await.expect("creates");
    client.delete::<ConfigMap>("default", "a", DeleteOptions::default()).await.expect("is marked");
    let held = client.get::<ConfigMap>("default", "a").await.expect("is still there");
    assert!(held.metadata.deletion_timestamp.is_some());
    let patch = json!({"metadata": {"finalizers": null}});
    client.patch::<ConfigMap>("default", "a", "", PatchKind::Merge, patch).await.expect("releases");
    assert!(client.get::<ConfigMap>("default", "a").await.expect_err("is gone").is_not_found());
}

#[tokio::test]
async fn foreground_deletion_waits_for_the_garbage_collector() {
    let (_api, client) = cluster().await;
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    let options = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    client.delete::<ConfigMap>("default", "a", options).await.expect("is marked");
    let held = client.get::<ConfigMap>("default", "a").await.expect("is still there");
    assert_eq!(held.metadata.finalizers.as_deref(), Some(&["foregroundDeletion".to_owned()][..]));
}

#[tokio::test]
async fn a_deletion_of_another_uid_conflicts() {
    let (_api, client) = cluster().await;
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    let precondition = Precondition { uid: Some("other".to_owned()), resource_version: None };
    let options = DeleteOptions { precondition, ..DeleteOptions::default() };
    let status = client.delete::<ConfigMap>("default", "a", options).await.expect_err("is another");
    assert!(status.is_conflict(), "{status}");
    assert!(status.message.contains("Precondition failed: UID in precondition: other"), "{status}");
}

#[tokio::test]
async fn a_bound_pod_ends_gracefully_and_only_sooner() {
    let (_api, client) = cluster().await;
    create(&client, "pods", "default", pod("p")).await.expect("creates");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    client.post::<Pod>("default", "p", "binding", binding.clone()).await.expect("binds");
    let status = client.post::<Pod>("default", "p", "binding", binding).await.expect_err("is bound");
    assert!(status.message.ends_with("pod p is already assigned to node \"n1\""), "{status}");
    let grace = |seconds| DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() };
    client.delete::<Pod>("default", "p", DeleteOptions::default()).await.expect("is marked");
    for (asked, expected) in [(60, 30), (5, 5)] {
        client.delete::<Pod>("default", "p", grace(asked)).await.expect("is marked");
        let ending = client.get::<Pod>("default", "p").await.expect("is still there");
        assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(expected));
    }
    client.delete::<Pod>("default", "p", grace(0)).await.expect("is removed");
    assert!(client.get::<Pod>("default", "p").await.expect_err("is gone").is_not_found());
}

#[tokio::test]
async fn a_pod_without_a_node_goes_at_once() {
    let (_api, client) = cluster().await;
    create(&client, "pods", "default", pod("p")).await.expect("creates");
    client.delete::<Pod>("default", "p", DeleteOptions::default()).await.expect("is removed");
    assert!(client.get::<Pod>("default", "p").await.expect_err("is gone").is_not_found());
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_is_missing_or_going() {
    let (_api, client) = cluster().await;
    let status = create(&client, "configmaps", "x", map("a")).await.expect_err("has no namespace");
    assert_eq!(status.message, "namespaces \"x\" not found");
    create(&client, "namespaces", "", json!({"metadata": {"name": "x"}})).await.expect("creates");
    client.delete::<Namespace>("", "x", DeleteOptions::default()).await.expect("is marked");
    let going = client.get::<Namespace>("", "x").await.expect("is still there");
    assert_eq!(going.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Terminating"));
    let status = create(&client, "configmaps", "x", map("a")).await.expect_err("is going");
    assert_eq!(status.reason, Reason::Forbidden);
    assert_eq!(status.details.causes[0].reason, "NamespaceTerminating");
    let mut done = Namespace::clone(&going);
    done.spec.get_or_insert_default().finalizers = None;
    let mut place = target("namespaces", "", "x");
    place.subresource = "finalize";
    let body = Body::Object(serde_json::to_value(&done).expect("encodes"));
    client.call(Verb::Update, place, body).await.expect("finalizes");
    assert!(client.get::<Namespace>("", "x").await.expect_err("is gone").is_not_found());
}

#[tokio::test]
async fn two_services_never_share_an_address_and_a_deletion_gives_it_back() {
    let (_api, client) = cluster().await;
    let service = |name: &str, address: Option<&str>| {
        let mut body = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        if let Some(address) = address {
            body["spec"]["clusterIP"] = address.into();
        }
        body
    };
    let one = create(&client, "services", "default", service("one", None)).await.expect("creates");
    let address = one["spec"]["clusterIP"].as_str().expect("has an address").to_owned();
    assert!(address.starts_with("10.96."), "{address}");
    let two = create(&client, "services", "default", service("two", Some(&address))).await;
    let status = two.expect_err("is taken");
    assert!(status.message.contains("provided IP is already allocated"), "{status}");
    client.delete::<Service>("default", "one", DeleteOptions::default()).await.expect("deletes");
    create(&client, "services", "default", service("two", Some(&address))).await.expect("is free again");
}

#[tokio::test]
async fn a_patch_that_names_another_uid_conflicts_whatever_its_form() {
    let (api, client) = cluster().await;
    create(&client, "pods", "default", pod("p")).await.expect("creates");
    let before = api.revision();
    let other = json!({"metadata": {"uid": "other"}, "status": {"phase": "Failed"}});
    for subresource in ["", "status"] {
        for kind in [PatchKind::Merge, PatchKind::StrategicMerge] {
            let patched = client.patch::<Pod>("default", "p", subresource, kind, other.clone()).await;
            let status = patched.expect_err("is another pod");
            assert!(status.is_conflict(), "{status}");
        }
        let operation = json!([{"op": "replace", "path": "/metadata/uid", "value": "other"}]);
        let patched = client.patch::<Pod>("default", "p", subresource, PatchKind::Json, operation).await;
        assert!(patched.expect_err("is another pod").is_conflict());
    }
    assert_eq!(api.revision(), before);
}

#[tokio::test]
async fn a_node_removes_only_the_pod_that_it_stopped() {
    let (_api, client) = cluster().await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n1".into();
    let made = create(&client, "pods", "default", bound).await.expect("creates");
    client.delete::<Pod>("default", "p", DeleteOptions::default()).await.expect("is marked");
    let uid = made["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let options = |uid: &str| DeleteOptions {
        grace_period_seconds: Some(0),
        precondition: Precondition { uid: Some(uid.to_owned()), resource_version: None },
        ..DeleteOptions::default()
    };
    let status = client.delete::<Pod>("default", "p", options("another")).await.expect_err("is another");
    assert!(status.is_conflict(), "{status}");
    client.delete::<Pod>("default", "p", options(&uid)).await.expect("is removed");
    assert!(client.get::<Pod>("default", "p").await.expect_err("is gone").is_not_found());
}

#[tokio::test]
async fn a_subresource_that_a_kind_lacks_is_not_there() {
    let (_api, client) = cluster().await;
    create(&client, "configmaps", "default", map("a")).await.expect("creates");
    for (subresource, verb) in [("status", Verb::Get), ("scale", Verb::Get), ("finalize", Verb::Update)] {
        let mut place = target("configmaps", "default", "a");
        place.subresource = subresource;
        let status = client.call(verb, place, Body::Object(map("a"))).await.expect_err("is not there");
        assert!(status.is_not_found(), "{subresource}: {status}");
    }
}

#[tokio::test]
async fn a_collection_is_deleted_whole() {
    let (_api, client) = cluster().await;
    for number in 0..50 {
        create(&client, "configmaps", "default", map(&format!("m{number}"))).await.expect("creates");
    }
    let place = target("configmaps", "default", "");
    client.call(Verb::DeleteCollection, place, Body::Empty).await.expect("deletes");
    let scope = Scope { namespace: "default".to_owned(), ..Scope::default() };
    let (left, _) = client.list::<ConfigMap>(&scope).await.expect("lists");
    assert!(left.is_empty(), "{left:?}");
}

/// The next state of the `kubernetes` object of a kind in which it is as wanted.
async fn kubernetes<K: client::Typed>(client: &Client, is_so: impl Fn(&K) -> bool) -> Arc<K> {
    let scope = Scope { namespace: "default".to_owned(), ..Scope::default() };
    let mut changes = client::reflect::<K>(client.clone(), scope);
    let waiting = async {
        loop {
            let objects = match changes.next().await.expect("never ends") {
                client::Change::Reset(objects, _) => objects,
                client::Change::Apply(object) => vec![object],
                client::Change::Delete(_) => continue,
            };
            let mut found = objects.into_iter();
            let is_wanted =
                |object: &Arc<K>| object.metadata().name.as_deref() == Some("kubernetes") && is_so(object);
            if let Some(object) = found.find(is_wanted) {
                return object;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.expect("within the deadline")
}

#[tokio::test]
async fn the_service_kubernetes_is_made_again_when_somebody_deletes_or_changes_it() {
    let (api, client) = cluster().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let address = [192, 0, 2, 1].into();
    let keeping = apiserver::kubernetes_service::keep(Arc::clone(&api), address, 6443, stop.clone());
    let keeping = tokio::spawn(keeping);
    let before = client.get::<Service>("default", "kubernetes").await.expect("is there");
    client.delete::<Service>("default", "kubernetes", DeleteOptions::default()).await.expect("is deleted");
    let made = kubernetes::<Service>(&client, |made| made.metadata.uid != before.metadata.uid).await;
    let cluster_ip = |service: &Service| service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone());
    assert_eq!(cluster_ip(&made), cluster_ip(&before));
    type Slice = k8s_openapi::api::discovery::v1::EndpointSlice;
    type Points = k8s_openapi::api::core::v1::Endpoints;
    let leads_here =
        |slice: &Slice| slice.endpoints.iter().flatten().any(|endpoint| endpoint.addresses == ["192.0.2.1"]);
    kubernetes::<Slice>(&client, leads_here).await;
    let (kind, elsewhere) = (PatchKind::Merge, json!({"endpoints": [{"addresses": ["192.0.2.9"]}]}));
    client.patch::<Slice>("default", "kubernetes", "", kind, elsewhere).await.expect("is patched");
    kubernetes::<Slice>(&client, leads_here).await;
    let (kind, emptied) = (PatchKind::Merge, json!({"subsets": null}));
    client.patch::<Points>("default", "kubernetes", "", kind, emptied).await.expect("is patched");
    kubernetes::<Points>(&client, |endpoints| {
        endpoints
            .subsets
            .iter()
            .flatten()
            .any(|one| one.addresses.iter().flatten().any(|at| at.ip == "192.0.2.1"))
    })
    .await;
    let version = |service: &Service| service.metadata.resource_version.clone();
    let after = client.get::<Service>("default", "kubernetes").await.expect("is there");
    assert_eq!(version(&after), version(&made), "what is right is not written");
    stop.cancel();
    keeping.await.expect("ends");
}

/// Answers with what it was asked.
struct Echo;

#[async_trait::async_trait]
impl Forecaster for Echo {
    async fn forecast(&self, change: Change) -> Result<Value, Status> {
        Ok(match change {
            Change::Write { set, is_new } => json!({
                "forecast": {"isNew": is_new, "replicas": set["spec"]["replicas"]},
            }),
            Change::Delete { set } => json!({"deletion": {"pods": [set["metadata"]["name"]]}}),
        })
    }
}

async fn review(client: &Client, operation: Value, manifest: Value) -> Result<Value, Status> {
    let resource = GroupVersionResource::constant("ordinal.dev", "v1", "statefulsetreviews");
    let target = Target { resource, namespace: "default".to_owned(), name: String::new(), subresource: "" };
    let question = json!({"spec": {"operation": operation, "manifest": manifest}});
    match client.call(Verb::Create, target, Body::Object(question)).await? {
        Reply::Object(object) => Ok(object.value().expect("is JSON")),
        other => panic!("{other:?}"),
    }
}

fn set(replicas: i32, service: &str) -> Value {
    let labels = json!({"app": "w"});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w"},
        "spec": {
            "replicas": replicas, "serviceName": service, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
}

#[tokio::test]
async fn a_review_answers_what_a_change_would_make_of_a_set_and_stores_nothing() {
    let (api, client) = cluster().await;
    let unknown = review(&client, "Apply".into(), set(2, "w")).await.expect_err("nobody can tell");
    assert_eq!(unknown.reason, Reason::ServiceUnavailable);
    api.set_forecaster(Arc::new(Echo));
    let before = api.revision();
    let made = review(&client, Value::Null, set(2, "w")).await.expect("is answered");
    assert_eq!(made["status"]["forecast"], json!({"isNew": true, "replicas": 2}), "Apply is the default");
    let gone = review(&client, "Delete".into(), set(2, "w")).await.expect("is answered");
    assert_eq!(gone["status"]["refused"]["message"], "statefulsets.apps \"w\" not found");
    assert_eq!(api.revision(), before, "nothing was written");
    let sets = GroupVersionResource::constant("apps", "v1", "statefulsets");
    let target =
        Target { resource: sets, namespace: "default".to_owned(), name: String::new(), subresource: "" };
    client.call(Verb::Create, target, Body::Object(set(2, "w"))).await.expect("creates");
    let before = api.revision();
    let changed = review(&client, "Apply".into(), set(3, "w")).await.expect("is answered");
    assert_eq!(changed["status"]["forecast"], json!({"isNew": false, "replicas": 3}));
    let gone = review(&client, "Delete".into(), set(2, "w")).await.expect("is answered");
    assert_eq!(gone["status"]["deletion"]["pods"], json!(["w"]));
    let refused = review(&client, "Apply".into(), set(3, "other")).await.expect("is answered");
    let refused = &refused["status"]["refused"];
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("Forbidden")), "{refused}");
    assert!(refused["instead"].as_str().is_some_and(|text| text.contains("--cascade=orphan")), "{refused}");
    assert_eq!(api.revision(), before, "nothing was written");
}

#[tokio::test]
async fn a_review_of_no_set_is_refused_with_the_fields_that_are_wrong() {
    let (api, client) = cluster().await;
    api.set_forecaster(Arc::new(Echo));
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "other"}});
    let status = review(&client, "Guess".into(), manifest).await.expect_err("is no question");
    assert_eq!(status.reason, Reason::Invalid);
    let fields = [
        "spec.operation",
        "spec.manifest.apiVersion",
        "spec.manifest.kind",
        "spec.manifest.metadata.name",
        "spec.manifest.metadata.namespace",
    ];
    for field in fields {
        assert!(status.message.contains(field), "{field} is not named: {}", status.message);
    }
}

#[tokio::test]
async fn a_pod_has_the_priority_of_its_class_and_no_other() {
    let (_api, client) = cluster().await;
    let classes = || Target {
        resource: GroupVersionResource::constant("scheduling.k8s.io", "v1", "priorityclasses"),
        namespace: String::new(),
        name: String::new(),
        subresource: "",
    };
    let class = |name: &str, value: i64, more: Value| {
        let mut class = json!({"metadata": {"name": name}, "value": value});
        for (key, value) in more.as_object().into_iter().flatten() {
            class[key] = value.clone();
        }
        client.call(Verb::Create, classes(), Body::Object(class))
    };
    let asked = |name: &str, spec: Value| {
        let mut pod = pod(name);
        for (key, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
        create(&client, "pods", "default", pod)
    };
    let got = |pod: Value| {
        let spec = &pod["spec"];
        (spec["priorityClassName"].clone(), spec["priority"].clone(), spec["preemptionPolicy"].clone())
    };
    let plain = got(asked("plain", json!({})).await.expect("creates"));
    assert_eq!(plain, (Value::Null, json!(0), json!("PreemptLowerPriority")));
    let critical = json!({"priorityClassName": "system-cluster-critical", "priority": 2_000_000_000});
    let critical = got(asked("critical", critical).await.expect("creates"));
    assert_eq!(critical.1, json!(2_000_000_000));

    class("polite", 500, json!({"preemptionPolicy": "Never"})).await.expect("creates");
    let named = json!({"priorityClassName": "polite"});
    let polite = got(asked("polite", named).await.expect("creates"));
    assert_eq!(polite, (json!("polite"), json!(500), json!("Never")));
    for (spec, expected) in [
        (json!({"priorityClassName": "none"}), "no PriorityClass with name none was found"),
        (
            json!({"priorityClassName": "polite", "priority": 501}),
            "the integer value of priority (501) must not be provided in pod spec; priority admission \
             controller computed 500 from the given PriorityClass name",
        ),
        (
            json!({"priority": 7}),
            "the integer value of priority (7) must not be provided in pod spec; priority admission \
             controller computed 0 from the given PriorityClass name",
        ),
        (
            json!({"priorityClassName": "polite", "preemptionPolicy": "PreemptLowerPriority"}),
            "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; \
             priority admission controller computed Never from the given PriorityClass name",
        ),
    ] {
        let refused = asked("refused", spec).await.expect_err("is refused");
        assert_eq!(refused.message, format!("pods \"refused\" is forbidden: {expected}"));
    }

    class("usual", 10, json!({"globalDefault": true})).await.expect("creates");
    let second = class("second", 5, json!({"globalDefault": true})).await.expect_err("is refused");
    assert_eq!(
        second.message,
        "priorityclasses.scheduling.k8s.io \"second\" is forbidden: PriorityClass usual is already marked as \
         default. Only one default can exist"
    );
    let usual = got(asked("usual", json!({})).await.expect("creates"));
    assert_eq!((usual.0, usual.1), (json!("usual"), json!(10)));
}
