//! Topology spread.

use client::Change;
use k8s_openapi::api::core::v1::Node;
use reconcile::picture::Picture;
use serde_json::{Value, json};

use crate::fixtures::{decides, labelled, on, told, typed, view, zoned};
use crate::view::Event;

fn rule(more: &Value) -> Value {
    let mut rule = json!({
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        rule[key] = value.clone();
    }
    rule
}

fn web(name: &str, rules: &[Value]) -> Value {
    labelled(name, json!({"app": "web"}), &json!({"topologySpreadConstraints": rules}))
}

fn plain(name: &str) -> Value {
    labelled(name, json!({"app": "web"}), &json!({}))
}

const REFUSED: &str = "node(s) didn't match pod topology spread constraints";

#[test]
fn a_domain_never_gets_more_than_the_skew_ahead_of_the_emptiest() {
    let nodes = || vec![zoned("a1", "a"), zoned("b1", "b")];
    let placed = || vec![on("a1", plain("x-0")), on("a1", plain("x-1")), on("b1", plain("x-2"))];
    let with = |pod: Value| [placed(), vec![pod]].concat();
    decides(&view(nodes(), with(web("web-0", &[rule(&json!({}))]))), "web-0", "bind to b1");
    let mut full = zoned("b1", "b");
    full["spec"] = json!({"unschedulable": true});
    let view = view(vec![zoned("a1", "a"), full], with(web("web-0", &[rule(&json!({}))])));
    let message =
        format!("unschedulable: 0/2 nodes are available: 1 {REFUSED}, 1 node(s) were unschedulable.");
    decides(&view, "web-0", &message);
}

#[test]
fn a_larger_skew_leaves_more_freedom() {
    let mut full = zoned("b1", "b");
    full["spec"] = json!({"unschedulable": true});
    let pods = vec![on("a1", plain("x-0")), web("web-0", &[rule(&json!({"maxSkew": 2}))])];
    decides(&view(vec![zoned("a1", "a"), full], pods), "web-0", "bind to a1");
}

#[test]
fn with_fewer_domains_than_wanted_the_emptiest_counts_as_empty() {
    let nodes = || vec![zoned("a1", "a"), zoned("b1", "b")];
    let placed = || vec![on("a1", plain("x-0")), on("b1", plain("x-1"))];
    let with = |more: Value| [placed(), vec![web("web-0", &[rule(&more)])]].concat();
    decides(&view(nodes(), with(json!({}))), "web-0", "bind to a1");
    let message = format!("unschedulable: 0/2 nodes are available: 2 {REFUSED}.");
    decides(&view(nodes(), with(json!({"minDomains": 3}))), "web-0", &message);
}

#[test]
fn nodes_without_the_label_are_no_domain() {
    let view = view(vec![zoned("a1", "a")], vec![web("web-0", &[rule(&json!({"topologyKey": "rack"}))])]);
    let message = format!("unschedulable: 0/1 nodes are available: 1 {REFUSED} (missing required label).");
    decides(&view, "web-0", &message);
}

#[test]
fn policies_say_which_nodes_are_looked_at() {
    let nodes = || {
        let mut tainted = zoned("b1", "b");
        tainted["spec"] = json!({"taints": [{"key": "disk", "effect": "NoSchedule"}]});
        vec![zoned("a1", "a"), tainted, zoned("c1", "c")]
    };
    let pods = |more: Value| {
        let mut pod = web("web-0", &[rule(&more)]);
        pod["spec"]["nodeSelector"] = json!({"zone": "a"});
        vec![on("a1", plain("x-0")), pod]
    };
    decides(&view(nodes(), pods(json!({}))), "web-0", "bind to a1");
    let message = format!(
        "unschedulable: 0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
         1 {REFUSED}, 1 node(s) had untolerated taint {{disk: }}."
    );
    decides(&view(nodes(), pods(json!({"nodeAffinityPolicy": "Ignore"}))), "web-0", &message);

    let mut only_b = web("web-0", &[rule(&json!({}))]);
    let honours = web("web-1", &[rule(&json!({"nodeTaintsPolicy": "Honor"}))]);
    only_b["spec"]["tolerations"] = json!([]);
    let nodes = || nodes().into_iter().take(2).collect();
    let placed = || on("a1", plain("x-0"));
    let message = format!(
        "unschedulable: 0/2 nodes are available: 1 {REFUSED}, 1 node(s) had untolerated taint {{disk: }}."
    );
    decides(&view(nodes(), vec![placed(), only_b]), "web-0", &message);
    decides(&view(nodes(), vec![placed(), honours]), "web-1", "bind to a1");
}

#[test]
fn pods_that_are_being_deleted_and_those_of_another_revision_do_not_count() {
    let nodes = || vec![zoned("a1", "a"), zoned("b1", "b")];
    let mut leaving = on("b1", plain("x-0"));
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let placed = on("a1", plain("x-1"));
    let mut view = view(nodes(), vec![on("b1", plain("x-0")), placed, web("web-0", &[rule(&json!({}))])]);
    decides(&view, "web-0", "bind to a1");
    view.apply(told(leaving));
    decides(&view, "web-0", "bind to b1");

    let with_revision = |mut pod: Value, revision: &str| {
        pod["metadata"]["labels"]["revision"] = revision.into();
        pod
    };
    let old = (0..3).map(|index| with_revision(on("a1", plain(&format!("x-{index}"))), "1"));
    let full = on("b1", with_revision(plain("y-0"), "2"));
    let new = with_revision(web("web-0", &[rule(&json!({"matchLabelKeys": ["revision"]}))]), "2");
    let pods = old.chain([full, new]).collect();
    decides(&crate::fixtures::view(nodes(), pods), "web-0", "bind to a1");
}

#[test]
fn a_rule_that_need_not_hold_decides_between_nodes_that_will_do() {
    let nodes = || vec![zoned("a1", "a"), zoned("a2", "a"), zoned("b1", "b")];
    let soft = rule(&json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    let mut busy = labelled("other", json!({}), &json!({}));
    busy["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "3".into();
    let pods = || vec![on("a1", plain("x-0")), on("b1", busy.clone()), web("web-0", &[soft.clone()])];
    decides(&view(nodes(), pods()), "web-0", "bind to b1");
    let mut only_a = view(nodes(), pods());
    only_a.apply(Event::Nodes(Change::Delete(typed::<Node>(zoned("b1", "b")))));
    decides(&only_a, "web-0", "bind to a2");
}
