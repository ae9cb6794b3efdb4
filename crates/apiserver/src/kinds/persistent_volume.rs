//! `v1` `PersistentVolume`: storage that outlives pods.
//!
//! Read next: [`super::volume_check`], [`super::persistent_volume_claim`].

use jiff::Timestamp;
use model::field::ErrorList;
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::pod_spec::resources::canonical;
use super::read::{self, Read};
use super::volume_check;
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static PERSISTENT_VOLUME: Kind = {
    let names = Names {
        group: "",
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        key_prefix: "/registry/persistentvolumes",
        definition: "io.k8s.api.core.v1.PersistentVolume",
    };
    let mut kind = kind(names, COLUMNS, &PersistentVolume);
    kind.short_names = &["pv"];
    kind.namespaced = false;
    kind.subresources = &[Subresource::Status];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Capacity", "string", "How much it holds."),
    cells::shown("Access Modes", "string", "Who may mount it at the same time."),
    cells::shown("Reclaim Policy", "string", "What happens to it when its claim goes."),
    cells::shown("Status", "string", "Available, Bound, Released, Failed or Terminating."),
    cells::shown("Claim", "string", "The claim it is bound to."),
    cells::shown("StorageClass", "string", "Its class."),
    cells::shown("VolumeAttributesClass", "string", "Its class of changeable attributes."),
    cells::shown("Reason", "string", "Why it is in this state."),
    cells::AGE,
    cells::wide("VolumeMode", "string", "Filesystem or Block."),
];

struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        canonical(spec.get_mut("capacity"));
        read::set_default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        read::set_default(spec, "volumeMode", "Filesystem");
        if let Some(host_path) = read::present_mut(spec, "hostPath") {
            read::set_default(host_path, "type", "");
        }
        read::set_default_text(read::object_mut(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", json!({"phase": "Pending"}));
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        volume_check::volume(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        volume_check::volume_update(new, old)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let claim = match spec.text("claimRef.name") {
            "" => String::new(),
            name => format!("{}/{name}", spec.text("claimRef.namespace")),
        };
        let phase = match object.has("metadata.deletionTimestamp") {
            true => "Terminating",
            false => object.text("status.phase"),
        };
        vec![
            cells::name(object),
            spec.text("capacity.storage").into(),
            cells::access_modes(spec.list("accessModes")).into(),
            spec.text("persistentVolumeReclaimPolicy").into(),
            phase.into(),
            claim.into(),
            cells::storage_class(object).into(),
            cells::or(spec.text("volumeAttributesClassName"), "<unset>"),
            object.text("status.reason").into(),
            cells::age(object, now),
            cells::or(spec.text("volumeMode"), "<unset>"),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        // Upstream's own field, which is the metadata's name under another name.
        vec![("name", object.text("metadata.name").to_owned())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["name"]
    }
}
