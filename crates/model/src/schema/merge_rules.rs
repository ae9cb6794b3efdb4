//! How strategic merge patches treat lists and objects: upstream's struct tags `patchStrategy` and
//! `patchMergeKey`, which the published schemas leave out.
//!
//! Facts of `k8s.io/api` v0.37, one line a field. What is not listed is replaced as a whole where it is a
//! list, and merged field by field where it is an object. Read next: `patch/strategic`.

use super::short_name;
use super::types::MergeStrategy;

/// Group and version with the kind, field, strategy. In the order of the names, for the search.
const RULES: &[(&str, &str, MergeStrategy)] = &[
    ("apps.v1.DaemonSetStatus", "conditions", by("type")),
    ("apps.v1.DeploymentSpec", "strategy", RETAINING),
    ("apps.v1.DeploymentStatus", "conditions", by("type")),
    ("apps.v1.ReplicaSetStatus", "conditions", by("type")),
    ("apps.v1.StatefulSetStatus", "conditions", by("type")),
    ("batch.v1.JobSchedulingConfiguration", "resourceClaims", by("name")),
    ("batch.v1.JobStatus", "conditions", by("type")),
    ("core.v1.Container", "env", by("name")),
    ("core.v1.Container", "ports", by("containerPort")),
    ("core.v1.Container", "volumeDevices", by("devicePath")),
    ("core.v1.Container", "volumeMounts", by("mountPath")),
    ("core.v1.ContainerStatus", "allocatedResourcesStatus", by("name")),
    ("core.v1.ContainerStatus", "volumeMounts", by("mountPath")),
    ("core.v1.EphemeralContainer", "env", by("name")),
    ("core.v1.EphemeralContainer", "ports", by("containerPort")),
    ("core.v1.EphemeralContainer", "volumeDevices", by("devicePath")),
    ("core.v1.EphemeralContainer", "volumeMounts", by("mountPath")),
    ("core.v1.NamespaceStatus", "conditions", by("type")),
    ("core.v1.NodeAllocatableResourceClaimStatus", "mapping", by("name")),
    ("core.v1.NodeAllocatableResourceClaimStatus", "overhead", by("name")),
    ("core.v1.NodeSpec", "podCIDRs", PLAIN),
    ("core.v1.NodeStatus", "addresses", by("type")),
    ("core.v1.NodeStatus", "conditions", by("type")),
    ("core.v1.PersistentVolumeClaimStatus", "conditions", by("type")),
    ("core.v1.PodSpec", "containers", by("name")),
    ("core.v1.PodSpec", "ephemeralContainers", by("name")),
    ("core.v1.PodSpec", "evictionResponders", by("name")),
    ("core.v1.PodSpec", "hostAliases", by("ip")),
    ("core.v1.PodSpec", "imagePullSecrets", by("name")),
    ("core.v1.PodSpec", "initContainers", by("name")),
    ("core.v1.PodSpec", "resourceClaims", by_retaining_keys("name")),
    ("core.v1.PodSpec", "schedulingGates", by("name")),
    ("core.v1.PodSpec", "topologySpreadConstraints", by("topologyKey")),
    ("core.v1.PodSpec", "volumes", by_retaining_keys("name")),
    ("core.v1.PodStatus", "conditions", by("type")),
    ("core.v1.PodStatus", "hostIPs", by("ip")),
    ("core.v1.PodStatus", "nodeAllocatableResourceClaimStatuses", by("resourceClaimName")),
    ("core.v1.PodStatus", "podIPs", by("ip")),
    ("core.v1.PodStatus", "resourceClaimStatuses", by_retaining_keys("name")),
    ("core.v1.PodVolumeHealth", "healthConditions", by("status")),
    ("core.v1.ServiceAccount", "secrets", by("name")),
    ("core.v1.ServiceSpec", "ports", by("port")),
    ("core.v1.ServiceStatus", "conditions", by("type")),
    ("core.v1.VolumeHealthStatus", "healthConditions", by("status")),
    ("meta.v1.ObjectMeta", "finalizers", PLAIN),
    ("meta.v1.ObjectMeta", "ownerReferences", by("uid")),
    ("policy.v1.PodDisruptionBudgetSpec", "selector", REPLACED),
    ("policy.v1.PodDisruptionBudgetStatus", "conditions", by("type")),
];

/// A list of plain values that is merged as a set.
const PLAIN: MergeStrategy = MergeStrategy { merge: true, retain_keys: false, key: None };

/// A field that is set as a whole, where others of its type are merged.
const REPLACED: MergeStrategy = MergeStrategy { merge: false, retain_keys: false, key: None };

/// An object that is a union: `$retainKeys` is honoured on it.
const RETAINING: MergeStrategy = MergeStrategy { merge: false, retain_keys: true, key: None };

/// A list merged by a key.
const fn by(key: &'static str) -> MergeStrategy {
    MergeStrategy { merge: true, retain_keys: false, key: Some(key) }
}

/// A list merged by a key, of items that are a union: `$retainKeys` is honoured on each.
const fn by_retaining_keys(key: &'static str) -> MergeStrategy {
    MergeStrategy { merge: true, retain_keys: true, key: Some(key) }
}

/// The strategy of one field of the definition of that (full) name.
pub(super) fn of(definition: &str, field: &str) -> Option<MergeStrategy> {
    let found =
        RULES.binary_search_by(|(owner, name, _)| (*owner, *name).cmp(&(short_name(definition), field)));
    found.ok().map(|index| RULES[index].2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Type, definitions};

    #[test]
    fn the_rules_are_in_order_so_that_the_search_finds_them() {
        assert!(RULES.is_sorted_by_key(|(owner, field, _)| (*owner, *field)));
    }

    #[test]
    fn every_rule_names_a_field_that_exists_and_a_key_of_its_items() {
        let mut found = 0;
        for definition in definitions().iter() {
            for field in &definition.fields {
                let Some(strategy) = field.merge else { continue };
                found += 1;
                let Type::List(item) = &field.of else {
                    assert!(strategy.key.is_none(), "{} {}", definition.name, field.name);
                    continue;
                };
                match (&**item, strategy.key) {
                    (Type::Object(id), Some(key)) => {
                        assert!(definitions().at(*id).field(key).is_some(), "{key} of {}", field.name);
                    }
                    (Type::String, None) => {}
                    other => panic!("{} of {}: {other:?}", field.name, definition.name),
                }
            }
        }
        assert_eq!(found, RULES.len(), "every rule is about a served definition");
    }
}
