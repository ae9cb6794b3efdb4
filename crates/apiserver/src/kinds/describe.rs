//! How the files of the kinds make their descriptors: one call, then what differs from the usual.

use crate::kind::{Column, Kind, NameRule, Strategy};
use model::resource::{GroupVersionKind, GroupVersionResource};

/// What a kind is called.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Name inside objects.
    pub(crate) kind: &'static str,
    /// Name in URLs.
    pub(crate) plural: &'static str,
    /// Name for one.
    pub(crate) singular: &'static str,
    /// Beginning of its keys.
    pub(crate) key_prefix: &'static str,
    /// Name in the OpenAPI documents.
    pub(crate) definition: &'static str,
}

/// A kind as most are: version `v1`, in namespaces, unconditional updates allowed, kept for ever.
pub(crate) const fn kind(names: Names, columns: &'static [Column], strategy: &'static dyn Strategy) -> Kind {
    Kind {
        gvk: GroupVersionKind::constant(names.group, "v1", names.kind),
        gvr: GroupVersionResource::constant(names.group, "v1", names.plural),
        singular: names.singular,
        short_names: &[],
        categories: &[],
        namespaced: true,
        key_prefix: names.key_prefix,
        definition: names.definition,
        subresources: &[],
        orphans_by_default: false,
        deleted_gracefully: false,
        update_needs_resource_version: false,
        create_on_update: false,
        ttl_seconds: None,
        name_rule: NameRule::Subdomain,
        columns,
        strategy,
    }
}
