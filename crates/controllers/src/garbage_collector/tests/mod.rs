//! What is decided about objects and their owners, without an API.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::encoded::Revision;
use model::resource::{GroupVersionKind, GroupVersionResource};

use super::plan::{Action, LATE_MAX, Step, plan};
use super::source::{Event, Metadata, Reference};
use super::view::{Resources, Uid, View};
use crate::api_resource::ApiResource;
use reconcile::picture::Picture;

const SETS: usize = 0;
const PODS: usize = 1;
const NODES: usize = 2;

struct World {
    view: View,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        let all = [
            ("apps", "StatefulSet", "statefulsets", true),
            ("", "Pod", "pods", true),
            ("", "Node", "nodes", false),
        ];
        let resources = all.map(|(group, kind, plural, namespaced)| ApiResource {
            resource: GroupVersionResource::constant(group, "v1", plural),
            kind: GroupVersionKind::constant(group, "v1", kind),
            namespaced,
        });
        let mut view = View::new(Arc::new(Resources::new(resources.to_vec())));
        for index in [SETS, PODS, NODES] {
            assert!(!view.is_synced());
            view.apply(Event::Reset(index, Vec::new(), Revision(1)));
        }
        assert!(view.is_synced());
        World { view, now: "2026-01-01T00:00:00Z".parse().expect("is a time") }
    }

    fn put(&mut self, resource: usize, object: Metadata) -> Vec<String> {
        let touched = self.view.apply(Event::Apply(resource, object, Revision(2)));
        touched.into_iter().map(|uid| uid.to_string()).collect()
    }

    fn delete(&mut self, resource: usize, name: &str) -> Vec<String> {
        let touched = self.view.apply(Event::Delete(resource, object(name, &[]), Revision(3)));
        touched.into_iter().map(|uid| uid.to_string()).collect()
    }

    fn decide(&mut self, name: &str) -> Action {
        let uid = Uid(name.into());
        self.view.notice_unknown_owners(&uid, self.now);
        plan(&self.view, &uid, self.now)
    }
}

/// An object whose uid is its name.
fn object(name: &str, owners: &[Reference]) -> Metadata {
    Metadata {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        uid: name.to_owned(),
        owner_references: owners.to_vec(),
        ..Metadata::default()
    }
}

fn going(name: &str, owners: &[Reference], finalizer: &str) -> Metadata {
    Metadata {
        deletion_timestamp: Some("2026-01-01T00:00:00Z".to_owned()),
        finalizers: vec![finalizer.to_owned()],
        ..object(name, owners)
    }
}

fn outside(object: Metadata) -> Metadata {
    Metadata { namespace: String::new(), ..object }
}

fn owner(api_version: &str, kind: &str, name: &str, blocks: bool) -> Reference {
    Reference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        block_owner_deletion: blocks,
    }
}

fn set(name: &str) -> Reference {
    owner("apps/v1", "StatefulSet", name, true)
}

fn step(action: &Action) -> &Step {
    match action {
        Action::Do(step) => step,
        other => panic!("there is something to do, not {other:?}"),
    }
}

#[test]
fn a_dependent_is_deleted_when_its_last_owner_was_seen_to_go() {
    let mut world = World::new();
    world.put(SETS, object("web", &[]));
    world.put(PODS, object("web-0", &[set("web")]));
    assert_eq!(world.decide("web-0"), Action::Leave);
    assert!(world.delete(SETS, "web").contains(&"web-0".to_owned()));
    let action = world.decide("web-0");
    let Step::Delete { owners, foreground: false, .. } = step(&action) else { panic!("{action:?}") };
    assert_eq!((owners[0].name.as_str(), owners[0].namespace.as_str()), ("web", "default"));
}

#[test]
fn an_owner_that_was_never_seen_may_be_late() {
    let mut world = World::new();
    world.put(PODS, object("web-0", &[set("web")]));
    assert_eq!(world.decide("web-0"), Action::LookAgain(LATE_MAX));
    world.put(SETS, object("web", &[]));
    assert_eq!(world.decide("web-0"), Action::Leave);
    world.put(PODS, object("db-0", &[set("db")]));
    world.decide("db-0");
    world.now += SignedDuration::try_from(LATE_MAX).expect("is short");
    assert!(matches!(step(&world.decide("db-0")), Step::Delete { .. }));
}

