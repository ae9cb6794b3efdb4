//! What claims and volumes must be, and what may change about them.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::check::{self, root};
use super::pod_spec::resources::{amount, quantity};
use super::pod_spec::volumes::host_path;
use super::read::{self, Read};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const RECLAIM_POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
/// Annotation that named the class before there was a field.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Fields of a volume's spec that are not what it is made of.
const NOT_A_SOURCE: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// The spec of a claim or of a claim template.
pub(crate) fn claim_spec(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if spec.list("accessModes").is_empty() {
        let detail = "at least 1 access mode is required";
        errors.push(Error::required(&path.child("accessModes"), detail));
    }
    errors.extend(check::label_selector(spec.at("selector"), &path.child("selector")));
    errors.extend(access_modes(spec, path));
    let storage = spec.at("resources.requests.storage");
    let at = path.child("resources").key("storage");
    if storage.is_null() {
        errors.push(Error::required(&at, ""));
    } else {
        errors.extend(positive(storage, &at));
    }
    errors.extend(class_and_mode(spec, path));
    for key in ["dataSource", "dataSourceRef"] {
        if spec.has(key) {
            check::required(spec.at(key), &path.child(key), "name", &mut errors);
            check::required(spec.at(key), &path.child(key), "kind", &mut errors);
        }
    }
    errors
}

fn access_modes(spec: &Value, path: &Path) -> ErrorList {
    let path = path.child("accessModes");
    let modes = spec.list("accessModes");
    let unknown = modes.iter().filter_map(Value::as_str).filter(|mode| !ACCESS_MODES.contains(mode));
    let mut errors: ErrorList =
        unknown.map(|mode| Error::not_supported(&path, mode, &ACCESS_MODES)).collect();
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&path, detail));
    }
    errors
}

/// A size that is more than nothing.
fn positive(value: &Value, path: &Path) -> ErrorList {
    let mut errors = amount(path, "storage", value);
    if let Some(quantity) = quantity(value).filter(|quantity| quantity.sign() <= 0) {
        errors.push(Error::invalid(path, quantity.to_string(), "must be greater than zero"));
    }
    errors
}

fn class_and_mode(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for key in ["storageClassName", "volumeAttributesClassName"] {
        let class = spec.text(key);
        if !class.is_empty() {
            errors.extend(check::each(&path.child(key), class, model::names::dns1123_subdomain(class)));
        }
    }
    check::one_of_if_set(spec, path, "volumeMode", &VOLUME_MODES, &mut errors);
    errors
}

/// The old annotation may say what the field says, or the field nothing.
pub(crate) fn old_class_annotation(claim: &Value) -> ErrorList {
    let old = claim.entry("metadata.annotations", OLD_CLASS);
    if old.is_empty() || !claim.has("spec.storageClassName") {
        return ErrorList::new();
    }
    let detail = "can not be set together with the annotation volume.beta.kubernetes.io/storage-class";
    vec![Error::forbidden(&root("spec.storageClassName"), detail)]
}

/// An update of a claim: it may be bound, and once bound it may grow.
pub(crate) fn claim_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (new_spec, old_spec) = (new.at("spec"), old.at("spec"));
    let mut munged = new_spec.clone();
    if old_spec.text("volumeName").is_empty() {
        read::keep(&mut munged, old_spec, "volumeName");
    }
    // A claim without a class may get the default class later.
    if !old_spec.has("storageClassName") && old.entry("metadata.annotations", OLD_CLASS).is_empty() {
        read::keep(&mut munged, old_spec, "storageClassName");
    }
    if !check::same(munged.at("dataSourceRef"), old_spec.at("dataSourceRef"))
        && check::same(munged.at("dataSource"), old_spec.at("dataSource"))
        && !old_spec.has("dataSourceRef")
        && check::same(munged.at("dataSourceRef"), old_spec.at("dataSource"))
    {
        read::remove(&mut munged, "dataSourceRef");
    }
    if old.text("status.phase") == "Bound" {
        read::keep(&mut munged, old_spec, "volumeAttributesClassName");
        if let Some(resources) = read::present_mut(&mut munged, "resources") {
            read::keep(resources, old_spec.at("resources"), "requests");
        }
    }
    if !check::same(&munged, old_spec) {
        let detail = "spec is immutable after creation except resources.requests and \
                      volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&root("spec"), detail));
    }
    errors.extend(shrunk(new, old));
    let (class, was) =
        (new_spec.text("volumeAttributesClassName"), old_spec.text("volumeAttributesClassName"));
    if class.is_empty() && !was.is_empty() {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(Error::forbidden(&root("spec.volumeAttributesClassName"), detail));
    }
    errors
}

