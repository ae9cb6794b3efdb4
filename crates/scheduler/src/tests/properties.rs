//! Properties: whatever comes and goes, the counts are those of counting, and no placement breaks a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Change;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use proptest::prelude::*;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use crate::fixtures::{labelled, told, typed, view, zoned};
use crate::neighbours::Tally;
use crate::plan::{Plan, plan};
use crate::selection;
use crate::terms::{self, Demands};
use crate::view::{Event, View};

const APPS: [&str; 3] = ["web", "db", "job"];
const ZONES: [&str; 3] = ["a", "b", "c"];

/// What happens to the picture.
#[derive(Debug, Clone)]
enum Step {
    /// A pod is made: number, app, kind of rule.
    Pod(u8, u8, u8),
    /// It begins to go.
    Leaving(u8),
    /// It is gone.
    Gone(u8),
    /// Its label is another.
    App(u8, u8),
    /// A node is in a zone, or in none.
    Node(u8, u8),
    /// A node is gone.
    NodeGone(u8),
    /// A namespace has a label, or none.
    Namespace(u8, u8),
    /// Everything is told anew.
    Relist,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_u8, 0..3_u8, 0..8_u8).prop_map(|(pod, app, rule)| Step::Pod(pod, app, rule)),
        1 => (0..12_u8).prop_map(Step::Leaving),
        2 => (0..12_u8).prop_map(Step::Gone),
        1 => (0..12_u8, 0..3_u8).prop_map(|(pod, app)| Step::App(pod, app)),
        2 => (0..5_u8, 0..4_u8).prop_map(|(node, zone)| Step::Node(node, zone)),
        1 => (0..5_u8).prop_map(Step::NodeGone),
        1 => (0..2_u8, 0..2_u8).prop_map(|(namespace, label)| Step::Namespace(namespace, label)),
        1 => Just(Step::Relist),
    ]
}

fn made(number: u8, app: u8, rule: u8) -> Value {
    let other = APPS[usize::from(app + 1) % 3];
    let term = |app: &str, topology: &str| {
        let selector = json!({"matchLabels": {"app": app}});
        json!({"labelSelector": selector, "topologyKey": topology})
    };
    let required = |term: Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    let spread = |more: Value| {
        let mut rule = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": APPS[usize::from(app)]}}});
        for (key, value) in more.as_object().into_iter().flatten() {
            rule[key] = value.clone();
        }
        json!({"topologySpreadConstraints": [rule]})
    };
    let anywhere = |mut term: Value| {
        term["namespaceSelector"] = json!({"matchLabels": {"open": "yes"}});
        term
    };
    let spec = match rule {
        0 => json!({"affinity": {"podAntiAffinity": required(term(APPS[usize::from(app)], "zone"))}}),
        1 => json!({"affinity": {"podAntiAffinity": required(anywhere(term(other, "zone")))}}),
        2 => json!({"affinity": {"podAffinity": required(term(APPS[usize::from(app)], "zone"))}}),
        3 => spread(json!({})),
        4 => spread(json!({"minDomains": 2, "maxSkew": 2})),
        5 => spread(json!({"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"})),
        6 => json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 7, "podAffinityTerm": term(other, "kubernetes.io/hostname")}]}}}),
        _ => json!({}),
    };
    let mut pod = labelled(&format!("p-{number}"), json!({"app": APPS[usize::from(app)]}), &spec);
    pod["metadata"]["namespace"] = if number % 3 == 0 { "other" } else { "default" }.into();
    pod
}

/// The cluster as the API has it, beside the view that is told of it.
struct World {
    view: View,
    pods: BTreeMap<u8, Value>,
    nodes: BTreeMap<u8, Value>,
}

fn namespace(name: &str, label: u8) -> Event {
    let labels = if label == 0 { json!({}) } else { json!({"open": "yes"}) };
    let namespace = json!({"metadata": {"name": name, "labels": labels}});
    Event::Namespaces(Change::Apply(typed::<Namespace>(namespace)))
}