#[test]
fn an_owner_that_is_gone_is_forgotten_where_another_remains() {
    let mut world = World::new();
    world.put(SETS, object("web", &[]));
    world.put(SETS, object("db", &[]));
    world.put(PODS, object("shared", &[set("web"), set("db")]));
    world.delete(SETS, "web");
    let action = world.decide("shared");
    let Step::Forget { owners } = step(&action) else { panic!("{action:?}") };
    assert_eq!(owners.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(), ["web"]);
}

#[test]
fn a_foreground_deletion_waits_for_the_dependents_that_block_it() {
    let mut world = World::new();
    world.put(PODS, object("web-0", &[set("web")]));
    world.put(PODS, object("free", &[Reference { block_owner_deletion: false, ..set("web") }]));
    let touched = world.put(SETS, going("web", &[], "foregroundDeletion"));
    assert_eq!(touched, ["free", "web", "web-0"]);
    assert_eq!(world.decide("web"), Action::Leave);
    assert!(matches!(step(&world.decide("web-0")), Step::Delete { foreground: false, .. }));
    assert!(world.delete(PODS, "web-0").contains(&"web".to_owned()));
    assert_eq!(world.decide("web"), Action::Do(Step::FinishForeground));
}

#[test]
fn a_dependent_with_dependents_of_its_own_is_deleted_after_them() {
    let mut world = World::new();
    world.put(SETS, going("top", &[], "foregroundDeletion"));
    world.put(SETS, object("web", &[set("top")]));
    world.put(PODS, object("web-0", &[set("web")]));
    let action = world.decide("web");
    assert!(matches!(step(&action), Step::Delete { foreground: true, unblock: false, .. }), "{action:?}");
}

#[test]
fn a_ring_of_owners_is_broken() {
    let mut world = World::new();
    world.put(SETS, going("one", &[set("two")], "foregroundDeletion"));
    world.put(SETS, object("two", &[set("one")]));
    let action = world.decide("two");
    assert!(matches!(step(&action), Step::Delete { foreground: true, unblock: true, .. }), "{action:?}");
}

#[test]
fn an_owner_that_orphans_is_let_go_and_its_dependents_left() {
    let mut world = World::new();
    world.put(PODS, object("web-0", &[set("web")]));
    world.put(SETS, going("web", &[], "orphan"));
    assert_eq!(world.decide("web"), Action::Do(Step::Orphan));
    assert_eq!(world.decide("web-0"), Action::Leave);
}

#[test]
fn what_cannot_be_judged_is_left_alone() {
    let mut world = World::new();
    world.put(PODS, object("custom", &[owner("example.com/v1", "Database", "db", true)]));
    assert_eq!(world.decide("custom"), Action::Leave);
    world.put(NODES, outside(object("node", &[set("web")])));
    assert_eq!(world.decide("node"), Action::Leave);
}

#[test]
fn an_owner_in_another_namespace_is_no_owner() {
    let mut world = World::new();
    world.put(SETS, Metadata { namespace: "other".to_owned(), ..object("web", &[]) });
    world.put(PODS, object("web-0", &[set("web")]));
    assert!(matches!(step(&world.decide("web-0")), Step::Delete { .. }));
}

#[test]
fn an_owner_outside_namespaces_owns_into_each() {
    let mut world = World::new();
    world.put(NODES, outside(object("node", &[])));
    world.put(PODS, object("static", &[owner("v1", "Node", "node", false)]));
    assert_eq!(world.decide("static"), Action::Leave);
    world.delete(NODES, "node");
    let action = world.decide("static");
    let Step::Delete { owners, .. } = step(&action) else { panic!("{action:?}") };
    assert_eq!(owners[0].namespace, "");
}

#[test]
fn a_new_picture_without_an_object_counts_as_its_going() {
    let mut world = World::new();
    world.put(SETS, object("web", &[]));
    world.put(PODS, object("web-0", &[set("web")]));
    world.view.apply(Event::Reset(SETS, Vec::new(), Revision(9)));
    assert!(matches!(step(&world.decide("web-0")), Step::Delete { .. }));
}

#[test]
fn an_object_that_only_changes_its_status_touches_nothing() {
    let mut world = World::new();
    world.put(PODS, object("web-0", &[set("web")]));
    let again = Metadata { resource_version: "7".to_owned(), ..object("web-0", &[set("web")]) };
    assert!(world.put(PODS, again).is_empty());
}
