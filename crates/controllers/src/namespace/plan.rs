//! When to look into a namespace, what to delete in it next, and what to say about it: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::view::Entry;
use super::{ByType, FINALIZER};
use crate::api_resource::ApiResource;

/// How soon a namespace is looked into again though nothing woke the controller ...
const AGAIN_MIN: Duration = Duration::from_secs(1);
/// ... which grows with the time it has been waited for, up to this: what has not gone for long will not
/// soon, and its going is watched anyway.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// When to look into a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Not at all: it is not this controller's (any more).
    Never,
    /// Later.
    After(Duration),
    /// Now, and again after a pause if nothing happens.
    Now {
        /// The pause.
        again_after: Duration,
    },
}

/// Decides when to look.
pub fn when_to_look(entry: &Entry, now: Timestamp) -> Look {
    if !has_our_finalizer(&entry.namespace) {
        return Look::Never;
    }
    let asked = entry.namespace.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let waited = Duration::try_from(now.duration_since(asked)).unwrap_or_default();
    let again_after = (waited / 2).clamp(AGAIN_MIN, AGAIN_MAX);
    let Some(looked) = entry.looked else { return Look::Now { again_after } };
    let passed = Duration::try_from(now.duration_since(looked)).unwrap_or_default();
    match again_after.checked_sub(passed) {
        Some(left) if !left.is_zero() => Look::After(left),
        _ => Look::Now { again_after },
    }
}

/// True while the namespace waits for this controller.
pub fn has_our_finalizer(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|all| all.iter().any(|one| one == FINALIZER))
}

/// The objects of one resource that a namespace holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Place of the resource among those that were looked at.
    pub resource: usize,
    /// Its name as conditions have it: `pods.`, `statefulsets.apps`.
    pub name: String,
    /// How many objects there are.
    pub count: usize,
    /// How many of them nobody has deleted yet.
    pub fresh: usize,
    /// How many objects each finalizer holds.
    pub finalizers: BTreeMap<String, usize>,
}

/// What to do next in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Delete all objects of these resources.
    Delete(Vec<usize>),
    /// Wait: all was deleted that can be by now, but is not gone.
    Wait,
    /// Let the namespace go: it is empty.
    Finalize,
}

/// Decides what to do next. `contents` holds what is there, without empty resources.
pub fn next(resources: &[ApiResource], contents: &[Content]) -> Next {
    let is = |content: &Content, group: &str, kind: &str| {
        let resource = &resources[content.resource].kind;
        resource.group == group && resource.kind == kind
    };
    let stages: [&dyn Fn(&Content) -> bool; 3] =
        [&|content| is(content, "apps", "StatefulSet"), &|content| is(content, "", "Pod"), &|_| true];
    for (index, stage) in stages.iter().enumerate() {
        let due = contents.iter().filter(|content| content.fresh > 0 && stage(content));
        let due: Vec<usize> = due.map(|content| content.resource).collect();
        if !due.is_empty() {
            return Next::Delete(due);
        }
        // Pods end before what they use is taken from them. Sets may go on ending meanwhile.
        if index == 1 && contents.iter().any(stage) {
            return Next::Wait;
        }
    }
    if contents.is_empty() { Next::Finalize } else { Next::Wait }
}

/// The conditions to write, or `None` when they say so already.
pub fn conditions(
    namespace: &Namespace,
    contents: &[Content],
    failure: Option<&str>,
    now: Timestamp,
) -> Option<Vec<NamespaceCondition>> {
    let current = namespace.status.as_ref().and_then(|status| status.conditions.clone());
    let mut by_type: ByType = current.iter().flatten().map(|one| (one.type_.clone(), one.clone())).collect();
    let before = by_type.clone();
    for (type_, is_true, reason, message) in statements(contents, failure) {
        let status = if is_true { "True" } else { "False" };
        let known = by_type.get(type_);
        let is_same = known.is_some_and(|known| {
            known.status == status && known.message.as_deref() == Some(message.as_str())
        });
        if is_same {
            continue;
        }
        let since = known.filter(|known| known.status == status);
        let since = since.and_then(|known| known.last_transition_time.clone()).unwrap_or(Time(now));
        by_type.insert(
            type_.to_owned(),
            NamespaceCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(since),
            },
        );
    }
    (by_type != before).then(|| by_type.into_values().collect())
}

type Statement = (&'static str, bool, &'static str, String);

fn statements(contents: &[Content], failure: Option<&str>) -> [Statement; 5] {
    let resources: Vec<String> = contents
        .iter()
        .map(|content| format!("{} has {} resource instances", content.name, content.count))
        .collect();
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for (finalizer, count) in contents.iter().flat_map(|content| &content.finalizers) {
        *held.entry(finalizer).or_default() += count;
    }
    let held: Vec<String> =
        held.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")).collect();
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        match failure {
            Some(failure) => (
                "NamespaceDeletionContentFailure",
                true,
                "ContentDeletionFailed",
                format!("Failed to delete all resource types, 1 remaining: {failure}"),
            ),
            None => (
                "NamespaceDeletionContentFailure",
                false,
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization".to_owned(),
            ),
        },
        if resources.is_empty() {
            let message = "All content successfully removed".to_owned();
            ("NamespaceContentRemaining", false, "ContentRemoved", message)
        } else {
            let message = format!("Some resources are remaining: {}", resources.join(", "));
            ("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
        },
        if held.is_empty() {
            let message = "All content-preserving finalizers finished".to_owned();
            ("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", message)
        } else {
            let message =
                format!("Some content in the namespace has finalizers remaining: {}", held.join(", "));
            ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message)
        },
    ]
}
