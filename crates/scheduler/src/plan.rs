//! The decision about one pod.
//!
//! Pure. The same picture gives the same plan: of equally good nodes the first by name is taken.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use model::volume::BOUND_BY_CONTROLLER;
use model::{meta, pod};
use reconcile::recorder::reference_to;
use reconcile::runner::ObjectKey;
use serde::Serialize;

use crate::affinity::{Affinity, Supposed};
use crate::filters::{Candidate, Cause, Refusal, Subject};
use crate::preemption::{self, Preemption};
use crate::request::Request;
use crate::scores::{self, Counts};
use crate::selection;
use crate::spread::Spread;
use crate::supply::{self, Source};
use crate::terms::Demands;
use crate::view::{View, priority};
use crate::volumes::{self, Claims};

/// What to do about a pod.
#[derive(Debug, Clone, Serialize)]
pub enum Plan {
    /// Give it this node.
    Bind {
        /// The pod.
        #[serde(skip)]
        pod: Arc<Pod>,
        /// The node.
        node: String,
    },
    /// Have its claims provided for on this node; the pod is bound once they are.
    Claims {
        /// The pod.
        #[serde(skip)]
        pod: Arc<Pod>,
        /// The node.
        node: String,
        /// Names of the claims that need a new volume there, in the pod's namespace.
        claims: Vec<String>,
        /// The other claims, each with the volume that it takes.
        volumes: Vec<(String, String)>,
        /// Those volumes, with the reference to their claim.
        #[serde(skip)]
        promises: Vec<PersistentVolume>,
    },
    /// It fits nowhere.
    Unschedulable {
        /// The pod.
        #[serde(skip)]
        pod: Arc<Pod>,
        /// Why, as its condition and its event say it.
        message: String,
        /// Its condition says so already.
        known: bool,
        /// What stands in its way.
        causes: BTreeSet<Cause>,
        /// It was promised room that it will not have.
        loses_promise: bool,
    },
    /// It fits nowhere, but would where these are removed.
    Preempt {
        /// The pod.
        #[serde(skip)]
        pod: Arc<Pod>,
        /// Where it is promised room.
        node: String,
        /// Who has to go from there, the most important first.
        #[serde(skip)]
        victims: Vec<Arc<Pod>>,
        /// Less important pods that were promised room there, and are not any more.
        #[serde(skip)]
        displaced: Vec<Arc<Pod>>,
        /// Why it fits nowhere, as its condition and its event say it.
        message: String,
    },
    /// Those who have to go for it are on their way.
    Await {
        /// Where it is promised room.
        node: String,
    },
    /// Its claims are being provided for.
    Wait {
        /// Names of the claims.
        claims: Vec<String>,
    },
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_quiet(&self) -> bool {
        matches!(
            self,
            Plan::Wait { .. }
                | Plan::Await { .. }
                | Plan::Unschedulable { known: true, loses_promise: false, .. }
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plan::Bind { node, .. } => write!(formatter, "bind to {node}"),
            Plan::Claims { node, claims, volumes, .. } => {
                let given = volumes.iter().map(|(claim, volume)| format!("give {volume} to {claim}"));
                let made = (!claims.is_empty()).then(|| format!("have {} provided for", claims.join(", ")));
                let all: Vec<String> = given.chain(made).collect();
                write!(formatter, "{} on {node}", all.join(", "))
            }
            Plan::Unschedulable { message, .. } => write!(formatter, "unschedulable: {message}"),
            Plan::Preempt { node, victims, .. } => {
                let names: Vec<String> =
                    victims.iter().map(|pod| meta::display_name(&pod.metadata)).collect();
                write!(formatter, "remove {} from {node}", names.join(", "))
            }
            Plan::Await { node } => write!(formatter, "wait for those to go that leave {node}"),
            Plan::Wait { claims } => write!(formatter, "wait for {}", claims.join(", ")),
        }
    }
}

/// Nodes that will do of which the best is looked for, at least: upstream's number.
const CHOICE_MIN: usize = 100;

