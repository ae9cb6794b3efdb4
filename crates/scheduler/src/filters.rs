//! The filters: each says why a node will not do.
//!
//! A filter is a plug-in: a name and a function. Their order is that in which a reason is looked for; the
//! first one is given, in upstream's words.

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use crate::request::{Request, conflict, parse};
use crate::selection;
use crate::supply;
use crate::view::{Taken, View};
use crate::volumes::{self, Claims};

/// What a filter may look at.
pub struct Candidate<'a> {
    /// The picture.
    pub view: &'a View,
    /// The pod.
    pub pod: &'a Pod,
    /// Its spec.
    pub spec: &'a PodSpec,
    /// What it asks for.
    pub request: &'a Request,
    /// Where its claims stand.
    pub(crate) claims: &'a Claims,
    /// The node.
    pub node: &'a Node,
    /// What others take of the node.
    pub taken: &'a Taken,
}

/// A filter.
pub struct Filter {
    /// Its name, upstream's where there is one.
    pub name: &'static str,
    /// Why the node will not do; empty when it will.
    pub refuse: fn(&Candidate<'_>) -> Vec<String>,
}

/// The filters, in order.
pub const FILTERS: &[Filter] = &[
    Filter { name: "NodeUnschedulable", refuse: unschedulable },
    Filter { name: "TaintToleration", refuse: taints },
    Filter { name: "NodeAffinity", refuse: affinity },
    Filter { name: "NodePorts", refuse: ports },
    Filter { name: "NodeResourcesFit", refuse: resources },
    Filter { name: "VolumeRestrictions", refuse: volume_restrictions },
    Filter { name: "VolumeBinding", refuse: volume_binding },
];

/// Why a node will not do, by the first filter that refuses; empty when it will.
pub fn refuse(candidate: &Candidate<'_>) -> Vec<String> {
    FILTERS
        .iter()
        .map(|filter| (filter.refuse)(candidate))
        .find(|reasons| !reasons.is_empty())
        .unwrap_or_default()
}

fn unschedulable(candidate: &Candidate<'_>) -> Vec<String> {
    let spec = candidate.node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable) != Some(true) {
        return Vec::new();
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if selection::is_tolerated(candidate.spec, &taint) {
        return Vec::new();
    }
    vec!["node(s) were unschedulable".to_owned()]
}

fn taints(candidate: &Candidate<'_>) -> Vec<String> {
    let taint = selection::untolerated(candidate.spec, candidate.node, &["NoSchedule", "NoExecute"]);
    let text = |taint: &Taint| {
        let value = taint.value.as_deref().unwrap_or_default();
        format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)
    };
    taint.map(text).into_iter().collect()
}

fn affinity(candidate: &Candidate<'_>) -> Vec<String> {
    if selection::is_selected(candidate.spec, candidate.node) {
        return Vec::new();
    }
    vec!["node(s) didn't match Pod's node affinity/selector".to_owned()]
}

fn ports(candidate: &Candidate<'_>) -> Vec<String> {
    let mut wanted = candidate.request.host_ports.iter();
    let clash = wanted.any(|port| candidate.taken.host_ports.iter().any(|other| conflict(port, other)));
    if clash {
        vec!["node(s) didn't have free ports for the requested pod ports".to_owned()]
    } else {
        Vec::new()
    }
}

fn resources(candidate: &Candidate<'_>) -> Vec<String> {
    let status = candidate.node.status.as_ref();
    let allocatable = parse(status.and_then(|status| status.allocatable.as_ref()));
    let mut reasons = Vec::new();
    if candidate.taken.pods + 1 > allocatable.get("pods").copied().unwrap_or_default() {
        reasons.push("Too many pods".to_owned());
    }
    for (name, amount) in &candidate.request.amounts {
        let free = allocatable.get(name).copied().unwrap_or_default()
            - candidate.taken.amounts.get(name).copied().unwrap_or_default();
        if *amount > 0 && *amount > free {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}

fn volume_restrictions(candidate: &Candidate<'_>) -> Vec<String> {
    if !candidate.claims.taken_alone {
        return Vec::new();
    }
    let reason =
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    vec![reason.to_owned()]
}

fn volume_binding(candidate: &Candidate<'_>) -> Vec<String> {
    if !volumes::reach(candidate.view, candidate.claims, candidate.node) {
        return vec!["node(s) didn't match PersistentVolume's node affinity".to_owned()];
    }
    // A claim that is already being provided for elsewhere will be there and nowhere else.
    let here = candidate.node.metadata.name.as_deref();
    let mut under_way = candidate.claims.under_way.iter();
    let elsewhere = under_way.any(|(_, selected)| selected.is_some() && selected.as_deref() != here);
    if elsewhere || supply::sources(&candidate.claims.open, candidate.node).is_none() {
        return vec!["node(s) didn't find available persistent volumes to bind".to_owned()];
    }
    Vec::new()
}
