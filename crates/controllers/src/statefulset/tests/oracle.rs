//! A second, naive statement of what one decision about a set may do, written from the facts of upstream's
//! behaviour alone; it remembers nothing and is slow. It must never call the plan or what that is made of:
//! what shares code shares mistakes. Read next: [`super::differential`], which compares it with the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// One thing that is done to the pod or to the claim of an ordinal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Adopt(i32),
    Release(i32),
    /// Make the pod from this version of the template.
    Create(i32, String),
    Delete(i32),
    Repair(i32),
    /// Make the claim with these owners.
    MakeClaim(i32, Vec<String>),
    /// Give the claim these owners, and no others.
    Own(i32, Vec<String>),
}

/// What a decision must do, and what it may do besides.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) must: BTreeSet<Action>,
    pub(super) may: BTreeSet<Action>,
}

/// A pod, as far as a decision looks at it.
pub(super) struct PodFacts {
    pub(super) uid: String,
    pub(super) phase: String,
    pub(super) ready_since: Option<Timestamp>,
    /// It was ready at some time since it was made.
    pub(super) was_ready: bool,
    pub(super) is_terminating: bool,
    /// The version of the template that it was made from.
    pub(super) version: String,
    /// The uid of its controller.
    pub(super) owner: Option<String>,
    /// The selector matches its labels.
    pub(super) is_selected: bool,
    /// One of its name ended before, so that its replacement may be put off.
    pub(super) ended_before: bool,
}

/// A claim: whether it is being deleted, and its owners.
pub(super) type ClaimFacts = (bool, Vec<OwnerReference>);

/// All that the oracle is told about the set `web`, whose pods have one claim each.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) uid: String,
    /// From `ordinals.start`, as many as `replicas`.
    pub(super) range: Range<i32>,
    pub(super) min_ready: SignedDuration,
    /// `OrderedReady`.
    pub(super) is_ordered: bool,
    /// `updateStrategy`: `RollingUpdate` with this partition, or else `OnDelete`.
    pub(super) partition: Option<i32>,
    pub(super) max_unavailable: Option<IntOrString>,
    /// `persistentVolumeClaimRetentionPolicy`: `whenScaled` and `whenDeleted` are `Delete`.
    pub(super) deletes: (bool, bool),
    /// The version of the template that the set has, and the one that its status calls current.
    pub(super) update: String,
    pub(super) current: String,
    /// True where a broken rollout is left alone, as upstream leaves it.
    pub(super) is_strict: bool,
    pub(super) pods: BTreeMap<i32, PodFacts>,
    pub(super) claims: BTreeMap<i32, ClaimFacts>,
}

type Members<'a> = BTreeMap<i32, &'a PodFacts>;

/// An owner in a word; `!` is the controller.
pub(super) fn owner_text(owner: &OwnerReference) -> String {
    let controller = if owner.controller == Some(true) { "!" } else { "" };
    format!("{}/{}/{}{controller}", owner.kind, owner.name, owner.uid)
}

impl Facts {
    fn is_healthy(&self, pod: &PodFacts) -> bool {
        let is_available = pod.ready_since.is_some_and(|since| since + self.min_ready <= self.now);
        pod.phase == "Running" && is_available && !pod.is_terminating
    }

    fn is_kept_back(&self, ordinal: i32) -> bool {
        self.partition.is_some_and(|partition| ordinal - self.range.start < partition)
    }

    /// The version that a missing pod is made from.
    fn version_for(&self, ordinal: i32) -> &str {
        if self.is_kept_back(ordinal) { &self.current } else { &self.update }
    }

    fn max_unavailable(&self) -> i32 {
        match &self.max_unavailable {
            None => 1,
            Some(IntOrString::Int(number)) => (*number).max(1),
            Some(IntOrString::String(text)) => {
                let percent: i32 = text.trim_end_matches('%').parse().unwrap();
                (self.range.len() as i32 * percent / 100).max(1)
            }
        }
    }

