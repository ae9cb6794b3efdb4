//! Claims that follow their templates in place (KEP-4650): what a live one lacks, and when it is ready. Pure.
//!
//! Storage requests only grow; labels and annotations are added, changed, and removed where an earlier
//! template had put them; a claim keeps what others gave it. A claim carries the revision that it was brought
//! to in the label pods carry too, so that each rollout changes it once and leaves it to others after that.
//! What cannot change on a live claim stops the rollout: such a claim is not the template's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus};
use model::quantity::Quantity;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::view::REVISION_LABEL;

const STORAGE: &str = "storage";

/// Where claims of an ordinal come from: the templates, and the revision whose they are, where claims follow
/// revisions at all.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The templates.
    pub templates: &'a [PersistentVolumeClaim],
    /// The revision's name.
    pub revision: Option<&'a str>,
}

/// A live claim beside its template.
#[derive(Debug, PartialEq)]
pub struct LiveClaim {
    /// The claim.
    pub claim: Arc<PersistentVolumeClaim>,
    /// The first field in which it differs from its template for good.
    pub differs: Option<&'static str>,
    /// What it still has to become.
    pub not_ready: Option<ClaimNotReady>,
}

impl LiveClaim {
    /// Compares a claim with its template.
    pub fn of(claim: &Arc<PersistentVolumeClaim>, template: &PersistentVolumeClaim) -> LiveClaim {
        let (differs, not_ready) = (differs(claim, template), why_not_ready(claim, template));
        LiveClaim { claim: Arc::clone(claim), differs, not_ready }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.claim.metadata.name.as_deref().unwrap_or_default()
    }

    /// The revision that it was made at or brought to; empty where it says none.
    pub fn revision(&self) -> &str {
        let labels = self.claim.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(REVISION_LABEL)).map_or("", String::as_str)
    }
}

/// A change of a live claim. What it does not name stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimUpdate {
    /// The claim's name.
    pub claim: String,
    /// Its uid: another claim of the name is not meant.
    pub uid: String,
    /// The version that was decided about: its size must not have changed since.
    pub resource_version: String,
    /// The revision that it is brought to.
    pub revision: String,
    /// How its request for storage grows.
    pub grows: Option<Growth>,
    /// Its new class of attributes.
    pub class: Option<String>,
    /// Labels it gets, or loses.
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations it gets, or loses.
    pub annotations: BTreeMap<String, Option<String>>,
}

/// A larger request for storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The request as it was.
    pub from: String,
    /// The request as it will be.
    pub to: String,
}

/// What a claim that was changed has not become yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why")]
pub enum ClaimNotReady {
    /// It has no volume yet, and cannot be changed as long.
    NotBound,
    /// Its volume is smaller than it should be.
    Growing {
        /// How large it is.
        capacity: String,
        /// How large it should be.
        wanted: String,
        /// The condition that says how far that is: `Resizing`, `FileSystemResizePending`.
        condition: Option<String>,
    },
    /// Its volume could not be made larger.
    GrowthFailed {
        /// How large it should be.
        wanted: String,
        /// What went wrong.
        message: String,
    },
    /// Its volume does not have the attributes of its class yet.
    Modifying {
        /// The class.
        class: String,
    },
    /// Its volume could not be given the attributes of its class.
    ModificationFailed {
        /// The class.
        class: String,
        /// What went wrong.
        message: String,
    },
}

impl ClaimNotReady {
    /// True where somebody has to do something.
    pub fn has_failed(&self) -> bool {
        matches!(self, ClaimNotReady::GrowthFailed { .. } | ClaimNotReady::ModificationFailed { .. })
    }
}

fn differs(claim: &PersistentVolumeClaim, template: &PersistentVolumeClaim) -> Option<&'static str> {
    let (Some(claim), Some(template)) = (&claim.spec, &template.spec) else { return None };
    let is_class = template.storage_class_name.is_some();
    let sorted = |modes: &Option<Vec<String>>| {
        let mut modes = modes.clone().unwrap_or_default();
        modes.sort();
        modes
    };
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    if is_class && claim.storage_class_name != template.storage_class_name {
        Some("storageClassName")
    } else if sorted(&claim.access_modes) != sorted(&template.access_modes) {
        Some("accessModes")
    } else if mode(&claim.volume_mode) != mode(&template.volume_mode) {
        Some("volumeMode")
    } else {
        None
    }
}

