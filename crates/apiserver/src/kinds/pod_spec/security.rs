//! Who containers run as, and what they may do.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::kinds::check;
use crate::kinds::read::Read;

/// The security context of the pod.
pub(crate) fn of_pod(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let context = spec.at("securityContext");
    let at = path.child("securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        errors.extend(id(context, key, &at));
    }
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        let messages = model::names::user_id(group.as_i64().unwrap_or(-1));
        let path = at.child("supplementalGroups").index(index);
        errors.extend(messages.into_iter().map(|message| Error::invalid(&path, group.clone(), message)));
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    let policies = ["Always", "OnRootMismatch"];
    check::one_of_if_set(context, &at, "fsGroupChangePolicy", &policies, &mut errors);
    check::one_of_if_set(context, &at, "supplementalGroupsPolicy", &["Merge", "Strict"], &mut errors);
    errors.extend(seccomp(context, &at));
    let sysctls = context.list("sysctls");
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = at.child("sysctls").index(index).child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
        }
        if sysctls[..index].iter().any(|other| other.text("name") == name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
    errors
}

/// The security context of a container.
pub(crate) fn of_container(container: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let context = container.at("securityContext");
    let path = path.child("securityContext");
    for key in ["runAsUser", "runAsGroup"] {
        errors.extend(id(context, key, &path));
    }
    check::one_of_if_set(context, &path, "procMount", &["Default", "Unmasked"], &mut errors);
    if context.at("allowPrivilegeEscalation") == false {
        if context.flag("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(&path, context.clone(), detail));
        }
        let added = context.list("capabilities.add");
        if added.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(&path, context.clone(), detail));
        }
    }
    errors.extend(seccomp(context, &path));
    errors
}

fn id(context: &Value, key: &str, path: &Path) -> ErrorList {
    let Some(id) = context.number(key) else { return ErrorList::new() };
    let messages = model::names::user_id(id).into_iter();
    messages.map(|message| Error::invalid(&path.child(key), id, message)).collect()
}

fn seccomp(context: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let profile = context.at("seccompProfile");
    if profile.is_null() {
        return errors;
    }
    let path = path.child("seccompProfile");
    check::one_of(profile, &path, "type", &["Localhost", "RuntimeDefault", "Unconfined"], &mut errors);
    let localhost = path.child("localhostProfile");
    match (profile.text("type"), profile.has("localhostProfile")) {
        ("Localhost", false) => {
            let detail = "must be set when seccomp type is Localhost";
            errors.push(Error::required(&localhost, detail));
        }
        ("Localhost", true) | (_, false) => {}
        (_, true) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(&localhost, profile.at("localhostProfile").clone(), detail));
        }
    }
    errors
}