/// Of so many nodes, how many that will do are enough to choose among: fewer in a larger cluster in
/// proportion, from a half down to a twentieth, as upstream has it. 5,000 nodes give a choice of 500.
fn choice(nodes: usize) -> usize {
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(CHOICE_MIN)
}

/// Decides about a pod; `None` when it has a node, or is not ours.
pub fn plan(view: &View, key: &ObjectKey) -> Option<Plan> {
    let (pod, demands) = view.waiting(key)?;
    let spec = pod.spec.as_ref()?;
    let nodes = view.machines().count();
    let claims = match volumes::claims(view, pod, key) {
        Ok(claims) => claims,
        Err(reason) => {
            let why = preemption::not_helpful(nodes);
            let message = format!("0/{nodes} nodes are available: {reason}. preemption: {why}");
            let loses_promise = view.nomination(key).is_some();
            return Some(unschedulable(pod, message, BTreeSet::from([Cause::Volumes]), loses_promise));
        }
    };
    let request = Request::of(pod);
    let affinity = Affinity::of(view.neighbours(), pod, demands);
    let all = view.machines().map(|machine| &*machine.node);
    let spread = Spread::of(view.neighbours(), spec, demands, all);
    let subject =
        Subject { view, pod, spec, request: &request, claims: &claims, affinity: &affinity, spread: &spread };
    let promised = view.nomination(key).filter(|node| {
        let fits = |machine| preemption::fits(&subject, key, machine, view.taken(node), &[]).is_ok();
        view.machine(node).is_some_and(fits)
    });
    let Some(node) = promised else {
        let survey = survey(&subject, key, nodes);
        return match best(&subject, demands, &survey.found) {
            Some(node) => settle(view, pod, node, &claims),
            None => Some(make_room(&subject, key, pod, &survey)),
        };
    };
    settle(view, pod, node, &claims)
}

/// Puts a pod on a node where it fits, once its claims are provided for.
fn settle(view: &View, pod: &Arc<Pod>, node: &str, claims: &Claims) -> Option<Plan> {
    if !claims.open.is_empty() {
        return provide(view, pod, node, claims);
    }
    if claims.under_way.is_empty() {
        return Some(Plan::Bind { pod: Arc::clone(pod), node: node.to_owned() });
    }
    Some(Plan::Wait { claims: claims.under_way.iter().map(|(claim, _)| claim.name.clone()).collect() })
}

/// What to do about a pod that fits nowhere.
fn make_room(subject: &Subject<'_>, key: &ObjectKey, pod: &Arc<Pod>, survey: &Survey<'_>) -> Plan {
    let nodes = survey.refusals.len();
    if nodes == 0 {
        let message = "no nodes available to schedule pods".to_owned();
        return unschedulable(pod, message, survey.causes(), false);
    }
    let view = subject.view;
    let message = message(nodes, &survey.refusals);
    let nominated = view.nomination(key);
    match preemption::find(subject, key, &survey.refusals, nominated) {
        // Nobody is left to remove: what goes by itself is waited for.
        Preemption::Of(sacrifice)
            if nominated == Some(&*sacrifice.node)
                && sacrifice.victims.iter().all(|pod| meta::is_terminating(&pod.metadata)) =>
        {
            Plan::Await { node: sacrifice.node }
        }
        Preemption::Of(sacrifice) => {
            let displaced = view.lesser_guests(&sacrifice.node, priority(pod));
            let (node, victims) = (sacrifice.node, sacrifice.victims);
            Plan::Preempt { pod: Arc::clone(pod), node, victims, displaced, message }
        }
        Preemption::Awaited => Plan::Await { node: nominated.unwrap_or_default().to_owned() },
        Preemption::NotEligible(why) => {
            unschedulable(pod, format!("{message} preemption: {why}"), survey.causes(), false)
        }
        Preemption::InVain(why) => {
            let message = format!("{message} preemption: {why}");
            unschedulable(pod, message, survey.causes(), nominated.is_some())
        }
    }
}