/// What brings a claim to a revision. `template` is the claim as that revision would make it, `earlier` as
/// the revision would have that it is at, where that is known.
pub fn update(
    claim: &PersistentVolumeClaim,
    template: &PersistentVolumeClaim,
    earlier: Option<&PersistentVolumeClaim>,
    revision: &str,
) -> ClaimUpdate {
    let metadata = &claim.metadata;
    let earlier = earlier.map(|earlier| &earlier.metadata);
    let before = |of: Option<&Option<Words>>| of.cloned().flatten().unwrap_or_default();
    let mut labels = changes(
        metadata.labels.as_ref(),
        template.metadata.labels.as_ref(),
        &before(earlier.map(|earlier| &earlier.labels)),
    );
    labels.remove(REVISION_LABEL);
    let annotations = changes(
        metadata.annotations.as_ref(),
        template.metadata.annotations.as_ref(),
        &before(earlier.map(|earlier| &earlier.annotations)),
    );
    let class = |claim: &PersistentVolumeClaim| claim.spec.as_ref()?.volume_attributes_class_name.clone();
    ClaimUpdate {
        claim: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        revision: revision.to_owned(),
        grows: growth(claim, template),
        class: class(template).filter(|wanted| class(claim).as_ref() != Some(wanted)),
        labels,
        annotations,
    }
}

type Words = BTreeMap<String, String>;

/// What has to change for `now` to have all of `wanted`, and nothing more of `before` as it was then.
fn changes(now: Option<&Words>, wanted: Option<&Words>, before: &Words) -> BTreeMap<String, Option<String>> {
    let get = |words: Option<&Words>, key: &str| words.and_then(|words| words.get(key)).cloned();
    let missing = wanted.into_iter().flatten().filter(|(key, value)| get(now, key).as_ref() != Some(value));
    let mut changes: BTreeMap<_, _> =
        missing.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let dropped = before
        .iter()
        .filter(|(key, value)| get(wanted, key).is_none() && get(now, key).as_ref() == Some(value));
    changes.extend(dropped.map(|(key, _)| (key.clone(), None)));
    changes
}

fn request(claim: &PersistentVolumeClaim) -> Option<(String, Quantity)> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    let text = &requests.get(STORAGE)?.0;
    Some((text.clone(), Quantity::parse(text).ok()?))
}

fn growth(claim: &PersistentVolumeClaim, template: &PersistentVolumeClaim) -> Option<Growth> {
    let ((from, now), (to, wanted)) = (request(claim)?, request(template)?);
    (wanted > now).then_some(Growth { from, to })
}

/// What a claim still has to become. One that is not bound has no volume that could change: it gets one that
/// is as it asks.
fn why_not_ready(claim: &PersistentVolumeClaim, template: &PersistentVolumeClaim) -> Option<ClaimNotReady> {
    let status = claim.status.as_ref().filter(|_| is_bound(claim))?;
    size_not_ready(claim, template, status).or_else(|| class_not_ready(claim, status))
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}

/// The volume has to hold what the template asks for; what somebody else asks for beyond that is not waited
/// for.
fn size_not_ready(
    claim: &PersistentVolumeClaim,
    template: &PersistentVolumeClaim,
    status: &PersistentVolumeClaimStatus,
) -> Option<ClaimNotReady> {
    let (wanted, size) = [request(claim)?, request(template)?].into_iter().min_by_key(|(_, size)| *size)?;
    let capacity = status.capacity.as_ref().and_then(|capacity| capacity.get(STORAGE));
    let capacity = capacity.map_or("0", |capacity| capacity.0.as_str());
    if Quantity::parse(capacity).is_ok_and(|capacity| capacity >= size) {
        return None;
    }
    let failure =
        ["ControllerResizeError", "NodeResizeError"].iter().find_map(|kind| condition(status, kind));
    let resize = status.allocated_resource_statuses.as_ref().and_then(|all| all.get(STORAGE));
    let infeasible = resize.filter(|resize| resize.ends_with("Infeasible"));
    if let Some(message) = failure.or_else(|| infeasible.cloned()) {
        return Some(ClaimNotReady::GrowthFailed { wanted, message });
    }
    let steps = ["FileSystemResizePending", "Resizing"];
    let step = steps.into_iter().find(|kind| condition(status, kind).is_some());
    let capacity = capacity.to_owned();
    Some(ClaimNotReady::Growing { capacity, wanted, condition: step.map(str::to_owned) })
}

