//! What is decided about namespaces that go, without an API.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use model::resource::{GroupVersionKind, GroupVersionResource};
use serde_json::json;

use super::plan::{Content, Look, Next, conditions, next, when_to_look};
use super::view::Entry;
use crate::api_resource::ApiResource;

fn resources() -> Vec<ApiResource> {
    let all = [("", "ConfigMap", "configmaps"), ("", "Pod", "pods"), ("apps", "StatefulSet", "statefulsets")];
    let resource = |(group, kind, plural)| ApiResource {
        resource: GroupVersionResource::constant(group, "v1", plural),
        kind: GroupVersionKind::constant(group, "v1", kind),
        namespaced: true,
    };
    all.into_iter().map(resource).collect()
}

fn content(resource: usize, count: usize, fresh: usize) -> Content {
    let found = &resources()[resource].resource;
    let name = format!("{}.{}", found.resource, found.group);
    Content { resource, name, count, fresh, finalizers: BTreeMap::new() }
}

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().expect("is a time")
}

fn namespace() -> Namespace {
    let namespace = json!({
        "metadata": { "name": "mine", "deletionTimestamp": "2026-01-01T00:01:00Z" },
        "spec": { "finalizers": ["kubernetes"] },
    });
    serde_json::from_value(namespace).expect("is a namespace")
}

#[test]
fn sets_go_first_then_pods_then_all_else() {
    let all = [content(0, 2, 2), content(1, 3, 3), content(2, 1, 1)];
    assert_eq!(next(&resources(), &all), Next::Delete(vec![2]));
    assert_eq!(next(&resources(), &all[..2]), Next::Delete(vec![1]));
    assert_eq!(next(&resources(), &[content(0, 2, 2), content(1, 3, 0)]), Next::Wait);
    assert_eq!(next(&resources(), &[content(0, 2, 2)]), Next::Delete(vec![0]));
    assert_eq!(next(&resources(), &[content(0, 2, 0)]), Next::Wait);
    assert_eq!(next(&resources(), &[]), Next::Finalize);
}

#[test]
fn a_set_that_is_held_does_not_hold_pods_up() {
    let held = [content(1, 3, 3), content(2, 1, 0)];
    assert_eq!(next(&resources(), &held), Next::Delete(vec![1]));
}

#[test]
fn conditions_say_what_remains_and_are_written_once() {
    let mut held = content(1, 2, 0);
    held.finalizers.insert("example.com/held".to_owned(), 1);
    let contents = [content(0, 1, 1), held];
    let mut namespace = namespace();
    let said = conditions(&namespace, &contents, None, now()).expect("must be written");
    let told = |type_: &str| {
        let found = said.iter().find(|condition| condition.type_ == type_).expect("is there");
        (found.status.clone(), found.message.clone().unwrap_or_default())
    };
    assert_eq!(
        told("NamespaceContentRemaining").1,
        "Some resources are remaining: configmaps. has 1 resource instances, pods. has 2 resource instances"
    );
    assert_eq!(
        told("NamespaceFinalizersRemaining").1,
        "Some content in the namespace has finalizers remaining: example.com/held in 1 resource instances"
    );
    assert_eq!(told("NamespaceDeletionContentFailure").0, "False");
    namespace.status.get_or_insert_default().conditions = Some(said);
    assert_eq!(conditions(&namespace, &contents, None, now()), None);
    let failed = conditions(&namespace, &contents, Some("no"), now()).expect("must be written");
    let failure = failed.iter().find(|one| one.type_ == "NamespaceDeletionContentFailure");
    assert_eq!(failure.map(|one| one.status.as_str()), Some("True"));
}

#[test]
fn a_namespace_is_looked_into_at_once_and_then_ever_more_seldom() {
    let mut entry = Entry { namespace: Arc::new(namespace()), looked: None };
    let seconds = |look: Look| match look {
        Look::Now { again_after } => again_after.as_secs(),
        other => panic!("it is looked into now, not {other:?}"),
    };
    assert_eq!(seconds(when_to_look(&entry, now())), 1);
    entry.looked = Some(now());
    assert!(matches!(when_to_look(&entry, now()), Look::After(_)));
    let after = |seconds| now() + SignedDuration::from_secs(seconds);
    assert_eq!(seconds(when_to_look(&entry, after(20))), 10);
    assert_eq!(seconds(when_to_look(&entry, after(3_600))), 30);
}

#[test]
fn a_namespace_without_our_finalizer_is_not_ours() {
    let mut namespace = namespace();
    namespace.spec = None;
    let entry = Entry { namespace: Arc::new(namespace), looked: None };
    assert_eq!(when_to_look(&entry, now()), Look::Never);
}
