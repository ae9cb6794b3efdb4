//! `v1` `PersistentVolumeClaim`: a wish for storage.
//!
//! StatefulSets carry claims as templates: their defaults and checks are here and in
//! [`super::volume_check`] too.

use jiff::Timestamp;
use model::defaults;
use model::field::ErrorList;
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::volume_check;
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static PERSISTENT_VOLUME_CLAIM: Kind = {
    let names = Names {
        group: "",
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        key_prefix: "/registry/persistentvolumeclaims",
        definition: "io.k8s.api.core.v1.PersistentVolumeClaim",
    };
    let mut kind = kind(names, COLUMNS, &PersistentVolumeClaim);
    kind.short_names = &["pvc"];
    kind.subresources = &[Subresource::Status];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Status", "string", "Pending, Bound, Lost or Terminating."),
    cells::shown("Volume", "string", "The volume it is bound to."),
    cells::shown("Capacity", "string", "How much the volume holds."),
    cells::shown("Access Modes", "string", "Who may mount it at the same time."),
    cells::shown("StorageClass", "string", "Its class."),
    cells::shown("VolumeAttributesClass", "string", "Its class of changeable attributes."),
    cells::AGE,
    cells::wide("VolumeMode", "string", "Filesystem or Block."),
];

struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Value) {
        defaults::claim(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", json!({"phase": "Pending"}));
        mirror_data_source(read::object_mut(object, "spec"));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        read::keep(new, old, "status");
        mirror_data_source(read::object_mut(new, "spec"));
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = volume_check::claim_spec(object.at("spec"), &model::field::Path::new("spec"));
        errors.extend(volume_check::old_class_annotation(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(new);
        errors.extend(volume_check::claim_update(new, old));
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        volume_check::claim_status(new)
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        volume_check::claim_warnings(new.at("spec"), "spec")
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let phase = match object.has("metadata.deletionTimestamp") {
            true => "Terminating",
            false => object.text("status.phase"),
        };
        let bound = !spec.text("volumeName").is_empty();
        let (capacity, modes) = match bound {
            true => {
                let modes = cells::access_modes(object.list("status.accessModes"));
                (object.text("status.capacity.storage"), modes)
            }
            false => ("", String::new()),
        };
        vec![
            cells::name(object),
            phase.into(),
            spec.text("volumeName").into(),
            capacity.into(),
            modes.into(),
            cells::storage_class(object).into(),
            cells::or(spec.text("volumeAttributesClassName"), "<unset>"),
            cells::age(object, now),
            cells::or(spec.text("volumeMode"), "<unset>"),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("name", object.text("metadata.name").to_owned())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["name"]
    }
}

/// Of `dataSource` and `dataSourceRef`, the one that is missing follows the other.
fn mirror_data_source(spec: &mut Value) {
    let (old, new) = (spec.at("dataSource").clone(), spec.at("dataSourceRef").clone());
    if !old.is_null() && new.is_null() {
        read::set(spec, "dataSourceRef", old);
    } else if old.is_null() && !new.is_null() && new.text("namespace").is_empty() {
        let known = match new.text("apiGroup") {
            "" => new.text("kind") == "PersistentVolumeClaim",
            group => group == "snapshot.storage.k8s.io" && new.text("kind") == "VolumeSnapshot",
        };
        if known {
            read::set(spec, "dataSource", new);
        }
    }
}