/// A request may be lowered again after a growth that failed, but not to what there is already.
fn shrunk(new: &Value, old: &Value) -> Option<Error> {
    let wanted = quantity(new.at("spec.resources.requests.storage"))?;
    let before = quantity(old.at("spec.resources.requests.storage"))?;
    if wanted >= before {
        return None;
    }
    let path = root("spec.resources.requests.storage");
    match quantity(old.at("status.capacity.storage")) {
        Some(there) if wanted > there => None,
        Some(_) => Some(Error::forbidden(&path, "field can not be less than status.capacity")),
        None => Some(Error::forbidden(&path, "field can not be less than previous value")),
    }
}

/// The status of a claim.
pub(crate) fn claim_status(new: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["capacity", "allocatedResources"] {
        for (name, value) in new.at("status").entries(list) {
            errors.extend(amount(&root("status").child(list).key(name), name, value));
        }
    }
    errors
}

/// Warnings about an accepted claim.
pub(crate) fn claim_warnings(spec: &Value, path: &str) -> Vec<String> {
    let storage = spec.at("resources.requests.storage");
    let fractional = quantity(storage).filter(|quantity| !quantity.is_whole());
    let warn = |quantity| {
        format!(
            "{path}.resources.requests[storage]: fractional byte value \"{quantity}\" is invalid, must be an \
             integer"
        )
    };
    fractional.map(warn).into_iter().collect()
}

/// A volume.
pub(crate) fn volume(object: &Value) -> ErrorList {
    let path = root("spec");
    let spec = object.at("spec");
    let mut errors = ErrorList::new();
    if spec.list("accessModes").is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    errors.extend(access_modes(spec, &path));
    let capacity = path.child("capacity");
    let storage = spec.at("capacity.storage");
    if spec.entries("capacity").next().is_none() {
        errors.push(Error::required(&capacity, ""));
    } else if storage.is_null() || spec.entries("capacity").count() > 1 {
        errors.push(Error::not_supported(&capacity, spec.at("capacity").clone(), &["storage"]));
    } else {
        errors.extend(positive(storage, &capacity.key("storage")));
    }
    if !spec.text("persistentVolumeReclaimPolicy").is_empty() {
        let key = "persistentVolumeReclaimPolicy";
        check::one_of_if_set(spec, &path, key, &RECLAIM_POLICIES, &mut errors);
    }
    if spec.has("nodeAffinity.required") {
        let at = path.child("nodeAffinity.required");
        errors.extend(check::node_selector(spec.at("nodeAffinity.required"), &at));
    }
    errors.extend(source(spec, &path));
    errors.extend(class_and_mode(spec, &path));
    errors
}

fn sources(spec: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let fields = spec.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value));
    fields.filter(|(key, value)| !NOT_A_SOURCE.contains(key) && !value.is_null())
}

fn source(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, (key, source)) in sources(spec).enumerate() {
        let at = path.child(key);
        if index > 0 {
            errors.push(Error::forbidden(&at, "may not specify more than 1 volume type"));
            continue;
        }
        match key {
            "hostPath" => errors.extend(host_path(source, &at)),
            "local" => {
                check::required(source, &at, "path", &mut errors);
                if !spec.has("nodeAffinity") {
                    let detail = "Local volume requires node affinity";
                    errors.push(Error::required(&root("metadata.annotations"), detail));
                }
            }
            "nfs" => {
                check::required(source, &at, "server", &mut errors);
                check::required(source, &at, "path", &mut errors);
            }
            "csi" => {
                check::required(source, &at, "driver", &mut errors);
                check::required(source, &at, "volumeHandle", &mut errors);
            }
            _ => {}
        }
    }
    if sources(spec).next().is_none() {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    errors
}

/// An update of a volume: what it is made of stays.
pub(crate) fn volume_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = volume(new);
    let (new, old) = (new.at("spec"), old.at("spec"));
    let same_sources = sources(new).count() == sources(old).count()
        && sources(new).all(|(key, value)| check::same(value, old.at(key)));
    if !same_sources {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(Error::forbidden(&root("spec.persistentvolumesource"), detail));
    }
    check::immutable(new, old, &root("spec"), "volumeMode", &mut errors);
    if old.has("nodeAffinity") {
        check::immutable(new, old, &root("spec"), "nodeAffinity", &mut errors);
    }
    errors
}
