//! `v1` `ConfigMap`: settings as text, or bytes.
//!
//! Read next: [`super::secret`], which is checked alike.

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::Read;
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static CONFIG_MAP: Kind = {
    let names = Names {
        group: "",
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        key_prefix: "/registry/configmaps",
        definition: "io.k8s.api.core.v1.ConfigMap",
    };
    let mut kind = kind(names, COLUMNS, &ConfigMap);
    kind.short_names = &["cm"];
    kind
};

const COLUMNS: &[Column] =
    &[cells::NAME, cells::shown("Data", "string", "How many keys it has, of text and of bytes."), cells::AGE];

/// What one ConfigMap or Secret may hold: 1 MiB, so that it fits into one request to etcd (1.5 MiB).
pub(crate) const DATA_BYTES_MAX: usize = 1024 * 1024;

struct ConfigMap;

impl Strategy for ConfigMap {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut bytes = 0;
        for (key, value) in object.entries("data") {
            let path = root("data").key(key);
            errors.extend(check::each(&path, key, model::names::config_map_key(key)));
            if object.at("binaryData").get(key).is_some() {
                errors.push(Error::invalid(&path, key, "duplicate of key present in binaryData"));
            }
            bytes += value.as_str().map_or(0, str::len);
        }
        for (key, value) in object.entries("binaryData") {
            let path = root("binaryData").key(key);
            errors.extend(check::each(&path, key, model::names::config_map_key(key)));
            bytes += value.as_str().map_or(0, decoded_len);
        }
        if bytes > DATA_BYTES_MAX {
            errors.push(Error::too_long(&root("[]"), DATA_BYTES_MAX));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = frozen(new, old, &["data", "binaryData"]);
        errors.extend(self.validate_create(new));
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let keys = object.entries("data").count() + object.entries("binaryData").count();
        vec![cells::name(object), keys.into(), cells::age(object, now)]
    }
}

/// What an object marked `immutable` does not allow.
pub(crate) fn frozen(new: &Value, old: &Value, fields: &[&str]) -> ErrorList {
    let detail = "field is immutable when `immutable` is set";
    let mut errors = ErrorList::new();
    if !old.flag("immutable") {
        return errors;
    }
    if !new.flag("immutable") {
        errors.push(Error::forbidden(&root("immutable"), detail));
    }
    for field in fields {
        if !check::same(new.at(field), old.at(field)) {
            errors.push(Error::forbidden(&Path::new(field), detail));
        }
    }
    errors
}

/// How many bytes a base64 text stands for.
pub(crate) fn decoded_len(base64: &str) -> usize {
    let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}
