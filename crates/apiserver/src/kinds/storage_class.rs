//! `storage.k8s.io/v1` `StorageClass`: how volumes are made for claims.

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static STORAGE_CLASS: Kind = {
    let names = Names {
        group: "storage.k8s.io",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        key_prefix: "/registry/storageclasses",
        definition: "io.k8s.api.storage.v1.StorageClass",
    };
    let mut kind = kind(names, COLUMNS, &StorageClass);
    kind.short_names = &["sc"];
    kind.namespaced = false;
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Provisioner", "string", "Who makes the volumes."),
    cells::shown("ReclaimPolicy", "string", "What happens to a volume when its claim goes."),
    cells::shown("VolumeBindingMode", "string", "When a volume is made: at once, or for the first pod."),
    cells::shown("AllowVolumeExpansion", "string", "Whether claims may grow."),
    cells::AGE,
];

/// Marks the class for claims that name none.
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// How many parameters a class may have.
const PARAMETERS_MAX: usize = 512;
/// How many bytes their keys and values may have together: 256 KiB.
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// The driver that is built in. A claim that its class lets grow would wait for ever.
const LOCAL_PROVISIONER: &str = "local.ordinal.dev";

struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, object: &mut Value) {
        read::set_default(object, "reclaimPolicy", "Delete");
        read::set_default(object, "volumeBindingMode", "Immediate");
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let top = Path::default();
        let mut errors = ErrorList::new();
        let provisioner = object.text("provisioner");
        if check::required(object, &top, "provisioner", &mut errors) {
            let lower = provisioner.to_lowercase();
            errors.extend(check::each(&root("provisioner"), &lower, model::names::qualified_name(&lower)));
        }
        if provisioner == LOCAL_PROVISIONER && object.flag("allowVolumeExpansion") {
            let detail = format!("volumes of {LOCAL_PROVISIONER} cannot grow");
            errors.push(Error::forbidden(&root("allowVolumeExpansion"), detail));
        }
        errors.extend(parameters(object));
        check::one_of_if_set(object, &top, "reclaimPolicy", &["Delete", "Retain"], &mut errors);
        let modes = ["Immediate", "WaitForFirstConsumer"];
        check::one_of(object, &top, "volumeBindingMode", &modes, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(new);
        let changed = |key: &str| !check::same(new.at(key), old.at(key));
        for key in ["parameters", "provisioner", "reclaimPolicy"] {
            if changed(key) {
                let detail = format!("updates to {key} are forbidden.");
                errors.push(Error::forbidden(&root(key), detail));
            }
        }
        if changed("volumeBindingMode") {
            check::immutable(new, old, &Path::default(), "volumeBindingMode", &mut errors);
        }
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut name = object.text("metadata.name").to_owned();
        if DEFAULT_CLASS.iter().any(|key| object.entry("metadata.annotations", key) == "true") {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            object.text("provisioner").into(),
            cells::or(object.text("reclaimPolicy"), "Delete"),
            cells::or(object.text("volumeBindingMode"), "Immediate"),
            object.flag("allowVolumeExpansion").into(),
            cells::age(object, now),
        ]
    }
}

fn parameters(object: &Value) -> ErrorList {
    let path = root("parameters");
    let mut errors = ErrorList::new();
    let (mut count, mut bytes) = (0, 0);
    for (key, value) in object.entries("parameters") {
        if key.is_empty() {
            errors.push(Error::invalid(&path, key, "field can not be empty."));
        }
        count += 1;
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if count > PARAMETERS_MAX {
        let mut error = Error::too_long(&path, PARAMETERS_MAX);
        error.detail = format!("Provisioner Parameters must have at most {PARAMETERS_MAX} items");
        errors.push(error);
    }
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(Error::too_long(&path, PARAMETERS_BYTES_MAX));
    }
    errors
}