fn class_not_ready(
    claim: &PersistentVolumeClaim,
    status: &PersistentVolumeClaimStatus,
) -> Option<ClaimNotReady> {
    let class =
        claim.spec.as_ref()?.volume_attributes_class_name.clone().filter(|class| !class.is_empty())?;
    if status.current_volume_attributes_class_name.as_ref() == Some(&class) {
        return None;
    }
    let modification = status.modify_volume_status.as_ref();
    let infeasible = modification.filter(|modification| modification.status == "Infeasible");
    let message = condition(status, "ModifyVolumeError")
        .or_else(|| infeasible.map(|_| "the driver cannot give it these attributes".to_owned()));
    Some(match message {
        Some(message) => ClaimNotReady::ModificationFailed { class, message },
        None => ClaimNotReady::Modifying { class },
    })
}

/// The message of a condition that is true.
fn condition(status: &PersistentVolumeClaimStatus, kind: &str) -> Option<String> {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let holds = found.filter(|condition| condition.status == "True");
    holds.map(|condition| condition.message.clone().unwrap_or_default())
}

impl ClaimUpdate {
    /// True when the claim cannot be changed like this before it has a volume.
    pub fn waits_for_volume(&self, claim: &PersistentVolumeClaim) -> bool {
        (self.grows.is_some() || self.class.is_some()) && !is_bound(claim)
    }

    /// True when it changes nothing but the revision that the claim carries.
    pub fn is_only_revision(&self) -> bool {
        let is_spec_same = self.grows.is_none() && self.class.is_none();
        is_spec_same && self.labels.is_empty() && self.annotations.is_empty()
    }

    /// As a merge patch that only the version decided about takes.
    pub fn patch(&self) -> Value {
        let mut labels = json!(self.labels);
        labels[REVISION_LABEL] = json!(self.revision);
        let mut spec = Map::new();
        if let Some(growth) = &self.grows {
            spec.insert("resources".to_owned(), json!({ "requests": { (STORAGE): growth.to } }));
        }
        if let Some(class) = &self.class {
            spec.insert("volumeAttributesClassName".to_owned(), json!(class));
        }
        let mut patch = json!({ "metadata": {
            "uid": self.uid, "resourceVersion": self.resource_version, "labels": labels,
        } });
        if !self.annotations.is_empty() {
            patch["metadata"]["annotations"] = json!(self.annotations);
        }
        if !spec.is_empty() {
            patch["spec"] = Value::Object(spec);
        }
        patch
    }

    /// The claim as the patch makes it.
    pub fn applied(&self, claim: &PersistentVolumeClaim) -> PersistentVolumeClaim {
        let mut value = serde_json::to_value(claim).unwrap_or_default();
        model::patch::merge(&mut value, &self.patch());
        serde_json::from_value(value).unwrap_or_else(|_| claim.clone())
    }

    /// What changes, in words, without the revision.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.grows.as_ref().map(|growth| format!("{} → {}", growth.from, growth.to)));
        words.extend(self.class.as_ref().map(|class| format!("class {class}")));
        for (what, changes) in [("label", &self.labels), ("annotation", &self.annotations)] {
            words.extend(changes.iter().map(|(key, value)| match value {
                Some(value) => format!("{what} {key}={value}"),
                None => format!("without {what} {key}"),
            }));
        }
        words
    }
}

impl fmt::Display for ClaimUpdate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "update claim {} to {}", self.claim, self.revision)?;
        let words = self.words();
        if words.is_empty() { Ok(()) } else { write!(formatter, " ({})", words.join(", ")) }
    }
}

impl fmt::Display for ClaimNotReady {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimNotReady::NotBound => formatter.write_str("it is not bound"),
            ClaimNotReady::Growing { capacity, wanted, condition } => {
                write!(formatter, "its volume grows from {capacity} to {wanted}")?;
                condition.as_ref().map_or(Ok(()), |condition| write!(formatter, " ({condition})"))
            }
            ClaimNotReady::GrowthFailed { wanted, message } => {
                write!(formatter, "its volume could not grow to {wanted} ({message})")
            }
            ClaimNotReady::Modifying { class } => {
                write!(formatter, "its volume gets the attributes of class {class}")
            }
            ClaimNotReady::ModificationFailed { class, message } => {
                write!(formatter, "its volume could not get the attributes of class {class} ({message})")
            }
        }
    }
}
