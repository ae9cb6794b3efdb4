//! The filters: each says why a node will not do.
//!
//! A filter is a plug-in: a name and a function. Their order is that in which a reason is looked for; the
//! first one is given, in upstream's words.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use crate::affinity::{Affinity, Supposed};
use crate::request::{Amounts, Request, conflict};
use crate::selection;
use crate::spread::Spread;
use crate::supply;
use crate::view::{Taken, View};
use crate::volumes::{self, Claims};

/// A pod that wants a node, with all that is the same for every node.
pub struct Subject<'a> {
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
    /// What its affinity, and that of others, says.
    pub(crate) affinity: &'a Affinity<'a>,
    /// What its rules of spread say.
    pub(crate) spread: &'a Spread<'a>,
}

/// What a filter may look at.
pub struct Candidate<'a> {
    /// The pod.
    pub subject: &'a Subject<'a>,
    /// The node.
    pub node: &'a Node,
    /// What the node has for pods.
    pub allocatable: &'a Amounts,
    /// What others take of the node.
    pub taken: &'a Taken,
    /// Pods of the node that are supposed to be gone or there; `taken` says the same.
    pub supposed: Supposed<'a>,
}

/// What stands in a pod's way: when something about it changes, the pod is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Cause {
    /// What the node is: its labels, its taints.
    Node,
    /// What others take of it.
    Room,
    /// Which pods are near it.
    Neighbours,
    /// Claims and volumes.
    Volumes,
}

/// A node will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in upstream's words.
    pub reasons: Vec<Cow<'static, str>>,
    /// What stands in the way.
    pub cause: Cause,
    /// True when it would not do without any of its pods either.
    pub is_final: bool,
}

/// A filter.
pub struct Filter {
    /// Its name, upstream's where there is one.
    pub name: &'static str,
    /// Why the node will not do.
    pub refuse: fn(&Candidate<'_>) -> Option<Refusal>,
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
    Filter { name: "PodTopologySpread", refuse: |candidate| candidate.subject.spread.refuse(candidate) },
    Filter { name: "InterPodAffinity", refuse: |candidate| candidate.subject.affinity.refuse(candidate) },
];

/// Why a node will not do, by the first filter that refuses.
pub fn refuse(candidate: &Candidate<'_>) -> Option<Refusal> {
    FILTERS.iter().find_map(|filter| (filter.refuse)(candidate))
}

fn refused(cause: Cause, is_final: bool, reason: impl Into<Cow<'static, str>>) -> Option<Refusal> {
    Some(Refusal { reasons: vec![reason.into()], cause, is_final })
}

fn unschedulable(candidate: &Candidate<'_>) -> Option<Refusal> {
    let spec = candidate.node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable) != Some(true) {
        return None;
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if selection::is_tolerated(candidate.subject.spec, &taint) {
        return None;
    }
    refused(Cause::Node, true, "node(s) were unschedulable")
}

fn taints(candidate: &Candidate<'_>) -> Option<Refusal> {
    let effects = ["NoSchedule", "NoExecute"];
    let taint = selection::untolerated(candidate.subject.spec, candidate.node, &effects)?;
    let value = taint.value.as_deref().unwrap_or_default();
    refused(Cause::Node, true, format!("node(s) had untolerated taint {{{}: {value}}}", taint.key))
}

fn affinity(candidate: &Candidate<'_>) -> Option<Refusal> {
    if selection::is_selected(candidate.subject.spec, candidate.node) {
        return None;
    }
    refused(Cause::Node, true, "node(s) didn't match Pod's node affinity/selector")
}

fn ports(candidate: &Candidate<'_>) -> Option<Refusal> {
    let mut wanted = candidate.subject.request.host_ports.iter();
    if !wanted.any(|port| candidate.taken.host_ports.iter().any(|other| conflict(port, other))) {
        return None;
    }
    refused(Cause::Room, false, "node(s) didn't have free ports for the requested pod ports")
}

fn resources(candidate: &Candidate<'_>) -> Option<Refusal> {
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let all = |name: &str| candidate.allocatable.get(name).copied().unwrap_or_default();
    if candidate.taken.pods + 1 > all("pods") {
        reasons.push("Too many pods".into());
    }
    let mut is_final = false;
    for (name, amount) in &candidate.subject.request.amounts {
        let free = all(name) - candidate.taken.amounts.get(name).copied().unwrap_or_default();
        if *amount > 0 && *amount > free {
            reasons.push(format!("Insufficient {name}").into());
            is_final |= *amount > all(name);
        }
    }
    (!reasons.is_empty()).then_some(Refusal { reasons, cause: Cause::Room, is_final })
}

fn volume_restrictions(candidate: &Candidate<'_>) -> Option<Refusal> {
    if !candidate.subject.claims.taken_alone {
        return None;
    }
    let reason =
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    // Whoever has the claim may be on another node; its pod is waited for.
    refused(Cause::Room, true, reason)
}

fn volume_binding(candidate: &Candidate<'_>) -> Option<Refusal> {
    let Subject { view, claims, .. } = candidate.subject;
    if !volumes::reach(view, claims, candidate.node) {
        return refused(Cause::Volumes, true, "node(s) didn't match PersistentVolume's node affinity");
    }
    // A claim that is already being provided for elsewhere will be there and nowhere else.
    let here = candidate.node.metadata.name.as_deref();
    let mut under_way = claims.under_way.iter();
    let elsewhere = under_way.any(|(_, selected)| selected.is_some() && selected.as_deref() != here);
    if elsewhere || supply::sources(&claims.open, candidate.node).is_none() {
        let reason = "node(s) didn't find available persistent volumes to bind";
        return refused(Cause::Volumes, true, reason);
    }
    None
}
