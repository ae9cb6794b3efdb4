//! An object's metadata: who owns it, whether it is on its way out, and what it may say.
//!
//! Read next: [`validate`], the rules every object's metadata obeys on create and update.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::resource::GroupVersionKind;

pub mod validate;

pub use validate::{validate_object_meta, validate_object_meta_update};

/// The finalizer with which a foreground deletion waits for dependents.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// The finalizer with which a deletion orphans its dependents.
pub const FINALIZER_ORPHAN: &str = "orphan";

/// The owner that manages this object, if one does. There is at most one.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = meta.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// True when the object with this uid manages this one.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// True once deletion of the object was asked for; it is there until its finalizers are gone.
pub fn is_terminating(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// True when the object has this finalizer.
pub fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.as_ref().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

/// A reference by which `owner`, an object of `kind`, manages its dependents and blocks its own foreground
/// deletion on them.
pub fn owner_reference(owner: &ObjectMeta, kind: &GroupVersionKind) -> OwnerReference {
    OwnerReference {
        api_version: kind.api_version(),
        kind: kind.kind.to_string(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// `namespace/name`, or `name` alone for objects outside namespaces; for messages.
pub fn display_name(meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_is_the_owner_that_says_so() {
        let kind = GroupVersionKind::constant("apps", "v1", "StatefulSet");
        let set =
            ObjectMeta { name: Some("web".to_owned()), uid: Some("u1".to_owned()), ..ObjectMeta::default() };
        let managing = owner_reference(&set, &kind);
        assert_eq!(managing.api_version, "apps/v1");
        let plain = OwnerReference { controller: None, uid: "u0".to_owned(), ..managing.clone() };
        let pod = ObjectMeta {
            owner_references: Some(vec![plain.clone(), managing.clone()]),
            ..ObjectMeta::default()
        };
        assert_eq!(controller_of(&pod), Some(&managing));
        assert!(is_controlled_by(&pod, "u1") && !is_controlled_by(&pod, "u0"));
        let orphan = ObjectMeta { owner_references: Some(vec![plain]), ..ObjectMeta::default() };
        assert_eq!(controller_of(&orphan), None);
    }
}
