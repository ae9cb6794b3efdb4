//! `v1` `Namespace`: where names are unique.
//!
//! Emptying one that is being deleted is the namespace controller's work; it then removes the finalizer in
//! `spec` through `/finalize`.

use jiff::Timestamp;
use model::field::{Error, ErrorList};
use serde_json::{Value, json};

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::{self, Read};
use crate::kind::{Column, Kind, NameRule, Strategy, Subresource};

/// The descriptor.
pub(crate) static NAMESPACE: Kind = {
    let names = Names {
        group: "",
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        key_prefix: "/registry/namespaces",
        definition: "io.k8s.api.core.v1.Namespace",
    };
    let mut kind = kind(names, COLUMNS, &Namespace);
    kind.short_names = &["ns"];
    kind.namespaced = false;
    kind.name_rule = NameRule::Label;
    kind.subresources = &[Subresource::Status, Subresource::Finalize];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Status", "string", "Active, or Terminating while it is being emptied."),
    cells::AGE,
];

/// Label that carries the namespace's own name, so that selectors can pick it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

struct Namespace;

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        label(object);
        read::set_default_text(read::object_mut(object, "status"), "phase", "Active");
    }

    fn prepare_create(&self, object: &mut Value) {
        label(object);
        read::set(object, "status", json!({"phase": "Active"}));
        let spec = read::object_mut(object, "spec");
        let mut finalizers = spec.list("finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            finalizers.push("kubernetes".into());
        }
        read::set(spec, "finalizers", finalizers);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        read::keep(new, old, "spec");
        read::keep(new, old, "status");
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for (index, finalizer) in object.list("spec.finalizers").iter().enumerate() {
            let finalizer = finalizer.as_str().unwrap_or_default();
            let path = root("spec.finalizers").index(index);
            let bad = model::names::qualified_name(finalizer);
            if bad.is_empty() && !finalizer.contains('/') && finalizer != "kubernetes" {
                let detail = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(Error::invalid(&path, finalizer, detail));
            }
            errors.extend(check::each(&path, finalizer, bad));
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> ErrorList {
        self.validate_create(new)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let path = root("status.phase");
        let phase = new.text("status.phase");
        let terminating = new.has("metadata.deletionTimestamp");
        match (terminating, phase) {
            (true, "Terminating") | (false, "Active") => ErrorList::new(),
            (true, _) => {
                let detail = "may only be 'Terminating' if `deletionTimestamp` is not empty";
                vec![Error::invalid(&path, phase, detail)]
            }
            (false, _) => {
                let detail = "may only be 'Active' if `deletionTimestamp` is empty";
                vec![Error::invalid(&path, phase, detail)]
            }
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(object), object.text("status.phase").into(), cells::age(object, now)]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.phase", object.text("status.phase").to_owned())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.phase"]
    }
}

fn label(object: &mut Value) {
    let name = object.text("metadata.name").to_owned();
    if !name.is_empty() {
        let metadata = read::object_mut(object, "metadata");
        read::set(read::object_mut(metadata, "labels"), NAME_LABEL, name);
    }
}
