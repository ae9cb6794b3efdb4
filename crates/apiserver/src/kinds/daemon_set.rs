//! `apps/v1` `DaemonSet`: one pod of a template on each node that it is for.
//!
//! Read next: [`super::daemon_set_check`], [`super::pod_spec`] for the template.

use jiff::Timestamp;
use model::field::ErrorList;
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::replica_set::selector_cell;
use super::{check, daemon_set_check, pod_spec, replica_set_check};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static DAEMON_SET: Kind = {
    let names = Names {
        group: "apps",
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        key_prefix: "/registry/daemonsets",
        definition: "io.k8s.api.apps.v1.DaemonSet",
    };
    let mut kind = kind(names, COLUMNS, &DaemonSet);
    kind.short_names = &["ds"];
    kind.categories = &["all"];
    kind.subresources = &[Subresource::Status];
    kind
};

/// Counts the templates that the set has had.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Desired", "integer", "How many nodes are to have a pod."),
    cells::shown("Current", "integer", "How many of them have one."),
    cells::shown("Ready", "integer", "How many of those pods are ready."),
    cells::shown("Up-to-date", "integer", "How many have the present template."),
    cells::shown("Available", "integer", "How many have been ready for long enough."),
    cells::shown("Node Selector", "string", "Labels of the nodes that it is for."),
    cells::AGE,
    cells::wide("Containers", "string", "Names of the template's containers."),
    cells::wide("Images", "string", "Images of the template's containers."),
    cells::wide("Selector", "string", "Which pods belong to the set."),
];

struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        let strategy = read::object_mut(spec, "updateStrategy");
        read::set_default_text(strategy, "type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = read::object_mut(strategy, "rollingUpdate");
            read::set_default(rolling, "maxUnavailable", 1);
            read::set_default(rolling, "maxSurge", 0);
        }
        read::set_default(spec, "revisionHistoryLimit", 10);
        let template = read::object_mut(spec, "template");
        pod_spec::defaults::template(read::object_mut(template, "spec"));
        let status = read::object_mut(object, "status");
        for key in ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"] {
            read::set_default(status, key, 0);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let zeroes = json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0,
            "numberMisscheduled": 0, "numberReady": 0,
        });
        read::set(object, "status", zeroes);
        set_template_generation(object, 1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        read::keep(new, old, "status");
        let before = old.entry("metadata.annotations", TEMPLATE_GENERATION).parse().unwrap_or(1_i64);
        let is_same = check::same(new.at("spec.template"), old.at("spec.template"));
        set_template_generation(new, if is_same { before } else { before.saturating_add(1) });
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        !check::same(new.at("spec"), old.at("spec"))
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        daemon_set_check::create(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        daemon_set_check::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        daemon_set_check::status_update(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        replica_set_check::warnings(new, old)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let number = |path: &str| object.number(path).unwrap_or_default().into();
        let containers = object.list("spec.template.spec.containers");
        vec![
            cells::name(object),
            number("status.desiredNumberScheduled"),
            number("status.currentNumberScheduled"),
            number("status.numberReady"),
            number("status.updatedNumberScheduled"),
            number("status.numberAvailable"),
            cells::labels(object.at("spec.template.spec.nodeSelector")).into(),
            cells::age(object, now),
            cells::joined_field(containers, "name").into(),
            cells::joined_field(containers, "image").into(),
            selector_cell(object.at("spec.selector")),
        ]
    }
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = read::object_mut(read::object_mut(object, "metadata"), "annotations");
    read::set(annotations, TEMPLATE_GENERATION, generation.to_string());
}
