//! Revisions: which template the set is at, which it goes to, and what history may be forgotten. Pure.
//!
//! A revision records the pod template and, where claims are updated in place, their templates; nothing else,
//! so that scaling and strategy never make one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use model::selector::Selector;
use model::stateful_set::ClaimUpdates;
use model::{meta, revision};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::decision::Preparation;
use super::view::SetView;
use super::{REVISION_HASH_LABEL, set_kind};

/// Names tried before giving up; a second one is needed once in four thousand million.
const COLLISIONS_MAX: u32 = 64;

/// The revisions that a decision goes by.
#[derive(Debug)]
pub struct Revisions<'a> {
    /// Where the set was before the update under way; the update revision when there is none.
    pub current: Cow<'a, ControllerRevision>,
    /// Where it goes.
    pub update: Cow<'a, ControllerRevision>,
    /// What makes new revisions' names unique.
    pub collision_count: i32,
    /// All there are, oldest first.
    pub history: Vec<&'a ControllerRevision>,
}

/// What a revision of the set's present templates records, and the text that is hashed.
pub fn data_of(set: &StatefulSet, claim_updates: ClaimUpdates) -> (Value, String) {
    let mut template = serde_json::to_value(&set.spec.template).unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), json!("replace"));
    }
    let mut data = json!({ "spec": { "template": template } });
    if claim_updates == ClaimUpdates::InPlace {
        let claims = set.spec.volume_claim_templates.as_ref();
        data["spec"]["volumeClaimTemplates"] = serde_json::to_value(claims).unwrap_or_default();
    }
    let text = data.to_string();
    (data, text)
}

/// The pod template that a revision records.
pub fn template_of(revision: &ControllerRevision) -> Result<PodTemplateSpec, String> {
    let template = revision.data.0.pointer("/spec/template");
    let mut template = template.cloned().ok_or("it records no pod template")?;
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    serde_json::from_value(template).map_err(|error| error.to_string())
}

/// The claim templates that a revision records, if it records any.
pub fn claim_templates_of(revision: &ControllerRevision) -> Option<Vec<PersistentVolumeClaim>> {
    let claims = revision.data.0.pointer("/spec/volumeClaimTemplates")?;
    Vec::deserialize(claims).ok()
}

/// The name of a revision.
pub fn name_of(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// Chooses the revisions; what has to be written first goes to `prepare`.
pub fn choose<'a>(
    view: &SetView<'a>,
    selector: &Selector,
    prepare: &mut Vec<Preparation>,
) -> Result<Revisions<'a>, String> {
    let set = &view.entry.set;
    let status = set.status.as_ref();
    let (history, orphans) = history(view, selector);
    prepare.extend(orphans.iter().map(|orphan| Preparation::AdoptRevision {
        name: name_of(orphan).to_owned(),
        uid: orphan.metadata.uid.clone().unwrap_or_default(),
    }));
    let mut collision_count = status.and_then(|status| status.collision_count).unwrap_or_default();
    let present = view.entry.revision_data();
    let number = history.last().and_then(|newest| newest.revision).unwrap_or_default().saturating_add(1);
    let newest_first = || history.iter().rev().copied();
    // Of several that record the same, the one that pods are at: another would restart them for nothing.
    let named = status.and_then(|status| status.update_revision.as_deref()).unwrap_or_default();
    let all_same = || newest_first().filter(|revision| revision.data.0 == present.0);
    let same = all_same().find(|revision| name_of(revision) == named).or_else(|| all_same().next());
    // What an earlier version recorded lacks the defaults that came later, and is the same for that.
    let equal = same.or_else(|| newest_first().find(|revision| view.entry.same.records(revision, present)));
    let update = match equal {
        Some(equal) if equal.revision.unwrap_or_default().saturating_add(1) == number => Cow::Borrowed(equal),
        Some(equal) => {
            prepare.push(Preparation::RaiseRevision {
                name: name_of(equal).to_owned(),
                resource_version: equal.metadata.resource_version.clone().unwrap_or_default(),
                number,
            });
            let mut raised = equal.clone();
            raised.revision = Some(number);
            Cow::Owned(raised)
        }
        None => create(view, number, &mut collision_count, prepare)?,
    };
    let current_name = status.and_then(|status| status.current_revision.as_deref()).unwrap_or_default();
    let current = history.iter().find(|revision| name_of(revision) == current_name);
    let current = current.map_or_else(|| update.clone(), |revision| Cow::Borrowed(*revision));
    Ok(Revisions { current, update, collision_count, history })
}

