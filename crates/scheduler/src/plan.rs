//! The decision about one pod.
//!
//! Pure. The same picture gives the same plan: of equally good nodes the first by name is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use model::pod;
use model::volume::BOUND_BY_CONTROLLER;
use reconcile::recorder::reference_to;
use reconcile::runner::ObjectKey;
use serde::Serialize;

use crate::affinity::{Affinity, Supposed};
use crate::filters::{self, Candidate, Cause, Refusal, Subject};
use crate::request::Request;
use crate::scores::{self, Counts};
use crate::selection;
use crate::spread::Spread;
use crate::supply::{self, Source};
use crate::terms::Demands;
use crate::view::View;
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
        matches!(self, Plan::Wait { .. } | Plan::Unschedulable { known: true, .. })
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
            let causes = BTreeSet::from([Cause::Volumes]);
            return Some(unschedulable(pod, format!("0/{nodes} nodes are available: {reason}."), causes));
        }
    };
    let request = Request::of(pod);
    let affinity = Affinity::of(view.neighbours(), pod, demands);
    let all = view.machines().map(|machine| &*machine.node);
    let spread = Spread::of(view.neighbours(), spec, demands, all);
    let subject =
        Subject { view, pod, spec, request: &request, claims: &claims, affinity: &affinity, spread: &spread };
    let survey = survey(&subject, nodes);
    let Some(node) = best(&subject, demands, &survey.found) else {
        return Some(unschedulable(pod, message(nodes, &survey.refusals), survey.causes()));
    };
    if !claims.open.is_empty() {
        return provide(view, pod, node, &claims);
    }
    if claims.under_way.is_empty() {
        return Some(Plan::Bind { pod: Arc::clone(pod), node: node.to_owned() });
    }
    Some(Plan::Wait { claims: claims.under_way.into_iter().map(|(claim, _)| claim.name).collect() })
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

fn survey<'a>(subject: &Subject<'a>, nodes: usize) -> Survey<'a> {
    let mut survey = Survey { found: Vec::new(), refusals: Vec::new() };
    let (enough, first) = (choice(nodes), first(subject.pod, nodes));
    let turned = subject.view.machines().skip(first).chain(subject.view.machines().take(first));
    for machine in turned {
        let name = selection::name(&machine.node);
        let candidate = Candidate {
            subject,
            node: &machine.node,
            allocatable: &machine.allocatable,
            taken: subject.view.taken(name),
            supposed: Supposed::default(),
        };
        match filters::refuse(&candidate) {
            Some(refusal) => survey.refusals.push((name, refusal)),
            None => {
                survey.found.push((&*machine.node, scores::counts(&candidate)));
                if survey.found.len() >= enough {
                    break;
                }
            }
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

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`, sorted as upstream does.
fn message(nodes: usize, refusals: &[(&str, Refusal)]) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in refusals.iter().flat_map(|(_, refusal)| &refusal.reasons) {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

fn unschedulable(pod: &Arc<Pod>, message: String, causes: BTreeSet<Cause>) -> Plan {
    let condition = pod::condition(pod, "PodScheduled");
    let known = condition.is_some_and(|condition| {
        condition.status == "False" && condition.message.as_deref() == Some(message.as_str())
    });
    Plan::Unschedulable { pod: Arc::clone(pod), message, known, causes }
}

#[cfg(test)]
mod tests;
