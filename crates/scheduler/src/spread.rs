//! Topology spread: how evenly the pods of a group are over the domains of a topology.
//!
//! A required rule refuses nodes in whose domain there would be too many more than in the emptiest; the
//! others make a difference to the score. Domains are those of the nodes that a rule looks at, gathered once
//! a decision from the counts by node that [`crate::neighbours`] keeps.

use std::borrow::Cow;
use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, PodSpec};

use crate::filters::{Candidate, Cause, Refusal};
use crate::neighbours::{Neighbours, Tally};
use crate::selection;
use crate::terms::{Demands, Spreading};

const HOSTNAME: &str = "kubernetes.io/hostname";

/// What the required rules say about one pod, on whatever node.
pub(crate) struct Spread<'a> {
    neighbours: &'a Neighbours,
    rules: Vec<Required<'a>>,
}

struct Required<'a> {
    rule: &'a Spreading,
    domains: HashMap<&'a str, i64>,
    emptiest: Emptiest<'a>,
}

/// The two domains with the fewest pods: one is left when the other one's count is supposed to differ.
#[derive(Default)]
struct Emptiest<'a>([Option<(i64, &'a str)>; 2]);

impl<'a> Emptiest<'a> {
    fn of(domains: &HashMap<&'a str, i64>) -> Emptiest<'a> {
        let mut found = Emptiest::default();
        for (value, count) in domains {
            let mut next = Some((*count, *value));
            for place in &mut found.0 {
                if place.is_none_or(|held| next.is_some_and(|next| next < held)) {
                    std::mem::swap(place, &mut next);
                }
            }
        }
        found
    }

    fn besides(&self, value: &str) -> Option<i64> {
        self.0.iter().flatten().find(|(_, other)| *other != value).map(|(count, _)| *count)
    }
}

impl<'a> Spread<'a> {
    pub(crate) fn of(
        neighbours: &'a Neighbours,
        spec: &PodSpec,
        demands: &'a Demands,
        nodes: impl Iterator<Item = &'a Node>,
    ) -> Spread<'a> {
        let rules: Vec<&Spreading> = demands.spread.iter().filter(|rule| rule.is_required).collect();
        if rules.is_empty() {
            return Spread { neighbours, rules: Vec::new() };
        }
        let tallies: Vec<&Tally> = rules.iter().map(|rule| neighbours.answer(&rule.pods)).collect();
        let mut domains: Vec<HashMap<&str, i64>> = rules.iter().map(|_| HashMap::new()).collect();
        for node in nodes {
            let labels = selection::labels(node);
            if !rules.iter().all(|rule| labels.contains_key(&rule.topology)) {
                continue;
            }
            for (index, rule) in rules.iter().enumerate() {
                if looks_at(rule, spec, node) {
                    let count = domains[index].entry(&labels[&rule.topology]).or_default();
                    *count += tallies[index].on(selection::name(node));
                }
            }
        }
        let required = rules.into_iter().zip(domains).map(|(rule, domains)| {
            let emptiest = Emptiest::of(&domains);
            Required { rule, domains, emptiest }
        });
        Spread { neighbours, rules: required.collect() }
    }

    /// Why the pod cannot be on a node.
    pub(crate) fn refuse(&self, candidate: &Candidate<'_>) -> Option<Refusal> {
        let labels = selection::labels(candidate.node);
        for required in &self.rules {
            let rule = required.rule;
            let refused = |is_final, reason| {
                Some(Refusal { cause: Cause::Neighbours, is_final, reasons: vec![Cow::Borrowed(reason)] })
            };
            let Some(value) = labels.get(&rule.topology) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return refused(true, reason);
            };
            let difference = candidate.supposed.difference(&rule.pods, self.neighbours);
            let here = required.domains.get(&**value).copied().unwrap_or_default() + difference;
            if here + i64::from(rule.counts_own) - required.least(value, here) > rule.skew_max {
                return refused(false, "node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }
}

impl Required<'_> {
    /// How many are in the emptiest domain, if there are `here` in this one.
    fn least(&self, value: &str, here: i64) -> i64 {
        if self.domains.len() < self.rule.domains_min {
            return 0;
        }
        let others = self.emptiest.besides(value);
        if self.domains.contains_key(value) {
            others.map_or(here, |others| others.min(here))
        } else {
            others.unwrap_or(0)
        }
    }
}

/// True when a rule looks at a node's pods at all.
fn looks_at(rule: &Spreading, spec: &PodSpec, node: &Node) -> bool {
    (!rule.honours_affinity || selection::is_selected(spec, node))
        && (!rule.honours_taints
            || selection::untolerated(spec, node, &["NoSchedule", "NoExecute"]).is_none())
}

/// How evenly the pod's group would be spread, for each of some nodes: 100 for the best.
pub(crate) fn scores<'a>(
    neighbours: &Neighbours,
    spec: &PodSpec,
    demands: &Demands,
    found: &[&'a Node],
    all: impl Iterator<Item = &'a Node>,
) -> Option<Vec<i64>> {
    let rules: Vec<&Spreading> = demands.spread.iter().filter(|rule| !rule.is_required).collect();
    if rules.is_empty() {
        return None;
    }
    let is_labelled =
        |node: &Node| rules.iter().all(|rule| selection::labels(node).contains_key(&rule.topology));
    let mut domains: Vec<HashMap<&str, i64>> = rules.iter().map(|_| HashMap::new()).collect();
    for node in found.iter().filter(|node| is_labelled(node)) {
        for (index, rule) in rules.iter().enumerate() {
            domains[index].insert(&selection::labels(node)[&rule.topology], 0);
        }
    }
    for node in all.filter(|node| is_labelled(node)) {
        for (index, rule) in rules.iter().enumerate() {
            let count = domains[index].get_mut(&*selection::labels(node)[&rule.topology]);
            // What is on one host is counted where it is asked for, whatever the rule looks at.
            if let Some(count) = count
                && (rule.topology == HOSTNAME || looks_at(rule, spec, node))
            {
                *count += neighbours.answer(&rule.pods).on(selection::name(node));
            }
        }
    }
    let raw: Vec<Option<i64>> = found
        .iter()
        .map(|node| {
            let sum = |(rule, domains): (&&Spreading, &HashMap<&str, i64>)| {
                weight(domains[&*selection::labels(node)[&rule.topology]], domains.len(), rule.skew_max)
            };
            is_labelled(node).then(|| rounded(rules.iter().zip(&domains).map(sum).sum()))
        })
        .collect();
    Some(normalized(&raw))
}

/// How much the pods of a domain weigh: in a topology of many domains more, since a pod is a larger part
/// of what one of them has.
#[expect(clippy::cast_precision_loss, reason = "counts of pods and nodes are far below 2^52")]
fn weight(count: i64, domains: usize, skew_max: i64) -> f64 {
    (count as f64).mul_add(((domains + 2) as f64).ln(), (skew_max - 1) as f64)
}

#[expect(clippy::cast_possible_truncation, reason = "a weight is a few times a count of pods")]
fn rounded(weight: f64) -> i64 {
    weight.round() as i64
}

/// The lightest gets 100; nodes without the labels get nothing.
fn normalized(raw: &[Option<i64>]) -> Vec<i64> {
    let most = raw.iter().flatten().copied().max().unwrap_or_default();
    let least = raw.iter().flatten().copied().min().unwrap_or_default();
    let normal = |one: &Option<i64>| match one {
        None => 0,
        Some(_) if most == 0 => 100,
        Some(one) => 100 * (most + least - one) / most,
    };
    raw.iter().map(normal).collect()
}
