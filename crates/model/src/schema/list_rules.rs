//! How server-side apply and the OpenAPI documents see lists and maps: upstream's markers `listType`,
//! `listMapKey`, `mapType` and `structType`, which the published schemas leave out.
//!
//! Facts of `k8s.io/api` v0.37, one line a field. They are not those of strategic merge patches
//! (`merge_rules.rs`): a container's ports merge by number there, by number and protocol here. Read next:
//! `raw.rs`, which writes them into the schemas.

use serde_json::{Map, Value};

use ListRule::{Atomic, Map as Keyed, Set};

/// How a list or map is owned and merged by server-side apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListRule {
    /// As a whole.
    Atomic,
    /// A list of plain values without duplicates.
    Set,
    /// A list of objects, told apart by these fields.
    Map(&'static [&'static str]),
}

/// Group and version with the kind, field, rule. In the order of the names, for the search.
const RULES: &[(&str, &str, ListRule)] = &[
    ("apps.v1.DaemonSetStatus", "conditions", Keyed(&["type"])),
    ("apps.v1.DeploymentStatus", "conditions", Keyed(&["type"])),
    ("apps.v1.ReplicaSetStatus", "conditions", Keyed(&["type"])),
    ("apps.v1.StatefulSetSpec", "volumeClaimTemplates", Atomic),
    ("apps.v1.StatefulSetStatus", "conditions", Keyed(&["type"])),
    ("batch.v1.CronJobStatus", "active", Atomic),
    ("batch.v1.JobSchedulingConfiguration", "resourceClaims", Keyed(&["name"])),
    ("batch.v1.JobStatus", "conditions", Atomic),
    ("batch.v1.PodFailurePolicy", "rules", Atomic),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values", Set),
    ("batch.v1.PodFailurePolicyRule", "onPodConditions", Atomic),
    ("batch.v1.SuccessPolicy", "rules", Atomic),
    ("batch.v1.UncountedTerminatedPods", "failed", Set),
    ("batch.v1.UncountedTerminatedPods", "succeeded", Set),
    ("core.v1.Capabilities", "add", Atomic),
    ("core.v1.Capabilities", "drop", Atomic),
    ("core.v1.CephFSPersistentVolumeSource", "monitors", Atomic),
    ("core.v1.CephFSVolumeSource", "monitors", Atomic),
    ("core.v1.ConfigMapProjection", "items", Atomic),
    ("core.v1.ConfigMapVolumeSource", "items", Atomic),
    ("core.v1.Container", "args", Atomic),
    ("core.v1.Container", "command", Atomic),
    ("core.v1.Container", "env", Keyed(&["name"])),
    ("core.v1.Container", "envFrom", Atomic),
    ("core.v1.Container", "ports", Keyed(&["containerPort", "protocol"])),
    ("core.v1.Container", "resizePolicy", Atomic),
    ("core.v1.Container", "restartPolicyRules", Atomic),
    ("core.v1.Container", "volumeDevices", Keyed(&["devicePath"])),
    ("core.v1.Container", "volumeMounts", Keyed(&["mountPath"])),
    ("core.v1.ContainerImage", "names", Atomic),
    ("core.v1.ContainerRestartRuleOnExitCodes", "values", Set),
    ("core.v1.ContainerStatus", "allocatedResourcesStatus", Keyed(&["name"])),
    ("core.v1.ContainerStatus", "volumeMounts", Keyed(&["mountPath"])),
    ("core.v1.DownwardAPIProjection", "items", Atomic),
    ("core.v1.DownwardAPIVolumeSource", "items", Atomic),
    ("core.v1.EndpointSubset", "addresses", Atomic),
    ("core.v1.EndpointSubset", "notReadyAddresses", Atomic),
    ("core.v1.EndpointSubset", "ports", Atomic),
    ("core.v1.Endpoints", "subsets", Atomic),
    ("core.v1.EphemeralContainer", "args", Atomic),
    ("core.v1.EphemeralContainer", "command", Atomic),
    ("core.v1.EphemeralContainer", "env", Keyed(&["name"])),
    ("core.v1.EphemeralContainer", "envFrom", Atomic),
    ("core.v1.EphemeralContainer", "ports", Keyed(&["containerPort", "protocol"])),
    ("core.v1.EphemeralContainer", "resizePolicy", Atomic),
    ("core.v1.EphemeralContainer", "restartPolicyRules", Atomic),
    ("core.v1.EphemeralContainer", "volumeDevices", Keyed(&["devicePath"])),
    ("core.v1.EphemeralContainer", "volumeMounts", Keyed(&["mountPath"])),
    ("core.v1.ExecAction", "command", Atomic),
    ("core.v1.FCVolumeSource", "targetWWNs", Atomic),
    ("core.v1.FCVolumeSource", "wwids", Atomic),
    ("core.v1.HTTPGetAction", "httpHeaders", Atomic),
    ("core.v1.HostAlias", "hostnames", Atomic),
    ("core.v1.ISCSIPersistentVolumeSource", "portals", Atomic),
    ("core.v1.ISCSIVolumeSource", "portals", Atomic),
    ("core.v1.LinuxContainerUser", "supplementalGroups", Atomic),
    ("core.v1.LoadBalancerIngress", "ports", Atomic),
    ("core.v1.LoadBalancerStatus", "ingress", Atomic),
    ("core.v1.NamespaceSpec", "finalizers", Atomic),
    ("core.v1.NamespaceStatus", "conditions", Keyed(&["type"])),
    ("core.v1.NodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution", Atomic),
    ("core.v1.NodeAllocatableResourceClaimStatus", "containers", Set),
    ("core.v1.NodeAllocatableResourceClaimStatus", "mapping", Keyed(&["name"])),
    ("core.v1.NodeAllocatableResourceClaimStatus", "overhead", Keyed(&["name"])),
    ("core.v1.NodePodPreemptionPolicy", "disableResizePreemption", Set),
    ("core.v1.NodeSelector", "nodeSelectorTerms", Atomic),
    ("core.v1.NodeSelectorRequirement", "values", Atomic),
    ("core.v1.NodeSelectorTerm", "matchExpressions", Atomic),
    ("core.v1.NodeSelectorTerm", "matchFields", Atomic),
    ("core.v1.NodeSpec", "podCIDRs", Set),
    ("core.v1.NodeSpec", "taints", Atomic),
    ("core.v1.NodeStatus", "addresses", Keyed(&["type"])),
    ("core.v1.NodeStatus", "conditions", Keyed(&["type"])),
    ("core.v1.NodeStatus", "declaredFeatures", Atomic),
    ("core.v1.NodeStatus", "images", Atomic),
    ("core.v1.NodeStatus", "runtimeHandlers", Atomic),
    ("core.v1.NodeStatus", "volumesAttached", Atomic),
    ("core.v1.NodeStatus", "volumesInUse", Atomic),
    ("core.v1.PersistentVolumeClaimSpec", "accessModes", Atomic),
    ("core.v1.PersistentVolumeClaimStatus", "accessModes", Atomic),
    ("core.v1.PersistentVolumeClaimStatus", "conditions", Keyed(&["type"])),
    ("core.v1.PersistentVolumeSpec", "accessModes", Atomic),
    ("core.v1.PersistentVolumeSpec", "mountOptions", Atomic),
    ("core.v1.PodAffinity", "preferredDuringSchedulingIgnoredDuringExecution", Atomic),
    ("core.v1.PodAffinity", "requiredDuringSchedulingIgnoredDuringExecution", Atomic),
    ("core.v1.PodAffinityTerm", "matchLabelKeys", Atomic),
    ("core.v1.PodAffinityTerm", "mismatchLabelKeys", Atomic),
    ("core.v1.PodAffinityTerm", "namespaces", Atomic),
    ("core.v1.PodAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution", Atomic),
    ("core.v1.PodAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", Atomic),
    ("core.v1.PodDNSConfig", "nameservers", Atomic),
    ("core.v1.PodDNSConfig", "options", Atomic),
    ("core.v1.PodDNSConfig", "searches", Atomic),
    ("core.v1.PodExtendedResourceClaimStatus", "requestMappings", Atomic),
    ("core.v1.PodSecurityContext", "supplementalGroups", Atomic),
    ("core.v1.PodSecurityContext", "sysctls", Atomic),
    ("core.v1.PodSpec", "containers", Keyed(&["name"])),
    ("core.v1.PodSpec", "ephemeralContainers", Keyed(&["name"])),
    ("core.v1.PodSpec", "evictionResponders", Keyed(&["name"])),
    ("core.v1.PodSpec", "hostAliases", Keyed(&["ip"])),
    ("core.v1.PodSpec", "imagePullSecrets", Keyed(&["name"])),
    ("core.v1.PodSpec", "initContainers", Keyed(&["name"])),
    ("core.v1.PodSpec", "nodeSelector", Atomic),
    ("core.v1.PodSpec", "readinessGates", Atomic),
    ("core.v1.PodSpec", "resourceClaims", Keyed(&["name"])),
    ("core.v1.PodSpec", "schedulingGates", Keyed(&["name"])),
    ("core.v1.PodSpec", "tolerations", Atomic),
    ("core.v1.PodSpec", "topologySpreadConstraints", Keyed(&["topologyKey", "whenUnsatisfiable"])),
    ("core.v1.PodSpec", "volumes", Keyed(&["name"])),
    ("core.v1.PodStatus", "conditions", Keyed(&["type"])),
    ("core.v1.PodStatus", "containerStatuses", Atomic),
    ("core.v1.PodStatus", "ephemeralContainerStatuses", Atomic),
    ("core.v1.PodStatus", "hostIPs", Atomic),
    ("core.v1.PodStatus", "initContainerStatuses", Atomic),
    ("core.v1.PodStatus", "nodeAllocatableResourceClaimStatuses", Keyed(&["resourceClaimName"])),
    ("core.v1.PodStatus", "podIPs", Keyed(&["ip"])),
    ("core.v1.PodStatus", "resourceClaimStatuses", Keyed(&["name"])),
    ("core.v1.PodStatus", "volumeHealth", Keyed(&["name"])),
    ("core.v1.PodVolumeHealth", "healthConditions", Keyed(&["status", "reason"])),
    ("core.v1.ProjectedVolumeSource", "sources", Atomic),
    ("core.v1.RBDPersistentVolumeSource", "monitors", Atomic),
    ("core.v1.RBDVolumeSource", "monitors", Atomic),
    ("core.v1.ResourceRequirements", "claims", Keyed(&["name"])),
    ("core.v1.ResourceStatus", "resources", Keyed(&["resourceID"])),
    ("core.v1.SecretProjection", "items", Atomic),
    ("core.v1.SecretVolumeSource", "items", Atomic),
    ("core.v1.ServiceAccount", "imagePullSecrets", Atomic),
    ("core.v1.ServiceAccount", "secrets", Keyed(&["name"])),
    ("core.v1.ServiceSpec", "clusterIPs", Atomic),
    ("core.v1.ServiceSpec", "externalIPs", Atomic),
    ("core.v1.ServiceSpec", "ipFamilies", Atomic),
    ("core.v1.ServiceSpec", "loadBalancerSourceRanges", Atomic),
    ("core.v1.ServiceSpec", "ports", Keyed(&["port", "protocol"])),
    ("core.v1.ServiceSpec", "selector", Atomic),
    ("core.v1.ServiceStatus", "conditions", Keyed(&["type"])),
    ("core.v1.TopologySelectorLabelRequirement", "values", Atomic),
    ("core.v1.TopologySelectorTerm", "matchLabelExpressions", Atomic),
    ("core.v1.TopologySpreadConstraint", "matchLabelKeys", Atomic),
    ("core.v1.VolumeHealthStatus", "healthConditions", Keyed(&["status", "reason"])),
    ("core.v1.VolumeMount", "bindMountOptions", Set),
    ("discovery.v1.Endpoint", "addresses", Set),
    ("discovery.v1.EndpointHints", "forNodes", Atomic),
    ("discovery.v1.EndpointHints", "forZones", Atomic),
    ("discovery.v1.EndpointSlice", "endpoints", Atomic),
    ("discovery.v1.EndpointSlice", "ports", Atomic),
    ("meta.v1.DeleteOptions", "dryRun", Atomic),
    ("meta.v1.LabelSelector", "matchExpressions", Atomic),
    ("meta.v1.LabelSelectorRequirement", "values", Atomic),
    ("meta.v1.ObjectMeta", "finalizers", Set),
    ("meta.v1.ObjectMeta", "managedFields", Atomic),
    ("meta.v1.ObjectMeta", "ownerReferences", Keyed(&["uid"])),
    ("meta.v1.StatusDetails", "causes", Atomic),
    ("policy.v1.PodDisruptionBudgetStatus", "conditions", Keyed(&["type"])),
    ("scheduling.v1alpha3.WorkloadPodGroupSchedulingConstraints", "topology", Atomic),
    ("storage.v1.StorageClass", "allowedTopologies", Atomic),
    ("storage.v1.StorageClass", "mountOptions", Atomic),
];

