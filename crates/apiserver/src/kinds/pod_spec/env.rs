//! Environment variables and where their values come from.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::kinds::check;
use crate::kinds::read::Read;

/// Fields of a pod that a variable may take.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a pod that a file may take.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Amounts of a container that can be taken, without huge pages.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// `env` and `envFrom` of a container.
pub(crate) fn of_container(container: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, variable) in container.list("env").iter().enumerate() {
        let path = path.child("env").index(index);
        let name = variable.text("name");
        if check::required(variable, &path, "name", &mut errors) {
            errors.extend(check::each(&path.child("name"), name, model::names::relaxed_env_var_name(name)));
        }
        if variable.has("valueFrom") {
            errors.extend(value_from(variable, &path.child("valueFrom")));
        }
    }
    for (index, source) in container.list("envFrom").iter().enumerate() {
        errors.extend(env_from(source, &path.child("envFrom").index(index)));
    }
    errors
}

fn env_from(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let prefix = source.text("prefix");
    if !prefix.is_empty() {
        let messages = model::names::relaxed_env_var_name(prefix);
        errors.extend(check::each(&path.child("prefix"), prefix, messages));
    }
    let refs = ["configMapRef", "secretRef"];
    let set: Vec<&str> = refs.into_iter().filter(|key| source.has(key)).collect();
    match set.len() {
        0 => {
            let detail = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(Error::invalid(path, "", detail));
        }
        1 => {}
        _ => errors.push(Error::invalid(path, "", "may not have more than one field specified at a time")),
    }
    for key in set {
        check::required(source.at(key), &path.child(key), "name", &mut errors);
    }
    errors
}

fn value_from(variable: &Value, path: &Path) -> ErrorList {
    let source = variable.at("valueFrom");
    let set: Vec<&str> = SOURCES.into_iter().filter(|key| source.has(key)).collect();
    let mut errors = ErrorList::new();
    for key in &set {
        let path = path.child(key);
        let source = source.at(key);
        match *key {
            "fieldRef" => errors.extend(field_ref(source, &path, &ENV_FIELDS)),
            "resourceFieldRef" => errors.extend(resource_field_ref(source, &path, false)),
            "fileKeyRef" => {
                for key in ["volumeName", "path", "key"] {
                    check::required(source, &path, key, &mut errors);
                }
            }
            _ => {
                check::required(source, &path, "name", &mut errors);
                let key = source.text("key");
                if check::required(source, &path, "key", &mut errors) {
                    let messages = model::names::config_map_key(key);
                    errors.extend(check::each(&path.child("key"), key, messages));
                }
            }
        }
    }
    if !variable.text("value").is_empty() {
        if !set.is_empty() {
            errors.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
        }
    } else if set.len() > 1 {
        errors.push(Error::invalid(path, "", "may not have more than one field specified at a time"));
    } else if set.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` \
                      or `fileKeyRef`";
        errors.push(Error::invalid(path, "", detail));
    }
    errors
}

/// A field of the pod.
fn field_ref(source: &Value, path: &Path, fields: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    if !check::required(source, path, "apiVersion", &mut errors)
        || !check::required(source, path, "fieldPath", &mut errors)
    {
        return errors;
    }
    let path = path.child("fieldPath");
    let field = source.text("fieldPath");
    if let Some((map, key)) = subscript(field) {
        match map {
            "metadata.annotations" => {
                errors.extend(check::each(&path, key, model::names::qualified_name(&key.to_lowercase())));
            }
            "metadata.labels" => errors.extend(check::each(&path, key, model::names::qualified_name(key))),
            _ => errors.push(Error::invalid(&path, field, format!("{map} does not support subscript"))),
        }
        return errors;
    }
    let known = ENV_FIELDS.contains(&field) || FILE_FIELDS.contains(&field);
    if !known {
        let detail = format!("error converting fieldPath: field label not supported: {field}");
        errors.push(Error::invalid(&path, field, detail));
    } else if !fields.contains(&field) {
        errors.push(Error::not_supported(&path, field, fields));
    }
    errors
}

/// `metadata.labels['app']` as its map and its key.
fn subscript(field: &str) -> Option<(&str, &str)> {
    let (map, rest) = field.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// An amount of a container. A file must say of which container.
fn resource_field_ref(source: &Value, path: &Path, file: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    if file && source.text("containerName").is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
        return errors;
    }
    if !check::required(source, path, "resource", &mut errors) {
        return errors;
    }
    let resource = source.text("resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if !huge && !RESOURCES.contains(&resource) {
        errors.push(Error::not_supported(&path.child("resource"), resource, &RESOURCES));
        return errors;
    }
    let divisor = source.text("divisor");
    let allowed: &[&str] = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => &["1m", "1"],
        _ => &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"],
    };
    if !matches!(divisor, "" | "0") && !allowed.contains(&divisor) {
        let (last, first) = allowed.split_last().expect("the lists above are not empty");
        let name = resource.split_once('.').map_or(resource, |(_, name)| name);
        let detail = match name {
            "cpu" => "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
            name => format!(
                "only divisor's values {} and {last} are supported with the {name} resource",
                first.join(", ")
            ),
        };
        errors.push(Error::invalid(&path.child("divisor"), divisor, detail));
    }
    errors
}

/// One file of a downward API volume.
pub(crate) fn file(item: &Value, path: &Path) -> ErrorList {
    match (item.has("fieldRef"), item.has("resourceFieldRef")) {
        (true, true) => {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            vec![Error::invalid(path, "resource", detail)]
        }
        (true, false) => field_ref(item.at("fieldRef"), &path.child("fieldRef"), &FILE_FIELDS),
        (false, true) => {
            resource_field_ref(item.at("resourceFieldRef"), &path.child("resourceFieldRef"), true)
        }
        (false, false) => {
            let detail = "one of fieldRef and resourceFieldRef is required";
            vec![Error::required(&path.child("fieldRef"), detail)]
        }
    }
}
