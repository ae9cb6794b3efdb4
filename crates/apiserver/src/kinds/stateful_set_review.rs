//! `ordinal.dev/v1` `StatefulSetReview`: what a change of a StatefulSet would do.
//!
//! A question, not an object: nothing of it is ever stored. Read next: [`crate::reviews`], which answers.

use jiff::Timestamp;
use model::field::{Error, ErrorList};
use model::review;
use serde_json::Value;

use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::Read;
use crate::kind::{Kind, Strategy};

/// The descriptor.
pub(crate) static STATEFUL_SET_REVIEW: Kind = {
    let names = Names {
        group: review::GROUP,
        kind: review::KIND,
        plural: review::PLURAL,
        singular: "statefulsetreview",
        key_prefix: "/registry/ordinal.dev/statefulsetreviews",
        definition: review::DEFINITION,
    };
    kind(names, &[], &StatefulSetReview)
};

struct StatefulSetReview;

impl Strategy for StatefulSetReview {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.entry("operation").or_insert_with(|| review::APPLY.into());
        }
    }

    fn is_review(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (object.at("spec"), root("spec"));
        check::one_of(spec, &path, "operation", &[review::APPLY, review::DELETE], &mut errors);
        let (manifest, path) = (spec.at("manifest"), path.child("manifest"));
        for (field, expected) in [("apiVersion", "apps/v1"), ("kind", "StatefulSet")] {
            check::one_of(manifest, &path, field, &[expected], &mut errors);
        }
        let metadata = manifest.at("metadata");
        if metadata.text("name").is_empty() {
            errors.push(Error::required(&path.child("metadata").child("name"), ""));
        }
        let (own, of_manifest) = (object.text("metadata.namespace"), metadata.text("namespace"));
        if !of_manifest.is_empty() && of_manifest != own {
            let path = path.child("metadata").child("namespace");
            let detail = format!("must be the namespace of the review, {own:?}, or empty");
            errors.push(Error::invalid(&path, of_manifest, detail));
        }
        let annotations = metadata.at("annotations");
        if !annotations.is_null() && !annotations.is_object() {
            let path = path.child("metadata").child("annotations");
            errors.push(Error::invalid(&path, annotations.clone(), "must be a mapping"));
        }
        errors
    }

    fn validate_update(&self, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    fn row(&self, _object: &Value, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }
}
