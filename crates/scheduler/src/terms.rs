//! What a pod says about other pods: affinity, anti-affinity and spread, read once when it begins to wait.
//!
//! A [`Query`] means pods: by namespace, labels, and whether those that are being deleted count. Equal
//! queries are equal values, so that the pods of one set share one count of each. Nothing here counts; that
//! is [`crate::neighbours`]. Read next: [`crate::affinity`] and [`crate::spread`], which decide by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::meta;
use model::selector::{Operator, Requirement, Selector};

pub(crate) type Labels = BTreeMap<String, String>;
/// Labels of namespaces, by their names.
pub(crate) type Namespaces = HashMap<String, Labels>;

/// How much a required affinity of pods that are there counts for one that wants to join them: upstream's
/// default of `hardPodAffinityWeight`.
const REQUIRED_AFFINITY_WEIGHT: i64 = 1;

/// Pods of some namespaces with some labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Meant {
    namespaces: BTreeSet<String>,
    by_their_labels: Selector,
    labels: Selector,
}

/// Pods that a term means: they are meant by all parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    all: Vec<Meant>,
    /// Pods that are being deleted do not count.
    living_only: bool,
}

/// Nearness in one topology.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Term {
    /// Label of nodes; those with one value are near each other.
    pub topology: String,
    /// The pods.
    pub pods: Query,
}

/// What a term that a placed pod has means for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// They must not come near.
    Forbids,
    /// It would be so much better, or worse, if they did.
    Weighs(i64),
}

/// One rule of spread.
#[derive(Debug, Clone)]
pub(crate) struct Spreading {
    pub topology: String,
    pub pods: Query,
    pub skew_max: i64,
    pub domains_min: usize,
    pub is_required: bool,
    pub counts_own: bool,
    pub honours_affinity: bool,
    pub honours_taints: bool,
}

/// All that a pod says about others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demands {
    /// Topologies in each of which a pod must be that all terms of the required affinity mean.
    pub near: Vec<String>,
    /// Those pods; there when `near` is not empty.
    pub company: Option<Query>,
    /// Required anti-affinity.
    pub apart: Vec<Term>,
    /// Preferred affinity, and anti-affinity with negative weight.
    pub preferred: Vec<(i64, Term)>,
    /// Spread.
    pub spread: Vec<Spreading>,
}

impl Meant {
    fn of(term: &PodAffinityTerm, namespace: &str) -> Meant {
        let listed = term.namespaces.iter().flatten().cloned();
        let mut namespaces: BTreeSet<String> = listed.collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Meant {
            namespaces,
            by_their_labels: selector(term.namespace_selector.as_ref()),
            labels: selector(term.label_selector.as_ref()),
        }
    }

    fn holds(&self, namespace: &str, labels: &Labels, namespaces: &Namespaces) -> bool {
        let listed = || self.namespaces.contains(namespace);
        let chosen = || {
            !self.by_their_labels.is_nothing()
                && self.by_their_labels.matches_optional(namespaces.get(namespace))
        };
        self.labels.matches(labels) && (listed() || chosen())
    }
}

impl Query {
    /// True when a pod is meant.
    pub(crate) fn holds(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        if self.living_only && meta::is_terminating(&pod.metadata) {
            return false;
        }
        let (namespace, labels) = (namespace(pod), labels(pod));
        self.all.iter().all(|meant| meant.holds(namespace, labels, namespaces))
    }

    /// Labels of which a pod must have one to be meant, where there are such: a key with its values.
    pub(crate) fn anchor(&self) -> Option<(&str, &BTreeSet<String>)> {
        let requirements = self.all.iter().flat_map(|meant| meant.labels.requirements());
        let names_values =
            |operator| matches!(operator, Operator::In | Operator::Equals | Operator::DoubleEquals);
        let mut anchors = requirements.filter(|one: &&Requirement| names_values(one.operator()));
        anchors.next().map(|one| (one.key(), one.values()))
    }

    /// The namespaces that its pods can be in; `None` for any.
    pub(crate) fn namespaces(&self) -> Option<&BTreeSet<String>> {
        let first = self.all.first()?;
        first.by_their_labels.is_nothing().then_some(&first.namespaces)
    }

    /// True when labels of namespaces have a say in it.
    pub(crate) fn asks_namespaces(&self) -> bool {
        let asks =
            |meant: &Meant| !meant.by_their_labels.is_nothing() && !meant.by_their_labels.is_everything();
        self.all.iter().any(asks)
    }
}

