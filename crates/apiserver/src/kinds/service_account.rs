//! `v1` `ServiceAccount`: an identity for what runs in pods.

use jiff::Timestamp;
use model::field::ErrorList;
use serde_json::Value;

use super::cells;
use super::describe::{Names, kind};
use super::read::Read;
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static SERVICE_ACCOUNT: Kind = {
    let names = Names {
        group: "",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        key_prefix: "/registry/serviceaccounts",
        definition: "io.k8s.api.core.v1.ServiceAccount",
    };
    let mut kind = kind(names, COLUMNS, &ServiceAccount);
    kind.short_names = &["sa"];
    kind
};

const COLUMNS: &[Column] =
    &[cells::NAME, cells::shown("Secrets", "string", "How many secrets it names."), cells::AGE];

struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, _object: &Value) -> ErrorList {
        // Upstream checks metadata only, which the generic path does.
        ErrorList::new()
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(object), object.list("secrets").len().into(), cells::age(object, now)]
    }
}
