//! Selectors: which objects a list, a watch, a Service or a controller means.
//!
//! A [`Selector`] looks at labels, a [`FieldSelector`] at a few named fields. Both are parsed from the text a
//! client sends, refuse in upstream's words what is no selector, and print a canonical text that parses back.
//!
//! Read next: [`label`] for the type, [`parse`] for the grammar, [`field`] for fields.

pub mod field;
pub mod label;
mod parse;

pub use field::{FieldRequirement, FieldSelector};
pub use label::{Operator, Requirement, Selector, validate_label_selector};

/// The longest selector text that is looked at. A URL has no room for more, and objects carry selectors as
/// structures.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