/// What the filters say about the nodes.
struct Survey<'a> {
    /// Those that will do, with what the scores count of them.
    found: Vec<(&'a Node, Counts)>,
    /// Why the others will not; complete where none will do.
    refusals: Vec<(&'a str, Refusal)>,
}

impl Survey<'_> {
    fn causes(&self) -> BTreeSet<Cause> {
        let mut causes: BTreeSet<Cause> = self.refusals.iter().map(|(_, refusal)| refusal.cause).collect();
        // Another node may come.
        causes.insert(Cause::Node);
        causes
    }
}

fn survey<'a>(subject: &Subject<'a>, key: &ObjectKey, nodes: usize) -> Survey<'a> {
    let mut survey = Survey { found: Vec::new(), refusals: Vec::new() };
    let (enough, first) = (choice(nodes), first(subject.pod, nodes));
    let turned = subject.view.machines().skip(first).chain(subject.view.machines().take(first));
    for machine in turned {
        let name = selection::name(&machine.node);
        let taken = subject.view.taken(name);
        if let Err(refusal) = preemption::fits(subject, key, machine, taken, &[]) {
            survey.refusals.push((name, refusal));
            continue;
        }
        let (node, allocatable, supposed) = (&*machine.node, &machine.allocatable, Supposed::default());
        let counts = scores::counts(&Candidate { subject, node, allocatable, taken, supposed });
        survey.found.push((node, counts));
        if survey.found.len() >= enough {
            break;
        }
    }
    survey
}

/// Where to begin to look: where not all nodes are looked at, not always at the same ones.
fn first(pod: &Pod, nodes: usize) -> usize {
    if nodes <= CHOICE_MIN {
        return 0;
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(uid);
    usize::try_from(hash % nodes as u64).unwrap_or_default()
}

/// The best of the nodes that will do; of equally good ones the first.
fn best<'a>(subject: &Subject<'_>, demands: &Demands, found: &[(&'a Node, Counts)]) -> Option<&'a str> {
    let totals = scores::totals(subject, demands, found);
    let mut best: Option<(i64, &str)> = None;
    for ((node, _), total) in found.iter().zip(totals) {
        if best.is_none_or(|(highest, _)| total > highest) {
            best = Some((total, selection::name(node)));
        }
    }
    best.map(|(_, name)| name)
}

/// Has the claims that are open provided for on a node.
fn provide(view: &View, pod: &Arc<Pod>, node: &str, claims: &Claims) -> Option<Plan> {
    let sources = supply::sources(&claims.open, view.node(node)?)?;
    let (mut made, mut volumes, mut promises) = (Vec::new(), Vec::new(), Vec::new());
    for (key, source) in sources {
        match source {
            Source::Provisioner => made.push(key.name),
            Source::Volume(volume) => {
                let claim = view.claim(&key)?;
                volumes.push((key.name, volume.metadata.name.clone().unwrap_or_default()));
                promises.push(promise((*volume).clone(), claim));
            }
        }
    }
    Some(Plan::Claims { pod: Arc::clone(pod), node: node.to_owned(), claims: made, volumes, promises })
}

/// The volume with its reference to the claim, as the volume controller would write it.
fn promise(mut volume: PersistentVolume, claim: &PersistentVolumeClaim) -> PersistentVolume {
    let annotations = volume.metadata.annotations.get_or_insert_default();
    annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    volume.spec.get_or_insert_default().claim_ref = Some(reference_to(claim));
    volume
}

/// Why a pod fits on none of the nodes.
fn message(nodes: usize, refusals: &[(&str, Refusal)]) -> String {
    let mut counts: BTreeMap<Cow<'_, str>, usize> = BTreeMap::new();
    for reason in refusals.iter().flat_map(|(_, refusal)| &refusal.reasons) {
        *counts.entry(Cow::Borrowed(reason)).or_default() += 1;
    }
    preemption::available(nodes, &counts)
}

fn unschedulable(pod: &Arc<Pod>, message: String, causes: BTreeSet<Cause>, loses_promise: bool) -> Plan {
    let condition = pod::condition(pod, "PodScheduled");
    let known = condition.is_some_and(|condition| {
        condition.status == "False" && condition.message.as_deref() == Some(message.as_str())
    });
    Plan::Unschedulable { pod: Arc::clone(pod), message, known, causes, loses_promise }
}

#[cfg(test)]
mod tests;
