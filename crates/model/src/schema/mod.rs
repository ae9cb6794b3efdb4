//! The field-level schema of every kind that is served.
//!
//! It is compiled once, on first use, from the schemas that k8s-openapi's types publish, into a small tree
//! of types ([`types`]); the texts for people are not kept, and are generated again when the OpenAPI
//! documents are made ([`raw`]). Checking a body ([`check`]) turns what a client sent into what upstream's
//! decoder would have made of it. This module must never know what a field means beyond its type: defaults
//! and validation belong to the kind's descriptor.
//!
//! Read next: [`types`], then [`check`].

mod base64_text;
mod check;
mod compile;
mod go_types;
mod list_rules;
mod merge_rules;
pub mod raw;
mod time_text;
pub mod types;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub use check::Checked;
pub(crate) use check::{DEPTH_MAX, fits};
pub use raw::ExtraField;
pub use types::{Definition, Definitions, Field, MergeStrategy, Type};

/// Name of the definition of `metav1.ObjectMeta`.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The definitions of every served kind, compiled when first asked for.
pub fn definitions() -> &'static Definitions {
    static DEFINITIONS: LazyLock<Definitions> =
        LazyLock::new(|| Definitions::with_extra(&crate::stateful_set::extra_fields()));
    &DEFINITIONS
}

/// The name of a definition without what all names of its kind begin with: `apps.v1.StatefulSet`.
fn short_name(definition: &str) -> &str {
    definition
        .strip_prefix("io.k8s.api.")
        .or_else(|| definition.strip_prefix("io.k8s.apimachinery.pkg.apis."))
        .unwrap_or(definition)
}