impl Demands {
    /// What a pod demands.
    pub(crate) fn of(pod: &Pod, namespaces: &Namespaces) -> Demands {
        let mut demands = Demands::default();
        let Some(spec) = &pod.spec else { return demands };
        let own = namespace(pod);
        let affinity = spec.affinity.as_ref();
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let apart = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        if let Some(near) = near {
            let required = near.required_during_scheduling_ignored_during_execution.as_deref();
            let required = required.unwrap_or_default();
            demands.near = required.iter().map(|term| term.topology_key.clone()).collect();
            let all: Vec<Meant> = required.iter().map(|term| Meant::of(term, own)).collect();
            demands.company = (!all.is_empty()).then_some(Query { all, living_only: false });
            let preferred = near.preferred_during_scheduling_ignored_during_execution.as_deref();
            demands.preferred.extend(weighted(preferred, own, 1));
        }
        if let Some(apart) = apart {
            let required = apart.required_during_scheduling_ignored_during_execution.as_deref();
            demands.apart = required.unwrap_or_default().iter().map(|one| term(one, own)).collect();
            let preferred = apart.preferred_during_scheduling_ignored_during_execution.as_deref();
            demands.preferred.extend(weighted(preferred, own, -1));
        }
        let rules = spec.topology_spread_constraints.iter().flatten();
        demands.spread = rules.map(|rule| spreading(rule, pod, namespaces)).collect();
        demands
    }

    /// Every question that deciding about the pod will ask, with the topologies it is asked in.
    pub(crate) fn questions(&self) -> Vec<(&Query, &str)> {
        let company = self.company.iter().flat_map(|query| self.near.iter().map(move |key| (query, &**key)));
        let apart = self.apart.iter().map(|term| (&term.pods, &*term.topology));
        let preferred = self.preferred.iter().map(|(_, term)| (&term.pods, &*term.topology));
        let spread = self.spread.iter().map(|rule| (&rule.pods, &*rule.topology));
        company.chain(apart).chain(preferred).chain(spread).collect()
    }
}

/// The terms of a placed pod that others have to mind, each with what it means for them.
pub(crate) fn held_by(pod: &Pod) -> Vec<(Role, Term)> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let Some(affinity) = affinity else { return Vec::new() };
    let own = namespace(pod);
    let mut held = Vec::new();
    if let Some(near) = &affinity.pod_affinity {
        let required = near.required_during_scheduling_ignored_during_execution.iter().flatten();
        held.extend(required.map(|one| (Role::Weighs(REQUIRED_AFFINITY_WEIGHT), term(one, own))));
        let preferred = near.preferred_during_scheduling_ignored_during_execution.as_deref();
        held.extend(weighted(preferred, own, 1).map(|(weight, term)| (Role::Weighs(weight), term)));
    }
    if let Some(apart) = &affinity.pod_anti_affinity {
        let required = apart.required_during_scheduling_ignored_during_execution.iter().flatten();
        held.extend(required.map(|one| (Role::Forbids, term(one, own))));
        let preferred = apart.preferred_during_scheduling_ignored_during_execution.as_deref();
        held.extend(weighted(preferred, own, -1).map(|(weight, term)| (Role::Weighs(weight), term)));
    }
    held
}

fn weighted(
    terms: Option<&[WeightedPodAffinityTerm]>,
    namespace: &str,
    sign: i64,
) -> impl Iterator<Item = (i64, Term)> {
    let terms = terms.unwrap_or_default().iter();
    terms.map(move |one| (sign * i64::from(one.weight), term(&one.pod_affinity_term, namespace)))
}

fn term(term: &PodAffinityTerm, namespace: &str) -> Term {
    let pods = Query { all: vec![Meant::of(term, namespace)], living_only: false };
    Term { topology: term.topology_key.clone(), pods }
}

fn spreading(rule: &TopologySpreadConstraint, pod: &Pod, namespaces: &Namespaces) -> Spreading {
    let own = labels(pod);
    let mut chosen = selector(rule.label_selector.as_ref());
    let keys = rule.match_label_keys.iter().flatten();
    let shared: Labels =
        keys.filter_map(|key| own.get(key).map(|value| (key.clone(), value.clone()))).collect();
    if !shared.is_empty() && !chosen.is_nothing() {
        let mut all = Selector::from_labels(&shared).requirements().to_vec();
        all.extend(chosen.requirements().iter().cloned());
        chosen = Selector::all_of(all);
    }
    let meant = Meant {
        namespaces: BTreeSet::from([namespace(pod).to_owned()]),
        by_their_labels: Selector::nothing(),
        labels: chosen,
    };
    let counts_own = meant.holds(namespace(pod), own, namespaces);
    Spreading {
        topology: rule.topology_key.clone(),
        pods: Query { all: vec![meant], living_only: true },
        skew_max: rule.max_skew.into(),
        domains_min: rule.min_domains.and_then(|least| usize::try_from(least).ok()).unwrap_or(1),
        is_required: rule.when_unsatisfiable != "ScheduleAnyway",
        counts_own,
        honours_affinity: rule.node_affinity_policy.as_deref() != Some("Ignore"),
        honours_taints: rule.node_taints_policy.as_deref() == Some("Honor"),
    }
}

/// A selector that an object carries: none means nothing, and so does one that cannot be read, which
/// validation refuses.
fn selector(selector: Option<&LabelSelector>) -> Selector {
    let read = |selector| Selector::from_label_selector(selector).unwrap_or_else(|_| Selector::nothing());
    selector.map_or_else(Selector::nothing, read)
}

/// A pod's labels.
pub(crate) fn labels(pod: &Pod) -> &Labels {
    static NONE: Labels = Labels::new();
    pod.metadata.labels.as_ref().unwrap_or(&NONE)
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}
