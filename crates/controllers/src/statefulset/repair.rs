//! What a pod of a set must look like, and what of an existing one does not. Pure.
//!
//! Identity is the name, the namespace and the labels that repeat them; storage is a claim for each claim
//! template. Of a claim that was made only its owners are repaired ([`super::retention`]); what follows its
//! template is [`super::claims`]' business.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::stateful_set::ClaimUpdates;
use model::{meta, ordinal};

use super::claims::{LiveClaim, Source};
use super::decision::ClaimWrite;
use super::retention::{self, Wanted};
use super::view::{PodEntry, REVISION_LABEL, SetView};
use super::{POD_INDEX_LABEL, POD_NAME_LABEL, set_kind};

/// What of a pod and its claims is not as the set wants it.
#[derive(Debug, Default, PartialEq)]
pub struct Checked {
    /// The pod's labels are such that the set selects it.
    pub is_selected: bool,
    /// Claims that do not exist.
    pub missing: Vec<PersistentVolumeClaim>,
    /// Claims that exist, in the order of their templates; only where they are updated in place.
    pub live: Vec<LiveClaim>,
    /// Claims whose owners are wrong, with the right ones.
    pub owners: Vec<PersistentVolumeClaim>,
    /// A claim that exists and is being deleted.
    pub terminating: Option<String>,
    /// The pod as it should be, where its identity or storage is wrong.
    pub pod: Option<Box<Pod>>,
    /// True when its storage is among what is wrong.
    pub is_storage_wrong: bool,
}

impl Checked {
    /// True when all claims that exist were made at this revision or brought to it, where they follow any.
    pub fn are_claims_at(&self, revision: &str) -> bool {
        self.live.iter().all(|live| live.revision() == revision)
    }

    /// True when there is nothing to repair, and no claim to be brought to this revision.
    pub fn is_as_wanted(&self, update: &str) -> bool {
        let is_repaired = self.owners.is_empty() && self.pod.is_none() && !self.is_storage_wrong;
        self.is_selected && is_repaired && self.are_claims_at(update) && self.are_claims_ready()
    }

    /// True when all claims are there and, where they follow revisions, what they should be.
    pub fn are_claims_ready(&self) -> bool {
        let is_whole = self.missing.is_empty() && self.terminating.is_none();
        is_whole && self.live.iter().all(|live| live.not_ready.is_none())
    }
}

/// The claims an ordinal needs before it has a pod.
#[derive(Debug, Default)]
pub struct ClaimsOfNew {
    /// What to write.
    pub writes: Vec<ClaimWrite>,
    /// A claim that is being deleted: it has to be gone first.
    pub terminating: Option<String>,
    /// A claim that belongs to an earlier pod of this name and will go with it.
    pub stale: Option<String>,
}

/// Checks an existing pod.
pub fn check(view: &SetView<'_>, pod: &PodEntry) -> Checked {
    let set = &view.entry.set;
    let labels = pod.pod.metadata.labels.clone().unwrap_or_default();
    let mut checked = Checked {
        is_selected: view.entry.selector.as_ref().is_ok_and(|selector| selector.matches(&labels)),
        ..Checked::default()
    };
    let wanted = Wanted::of(set, !view.entry.ordinals.contains(pod.ordinal));
    for claim in claims(set, pod.ordinal, Source::present(set)) {
        let Some(existing) = view.claim(claim.metadata.name.as_deref().unwrap_or_default()) else {
            checked.missing.push(retention::owned(claim, set, wanted));
            continue;
        };
        if view.entry.claim_updates() == ClaimUpdates::InPlace {
            checked.live.push(LiveClaim::of(existing, &claim));
        }
        if meta::is_terminating(&existing.metadata) {
            checked.terminating = existing.metadata.name.clone();
        }
        let owners = existing.metadata.owner_references.as_deref().unwrap_or_default();
        if let Some(owners) = retention::corrected(owners, set, Some(&pod.pod.metadata), wanted) {
            checked.owners.push(retention::with_owners(existing, owners));
        }
    }
    checked.is_storage_wrong = !is_storage_right(set, &pod.pod, pod.ordinal);
    let is_identity_right = labels.get(POD_NAME_LABEL).map(String::as_str) == Some(pod.name());
    if !is_identity_right || checked.is_storage_wrong {
        let mut repaired = (*pod.pod).clone();
        set_identity(&mut repaired, pod.ordinal);
        set_storage(&mut repaired, set, pod.ordinal);
        checked.pod = Some(Box::new(repaired));
    }
    checked
}

