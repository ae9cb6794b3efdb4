//! ReplicaSets as revisions of a Deployment: which has the present template, its number, its annotations.
//! Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{meta, revision};

use super::arithmetic::{max_surge, replicas};
use super::deployment_kind;
use super::rollout::Set;

/// The number of a revision, at the set and at the deployment.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers that a set had before.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many replicas the deployment wanted when the set was last scaled.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// How many it could have at most then.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// The label that tells the pods of one template from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";

/// Longest list of numbers in [`REVISION_HISTORY`]; the oldest are dropped. Upstream's bound.
const HISTORY_BYTES_MAX: usize = 2_000;
/// A set's name is a subdomain: 253 bytes.
const NAME_BYTES_MAX: usize = 253;

/// Annotations of a deployment that its sets do not take over.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];

/// Annotations.
pub type Annotations = BTreeMap<String, String>;

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    metadata.annotations.as_ref()?.get(key)
}

/// The number that an annotation holds.
pub fn number_in(metadata: &ObjectMeta, key: &str) -> Option<i32> {
    annotation(metadata, key)?.parse().ok()
}

/// The number of an object's revision; 0 where it has none.
pub fn revision_of(metadata: &ObjectMeta) -> i64 {
    annotation(metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The number that the present template gets when it is not the newest yet.
pub fn next_revision(old: &[Set<'_>]) -> i64 {
    let newest = old.iter().map(|set| revision_of(&set.set.metadata)).max().unwrap_or_default();
    // People can write any number there.
    newest.saturating_add(1)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH_LABEL);
        }
        metadata.creation_timestamp = None;
    }
    template
}

/// True when a set was made for this template.
pub fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(own) = &set.spec.template else { return false };
    // Most sets differ in their containers: that is told without a copy.
    own.spec == template.spec && without_hash(own) == without_hash(template)
}

/// The annotations that say how many replicas there are to be.
pub fn scale_annotations(deployment: &Deployment) -> Annotations {
    let wanted = replicas(deployment);
    let most = wanted.saturating_add(max_surge(deployment));
    Annotations::from([
        (DESIRED_REPLICAS.to_owned(), wanted.to_string()),
        (MAX_REPLICAS.to_owned(), most.to_string()),
    ])
}

/// Those of the annotations that an object does not have yet.
pub fn missing(wanted: Annotations, metadata: &ObjectMeta) -> Annotations {
    wanted.into_iter().filter(|(key, value)| annotation(metadata, key) != Some(value)).collect()
}

fn copied(deployment: &Deployment) -> Annotations {
    let all = deployment.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The annotations that the set of the present template lacks, if its revision is to be at least `next`.
pub fn annotations_for(deployment: &Deployment, set: &ReplicaSet, next: i64) -> Annotations {
    let mut wanted = copied(deployment);
    let own = revision_of(&set.metadata);
    if own < next {
        wanted.insert(REVISION.to_owned(), next.to_string());
        if own > 0 {
            wanted.insert(REVISION_HISTORY.to_owned(), history(&set.metadata, own));
        }
    }
    missing(wanted, &set.metadata)
}

fn history(metadata: &ObjectMeta, last: i64) -> String {
    let mut all = match annotation(metadata, REVISION_HISTORY) {
        Some(before) if !before.is_empty() => format!("{before},{last}"),
        _ => last.to_string(),
    };
    while all.len() > HISTORY_BYTES_MAX
        && let Some((_, rest)) = all.split_once(',')
    {
        all = rest.to_owned();
    }
    all
}

/// A set for the present template.
pub fn new_set(deployment: &Deployment, size: i32, next: i64) -> ReplicaSet {
    let mut template = deployment.spec.template.clone();
    let text = serde_json::to_vec(&template).unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = revision::template_hash(&text, collisions);
    let labels = &mut template.metadata.get_or_insert_default().labels;
    labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = copied(deployment);
    annotations.extend(scale_annotations(deployment));
    annotations.insert(REVISION.to_owned(), next.to_string());
    let own = deployment.metadata.name.as_deref().unwrap_or_default();
    // Names are of ASCII.
    let stem = own.get(..NAME_BYTES_MAX - 1 - hash.len()).unwrap_or(own);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{stem}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            annotations: Some(annotations),
            owner_references: Some(vec![meta::owner_reference(&deployment.metadata, &deployment_kind())]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

/// The sets that the history has no room for, the oldest revisions first. A set with pods stays.
pub fn superfluous<'a>(deployment: &Deployment, old: &[Set<'a>]) -> Vec<Set<'a>> {
    let Some(limit) = deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else {
        return Vec::new();
    };
    let mut all: Vec<Set<'a>> =
        old.iter().filter(|set| !meta::is_terminating(&set.set.metadata)).copied().collect();
    all.sort_by_key(|set| revision_of(&set.set.metadata));
    let count = all.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    all.truncate(count);
    all.retain(|set| set.size == 0 && set.actual() == 0 && set.is_observed());
    all
}
