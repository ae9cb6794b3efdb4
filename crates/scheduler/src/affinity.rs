//! Pod affinity and anti-affinity: which nodes are near enough to, or far enough from, other pods.
//!
//! Both ways: what the pod asks of those that are there, and what those that are there ask of it. Everything
//! is looked up in counts that [`crate::neighbours`] keeps; a node costs a look-up for each term.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Pod;

use crate::filters::{Candidate, Cause, Refusal};
use crate::neighbours::{Neighbours, Tally};
use crate::selection;
use crate::terms::{self, Demands, Labels, Query, Role, Term};

/// What affinity says about one pod, on whatever node.
pub(crate) struct Affinity<'a> {
    neighbours: &'a Neighbours,
    pod: &'a Pod,
    demands: &'a Demands,
    company: Option<(&'a Query, &'a Tally)>,
    apart: Vec<(&'a Term, &'a Tally)>,
    /// What placed pods forbid to this one.
    forbidden: Vec<(&'a Term, &'a Tally)>,
    /// What is preferred by the pod or by placed ones: weight, topology, pods.
    weights: Vec<(i64, &'a str, &'a Tally)>,
}

/// Pods of one node that are supposed to be gone, or to be there: what if.
#[derive(Clone, Copy, Default)]
pub struct Supposed<'a> {
    /// Placed pods that are not counted.
    pub gone: &'a [&'a Pod],
    /// Pods that are counted although they have no place.
    pub come: &'a [&'a Pod],
}

impl Supposed<'_> {
    /// By how much the count of the pods that a question means differs.
    pub(crate) fn difference(&self, query: &Query, neighbours: &Neighbours) -> i64 {
        let meant =
            |pods: &[&Pod]| pods.iter().filter(|pod| query.holds(pod, neighbours.namespaces())).count();
        let count = |pods| i64::try_from(meant(pods)).expect("a node has fewer pods");
        count(self.come) - count(self.gone)
    }
}

impl<'a> Affinity<'a> {
    pub(crate) fn of(neighbours: &'a Neighbours, pod: &'a Pod, demands: &'a Demands) -> Affinity<'a> {
        let answered = |term: &'a Term| (term, neighbours.answer(&term.pods));
        let preferred = demands.preferred.iter();
        let mut weights: Vec<(i64, &str, &Tally)> = preferred
            .map(|(weight, term)| (*weight, &*term.topology, neighbours.answer(&term.pods)))
            .collect();
        let mut forbidden = Vec::new();
        for (role, term, tally) in neighbours.about(pod) {
            match role {
                Role::Forbids => forbidden.push((term, tally)),
                Role::Weighs(weight) => weights.push((weight, &term.topology, tally)),
            }
        }
        Affinity {
            neighbours,
            pod,
            demands,
            company: demands.company.as_ref().map(|query| (query, neighbours.answer(query))),
            apart: demands.apart.iter().map(answered).collect(),
            forbidden,
            weights,
        }
    }

    /// Why the pod cannot be on a node.
    pub(crate) fn refuse(&self, candidate: &Candidate<'_>) -> Option<Refusal> {
        let labels = selection::labels(candidate.node);
        let refused = |is_final, reason| {
            Some(Refusal { cause: Cause::Neighbours, is_final, reasons: vec![Cow::Borrowed(reason)] })
        };
        if !self.has_company(labels, &candidate.supposed) {
            return refused(true, "node(s) didn't match pod affinity rules");
        }
        if !self.is_apart(labels, &candidate.supposed) {
            return refused(false, "node(s) didn't match pod anti-affinity rules");
        }
        if !self.is_welcome(labels, &candidate.supposed) {
            return refused(false, "node(s) didn't satisfy existing pods anti-affinity rules");
        }
        None
    }

    fn has_company(&self, labels: &Labels, supposed: &Supposed<'_>) -> bool {
        let Some((query, tally)) = self.company else { return true };
        let difference = supposed.difference(query, self.neighbours);
        let values: Option<Vec<(&String, &String)>> =
            self.demands.near.iter().map(|key| labels.get(key).map(|value| (key, value))).collect();
        let Some(values) = values else { return false };
        if values.iter().all(|(key, value)| tally.within(key, value) + difference > 0) {
            return true;
        }
        // The first pod of a group that wants to be together has nobody to join.
        query.holds(self.pod, self.neighbours.namespaces())
            && self.demands.near.iter().all(|key| tally.total(key) + difference == 0)
    }

    fn is_apart(&self, labels: &Labels, supposed: &Supposed<'_>) -> bool {
        self.apart.iter().all(|(term, tally)| {
            let Some(value) = labels.get(&term.topology) else { return true };
            tally.within(&term.topology, value) + supposed.difference(&term.pods, self.neighbours) <= 0
        })
    }

    fn is_welcome(&self, labels: &Labels, supposed: &Supposed<'_>) -> bool {
        let forbids = |pod: &Pod, is_this: &dyn Fn(&Term) -> bool| {
            let held = terms::held_by(pod).into_iter();
            let count = held.filter(|(role, term)| *role == Role::Forbids && is_this(term)).count();
            i64::try_from(count).expect("a pod has few terms")
        };
        let is_known_to_forbid = self.forbidden.iter().any(|(term, tally)| {
            let Some(value) = labels.get(&term.topology) else { return false };
            let gone = supposed.gone.iter().map(|pod| forbids(pod, &|other| other == *term)).sum::<i64>();
            tally.within(&term.topology, value) - gone > 0
        });
        let namespaces = self.neighbours.namespaces();
        let means_this =
            |term: &Term| labels.contains_key(&term.topology) && term.pods.holds(self.pod, namespaces);
        !is_known_to_forbid && !supposed.come.iter().any(|pod| forbids(pod, &means_this) > 0)
    }

    /// How much is to be said for a node; any number, to be compared with that of others.
    pub(crate) fn score(&self, labels: &Labels) -> i64 {
        let weighs = |(weight, topology, tally): &(i64, &str, &Tally)| {
            labels.get(*topology).map_or(0, |value| weight * tally.within(topology, value))
        };
        self.weights.iter().map(weighs).sum()
    }
}
