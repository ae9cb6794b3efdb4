//! The decision about one pod.
//!
//! Pure. The same picture gives the same plan: of equally good nodes the first by name is taken.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use model::pod;
use model::volume::BOUND_BY_CONTROLLER;
use reconcile::recorder::reference_to;
use reconcile::runner::ObjectKey;
use serde::Serialize;

use crate::filters::{self, Candidate};
use crate::request::Request;
use crate::scores;
use crate::supply::{self, Source};
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

/// Decides about a pod; `None` when it has a node, or is not ours.
pub fn plan(view: &View, key: &ObjectKey) -> Option<Plan> {
    let pod = view.pending(key)?;
    let spec = pod.spec.as_ref()?;
    let claims = match volumes::claims(view, pod, key) {
        Ok(claims) => claims,
        Err(reason) => {
            let nodes = view.nodes().count();
            return Some(unschedulable(pod, format!("0/{nodes} nodes are available: {reason}.")));
        }
    };
    let request = Request::of(pod);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, &String)> = None;
    for (name, node) in view.nodes() {
        let taken = view.taken(name, key);
        let candidate =
            Candidate { view, pod, spec, request: &request, claims: &claims, node, taken: &taken };
        let refused = filters::refuse(&candidate);
        if refused.is_empty() {
            let score = scores::total(&candidate);
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, name));
            }
        }
        for reason in refused {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let Some((_, node)) = best else {
        return Some(unschedulable(pod, message(view.nodes().count(), &reasons)));
    };
    if !claims.open.is_empty() {
        return provide(view, pod, node, &claims);
    }
    if claims.under_way.is_empty() {
        return Some(Plan::Bind { pod: Arc::clone(pod), node: node.clone() });
    }
    Some(Plan::Wait { claims: claims.under_way.into_iter().map(|(claim, _)| claim.name).collect() })
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
fn message(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

fn unschedulable(pod: &Arc<Pod>, message: String) -> Plan {
    let condition = pod::condition(pod, "PodScheduled");
    let known = condition.is_some_and(|condition| {
        condition.status == "False" && condition.message.as_deref() == Some(message.as_str())
    });
    Plan::Unschedulable { pod: Arc::clone(pod), message, known }
}

#[cfg(test)]
mod tests;
