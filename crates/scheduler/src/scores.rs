//! The scores: which of the nodes that will do is best, 0 to 100 each.

use crate::filters::Candidate;
use crate::request::parse;
use crate::selection;
use crate::supply::{self, Source};

/// A score.
pub struct Score {
    /// Its name, upstream's where there is one.
    pub name: &'static str,
    /// How much it counts.
    pub weight: i64,
    /// 0 for the worst, 100 for the best.
    pub score: fn(&Candidate<'_>) -> i64,
}

/// The scores, with upstream's default weights; volumes that are there count
/// more than there, since somebody has made them for this.
pub const SCORES: &[Score] = &[
    Score { name: "NodeResourcesFit", weight: 1, score: least_allocated },
    Score { name: "NodeAffinity", weight: 2, score: preferred },
    Score { name: "TaintToleration", weight: 3, score: untainted },
    Score { name: "VolumeBinding", weight: 2, score: volumes_there },
];

/// The sum of all scores.
pub fn total(candidate: &Candidate<'_>) -> i64 {
    SCORES.iter().map(|score| score.weight * (score.score)(candidate)).sum()
}

/// The emptier, the better: the mean over cpu and memory of what stays free, and over pods, so that pods
/// that ask for nothing spread too.
fn least_allocated(candidate: &Candidate<'_>) -> i64 {
    let status = candidate.node.status.as_ref();
    let allocatable = parse(status.and_then(|status| status.allocatable.as_ref()));
    let free = |name: &str, used: i64| {
        let all = allocatable.get(name).copied().unwrap_or_default();
        if all <= 0 { 0 } else { (all - used).max(0).saturating_mul(100) / all }
    };
    let used = |name: &str| {
        let taken = candidate.taken.amounts.get(name).copied().unwrap_or_default();
        taken + candidate.request.amounts.get(name).copied().unwrap_or_default()
    };
    (free("cpu", used("cpu")) + free("memory", used("memory")) + free("pods", candidate.taken.pods + 1)) / 3
}

/// The share of the preferred node affinity's weight that this node has.
fn preferred(candidate: &Candidate<'_>) -> i64 {
    let affinity = candidate.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default();
    let sum = |weights: &mut dyn Iterator<Item = i32>| weights.map(i64::from).sum::<i64>();
    let all = sum(&mut terms.iter().map(|term| term.weight));
    let here = sum(&mut terms
        .iter()
        .filter(|term| selection::term_matches(&term.preference, candidate.node))
        .map(|term| term.weight));
    if all == 0 { 0 } else { 100 * here / all }
}

/// The share of the claims that wait for which there is a volume, so that none is made in vain.
fn volumes_there(candidate: &Candidate<'_>) -> i64 {
    let sources = supply::sources(&candidate.claims.open, candidate.node).unwrap_or_default();
    let there = sources.iter().filter(|(_, source)| matches!(source, Source::Volume(_))).count();
    let share = there.saturating_mul(100).checked_div(sources.len()).unwrap_or_default();
    i64::try_from(share).expect("a share of a hundred")
}

fn untainted(candidate: &Candidate<'_>) -> i64 {
    match selection::untolerated(candidate.spec, candidate.node, &["PreferNoSchedule"]) {
        None => 100,
        Some(_) => 0,
    }
}
