//! `v1` `Pod`: containers that run together on one node.
//!
//! Read next: [`super::pod_spec`] (defaults and checks of the spec), [`super::pod_update`] (what may change),
//! [`super::pod_row`] (its table row).

use jiff::Timestamp;
use model::field::{ErrorList, Path};
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::{check, pod_row, pod_spec, pod_update};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static POD: Kind = {
    let names = Names {
        group: "",
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        key_prefix: "/registry/pods",
        definition: "io.k8s.api.core.v1.Pod",
    };
    let mut kind = kind(names, COLUMNS, &Pod);
    kind.short_names = &["po"];
    kind.categories = &["all"];
    kind.subresources = &[
        Subresource::Status,
        Subresource::Binding,
        Subresource::Eviction,
        Subresource::Log,
        Subresource::Exec,
        Subresource::Attach,
    ];
    kind.deleted_gracefully = true;
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Ready", "string", "How many of its containers are ready, of how many there are."),
    cells::shown("Status", "string", "What it is doing, or what keeps it from it."),
    cells::shown("Restarts", "string", "How often its containers were started again, and when last."),
    cells::AGE,
    cells::wide("IP", "string", "Its address."),
    cells::wide("Node", "string", "The node it runs on."),
    cells::wide("Nominated Node", "string", "The node where others are being removed for it."),
    cells::wide("Readiness Gates", "string", "How many of its readiness gates are open."),
];

const SELECTABLE: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        pod_spec::defaults::pod(read::object_mut(object, "spec"));
    }

    fn prepare_create(&self, object: &mut Value) {
        if object.has("spec.affinity") {
            pod_spec::label_keys::complete(object);
        }
        let class = pod_spec::resources::qos_class(object.at("spec"));
        let mut status = json!({"phase": "Pending", "qosClass": class});
        if !object.list("spec.schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        read::set(object, "status", status);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        read::keep(new, old, "spec");
        let metadata = read::object_mut(new, "metadata");
        read::keep(metadata, old.at("metadata"), "deletionTimestamp");
        // Whoever writes status never means to change ownership.
        read::keep(metadata, old.at("metadata"), "ownerReferences");
        let class = old.text("status.qosClass").to_owned();
        if !class.is_empty() {
            read::set_default_text(read::object_mut(new, "status"), "qosClass", &class);
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        !check::same(new.at("spec"), old.at("spec"))
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        pod_spec::check::spec(object.at("spec"), &Path::new("spec"))
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        pod_update::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        pod_update::status_update(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let changed = old.is_none_or(|old| !check::same(new.at("spec"), old.at("spec")));
        if changed { pod_spec::warnings::spec(new.at("spec"), "spec") } else { Vec::new() }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        pod_row::row(object, now)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let value = |path: &str| match path {
            "spec.hostNetwork" => object.flag(path).to_string(),
            path => object.text(path).to_owned(),
        };
        SELECTABLE.iter().map(|path| (*path, value(path))).collect()
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        SELECTABLE
    }

    fn grace_period_seconds(&self, object: &Value) -> i64 {
        // No node has to stop what never ran or has ended.
        let ended = matches!(object.text("status.phase"), "Failed" | "Succeeded");
        if ended || object.text("spec.nodeName").is_empty() {
            return 0;
        }
        match object.number("spec.terminationGracePeriodSeconds") {
            Some(seconds) if seconds < 0 => 1,
            Some(seconds) => seconds,
            None => 0,
        }
    }
}
