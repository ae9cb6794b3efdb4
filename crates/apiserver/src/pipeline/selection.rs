//! Which objects of a collection a request sees.
//!
//! Looks no further into an object than the selectors make it: nothing for everything, the metadata for
//! labels and names, the tree only for a kind's own fields.

use std::collections::BTreeMap;

use model::encoded::Encoded;
use model::selector::{FieldSelector, Selector};
use model::status::Status;
use serde_json::Value;

use crate::kind::Kind;

/// A label and a field selector for objects of one kind.
#[derive(Clone)]
pub(crate) struct Selection {
    kind: &'static Kind,
    labels: Selector,
    fields: FieldSelector,
    reads_tree: bool,
}

const OWN_FIELDS: [&str; 2] = ["metadata.name", "metadata.namespace"];

impl Selection {
    /// The selection that two selectors in text form describe.
    pub(crate) fn parse(kind: &'static Kind, labels: &str, fields: &str) -> Result<Selection, Status> {
        let labels = Selector::parse(labels)
            .map_err(|error| Status::bad_request(format!("unable to parse requirement: {error}")))?;
        let fields = FieldSelector::parse(fields).map_err(Status::bad_request)?;
        let mut reads_tree = false;
        for requirement in fields.requirements() {
            let name = requirement.field.as_str();
            let own = OWN_FIELDS.contains(&name);
            if !own && !kind.strategy.selectable_field_names().contains(&name) {
                return Err(Status::bad_request(format!("field label not supported: {name}")));
            }
            reads_tree |= !own;
        }
        Ok(Selection { kind, labels, fields, reads_tree })
    }

    /// True when no object is left out.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.requirements().is_empty()
    }

    /// The one name that can match, where the fields say so.
    pub(crate) fn only_name(&self) -> Option<&str> {
        self.fields
            .requirements()
            .iter()
            .find(|requirement| requirement.equals && requirement.field == "metadata.name")
            .map(|requirement| requirement.value.as_str())
    }

    /// True when the selection has `object`.
    pub(crate) fn has(&self, object: &Encoded) -> Result<bool, Status> {
        if self.is_everything() {
            return Ok(true);
        }
        let metadata = object.metadata().map_err(Status::internal)?;
        if !self.labels.is_everything() {
            let none = BTreeMap::new();
            if !self.labels.matches(metadata.labels.as_ref().unwrap_or(&none)) {
                return Ok(false);
            }
        }
        if self.fields.requirements().is_empty() {
            return Ok(true);
        }
        let own = if self.reads_tree {
            let read = |value: &Value| self.kind.strategy.selectable_fields(value);
            object.selectable_fields(read).map_err(Status::internal)?
        } else {
            &[]
        };
        Ok(self.fields.matches(|field| match field {
            "metadata.name" => Some(metadata.name.clone().unwrap_or_default()),
            "metadata.namespace" => Some(metadata.namespace.clone().unwrap_or_default()),
            other => own.iter().find(|(name, _)| *name == other).map(|(_, value)| value.clone()),
        }))
    }
}