fn machine(number: u8, zone: u8) -> Value {
    let name = format!("n-{number}");
    let mut node = zoned(&name, ZONES[usize::from(zone) % 3]);
    if zone == 3 {
        node["metadata"]["labels"] = json!({"kubernetes.io/hostname": name});
    }
    node
}

fn key(pod: &Value) -> ObjectKey {
    let text = |name: &str| pod["metadata"][name].as_str().expect("has one").to_owned();
    ObjectKey::new(text("namespace"), text("name"))
}

impl World {
    fn new() -> World {
        let mut world = World { view: view(vec![], vec![]), pods: BTreeMap::new(), nodes: BTreeMap::new() };
        for number in 0..3 {
            world.step(&Step::Node(number, number));
        }
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pod(number, app, rule) => {
                if self.pods.contains_key(number) {
                    return;
                }
                let pod = made(*number, *app, *rule);
                self.pods.insert(*number, pod.clone());
                self.view.apply(told(pod.clone()));
                self.place(*number);
            }
            Step::Leaving(number) => {
                let Some(pod) = self.pods.get_mut(number) else { return };
                pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                self.view.apply(told(pod.clone()));
            }
            Step::Gone(number) => {
                let Some(pod) = self.pods.remove(number) else { return };
                self.view.apply(Event::Pods(Change::Delete(typed::<Pod>(pod))));
            }
            Step::App(number, app) => {
                let Some(pod) = self.pods.get_mut(number) else { return };
                pod["metadata"]["labels"]["app"] = APPS[usize::from(*app)].into();
                self.view.apply(told(pod.clone()));
            }
            Step::Node(number, zone) => {
                let node = machine(*number, *zone);
                self.nodes.insert(*number, node.clone());
                self.view.apply(Event::Nodes(Change::Apply(typed::<Node>(node))));
            }
            Step::NodeGone(number) => {
                let Some(node) = self.nodes.remove(number) else { return };
                self.view.apply(Event::Nodes(Change::Delete(typed::<Node>(node))));
            }
            Step::Namespace(which, label) => {
                self.view.apply(namespace(["default", "other"][usize::from(*which)], *label));
            }
            Step::Relist => {
                let pods = self.pods.values().cloned().map(typed::<Pod>).collect();
                self.view.apply(Event::Pods(Change::Reset(pods, model::encoded::Revision(2))));
            }
        }
    }

    /// Decides about a pod, checks the decision, and does it.
    fn place(&mut self, number: u8) {
        let mut pod = self.pods[&number].clone();
        let name = key(&pod);
        let decision = plan(&self.view, &name).expect("it waits");
        self.view.note(&name, &decision);
        let Plan::Bind { node, .. } = &decision else { return };
        self.keeps_every_rule(&pod, node);
        pod["spec"]["nodeName"] = node.as_str().into();
        self.pods.insert(number, pod.clone());
        self.view.apply(told(pod));
    }

    fn placed(&self) -> Vec<(Arc<Pod>, Arc<Node>)> {
        let node = |pod: &Value| {
            let name = pod["spec"]["nodeName"].as_str()?;
            let number: u8 = name.strip_prefix("n-")?.parse().ok()?;
            self.nodes.get(&number).cloned().map(typed::<Node>)
        };
        self.pods.values().filter_map(|pod| Some((typed::<Pod>(pod.clone()), node(pod)?))).collect()
    }

    /// The rules, stated naively.
    fn keeps_every_rule(&self, pod: &Value, chosen: &str) {
        let pod: Arc<Pod> = typed(pod.clone());
        let namespaces = self.view.neighbours().namespaces();
        let demands = Demands::of(&pod, namespaces);
        let nodes: Vec<Arc<Node>> = self.nodes.values().cloned().map(typed::<Node>).collect();
        let node = nodes.iter().find(|node| selection::name(node) == chosen).expect("a node that is there");
        let value = |node: &Node, topology: &str| selection::labels(node).get(topology).cloned();
        let placed = self.placed();
        let near = |topology: &str| {
            let here = value(node, topology);
            let is_near = |other: &Node| here.is_some() && value(other, topology) == here;
            placed.iter().filter(|(_, other)| is_near(other)).collect::<Vec<_>>()
        };
        for term in &demands.apart {
            let met = near(&term.topology)
                .into_iter()
                .filter(|(other, _)| term.pods.holds(other, namespaces))
                .count();
            assert_eq!(met, 0, "anti-affinity of the pod");
        }
        for (other, at) in &placed {
            for (role, term) in terms::held_by(other) {
                let together = value(at, &term.topology).is_some()
                    && value(at, &term.topology) == value(node, &term.topology);
                let forbids = role == terms::Role::Forbids && term.pods.holds(&pod, namespaces);
                assert!(!(together && forbids), "anti-affinity of a placed pod");
            }
        }
        if let Some(company) = &demands.company {
            let all: Vec<_> = placed.iter().filter(|(other, _)| company.holds(other, namespaces)).collect();
            for topology in &demands.near {
                assert!(value(node, topology).is_some());
                let alone = !all.iter().any(|(_, at)| value(at, topology).is_some());
                let joined = near(topology).iter().any(|(other, _)| company.holds(other, namespaces));
                assert!(joined || (alone && company.holds(&pod, namespaces)), "affinity");
            }
        }
        for rule in demands.spread.iter().filter(|rule| rule.is_required) {
            let domains: BTreeSet<String> =
                nodes.iter().filter_map(|node| value(node, &rule.topology)).collect();
            let count = |domain: &String| {
                let inside = placed.iter().filter(|(other, at)| {
                    value(at, &rule.topology).as_ref() == Some(domain) && rule.pods.holds(other, namespaces)
                });
                i64::try_from(inside.count()).expect("is small")
            };
            let least = domains.iter().map(count).min().expect("there is a domain");
            let least = if domains.len() < rule.domains_min { 0 } else { least };
            let here = count(&value(node, &rule.topology).expect("is in a domain"));
            assert!(here + i64::from(rule.counts_own) - least <= rule.skew_max, "spread");
        }
    }

    /// Every count that is kept is that of counting.
    fn counts_are_those_of_counting(&self) {
        let neighbours = self.view.neighbours();
        let namespaces = neighbours.namespaces();
        let placed = self.placed();
        for pod in self.pods.values() {
            let Some((waiting, demands)) = self.view.waiting(&key(pod)) else { continue };
            for (query, topology) in demands.questions() {
                let counted =
                    placed.iter().filter(|(other, _)| query.holds(other, namespaces)).map(|(_, at)| at);
                same(neighbours.answer(query), topology, counted);
            }
            for (role, term, tally) in neighbours.about(waiting) {
                let holds = |other: &Pod| {
                    let held = terms::held_by(other).into_iter();
                    held.filter(|(held, other)| *held == role && other == term).count()
                };
                let counted = placed.iter().flat_map(|(other, at)| std::iter::repeat_n(at, holds(other)));
                same(tally, &term.topology, counted);
            }
        }
    }
}

fn same<'a>(tally: &Tally, topology: &str, counted: impl Iterator<Item = &'a Arc<Node>>) {
    let mut by_value: BTreeMap<String, i64> = ZONES.iter().map(|zone| ((*zone).to_owned(), 0)).collect();
    let mut by_node: BTreeMap<String, i64> = BTreeMap::new();
    for node in counted {
        if let Some(value) = selection::labels(node).get(topology) {
            *by_value.entry(value.clone()).or_default() += 1;
        }
        *by_node.entry(selection::name(node).to_owned()).or_default() += 1;
    }
    assert_eq!(tally.total(topology), by_value.values().sum::<i64>());
    for (value, count) in by_value {
        assert_eq!(tally.within(topology, &value), count, "{topology}={value}");
    }
    for (node, count) in by_node {
        assert_eq!(tally.on(&node), count, "{node}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_placement_breaks_a_rule_and_every_count_is_that_of_counting(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.counts_are_those_of_counting();
        }
    }
}
