//! `apps/v1` `Deployment`: ReplicaSets that follow each other.
//!
//! Read next: [`super::deployment_check`], [`super::replica_set`].

use jiff::Timestamp;
use model::field::ErrorList;
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::replica_set::selector_cell;
use super::{check, deployment_check, pod_spec, replica_set_check};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static DEPLOYMENT: Kind = {
    let names = Names {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        key_prefix: "/registry/deployments",
        definition: "io.k8s.api.apps.v1.Deployment",
    };
    let mut kind = kind(names, COLUMNS, &Deployment);
    kind.short_names = &["deploy"];
    kind.categories = &["all"];
    kind.subresources = &[Subresource::Status, Subresource::Scale];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Ready", "string", "How many pods are ready, of how many wanted."),
    cells::shown("Up-to-date", "string", "How many pods have the present template."),
    cells::shown("Available", "string", "How many pods have been ready for long enough."),
    cells::AGE,
    cells::wide("Containers", "string", "Names of the template's containers."),
    cells::wide("Images", "string", "Images of the template's containers."),
    cells::wide("Selector", "string", "Which pods belong to the deployment."),
];

struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        read::set_default(spec, "replicas", 1);
        let strategy = read::object_mut(spec, "strategy");
        read::set_default_text(strategy, "type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = read::object_mut(strategy, "rollingUpdate");
            read::set_default(rolling, "maxUnavailable", "25%");
            read::set_default(rolling, "maxSurge", "25%");
        }
        read::set_default(spec, "revisionHistoryLimit", 10);
        read::set_default(spec, "progressDeadlineSeconds", 600);
        let template = read::object_mut(spec, "template");
        pod_spec::defaults::template(read::object_mut(template, "spec"));
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", json!({}));
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        // Annotations may come along: the revision is written with the status.
        read::keep(new, old, "spec");
        let labels = old.at("metadata.labels").clone();
        let metadata = read::object_mut(new, "metadata");
        if labels.is_null() {
            read::remove(metadata, "labels");
        } else {
            read::set(metadata, "labels", labels);
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        // Annotations are copied to the ReplicaSets: they are part of what is asked for.
        !check::same(new.at("spec"), old.at("spec"))
            || !check::same(new.at("metadata.annotations"), old.at("metadata.annotations"))
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        deployment_check::create(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        deployment_check::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        deployment_check::status_update(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        replica_set_check::warnings(new, old)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let number = |path: &str| object.number(path).unwrap_or_default();
        let containers = object.list("spec.template.spec.containers");
        vec![
            cells::name(object),
            format!("{}/{}", number("status.readyReplicas"), number("spec.replicas")).into(),
            number("status.updatedReplicas").into(),
            number("status.availableReplicas").into(),
            cells::age(object, now),
            cells::joined_field(containers, "name").into(),
            cells::joined_field(containers, "image").into(),
            selector_cell(object.at("spec.selector")),
        ]
    }

    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
