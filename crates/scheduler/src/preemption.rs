//! Preemption: room for an important pod that fits nowhere, by removing less important ones from one node.
//!
//! Pure. On each node where removing pods can help all less important ones are supposed gone; if the pod fits
//! then, as many as possible are taken back, those first whose going would break a disruption budget, and of
//! each the most important first. The rest are the victims, and the node where they cost least is chosen, as
//! upstream counts costs. Nothing here removes anybody: [`crate::execute`] does.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use model::{meta, pod};
use reconcile::runner::ObjectKey;

use crate::affinity::Supposed;
use crate::filters::{self, Candidate, Refusal, Subject};
use crate::request::Request;
use crate::selection;
use crate::view::{Machine, Taken, Tenant, View, priority};

/// Why a pod was removed for another, in its condition.
pub const REASON: &str = "PreemptionByScheduler";
/// Nodes that are tried at least, and in a large cluster the share that is: upstream's defaults.
const TRIED_MIN: usize = 100;
const TRIED_PERCENT: usize = 10;
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// What may be done for a pod that fits nowhere.
pub(crate) enum Preemption {
    /// These have to go from this node, the most important first.
    Of(Sacrifice),
    /// Others are going already.
    Awaited,
    /// It may not have others removed; the text says why.
    NotEligible(&'static str),
    /// It would not help; the text says why.
    InVain(String),
}

/// Pods that have to go.
pub(crate) struct Sacrifice {
    pub(crate) node: String,
    pub(crate) victims: Vec<Arc<Pod>>,
    /// How many budgets' words are broken.
    broken: usize,
}

/// Looks for room. `refusals` says of every node why it will not do.
pub(crate) fn find(
    subject: &Subject<'_>,
    key: &ObjectKey,
    refusals: &[(&str, Refusal)],
    nominated: Option<&str>,
) -> Preemption {
    if subject.spec.preemption_policy.as_deref() == Some("Never") {
        return Preemption::NotEligible("not eligible due to preemptionPolicy=Never.");
    }
    let own = priority(subject.pod);
    if let Some(node) = nominated
        && refusals.iter().any(|(name, refusal)| *name == node && !refusal.is_final)
        && subject.view.tenants(node).any(|tenant| priority(tenant.pod) < own && is_going(tenant.pod))
    {
        return Preemption::Awaited;
    }
    let open: Vec<&str> =
        refusals.iter().filter(|(_, refusal)| !refusal.is_final).map(|(name, _)| *name).collect();
    let enough = (refusals.len() * TRIED_PERCENT / 100).max(TRIED_MIN);
    let mut found: Vec<Sacrifice> = Vec::new();
    let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    for name in &open {
        if found.len() >= enough && found.iter().any(|one| one.broken == 0) {
            break;
        }
        let Some(machine) = subject.view.machine(name) else { continue };
        match on(subject, key, machine) {
            Ok(sacrifice) => found.push(sacrifice),
            Err(why) => why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1),
        }
    }
    if let Some(cheapest) = cheapest(found) {
        return Preemption::Of(cheapest);
    }
    let hopeless = refusals.len() - open.len();
    if hopeless > 0 {
        reasons.insert(NOT_HELPFUL.into(), hopeless);
    }
    Preemption::InVain(available(refusals.len(), &reasons))
}

