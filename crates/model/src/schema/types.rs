//! The compiled form: definitions, their fields, and the types of the fields.
//!
//! Small on purpose, because it lives as long as the process: names and types, no text for people. Read
//! next: `compile.rs` (how it comes about), `check.rs` (what it is for).

use std::collections::HashMap;

use serde_json::Value;

use super::check::{self, Checked};
use super::raw::ExtraField;
use super::{compile, raw};

/// Index of a definition in its [`Definitions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefinitionId(pub(super) u32);

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// Any number.
    Number,
    /// Bytes, written as base64.
    Bytes,
    /// A point in time, to the second.
    Time,
    /// A point in time, to the microsecond.
    MicroTime,
    /// `resource.Quantity`: a string, or a number that becomes one.
    Quantity,
    /// An integer of 32 bits or a string.
    IntOrString,
    /// Any JSON.
    Any,
    /// Any JSON object.
    AnyObject,
    /// A list.
    List(Box<Type>),
    /// An object whose keys are data.
    Map(Box<Type>),
    /// An object with the fields of a definition.
    Object(DefinitionId),
}

/// How the strategic merge patch treats a list or an object, as the struct tags upstream say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeStrategy {
    /// Items are merged; without it the patch's value replaces the old one.
    pub merge: bool,
    /// `$retainKeys` is honoured on each object: what it does not name goes away.
    pub retain_keys: bool,
    /// The field that tells items apart; `None` for lists of plain values.
    pub key: Option<&'static str>,
}

/// One field of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name in JSON.
    pub name: Box<str>,
    /// What its value may be.
    pub of: Type,
    /// Upstream always writes it, if only with its zero value.
    pub required: bool,
    /// How a strategic merge patch treats it, where upstream says so.
    pub merge: Option<MergeStrategy>,
}

/// A named object type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name in the OpenAPI documents: `io.k8s.api.apps.v1.StatefulSet`.
    pub name: Box<str>,
    /// Its fields, in the order of their names.
    pub fields: Box<[Field]>,
}

impl Definition {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let found = self.fields.binary_search_by(|field| (*field.name).cmp(name));
        found.ok().map(|index| &self.fields[index])
    }

    /// The names of the fields that upstream always writes.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|field| field.required).map(|field| &*field.name)
    }

    /// What the type is called in Go's error messages: `StatefulSetSpec`.
    pub fn go_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The type with its package, as in Go's error messages: `v1.StatefulSetSpec`.
    pub fn go_type(&self) -> &str {
        let start = self.name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        &self.name[start..]
    }
}

/// Every definition, by name.
#[derive(Debug)]
pub struct Definitions {
    pub(super) list: Vec<Definition>,
    pub(super) by_name: HashMap<Box<str>, DefinitionId>,
}

impl Definitions {
    /// The definitions of all served kinds, with fields added to them that upstream does not have.
    pub fn with_extra(extra: &[ExtraField]) -> Definitions {
        compile::compile(&raw::schemas(extra))
    }

    /// The definition of that name.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.id(name).map(|id| self.at(id))
    }

    /// The definition with that index. The index must come from this same set of definitions.
    pub fn at(&self, id: DefinitionId) -> &Definition {
        &self.list[id.0 as usize]
    }

    /// The index of the definition of that name.
    pub fn id(&self, name: &str) -> Option<DefinitionId> {
        self.by_name.get(name).copied()
    }

    /// Every definition, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.list.iter()
    }

    /// Makes of `value` what upstream's decoder would make of it, and says what it found wrong: fields
    /// that are not there are removed, `null` becomes absent, quantities and times get their canonical
    /// form. Without type errors the value then decodes into the definition's type. An unknown
    /// definition accepts everything.
    pub fn check(&self, definition: &str, value: &mut Value) -> Checked {
        check::check(self, definition, value)
    }
}
