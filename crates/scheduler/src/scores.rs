//! The scores: which of the nodes that will do is best.
//!
//! Each score is counted for a node by itself and then put between 0 and 100 by looking at all of them, as
//! upstream does.

use k8s_openapi::api::core::v1::Node;

use crate::filters::{Candidate, Subject};
use crate::request::Amounts;
use crate::selection;
use crate::spread;
use crate::supply::{self, Source};
use crate::terms::Demands;

/// A score.
pub struct Score {
    /// Its name, upstream's where there is one.
    pub name: &'static str,
    /// How much it counts.
    pub weight: i64,
    /// What it counts of a node.
    pub count: fn(&Candidate<'_>) -> i64,
    /// How the counts of all nodes become 0 for the worst and 100 for the best.
    pub scale: fn(&mut [i64]),
}

/// The scores, with upstream's default weights; volumes that are there count
/// more than there, since somebody has made them for this.
pub const SCORES: &[Score] = &[
    Score { name: "NodeResourcesFit", weight: 1, count: least_allocated, scale: |_| {} },
    Score { name: "NodeAffinity", weight: 2, count: preferred, scale: by_most },
    Score { name: "TaintToleration", weight: 3, count: tainted, scale: by_least },
    Score { name: "VolumeBinding", weight: 2, count: volumes_there, scale: |_| {} },
    Score { name: "InterPodAffinity", weight: 2, count: neighbours, scale: by_range },
];
/// The same for spread, which looks at all nodes from the beginning.
const SPREAD_WEIGHT: i64 = 2;

/// What each score counts of a node.
pub type Counts = [i64; 5];

/// Counts.
pub fn counts(candidate: &Candidate<'_>) -> Counts {
    let mut counts = Counts::default();
    for (count, score) in counts.iter_mut().zip(SCORES) {
        *count = (score.count)(candidate);
    }
    counts
}

/// The sum of the scores of each of some nodes.
pub(crate) fn totals(subject: &Subject<'_>, demands: &Demands, nodes: &[(&Node, Counts)]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    for (index, score) in SCORES.iter().enumerate() {
        let mut counts: Vec<i64> = nodes.iter().map(|(_, counts)| counts[index]).collect();
        (score.scale)(&mut counts);
        for (total, scaled) in totals.iter_mut().zip(&counts) {
            *total += score.weight * scaled;
        }
    }
    let found: Vec<&Node> = nodes.iter().map(|(node, _)| *node).collect();
    let all = subject.view.machines().map(|machine| &*machine.node);
    let spread = spread::scores(subject.view.neighbours(), subject.spec, demands, &found, all);
    for (total, score) in totals.iter_mut().zip(spread.iter().flatten()) {
        *total += SPREAD_WEIGHT * score;
    }
    totals
}

/// 100 for the highest, in proportion for the others.
fn by_most(counts: &mut [i64]) {
    let most = counts.iter().copied().max().unwrap_or_default();
    if most > 0 {
        counts.iter_mut().for_each(|count| *count = 100 * *count / most);
    }
}

/// The other way round: 100 for nothing.
fn by_least(counts: &mut [i64]) {
    by_most(counts);
    counts.iter_mut().for_each(|count| *count = 100 - *count);
}

/// 0 for the lowest, which may be below zero, and 100 for the highest.
fn by_range(counts: &mut [i64]) {
    let most = counts.iter().copied().max().unwrap_or_default();
    let least = counts.iter().copied().min().unwrap_or_default();
    let range = most - least;
    counts.iter_mut().for_each(|count| *count = if range > 0 { 100 * (*count - least) / range } else { 0 });
}

/// The emptier, the better: the mean over cpu and memory of what stays free, and over pods, so that pods
/// that ask for nothing spread too.
fn least_allocated(candidate: &Candidate<'_>) -> i64 {
    let amount = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or_default();
    let free = |name: &str, used: i64| {
        let all = amount(candidate.allocatable, name);
        if all <= 0 { 0 } else { (all - used).max(0).saturating_mul(100) / all }
    };
    let used = |name: &str| {
        amount(&candidate.taken.amounts, name) + amount(&candidate.subject.request.amounts, name)
    };
    (free("cpu", used("cpu")) + free("memory", used("memory")) + free("pods", candidate.taken.pods + 1)) / 3
}

/// The weight of the preferred node affinity that this node has.
fn preferred(candidate: &Candidate<'_>) -> i64 {
    let affinity = candidate.subject.spec.affinity.as_ref();
    let terms = affinity
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default();
    terms
        .iter()
        .filter(|term| selection::term_matches(&term.preference, candidate.node))
        .map(|term| i64::from(term.weight))
        .sum()
}

/// The share of the claims that wait for which there is a volume, so that none is made in vain.
fn volumes_there(candidate: &Candidate<'_>) -> i64 {
    let sources = supply::sources(&candidate.subject.claims.open, candidate.node).unwrap_or_default();
    let there = sources.iter().filter(|(_, source)| matches!(source, Source::Volume(_))).count();
    let share = there.saturating_mul(100).checked_div(sources.len()).unwrap_or_default();
    i64::try_from(share).expect("a share of a hundred")
}

/// How many taints would rather not have the pod.
fn tainted(candidate: &Candidate<'_>) -> i64 {
    let taints = candidate.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let avoids = taints.filter(|taint| {
        taint.effect == "PreferNoSchedule" && !selection::is_tolerated(candidate.subject.spec, taint)
    });
    i64::try_from(avoids.count()).expect("a node has few taints")
}

/// What is to be said for the pods nearby, and against them.
fn neighbours(candidate: &Candidate<'_>) -> i64 {
    candidate.subject.affinity.score(selection::labels(candidate.node))
}