/// What is said where removing pods cannot help on any of the nodes.
pub(crate) fn not_helpful(nodes: usize) -> String {
    available(nodes, &BTreeMap::from([(NOT_HELPFUL.into(), nodes)]))
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`, sorted as upstream does.
pub(crate) fn available(nodes: usize, reasons: &BTreeMap<Cow<'_, str>, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// True when a pod fits on a node, both with those there that others of its rank or above were promised room
/// for, and without them.
pub(crate) fn fits(
    subject: &Subject<'_>,
    key: &ObjectKey,
    machine: &Machine,
    taken: &Taken,
    gone: &[&Pod],
) -> Result<(), Refusal> {
    let name = selection::name(&machine.node);
    let check = |taken: &Taken, come: &[&Pod]| {
        let (node, allocatable) = (&*machine.node, &machine.allocatable);
        let supposed = Supposed { gone, come };
        filters::refuse(&Candidate { subject, node, allocatable, taken, supposed }).map_or(Ok(()), Err)
    };
    let guests = subject.view.guests(name, priority(subject.pod), key);
    if !guests.is_empty() {
        let mut with_guests = taken.clone();
        guests.iter().for_each(|guest| with_guests.add(&Request::of(guest)));
        check(&with_guests, &guests)?;
    }
    check(taken, &[])
}

/// Who would have to go from one node; an error says why it would not help.
fn on(
    subject: &Subject<'_>,
    key: &ObjectKey,
    machine: &Machine,
) -> Result<Sacrifice, Vec<Cow<'static, str>>> {
    let name = selection::name(&machine.node);
    let own = priority(subject.pod);
    let mut less: Vec<Tenant<'_>> =
        subject.view.tenants(name).filter(|tenant| priority(tenant.pod) < own).collect();
    if less.is_empty() {
        return Err(vec![NO_VICTIMS.into()]);
    }
    less.sort_by_key(|tenant| importance(tenant.pod));
    let mut taken = subject.view.taken(name).clone();
    less.iter().for_each(|tenant| taken.take_off(tenant.request));
    let mut gone: Vec<&Pod> = less.iter().map(|tenant| &**tenant.pod).collect();
    fits(subject, key, machine, &taken, &gone).map_err(|refusal| refusal.reasons)?;
    let breaking = breaking(subject.view, &less);
    let (mut victims, mut broken) = (Vec::new(), 0);
    for is_breaking in [true, false] {
        for (tenant, _) in less.iter().zip(&breaking).filter(|(_, breaks)| **breaks == is_breaking) {
            let pod: &Pod = tenant.pod;
            taken.add(tenant.request);
            gone.retain(|other| !std::ptr::eq(*other, pod));
            if fits(subject, key, machine, &taken, &gone).is_ok() {
                continue;
            }
            taken.take_off(tenant.request);
            gone.push(pod);
            victims.push(Arc::clone(tenant.pod));
            broken += usize::from(is_breaking);
        }
    }
    if victims.is_empty() {
        return Err(vec![NO_VICTIMS.into()]);
    }
    victims.sort_by_key(|pod| importance(pod));
    Ok(Sacrifice { node: name.to_owned(), victims, broken })
}

/// Of each of these pods, the most important first, whether its going breaks a budget.
fn breaking(view: &View, pods: &[Tenant<'_>]) -> Vec<bool> {
    let mut left: BTreeMap<ObjectKey, i32> = BTreeMap::new();
    let breaks = |tenant: &Tenant<'_>| {
        let mut breaks = false;
        let name = tenant.pod.metadata.name.as_deref().unwrap_or_default();
        for (key, budget) in view.budgets(tenant.pod) {
            let status = budget.status.as_ref();
            // One that the API has counted already does not count again.
            let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
            if disrupted.is_some_and(|disrupted| disrupted.contains_key(name)) {
                continue;
            }
            let allowed = status.and_then(|status| status.disruptions_allowed).unwrap_or_default();
            let left = left.entry(key.clone()).or_insert(allowed);
            *left -= 1;
            breaks |= *left < 0;
        }
        breaks
    };
    pods.iter().map(breaks).collect()
}

/// The node where it costs least: fewest broken budgets, the least important of the most important victims,
/// the lowest sum of priorities, the fewest victims, those that were started last; then the first by name.
fn cheapest(found: Vec<Sacrifice>) -> Option<Sacrifice> {
    let cost = |one: &Sacrifice| {
        let highest = one.victims.first().map(|pod| priority(pod));
        // Moved above zero, so that many pods below zero cost more than few.
        let moved = |pod: &Arc<Pod>| priority(pod) + i64::from(i32::MAX) + 1;
        let sum: i64 = one.victims.iter().map(moved).sum();
        let highest_ones = one.victims.iter().filter(|pod| Some(priority(pod)) == highest);
        let earliest = highest_ones.map(|pod| started(pod)).min();
        (one.broken, highest, sum, one.victims.len(), Reverse(earliest), one.node.clone())
    };
    found.into_iter().min_by_key(cost)
}

/// Sorts the most important pod first; of equals the one that was started first.
fn importance(pod: &Pod) -> (Reverse<i64>, Timestamp) {
    (Reverse(priority(pod)), started(pod))
}

fn started(pod: &Pod) -> Timestamp {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    started.map_or(Timestamp::MAX, |time| time.0)
}

/// True when a pod is on its way because of a preemption.
fn is_going(victim: &Pod) -> bool {
    meta::is_terminating(&victim.metadata)
        && pod::condition(victim, "DisruptionTarget")
            .is_some_and(|one| one.status == "True" && one.reason.as_deref() == Some(REASON))
}