    /// The owners that a claim should have; `None` where it is left as it is.
    fn owners_wanted(
        &self,
        ordinal: i32,
        pod: Option<&PodFacts>,
        has: &[OwnerReference],
    ) -> Option<Vec<String>> {
        let pod_name = format!("web-{ordinal}");
        let pod_uid = pod.map(|pod| &*pod.uid);
        let is_set = |owner: &OwnerReference| owner.kind == "StatefulSet" && owner.name == "web";
        let is_pod = |owner: &OwnerReference| owner.kind == "Pod" && owner.name == pod_name;
        let is_stale = |owner: &OwnerReference| {
            (is_set(owner) && owner.uid != self.uid) || (is_pod(owner) && Some(&*owner.uid) != pod_uid)
        };
        if has.iter().any(is_stale) {
            return None;
        }
        let others = has.iter().filter(|owner| !is_set(owner) && !is_pod(owner));
        let mut wanted: Vec<String> = others.clone().map(owner_text).collect();
        if others.clone().any(|owner| owner.controller == Some(true)) {
            return Some(wanted);
        }
        let is_condemned = !self.range.contains(&ordinal);
        if is_condemned && self.deletes.0 {
            wanted.push(format!("Pod/{pod_name}/{}!", pod_uid?));
        } else if self.deletes.1 {
            wanted.push(format!("StatefulSet/web/{}!", self.uid));
        }
        Some(wanted)
    }
}

/// Makes an ordinal's claim where it is missing and `makes` says so, and corrects its owners. True when it is
/// not on its way out.
fn claim(
    facts: &Facts,
    ordinal: i32,
    pod: Option<&PodFacts>,
    makes: bool,
    into: &mut BTreeSet<Action>,
) -> bool {
    let Some((is_terminating, has)) = facts.claims.get(&ordinal) else {
        if makes {
            into.insert(Action::MakeClaim(
                ordinal,
                facts.owners_wanted(ordinal, pod, &[]).unwrap_or_default(),
            ));
        }
        return true;
    };
    let texts: Vec<String> = has.iter().map(owner_text).collect();
    if let Some(wanted) = facts.owners_wanted(ordinal, pod, has).filter(|wanted| *wanted != texts) {
        into.insert(Action::Own(ordinal, wanted));
    }
    !is_terminating
}

/// What one decision must and may do, for a set that is not being deleted.
pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut members = Members::new();
    for (ordinal, pod) in &facts.pods {
        match &pod.owner {
            Some(owner) if *owner == facts.uid && pod.is_selected => drop(members.insert(*ordinal, pod)),
            Some(owner) if *owner == facts.uid => drop(verdict.must.insert(Action::Release(*ordinal))),
            None if pod.is_selected && !pod.is_terminating => {
                verdict.must.insert(Action::Adopt(*ordinal));
                members.insert(*ordinal, pod);
            }
            _ => {}
        }
    }
    let goes_on = replicas(facts, &members, &mut verdict) && condemned(facts, &members, &mut verdict);
    if goes_on && facts.partition.is_some() {
        update(facts, &members, &mut verdict);
    }
    verdict
}

/// The wanted ordinals, from the lowest; false when an ordered set stops at one of them.
fn replicas(facts: &Facts, members: &Members<'_>, verdict: &mut Verdict) -> bool {
    for ordinal in facts.range.clone() {
        // Nothing keeps a controller from correcting an owner sooner than the order comes to it.
        if let Some(pod) = facts.pods.get(&ordinal) {
            claim(facts, ordinal, Some(pod), false, &mut verdict.may);
        }
    }
    for ordinal in facts.range.clone() {
        let may_go_on = match members.get(&ordinal) {
            None => make(facts, ordinal, verdict),
            Some(pod) if ["Failed", "Succeeded"].contains(&&*pod.phase) => {
                let deletes = if pod.ended_before { &mut verdict.may } else { &mut verdict.must };
                if !pod.is_terminating {
                    deletes.insert(Action::Delete(ordinal));
                }
                false
            }
            Some(pod) => existing(facts, ordinal, pod, verdict),
        };
        if facts.is_ordered && !may_go_on {
            return false;
        }
    }
    true
}

