//! `v1` `Node`: a machine that pods run on. Its agent makes the object, status included.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::pod_spec::resources::canonical;
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static NODE: Kind = {
    let names = Names {
        group: "",
        kind: "Node",
        plural: "nodes",
        singular: "node",
        key_prefix: "/registry/minions",
        definition: "io.k8s.api.core.v1.Node",
    };
    let mut kind = kind(names, COLUMNS, &Node);
    kind.short_names = &["no"];
    kind.namespaced = false;
    kind.subresources = &[Subresource::Status];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Status", "string", "Ready or not, and whether pods are kept away from it."),
    cells::shown("Roles", "string", "What its labels say it is for."),
    cells::AGE,
    cells::shown("Version", "string", "Version of its agent."),
    cells::wide("Internal-IP", "string", "Its address inside the cluster."),
    cells::wide("External-IP", "string", "Its address outside the cluster."),
    cells::wide("OS-Image", "string", "Its operating system."),
    cells::wide("Kernel-Version", "string", "Its kernel."),
    cells::wide("Container-Runtime", "string", "What runs its containers."),
];

/// Effects that a taint may have.
pub(crate) const TAINT_EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

struct Node;

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        for list in ["allocatable", "capacity"] {
            canonical(object.get_mut("status").and_then(|status| status.get_mut(list)));
        }
        if object.has("status.capacity") && !object.has("status.allocatable") {
            let capacity = object.at("status.capacity").clone();
            read::set(read::object_mut(object, "status"), "allocatable", capacity);
        }
    }

    /// Keeps the status: an agent registers its node with it.
    fn prepare_create(&self, _object: &mut Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = taints(object.list("spec.taints"));
        let addresses = object.list("status.addresses");
        for (index, address) in addresses.iter().enumerate() {
            if addresses[..index].contains(address) {
                let path = root("status.addresses").index(index);
                errors.push(Error::duplicate(&path, address.clone()));
            }
        }
        for (index, cidr) in object.list("spec.podCIDRs").iter().enumerate() {
            let cidr = cidr.as_str().unwrap_or_default();
            let path = root("spec.podCIDRs").index(index);
            errors.extend(check::each(&path, cidr, model::names::cidr(cidr)));
        }
        errors.extend(resources(object.at("status.capacity"), &root("status.capacity")));
        errors.extend(resources(object.at("status.allocatable"), &root("status.allocatable")));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(new);
        for (field, name) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
            let (new, old) = (new.at("spec").at(field), old.at("spec").at(field));
            if !check::same(old, &Value::Null) && !check::same(new, old) {
                let detail = format!("node updates may not change {name} except from \"\" to valid");
                errors.push(Error::forbidden(&root("spec").child(field), detail));
            }
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        self.validate_create(new)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let info = |key: &str| cells::or(object.at("status.nodeInfo").text(key), "<unknown>");
        vec![
            cells::name(object),
            status(object).into(),
            roles(object).into(),
            cells::age(object, now),
            object.text("status.nodeInfo.kubeletVersion").into(),
            address(object, "InternalIP"),
            address(object, "ExternalIP"),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", object.flag("spec.unschedulable").to_string())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }
}

fn taints(taints: &[Value]) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = root("spec.taints").index(index);
        let (key, value) = (taint.text("key"), taint.text("value"));
        errors.extend(check::each(&path.child("key"), key, model::names::qualified_name(key)));
        errors.extend(check::each(&path.child("value"), value, model::names::label_value(value)));
        check::one_of(taint, &path, "effect", &TAINT_EFFECTS, &mut errors);
        let same = |other: &Value| other.text("key") == key && other.text("effect") == taint.text("effect");
        if taints[..index].iter().any(same) {
            let mut error = Error::duplicate(&path, taint.clone());
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
    errors
}

/// Amounts of resources must be quantities that are not negative.
pub(crate) fn resources(amounts: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        errors.extend(super::pod_spec::resources::amount(&path.key(name), name, amount));
    }
    errors
}

fn status(object: &Value) -> String {
    let conditions = object.list("status.conditions");
    let ready = conditions.iter().find(|condition| condition.text("type") == "Ready");
    let mut status = match ready.map(|condition| condition.text("status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.flag("spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(object: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in object.entries("metadata.labels") {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => roles.insert(role),
            None if key == "kubernetes.io/role" => roles.insert(value.as_str().unwrap_or_default()),
            _ => false,
        };
    }
    roles.remove("");
    match roles.is_empty() {
        true => cells::NONE.to_owned(),
        false => roles.into_iter().collect::<Vec<_>>().join(","),
    }
}

fn address(object: &Value, kind: &str) -> Value {
    let addresses = object.list("status.addresses");
    let found = addresses.iter().find(|address| address.text("type") == kind);
    cells::or_none(found.map_or("", |address| address.text("address")))
}