/// The set's own revisions and the orphans that it may adopt, oldest first; and those orphans alone.
fn history<'a>(
    view: &SetView<'a>,
    selector: &Selector,
) -> (Vec<&'a ControllerRevision>, Vec<&'a ControllerRevision>) {
    let set = &view.entry.set;
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let is_deleted = meta::is_terminating(&set.metadata);
    let empty = BTreeMap::new();
    let (mut all, mut orphans) = (Vec::new(), Vec::new());
    for revision in view.revisions() {
        let labels = revision.metadata.labels.as_ref().unwrap_or(&empty);
        match meta::controller_of(&revision.metadata) {
            Some(owner) if owner.uid == uid => all.push(&**revision),
            None if selector.matches(labels) && !meta::is_terminating(&revision.metadata) => {
                all.push(revision);
                if !is_deleted {
                    orphans.push(&**revision);
                }
            }
            _ => {}
        }
    }
    all.sort_by_key(|revision| {
        let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (revision.revision.unwrap_or_default(), created, name_of(revision))
    });
    (all, orphans)
}

/// A new revision for the present template, under a name that nobody else's data has.
fn create<'a>(
    view: &SetView<'a>,
    number: i64,
    collision_count: &mut i32,
    prepare: &mut Vec<Preparation>,
) -> Result<Cow<'a, ControllerRevision>, String> {
    let set = &view.entry.set;
    let (data, text) = view.entry.revision_data();
    for _ in 0..COLLISIONS_MAX {
        let hash = revision::hash(text.as_bytes(), Some(*collision_count));
        let set_name = set.metadata.name.as_deref().unwrap_or_default();
        let name = revision::revision_name(set_name, &hash);
        match view.revision(&name) {
            None => {
                let revision = new(set, data.clone(), name, hash, number);
                prepare.push(Preparation::CreateRevision { revision: Box::new(revision.clone()) });
                return Ok(Cow::Owned(revision));
            }
            Some(existing) if existing.data.0 == *data => return Ok(Cow::Borrowed(existing)),
            Some(_) => *collision_count = collision_count.saturating_add(1),
        }
    }
    Err("no free name was found for a new revision".to_owned())
}

fn new(set: &StatefulSet, data: Value, name: String, hash: String, number: i64) -> ControllerRevision {
    let template = set.spec.template.metadata.as_ref();
    let mut labels = template.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    labels.insert(REVISION_HASH_LABEL.to_owned(), hash);
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![meta::owner_reference(&set.metadata, &set_kind())]),
            ..ObjectMeta::default()
        },
        data: RawExtension(data),
        revision: Some(number),
    }
}

impl Revisions<'_> {
    /// The revision of this name, where the set still has it.
    pub fn named(&self, name: &str) -> Option<&ControllerRevision> {
        let chosen = [&*self.update, &*self.current].into_iter();
        chosen.chain(self.history.iter().copied()).find(|revision| name_of(revision) == name)
    }

    /// The revisions to be forgotten: the oldest beyond the limit that neither the set nor a pod needs.
    pub fn expired(&self, limit: i32, in_use: &BTreeSet<&str>) -> Vec<Preparation> {
        let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
        let needed = [name_of(&self.current), name_of(&self.update)];
        let spare: Vec<_> = self
            .history
            .iter()
            .filter(|revision| !needed.contains(&name_of(revision)))
            .filter(|revision| !in_use.contains(name_of(revision)))
            .filter(|revision| !meta::is_terminating(&revision.metadata))
            .collect();
        let excess = spare.len().saturating_sub(limit);
        spare[..excess]
            .iter()
            .map(|revision| Preparation::DeleteRevision {
                name: name_of(revision).to_owned(),
                uid: revision.metadata.uid.clone().unwrap_or_default(),
            })
            .collect()
    }
}
