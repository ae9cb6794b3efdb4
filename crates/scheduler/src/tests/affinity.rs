//! Node affinity, pod affinity and anti-affinity.

use std::collections::BTreeSet;

use client::Change;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use crate::fixtures::{decides, decision, labelled, on, told, typed, view, without_preemption, zoned};
use crate::plan::plan;
use crate::view::{Event, View};

fn three_zones() -> Vec<Value> {
    vec![zoned("a1", "a"), zoned("a2", "a"), zoned("b1", "b"), zoned("c1", "c")]
}

fn term(app: &str, topology: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology})
}

fn apart(name: &str, topology: &str) -> Value {
    let required = json!([term("web", topology)]);
    let spec = json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": required}}});
    labelled(name, json!({"app": "web"}), &spec)
}

fn near(name: &str, labels: Value, topology: &str) -> Value {
    let required = json!([term("db", topology)]);
    let spec = json!({"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": required}}});
    labelled(name, labels, &spec)
}

/// Decides about pods in turn, each with the reservations of those before; where each goes.
fn in_turn(view: &mut View, names: &[&str]) -> Vec<String> {
    let decided = names.iter().map(|name| {
        let key = ObjectKey::new("default", *name);
        let decision = plan(view, &key).expect("a plan");
        view.note(&key, &decision);
        without_preemption(&decision)
    });
    decided.collect()
}

#[test]
fn replicas_that_must_not_share_a_zone_take_one_each_and_the_fourth_waits() {
    let names = ["web-0", "web-1", "web-2", "web-3"];
    let pods = names.iter().map(|name| apart(name, "zone")).collect();
    let mut view = view(three_zones(), pods);
    assert_eq!(
        in_turn(&mut view, &names),
        [
            "bind to a1",
            "bind to b1",
            "bind to c1",
            "unschedulable: 0/4 nodes are available: 4 node(s) didn't match pod anti-affinity rules."
        ]
    );
}

#[test]
fn a_zone_is_free_again_when_its_pod_goes_or_its_node_leaves_the_zone() {
    let nodes = vec![zoned("a1", "a"), zoned("b1", "b")];
    let pods =
        vec![on("a1", apart("web-0", "zone")), on("b1", apart("web-1", "zone")), apart("web-2", "zone")];
    let waiting = ObjectKey::new("default", "web-2");
    let mut view = view(nodes, pods);
    let decision = plan(&view, &waiting).expect("a plan");
    view.note(&waiting, &decision);

    let touched = view.apply(Event::Nodes(Change::Apply(typed::<Node>(zoned("c1", "b")))));
    assert_eq!(touched, BTreeSet::from([waiting.clone()]), "a node that came may help");
    assert!(plan(&view, &waiting).expect("a plan").to_string().starts_with("unschedulable"));
    view.apply(Event::Nodes(Change::Apply(typed::<Node>(zoned("c1", "c")))));
    decides(&view, "web-2", "bind to c1");
    view.apply(Event::Nodes(Change::Delete(typed::<Node>(zoned("c1", "c")))));

    let gone = Event::Pods(Change::Delete(typed::<Pod>(on("b1", apart("web-1", "zone")))));
    assert_eq!(view.apply(gone), BTreeSet::from([waiting]), "a pod that went may help");
    decides(&view, "web-2", "bind to b1");
}

#[test]
fn what_placed_pods_forbid_binds_pods_that_ask_for_nothing() {
    let nodes = vec![zoned("a1", "a"), zoned("b1", "b")];
    let plain = labelled("plain", json!({"app": "web"}), &json!({}));
    let other = labelled("other", json!({"app": "other"}), &json!({}));
    let view =
        view(nodes, vec![on("a1", apart("web-0", "zone")), on("b1", apart("web-1", "zone")), plain, other]);
    decides(
        &view,
        "plain",
        "unschedulable: 0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules.",
    );
    decides(&view, "other", "bind to a1");
}

#[test]
fn a_pod_joins_those_it_wants_to_be_near_and_the_first_of_a_group_goes_anywhere() {
    let nodes = vec![zoned("a1", "a"), zoned("b1", "b"), zoned("b2", "b")];
    let database = on("b1", labelled("db-0", json!({"app": "db"}), &json!({})));
    let web = near("web-0", json!({"app": "web"}), "zone");
    decides(&view(nodes.clone(), vec![database, web.clone()]), "web-0", "bind to b2");
    decides(
        &view(nodes.clone(), vec![web]),
        "web-0",
        "unschedulable: 0/3 nodes are available: 3 node(s) didn't match pod affinity rules.",
    );
    decides(&view(nodes, vec![near("db-0", json!({"app": "db"}), "zone")]), "db-0", "bind to a1");
}

