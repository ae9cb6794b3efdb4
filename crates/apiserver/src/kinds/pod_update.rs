//! What may change about a pod once it is there.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::check;
use super::pod_spec;
use super::read::{self, Read};

/// Fields of the spec that an update may change, as upstream lists them.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,\
    `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update through the main resource.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("spec");
    let (new_spec, old_spec) = (new.at("spec"), old.at("spec"));
    let mut errors = ErrorList::new();
    for list in ["containers", "initContainers"] {
        if new_spec.list(list).len() != old_spec.list(list).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(Error::forbidden(&path.child(list), detail));
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    errors.extend(images(new_spec, &path));
    errors.extend(deadline(new_spec, old_spec, &path));
    errors.extend(tolerations(new_spec, old_spec, &path));
    errors.extend(gates(new_spec, old_spec, &path));
    let munged = as_it_was(new_spec, old_spec);
    if errors.is_empty() && !check::same(&munged, old_spec) {
        let changed = changed_fields(&munged, old_spec, &path).join(", ");
        let detail = format!("pod updates may not change fields other than {UPDATABLE}\nchanged: {changed}");
        errors.push(Error::forbidden(&path, detail));
    }
    errors
}

fn images(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec.list(list).iter().enumerate() {
            let path = path.child(list).index(index);
            errors.extend(pod_spec::containers::image(container.text("image"), &path.child("image")));
        }
    }
    errors
}

fn deadline(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let path = path.child("activeDeadlineSeconds");
    let (new, old) = (new.number("activeDeadlineSeconds"), old.number("activeDeadlineSeconds"));
    let refuse = |new: Value, detail: &str| vec![Error::invalid(&path, new, detail)];
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            refuse(new.into(), "must be between 0 and 2147483647, inclusive")
        }
        (Some(new), Some(old)) if new > old => {
            refuse(new.into(), "must be less than or equal to previous value")
        }
        (None, Some(_)) => refuse(Value::Null, "must not update from a positive integer to nil value"),
        _ => ErrorList::new(),
    }
}

/// Tolerations may be added; of those that are there only `tolerationSeconds` may change.
fn tolerations(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        read::remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let kept = |old: &Value| {
        let old = without_seconds(old);
        new.list("tolerations").iter().any(|new| check::same(&without_seconds(new), &old))
    };
    if old.list("tolerations").iter().all(kept) {
        return ErrorList::new();
    }
    let detail = "existing toleration can not be modified except its tolerationSeconds";
    vec![Error::forbidden(&path.child("tolerations"), detail)]
}

/// Scheduling gates may only be taken away.
fn gates(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let old_gates = old.list("schedulingGates");
    let added = new.list("schedulingGates").iter().find(|gate| !old_gates.contains(gate));
    let Some(gate) = added else { return ErrorList::new() };
    let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.text("name"));
    vec![Error::forbidden(&path.child("schedulingGates"), detail)]
}

/// The new spec with everything that may change set back.
fn as_it_was(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    for list in ["containers", "initContainers"] {
        for (container, old) in read::list_mut(&mut munged, list).zip(old.list(list)) {
            read::keep(container, old, "image");
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        read::keep(&mut munged, old, key);
    }
    let grace = |spec: &Value| spec.number("terminationGracePeriodSeconds");
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(new) == Some(1) {
        read::keep(&mut munged, old, "terminationGracePeriodSeconds");
    }
    munged
}

/// Names of the fields directly below the spec that differ.
fn changed_fields(new: &Value, old: &Value, path: &Path) -> Vec<String> {
    let keys = |spec: &Value| spec.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    let mut all: Vec<String> = keys(new);
    all.extend::<Vec<String>>(keys(old));
    all.sort();
    all.dedup();
    all.retain(|key| !check::same(new.at(key), old.at(key)));
    all.into_iter().map(|key| path.child(&key).to_string()).collect()
}

/// An update through `/status`.
pub(crate) fn status_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("status");
    let mut errors = ErrorList::new();
    let node = new.text("status.nominatedNodeName");
    if !node.is_empty() {
        let messages = model::names::dns1123_subdomain(node);
        errors.extend(check::each(&path.child("nominatedNodeName"), node, messages));
    }
    let policy = new.text("spec.restartPolicy");
    for list in ["containerStatuses", "initContainerStatuses"] {
        let policy = if list == "initContainerStatuses" && policy != "Never" { "OnFailure" } else { policy };
        let (new, old) = (new.at("status").list(list), old.at("status").list(list));
        errors.extend(transitions(new, old, policy, &path.child(list)));
    }
    errors
}

/// A container that ended and must not be started again stays ended.
fn transitions(new: &[Value], old: &[Value], policy: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if policy == "Always" {
        return errors;
    }
    for old in old {
        let terminated = old.at("state.terminated");
        let failed = terminated.number("exitCode").unwrap_or_default() != 0;
        if terminated.is_null() || (failed && policy == "OnFailure") {
            continue;
        }
        let back = |new: &&Value| new.text("name") == old.text("name") && !new.has("state.terminated");
        if let Some(index) = new.iter().position(|status| back(&status)) {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(Error::forbidden(&path.index(index).child("state"), detail));
        }
    }
    errors
}
