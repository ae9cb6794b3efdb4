//! Who has to go for whom.

use std::collections::BTreeSet;

use client::Change;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use proptest::prelude::*;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use crate::fixtures::{labelled, node, on, pod, told, typed, view};
use crate::plan::{Plan, plan};
use crate::view::{Event, View};

fn important(mut pod: Value, priority: i64) -> Value {
    pod["spec"]["priority"] = priority.into();
    pod
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn whole(view: &View, name: &str) -> String {
    plan(view, &key(name)).expect("a plan").to_string()
}

fn going(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pod["status"]["conditions"] =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
    pod
}

#[test]
fn the_fewest_and_least_important_go() {
    let nodes = vec![node("a", "4"), node("b", "4")];
    let pods = vec![
        on("a", important(pod("a-high", "2"), 50)),
        on("a", important(pod("a-low", "2"), 5)),
        on("b", important(pod("b-mid", "2"), 10)),
        on("b", important(pod("b-low", "2"), 5)),
        important(pod("vip", "2"), 100),
        important(pod("greedy", "4"), 100),
        important(pod("equal", "2"), 5),
    ];
    let view = view(nodes, pods);
    assert_eq!(whole(&view, "vip"), "remove default/a-low from a");
    assert_eq!(whole(&view, "greedy"), "remove default/b-mid, default/b-low from b");
    assert_eq!(
        whole(&view, "equal"),
        "unschedulable: 0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: \
         2 No preemption victims found for incoming pod."
    );
}

#[test]
fn the_whole_text_says_where_it_would_not_help() {
    let mut cordoned = node("b", "4");
    cordoned["spec"] = json!({"unschedulable": true});
    let nodes = vec![node("a", "4"), cordoned, node("c", "1")];
    let pods = vec![
        on("a", important(pod("big", "3"), 500)),
        on("a", important(pod("small", "500m"), 0)),
        important(pod("vip", "2"), 100),
    ];
    assert_eq!(
        whole(&view(nodes, pods), "vip"),
        "unschedulable: 0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. \
         preemption: 0/3 nodes are available: 1 Insufficient cpu, 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_polite_pod_removes_nobody() {
    let mut polite = important(pod("polite", "2"), 100);
    polite["spec"]["preemptionPolicy"] = "Never".into();
    let view = view(vec![node("a", "2")], vec![on("a", pod("low", "2")), polite]);
    assert_eq!(
        whole(&view, "polite"),
        "unschedulable: 0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to \
         preemptionPolicy=Never."
    );
}

#[test]
fn a_budget_is_broken_only_where_there_is_no_other_way() {
    let covered = |name: &str, cpu: &str| {
        let mut pod = labelled(name, json!({"app": "db"}), &json!({}));
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu.into();
        pod
    };
    let budget = |allowed: i64| {
        let budget = json!({
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "db"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
                       "expectedPods": 1},
        });
        Event::Budgets(Change::Apply(typed::<PodDisruptionBudget>(budget)))
    };
    let pods = || {
        vec![
            on("a", covered("db-0", "2")),
            on("b", important(pod("web", "2"), 10)),
            important(pod("vip", "2"), 100),
        ]
    };
    let mut two = view(vec![node("a", "2"), node("b", "2")], pods());
    two.apply(budget(0));
    assert_eq!(whole(&two, "vip"), "remove default/web from b");
    two.apply(budget(1));
    assert_eq!(whole(&two, "vip"), "remove default/db-0 from a");

    let mut one =
        view(vec![node("a", "2")], pods().into_iter().filter(|pod| pod["spec"]["nodeName"] != "b").collect());
    one.apply(budget(0));
    assert_eq!(whole(&one, "vip"), "remove default/db-0 from a");
}

#[test]
fn of_equal_victims_the_one_that_was_started_last_goes() {
    let started = |name: &str, node: &str, at: &str| {
        let mut pod = on(node, pod(name, "1"));
        pod["status"] = json!({"startTime": at});
        pod
    };
    let pods = vec![
        started("old", "a", "2026-01-01T00:00:00Z"),
        started("new", "a", "2026-01-02T00:00:00Z"),
        important(pod("vip", "1"), 100),
    ];
    assert_eq!(whole(&view(vec![node("a", "2")], pods), "vip"), "remove default/new from a");
    let pods = vec![
        started("old", "a", "2026-01-01T00:00:00Z"),
        started("new", "b", "2026-01-02T00:00:00Z"),
        important(pod("vip", "1"), 100),
    ];
    assert_eq!(whole(&view(vec![node("a", "1"), node("b", "1")], pods), "vip"), "remove default/new from b");
}

#[test]
fn what_stands_apart_makes_way_too() {
    let apart = |name: &str| {
        let term =
            json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
        let spec = json!({"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        labelled(name, json!({"app": "db"}), &spec)
    };
    let pods = vec![on("a", apart("db-0")), on("a", pod("web", "100m")), important(apart("db-1"), 100)];
    assert_eq!(whole(&view(vec![node("a", "4")], pods), "db-1"), "remove default/db-0 from a");
}

#[test]
fn room_that_was_promised_is_kept_until_the_victims_have_gone() {
    let low = on("a", pod("low", "2"));
    let pods = vec![low.clone(), important(pod("vip", "2"), 100)];
    let mut view = view(vec![node("a", "2")], pods);
    let decision = plan(&view, &key("vip")).expect("a plan");
    assert_eq!(decision.to_string(), "remove default/low from a");
    view.note(&key("vip"), &decision);

    // The API has heard of the promise, and the victim is on its way.
    let mut nominated = important(pod("vip", "2"), 100);
    nominated["status"] = json!({"nominatedNodeName": "a"});
    view.apply(told(nominated.clone()));
    view.apply(told(going(low.clone())));
    view.give_back(&key("vip"));
    assert_eq!(whole(&view, "vip"), "wait for those to go that leave a");
    let decision = plan(&view, &key("vip")).expect("a plan");
    view.note(&key("vip"), &decision);
    view.apply(told(pod("thief", "1")));
    view.apply(told(important(pod("boss", "1"), 1000)));
    let touched = view.apply(Event::Pods(Change::Delete(typed::<Pod>(going(low)))));
    assert_eq!(touched, BTreeSet::from([key("vip")]));
    assert_eq!(
        whole(&view, "thief"),
        "unschedulable: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No \
         preemption victims found for incoming pod."
    );
    assert_eq!(whole(&view, "boss"), "bind to a");
    assert_eq!(whole(&view, "vip"), "bind to a");

    // Who goes elsewhere gives the room back.
    let refused = plan(&view, &key("thief")).expect("a plan");
    view.note(&key("thief"), &refused);
    let touched = view.apply(told(on("b", nominated)));
    assert!(touched.contains(&key("thief")));
    assert_eq!(whole(&view, "thief"), "bind to a");
}

#[test]
fn those_who_go_by_themselves_are_waited_for() {
    let mut leaving = on("a", pod("low", "2"));
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut vip = important(pod("vip", "2"), 100);
    let mut view = view(vec![node("a", "2")], vec![leaving, vip.clone()]);
    assert_eq!(whole(&view, "vip"), "remove default/low from a");
    vip["status"] = json!({"nominatedNodeName": "a"});
    view.apply(told(vip));
    assert_eq!(whole(&view, "vip"), "wait for those to go that leave a");
}

#[test]
fn important_pods_are_decided_about_first() {
    let pods = vec![pod("low", "1"), important(pod("vip", "1"), 100), important(pod("least", "1"), -5)];
    let view = view(vec![node("a", "2")], pods);
    let ranks: Vec<i64> = ["vip", "low", "least"].iter().map(|name| view.rank(&key(name))).collect();
    assert_eq!(ranks, [100, 0, -5]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Against trying every set of victims on every node.
    #[test]
    fn victims_are_less_important_enough_and_none_of_them_is_spared_in_vain(
        tenants in prop::collection::vec((0..3_usize, 1..4_i64, 0..4_i64), 0..9),
        (cpu, priority) in (1..5_i64, 0..4_i64),
    ) {
        let names = ["a", "b", "c"];
        let placed = |index: usize, (node, cpu, priority): &(usize, i64, i64)| {
            on(names[*node], important(pod(&format!("p-{index}"), &cpu.to_string()), *priority))
        };
        let mut pods: Vec<Value> = tenants.iter().enumerate().map(|(index, one)| placed(index, one)).collect();
        pods.push(important(pod("vip", &cpu.to_string()), priority));
        let mut nodes: Vec<Value> = names.iter().map(|name| node(name, "5")).collect();
        nodes.iter_mut().for_each(|node| node["status"]["allocatable"]["pods"] = "20".into());
        let view = view(nodes, pods);
        let free = |at: usize, without: &BTreeSet<usize>| {
            let taken: i64 = tenants.iter().enumerate()
                .filter(|(index, (node, ..))| *node == at && !without.contains(index))
                .map(|(_, (_, cpu, _))| cpu)
                .sum();
            5 - taken
        };
        let less: BTreeSet<usize> =
            (0..tenants.len()).filter(|index| tenants[*index].2 < priority).collect();
        match plan(&view, &ObjectKey::new("default", "vip")).expect("a plan") {
            Plan::Bind { node, .. } => {
                let at = names.iter().position(|name| *name == node).expect("is a node");
                prop_assert!(free(at, &BTreeSet::new()) >= cpu);
            }
            Plan::Preempt { node, victims, .. } => {
                let at = names.iter().position(|name| *name == node).expect("is a node");
                let gone: BTreeSet<usize> = victims.iter().map(|pod| {
                    let name = pod.metadata.name.as_deref().expect("has a name");
                    name.trim_start_matches("p-").parse().expect("is a number")
                }).collect();
                prop_assert!((0..3).all(|other| free(other, &BTreeSet::new()) < cpu), "only where nothing fits");
                prop_assert!(gone.is_subset(&less) && gone.iter().all(|index| tenants[*index].0 == at));
                prop_assert!(free(at, &gone) >= cpu, "it fits then");
                for spared in &gone {
                    let mut fewer = gone.clone();
                    fewer.remove(spared);
                    prop_assert!(free(at, &fewer) < cpu, "each of them is needed");
                }
                let highest = |all: &BTreeSet<usize>| all.iter().map(|index| tenants[*index].2).max();
                for other in 0..3 {
                    let there: Vec<usize> =
                        less.iter().copied().filter(|index| tenants[*index].0 == other).collect();
                    for mask in 1..1_usize << there.len() {
                        let set: BTreeSet<usize> = there.iter().enumerate()
                            .filter(|(bit, _)| mask & (1 << bit) != 0)
                            .map(|(_, index)| *index)
                            .collect();
                        if free(other, &set) >= cpu {
                            prop_assert!(highest(&gone) <= highest(&set), "nobody more important than needed");
                        }
                    }
                }
            }
            Plan::Unschedulable { .. } => {
                for at in 0..3 {
                    prop_assert!(free(at, &less) < cpu, "not even without all of them");
                }
            }
            other => prop_assert!(false, "{other}"),
        }
    }
}
