//! `apps/v1` `ReplicaSet`: so many pods of one template, all alike.
//!
//! Read next: [`super::replica_set_check`], [`super::deployment`], [`super::pod_spec`] for the template.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::field::ErrorList;
use model::selector::Selector;
use serde::Deserialize as _;
use serde_json::Value;

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::{check, pod_spec, replica_set_check};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static REPLICA_SET: Kind = {
    let names = Names {
        group: "apps",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        key_prefix: "/registry/replicasets",
        definition: "io.k8s.api.apps.v1.ReplicaSet",
    };
    let mut kind = kind(names, COLUMNS, &ReplicaSet);
    kind.short_names = &["rs"];
    kind.categories = &["all"];
    kind.subresources = &[Subresource::Status, Subresource::Scale];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Desired", "integer", "How many pods are wanted."),
    cells::shown("Current", "integer", "How many pods there are."),
    cells::shown("Ready", "integer", "How many of them are ready."),
    cells::AGE,
    cells::wide("Containers", "string", "Names of the template's containers."),
    cells::wide("Images", "string", "Images of the template's containers."),
    cells::wide("Selector", "string", "Which pods belong to the set."),
];

struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        read::set_default(spec, "replicas", 1);
        let template = read::object_mut(spec, "template");
        pod_spec::defaults::template(read::object_mut(template, "spec"));
        read::set_default(read::object_mut(object, "status"), "replicas", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", serde_json::json!({"replicas": 0}));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        !check::same(new.at("spec"), old.at("spec"))
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        replica_set_check::create(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        replica_set_check::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        replica_set_check::status_update(new)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        replica_set_check::warnings(new, old)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let number = |path: &str| object.number(path).unwrap_or_default().into();
        let containers = object.list("spec.template.spec.containers");
        vec![
            cells::name(object),
            number("spec.replicas"),
            number("status.replicas"),
            number("status.readyReplicas"),
            cells::age(object, now),
            cells::joined_field(containers, "name").into(),
            cells::joined_field(containers, "image").into(),
            selector_cell(object.at("spec.selector")),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.replicas", object.number("status.replicas").unwrap_or_default().to_string())]
    }
}

/// A selector of labels as text.
pub(crate) fn selector_cell(selector: &Value) -> Value {
    let parsed = LabelSelector::deserialize(selector).map_err(|error| error.to_string());
    match parsed.and_then(|selector| Selector::from_label_selector(&selector)) {
        Ok(selector) => cells::or_none(&selector.to_string()),
        Err(_) => "<error>".into(),
    }
}
