//! `apps/v1` `ControllerRevision`: a pod template as it once was.

use jiff::Timestamp;
use model::field::{Error, ErrorList};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::Read;
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static CONTROLLER_REVISION: Kind = {
    let names = Names {
        group: "apps",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        key_prefix: "/registry/controllerrevisions",
        definition: "io.k8s.api.apps.v1.ControllerRevision",
    };
    kind(names, COLUMNS, &ControllerRevision)
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Controller", "string", "Whose revision it is."),
    cells::shown("Revision", "string", "Its number; the newest has the highest."),
    cells::AGE,
];

struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if !object.has("data") {
            errors.push(Error::required(&root("data"), "data is mandatory"));
        }
        check::not_negative(object, &model::field::Path::default(), "revision", &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(new);
        if new.at("data") != old.at("data") {
            errors.push(Error::invalid(&root("data"), new.at("data").clone(), check::IMMUTABLE));
        }
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(object),
            controller(object).into(),
            object.number("revision").unwrap_or_default().into(),
            cells::age(object, now),
        ]
    }
}

/// The controlling owner as kubectl names it: `statefulset.apps/web`.
fn controller(object: &Value) -> String {
    let owners = object.list("metadata.ownerReferences");
    let Some(owner) = owners.iter().find(|owner| owner.flag("controller")) else {
        return cells::NONE.to_owned();
    };
    let kind = owner.text("kind").to_lowercase();
    match owner.text("apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", owner.text("name")),
        None => format!("{kind}/{}", owner.text("name")),
    }
}