/// A pod that is there and has not ended; true when it is done.
fn existing(facts: &Facts, ordinal: i32, pod: &PodFacts, verdict: &mut Verdict) -> bool {
    let (is_pending, is_done) = (pod.phase == "Pending", facts.is_healthy(pod));
    let mut claims = BTreeSet::new();
    let is_there = claim(facts, ordinal, Some(pod), is_pending, &mut claims);
    // Of a version that it should not have, and never ready.
    let is_outdated = facts.partition.is_some() && pod.version != facts.version_for(ordinal);
    let is_broken = !is_done && !pod.is_terminating && !facts.is_strict && !pod.was_ready && is_outdated;
    if is_broken {
        verdict.must.insert(Action::Delete(ordinal));
    }
    let is_repaired = (is_pending || is_done || !facts.is_ordered) && !is_broken && !pod.is_terminating;
    if is_repaired && is_there { &mut verdict.must } else { &mut verdict.may }.append(&mut claims);
    is_done
}

/// A missing pod: its claim, then itself, unless something of an earlier one is in the way.
fn make(facts: &Facts, ordinal: i32, verdict: &mut Verdict) -> bool {
    let mut owners = facts.claims.get(&ordinal).into_iter().flat_map(|(_, owners)| owners);
    if facts.deletes.0 && owners.any(|owner| owner.kind == "Pod" && owner.name == format!("web-{ordinal}")) {
        return false;
    }
    let mut claims = BTreeSet::new();
    let is_there = claim(facts, ordinal, None, true, &mut claims);
    if is_there && !facts.pods.contains_key(&ordinal) {
        verdict.must.append(&mut claims);
        verdict.must.insert(Action::Create(ordinal, facts.version_for(ordinal).to_owned()));
    } else {
        verdict.may.append(&mut claims);
    }
    false
}

/// The ordinals that are too many, from the highest; false when an ordered set has any.
fn condemned(facts: &Facts, members: &Members<'_>, verdict: &mut Verdict) -> bool {
    let condemned = || members.iter().filter(|(ordinal, _)| !facts.range.contains(ordinal));
    for (ordinal, pod) in condemned() {
        claim(facts, *ordinal, Some(pod), false, &mut verdict.must);
    }
    let first_unhealthy = condemned().find(|(_, pod)| !facts.is_healthy(pod)).map(|(ordinal, _)| ordinal);
    for (ordinal, pod) in condemned().rev() {
        let may_go = facts.is_healthy(pod) || first_unhealthy == Some(ordinal) || !facts.is_ordered;
        if may_go && !pod.is_terminating {
            verdict.must.insert(Action::Delete(*ordinal));
        }
        if facts.is_ordered {
            return false;
        }
    }
    true
}

/// The rolling update, from the highest ordinal. What this decision makes or repairs may count as away.
fn update(facts: &Facts, members: &Members<'_>, verdict: &mut Verdict) {
    let has_writes = |verdict: &Verdict, ordinal: i32| {
        verdict.must.iter().chain(&verdict.may).any(|action| match action {
            Action::Own(of, _) | Action::MakeClaim(of, _) | Action::Delete(of) => *of == ordinal,
            _ => false,
        })
    };
    let is_healthy = |ordinal: &i32| members.get(ordinal).is_some_and(|pod| facts.is_healthy(pod));
    let unavailable = facts.range.clone().filter(|ordinal| !is_healthy(ordinal)).count() as i32;
    let is_busy = |ordinal: &i32| is_healthy(ordinal) && has_writes(verdict, *ordinal);
    let busy = facts.range.clone().filter(is_busy).count() as i32;
    let mut possible = facts.max_unavailable() - unavailable;
    let mut certain = possible - busy;
    for ordinal in facts.range.clone().rev().filter(|ordinal| !facts.is_kept_back(*ordinal)) {
        let Some(pod) = members.get(&ordinal).filter(|pod| !pod.is_terminating) else { continue };
        if pod.version == facts.update {
            continue;
        }
        let is_free = !has_writes(verdict, ordinal);
        if !facts.is_healthy(pod) {
            if is_free { &mut verdict.must } else { &mut verdict.may }.insert(Action::Delete(ordinal));
        } else if possible > 0 {
            possible -= i32::from(is_free || busy == 0);
            let is_certain = is_free && certain > 0;
            certain -= i32::from(is_certain);
            if is_certain { &mut verdict.must } else { &mut verdict.may }.insert(Action::Delete(ordinal));
        }
    }
}