/// Types that are always set as a whole. In the order of the names, for the search.
const ATOMIC_OBJECTS: &[&str] = &[
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.EvictionResponder",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
];

/// The rule of a field of the definition of that (short) name.
pub(super) fn of(definition: &str, field: &str) -> Option<ListRule> {
    let found = RULES.binary_search_by(|(owner, name, _)| (*owner, *name).cmp(&(definition, field)));
    found.ok().map(|index| RULES[index].2)
}

/// True for the (short) names of types that are always set as a whole.
pub(super) fn is_atomic(definition: &str) -> bool {
    ATOMIC_OBJECTS.binary_search(&definition).is_ok()
}

/// Writes a rule beside the schema of its field.
pub(super) fn annotate(rule: ListRule, schema: &mut Map<String, Value>) {
    let is_list = schema.get("type").is_some_and(|name| name == "array");
    let (key, value) = match (rule, is_list) {
        (Atomic, true) => ("x-kubernetes-list-type", "atomic"),
        (Atomic, false) => ("x-kubernetes-map-type", "atomic"),
        (Set, _) => ("x-kubernetes-list-type", "set"),
        (Keyed(keys), _) => {
            schema.insert("x-kubernetes-list-map-keys".to_owned(), keys.into());
            ("x-kubernetes-list-type", "map")
        }
    };
    schema.insert(key.to_owned(), value.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Type, definitions, short_name};

    #[test]
    fn the_rules_are_in_order_so_that_the_search_finds_them() {
        assert!(RULES.is_sorted_by_key(|(owner, field, _)| (*owner, *field)));
        assert!(ATOMIC_OBJECTS.is_sorted());
    }

    #[test]
    fn every_rule_names_a_field_that_exists_and_keys_of_its_items() {
        let mut found = 0;
        for definition in definitions().iter() {
            for field in &definition.fields {
                let Some(rule) = of(short_name(&definition.name), &field.name) else { continue };
                found += 1;
                let Keyed(keys) = rule else { continue };
                let Type::List(item) = &field.of else { panic!("{} is no list", field.name) };
                let Type::Object(id) = &**item else { panic!("{} holds no objects", field.name) };
                for key in keys {
                    assert!(definitions().at(*id).field(key).is_some(), "{key} of {}", field.name);
                }
            }
        }
        assert_eq!(found, RULES.len(), "every rule is about a served definition");
    }
}
