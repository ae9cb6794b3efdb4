//! Revisions of a set: the templates it has had, under the name that their pods carry in a label. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use model::{meta, revision};
use serde_json::{Value, json};

use super::view::SetView;
use super::{HASH_LABEL, set_kind};
use crate::writes::Named;

/// What has to be written so that the present template is the newest revision.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new revision.
    Create(Box<ControllerRevision>),
    /// A revision that was there before becomes the newest.
    Raise {
        /// Which.
        name: String,
        /// As it was decided about.
        resource_version: String,
        /// Its new number.
        number: i64,
    },
}

/// The revisions that a decision goes by.
#[derive(Debug)]
pub struct Revisions<'a> {
    /// The hash that pods of the present template carry.
    pub hash: String,
    /// What has to be written first.
    pub write: Option<Write>,
    /// The others, the oldest first.
    old: Vec<&'a ControllerRevision>,
}

/// What a revision of the present template records: a patch that brings it back.
pub fn data_of(set: &DaemonSet) -> Value {
    let mut template = serde_json::to_value(&set.spec.template).unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), json!("replace"));
    }
    json!({ "spec": { "template": template } })
}

/// The hash in a revision's label, or else in its name.
fn hash_of(of: &ControllerRevision) -> &str {
    let label = of.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL));
    let name = of.metadata.name.as_deref().unwrap_or_default();
    label.map_or_else(|| name.rsplit('-').next().unwrap_or(name), String::as_str)
}

/// Finds the revision of the present template, or says what to write for there to be one.
pub fn choose<'a>(view: &SetView<'a>) -> Revisions<'a> {
    let set = view.set;
    let data = data_of(set);
    let mut all: Vec<&ControllerRevision> = view.revisions.values().map(|one| &**one).collect();
    all.sort_by_key(|one| (one.revision.unwrap_or_default(), one.metadata.name.clone()));
    let newest = all.last().and_then(|one| one.revision).unwrap_or_default();
    // People can write any number there.
    let next = newest.saturating_add(1);
    let Some(at) = all.iter().rposition(|one| one.data.0 == data) else {
        let new = new(set, data, next);
        let hash = hash_of(&new).to_owned();
        return Revisions { hash, write: Some(Write::Create(Box::new(new))), old: all };
    };
    let present = all.remove(at);
    let write = (present.revision.unwrap_or_default() < newest).then(|| Write::Raise {
        name: present.metadata.name.clone().unwrap_or_default(),
        resource_version: present.metadata.resource_version.clone().unwrap_or_default(),
        number: next,
    });
    Revisions { hash: hash_of(present).to_owned(), write, old: all }
}

fn new(set: &DaemonSet, data: Value, number: i64) -> ControllerRevision {
    let template = serde_json::to_vec(&set.spec.template).unwrap_or_default();
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    let hash = revision::template_hash(&template, collisions);
    let like = set.spec.template.metadata.as_ref();
    let mut labels = like.and_then(|like| like.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(revision::revision_name(set.metadata.name.as_deref().unwrap_or_default(), &hash)),
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
    /// The oldest of those that no pod needs, beyond as many as are to be kept.
    pub fn expired(&self, limit: Option<i32>, in_use: &BTreeSet<&str>) -> Vec<Named> {
        let Ok(limit) = usize::try_from(limit.unwrap_or(10)) else { return Vec::new() };
        let spare = self.old.iter().filter(|one| !in_use.contains(hash_of(one)));
        let spare: Vec<_> = spare.filter(|one| !meta::is_terminating(&one.metadata)).collect();
        // As upstream counts: those in use have a place of their own.
        let count = spare.len().saturating_sub(limit);
        spare.into_iter().take(count).map(|one| Named::of(&one.metadata)).collect()
    }
}