#[test]
fn a_pod_that_waits_for_company_is_tried_again_when_a_pod_comes_and_not_when_a_node_beats() {
    let nodes = vec![zoned("a1", "a"), zoned("b1", "b")];
    let mut view = view(nodes, vec![near("web-0", json!({"app": "web"}), "zone")]);
    let waiting = ObjectKey::new("default", "web-0");
    let decision = plan(&view, &waiting).expect("a plan");
    view.note(&waiting, &decision);
    let mut beats = zoned("a1", "a");
    beats["status"]["conditions"] = json!([{"type": "Ready", "status": "True",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]);
    assert_eq!(view.apply(Event::Nodes(Change::Apply(typed::<Node>(beats)))), BTreeSet::new());
    let comes = told(on("b1", labelled("db-0", json!({"app": "db"}), &json!({}))));
    assert_eq!(view.apply(comes), BTreeSet::from([waiting]));
    decides(&view, "web-0", "bind to b1");
}

#[test]
fn namespaces_are_named_or_chosen_by_their_labels() {
    let nodes = || vec![zoned("a1", "a"), zoned("b1", "b")];
    let wants = |more: Value| {
        let mut wanted = term("db", "zone");
        for (key, value) in more.as_object().expect("is an object") {
            wanted[key] = value.clone();
        }
        labelled(
            "web-0",
            json!({}),
            &json!({"affinity": {"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [wanted]}}}),
        )
    };
    let mut database = on("b1", labelled("db-0", json!({"app": "db"}), &json!({})));
    database["metadata"]["namespace"] = "data".into();
    let with = |more: Value| {
        let mut view = view(nodes(), vec![database.clone(), wants(more)]);
        let namespace = json!({"metadata": {"name": "data", "labels": {"kind": "data"}}});
        view.apply(Event::Namespaces(Change::Apply(typed::<Namespace>(namespace))));
        decision(&view, "web-0")
    };
    assert!(with(json!({})).starts_with("unschedulable"));
    assert_eq!(with(json!({"namespaces": ["data"]})), "bind to b1");
    assert_eq!(with(json!({"namespaceSelector": {}})), "bind to b1");
    assert_eq!(with(json!({"namespaceSelector": {"matchLabels": {"kind": "data"}}})), "bind to b1");
    assert!(
        with(json!({"namespaceSelector": {"matchLabels": {"kind": "web"}}})).starts_with("unschedulable")
    );
}

#[test]
fn a_namespace_that_gets_a_label_counts_from_then_on() {
    let mut database = on("a1", labelled("db-0", json!({"app": "db"}), &json!({})));
    database["metadata"]["namespace"] = "data".into();
    let mut wanted = term("db", "zone");
    wanted["namespaceSelector"] = json!({"matchLabels": {"kind": "data"}});
    let web = labelled(
        "web-0",
        json!({}),
        &json!({"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [wanted]}}}),
    );
    let mut view = view(vec![zoned("a1", "a")], vec![database, web]);
    let waiting = ObjectKey::new("default", "web-0");
    let decision = plan(&view, &waiting).expect("a plan");
    view.note(&waiting, &decision);
    let namespace = json!({"metadata": {"name": "data", "labels": {"kind": "data"}}});
    let touched = view.apply(Event::Namespaces(Change::Apply(typed::<Namespace>(namespace))));
    assert_eq!(touched, BTreeSet::from([waiting]));
    decides(&view, "web-0", "bind to a1");
}

#[test]
fn preferences_of_both_sides_decide_between_nodes_that_will_do() {
    let nodes = || vec![zoned("a1", "a"), zoned("b1", "b")];
    let prefers = |kind: &str| {
        let preferred = json!([{"weight": 100, "podAffinityTerm": term("db", "zone")}]);
        let spec =
            json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}});
        labelled("web-0", json!({"app": "web"}), &spec)
    };
    let database = |node: &str| on(node, labelled("db-0", json!({"app": "db"}), &json!({})));
    decides(&view(nodes(), vec![database("b1"), prefers("podAffinity")]), "web-0", "bind to b1");
    decides(&view(nodes(), vec![database("a1"), prefers("podAntiAffinity")]), "web-0", "bind to b1");

    // What a placed pod would rather have counts as much.
    let preferred = json!([{"weight": 100, "podAffinityTerm": term("web", "zone")}]);
    let wishes = labelled(
        "db-0",
        json!({"app": "db"}),
        &json!({"affinity": {"podAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": preferred}}}),
    );
    let plain = labelled("web-0", json!({"app": "web"}), &json!({}));
    decides(&view(nodes(), vec![on("b1", wishes), plain]), "web-0", "bind to b1");
}

#[test]
fn node_affinity_is_by_label_or_name_and_a_preference_is_none_of_its_own() {
    let asks = |affinity: Value| {
        let spec = json!({"affinity": {"nodeAffinity": affinity}});
        let view = view(three_zones(), vec![labelled("web-0", json!({}), &spec)]);
        decision(&view, "web-0")
    };
    let required = |term: Value| {
        asks(json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}))
    };
    let zones = |operator: &str, values: Value| {
        required(json!({"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}))
    };
    assert_eq!(zones("In", json!(["b", "c"])), "bind to b1");
    assert_eq!(zones("NotIn", json!(["a", "b"])), "bind to c1");
    let field = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a2"]}]});
    assert_eq!(required(field), "bind to a2");
    assert_eq!(
        zones("In", json!(["d"])),
        "unschedulable: 0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector."
    );
    let prefers = |zone: &str, weight: i64| {
        let one = json!({"key": "zone", "operator": "In", "values": [zone]});
        json!({"weight": weight, "preference": {"matchExpressions": [one]}})
    };
    let preferred = json!([prefers("b", 5), prefers("c", 40), prefers("d", 100)]);
    assert_eq!(asks(json!({"preferredDuringSchedulingIgnoredDuringExecution": preferred})), "bind to c1");
}

#[test]
fn what_a_set_asks_is_counted_on_for_its_next_pod_and_within_bounds() {
    let mut view = view(vec![zoned("a1", "a")], vec![]);
    let asks = |index: usize| {
        let spec = json!({"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term(&format!("app-{index}"), "zone")]}}});
        labelled("web-0", json!({}), &spec)
    };
    for index in 0..5_000 {
        view.apply(told(asks(index)));
        view.apply(Event::Pods(Change::Delete(typed::<Pod>(asks(index)))));
    }
    assert_eq!(view.neighbours().questions(), 4_096);
    view.apply(told(asks(4_999)));
    assert_eq!(view.neighbours().questions(), 4_096, "it is counted already");
    view.apply(told(on("a1", labelled("other", json!({"app": "app-4999"}), &json!({})))));
    assert!(decision(&view, "web-0").starts_with("unschedulable"), "and was counted on");
}
