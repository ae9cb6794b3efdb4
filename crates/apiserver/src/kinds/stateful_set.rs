//! `apps/v1` `StatefulSet`: what Ordinal is for.
//!
//! Read next: [`super::stateful_set_check`], [`super::pod_spec`] for the template.

use jiff::Timestamp;
use model::field::ErrorList;
use serde_json::Value;

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::{check, pod_spec, stateful_set_check};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static STATEFUL_SET: Kind = {
    let names = Names {
        group: "apps",
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        key_prefix: "/registry/statefulsets",
        definition: "io.k8s.api.apps.v1.StatefulSet",
    };
    let mut kind = kind(names, COLUMNS, &StatefulSet);
    kind.short_names = &["sts"];
    kind.categories = &["all"];
    kind.subresources = &[Subresource::Status, Subresource::Scale];
    // The set's own name rule (a label, checked on create only) is in `stateful_set_check`.
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Ready", "string", "How many replicas are ready, of how many wanted."),
    cells::AGE,
    cells::wide("Containers", "string", "Names of the template's containers."),
    cells::wide("Images", "string", "Images of the template's containers."),
];

struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        read::set_default_text(spec, "podManagementPolicy", "OrderedReady");
        let strategy = read::object_mut(spec, "updateStrategy");
        read::set_default_text(strategy, "type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            read::set_default(read::object_mut(strategy, "rollingUpdate"), "partition", 0);
        }
        let retention = read::object_mut(spec, "persistentVolumeClaimRetentionPolicy");
        read::set_default_text(retention, "whenDeleted", "Retain");
        read::set_default_text(retention, "whenScaled", "Retain");
        let claims = read::object_mut(spec, "volumeClaimUpdateStrategy");
        read::set_default_text(claims, "type", "OnClaimDelete");
        read::set_default(spec, "replicas", 1);
        read::set_default(spec, "revisionHistoryLimit", 10);
        let template = read::object_mut(spec, "template");
        pod_spec::defaults::template(read::object_mut(template, "spec"));
        for claim in read::list_mut(spec, "volumeClaimTemplates") {
            // Upstream's server writes these two into every template.
            read::set_default_text(claim, "apiVersion", "v1");
            read::set_default_text(claim, "kind", "PersistentVolumeClaim");
            pod_spec::defaults::claim(claim);
        }
        let status = read::object_mut(object, "status");
        read::set_default(status, "replicas", 0);
        read::set_default(status, "availableReplicas", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", serde_json::json!({"replicas": 0, "availableReplicas": 0}));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        if check::same(new.at("spec"), old.at("spec")) {
            return false;
        }
        // What an earlier version stored lacks the defaults that came later: to fill them in is no change.
        let mut old = old.clone();
        self.default(&mut old);
        !check::same(new.at("spec"), old.at("spec"))
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        stateful_set_check::create(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        stateful_set_check::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        stateful_set_check::status_update(new, old)
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        stateful_set_check::warnings(new)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let ready = object.number("status.readyReplicas").unwrap_or_default();
        let wanted = object.number("spec.replicas").unwrap_or_default();
        let containers = object.list("spec.template.spec.containers");
        vec![
            cells::name(object),
            format!("{ready}/{wanted}").into(),
            cells::age(object, now),
            cells::joined_field(containers, "name").into(),
            cells::joined_field(containers, "image").into(),
        ]
    }

    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
