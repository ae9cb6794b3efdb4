//! `coordination.k8s.io/v1` `Lease`: who leads, and since when; how nodes say that they live.

use jiff::Timestamp;
use model::field::{Error, ErrorList};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::Read;
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static LEASE: Kind = {
    let names = Names {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        key_prefix: "/registry/leases",
        definition: "io.k8s.api.coordination.v1.Lease",
    };
    let mut kind = kind(names, COLUMNS, &Lease);
    kind.create_on_update = true;
    kind.update_needs_resource_version = true;
    kind
};

const COLUMNS: &[Column] = &[cells::NAME, cells::shown("Holder", "string", "Who holds it."), cells::AGE];

struct Lease;

impl Strategy for Lease {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (object.at("spec"), root("spec"));
        if spec.has("holderIdentity") && spec.text("holderIdentity").is_empty() {
            errors.push(Error::invalid(&path.child("holderIdentity"), "", "must not be empty"));
        }
        check::above_zero(spec, &path, "leaseDurationSeconds", &mut errors);
        check::not_negative(spec, &path, "leaseTransitions", &mut errors);
        let preferred = spec.text("preferredHolder");
        if !preferred.is_empty() && spec.text("strategy").is_empty() {
            let detail = "may only be specified if `strategy` is defined";
            errors.push(Error::forbidden(&path.child("preferredHolder"), detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> ErrorList {
        self.validate_create(new)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(object), object.text("spec.holderIdentity").into(), cells::age(object, now)]
    }
}