/// The claims that an existing pod's ordinal lacks, as their source makes them.
pub fn missing_claims(view: &SetView<'_>, ordinal: i32, source: Source<'_>) -> Vec<PersistentVolumeClaim> {
    let set = &view.entry.set;
    let wanted = Wanted::of(set, !view.entry.ordinals.contains(ordinal));
    let is_missing = |claim: &PersistentVolumeClaim| {
        view.claim(claim.metadata.name.as_deref().unwrap_or_default()).is_none()
    };
    let missing = claims(set, ordinal, source).filter(is_missing);
    missing.map(|claim| retention::owned(claim, set, wanted)).collect()
}

/// What the claims of an ordinal without pod need.
pub fn claims_of_new(view: &SetView<'_>, ordinal: i32, source: Source<'_>) -> ClaimsOfNew {
    let set = &view.entry.set;
    let mut result = ClaimsOfNew::default();
    let pod_name = ordinal::pod_name(set_name(set), ordinal);
    let wanted = Wanted::of(set, false);
    for claim in claims(set, ordinal, source) {
        let Some(existing) = view.claim(claim.metadata.name.as_deref().unwrap_or_default()) else {
            result.writes.push(ClaimWrite::Create(Box::new(retention::owned(claim, set, wanted))));
            continue;
        };
        let owners = existing.metadata.owner_references.as_deref().unwrap_or_default();
        if retention::is_deleted_with_pods(set) && retention::names_pod(owners, &pod_name) {
            result.stale = existing.metadata.name.clone();
        }
        if meta::is_terminating(&existing.metadata) {
            result.terminating = existing.metadata.name.clone();
        }
        let pod = ObjectMeta { name: Some(pod_name.clone()), ..ObjectMeta::default() };
        if let Some(owners) = retention::corrected(owners, set, Some(&pod), wanted) {
            let claim = retention::with_owners(existing, owners);
            result.writes.push(ClaimWrite::SetOwners(Box::new(claim)));
        }
    }
    result
}

/// The pod of an ordinal, as a template at a revision makes it.
pub fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let from = template.metadata.clone().unwrap_or_default();
    let name = ordinal::pod_name(set_name(set), ordinal);
    let mut pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: set.metadata.namespace.clone(),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![meta::owner_reference(&set.metadata, &set_kind())]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    };
    set_identity(&mut pod, ordinal);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.service_name.clone();
    set_storage(&mut pod, set, ordinal);
    pod
}

fn set_identity(pod: &mut Pod, ordinal: i32) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME_LABEL.to_owned(), name);
    labels.insert(POD_INDEX_LABEL.to_owned(), ordinal.to_string());
}

/// The volumes of claims come first and take the place of template volumes of the same name.
fn set_storage(pod: &mut Pod, set: &StatefulSet, ordinal: i32) {
    let templates = claim_templates(set);
    if templates.is_empty() {
        return;
    }
    let spec = pod.spec.get_or_insert_default();
    let mut volumes: Vec<Volume> = templates
        .iter()
        .map(|template| {
            let name = template.metadata.name.clone().unwrap_or_default();
            let claim_name = ordinal::claim_name(&name, set_name(set), ordinal);
            let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
            Volume { name, persistent_volume_claim: Some(source), ..Volume::default() }
        })
        .collect();
    let others = spec.volumes.take().unwrap_or_default();
    let is_claimed = |volume: &Volume| volumes.iter().any(|claimed| claimed.name == volume.name);
    let others: Vec<Volume> = others.into_iter().filter(|volume| !is_claimed(volume)).collect();
    volumes.extend(others);
    spec.volumes = Some(volumes);
}

fn is_storage_right(set: &StatefulSet, pod: &Pod, ordinal: i32) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    claim_templates(set).iter().all(|template| {
        let name = template.metadata.name.as_deref().unwrap_or_default();
        let volume = volumes.iter().find(|volume| volume.name == name);
        let source = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
        source.is_some_and(|source| source.claim_name == ordinal::claim_name(name, set_name(set), ordinal))
    })
}

/// The claims of an ordinal as the templates make them, without owners.
pub fn claims(
    set: &StatefulSet,
    ordinal: i32,
    source: Source<'_>,
) -> impl Iterator<Item = PersistentVolumeClaim> {
    let selector = set.spec.selector.match_labels.as_ref();
    source.templates.iter().map(move |template| {
        let name = template.metadata.name.as_deref().unwrap_or_default();
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(selector.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        labels.extend(source.revision.map(|revision| (REVISION_LABEL.to_owned(), revision.to_owned())));
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(ordinal::claim_name(name, set_name(set), ordinal)),
                namespace: set.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: template.metadata.annotations.clone(),
                finalizers: template.metadata.finalizers.clone(),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    })
}

impl<'a> Source<'a> {
    /// The templates as the set has them now.
    pub fn present(set: &'a StatefulSet) -> Source<'a> {
        Source { templates: claim_templates(set), revision: None }
    }
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.volume_claim_templates.as_deref().unwrap_or_default()
}

fn set_name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}
