//! What types are called in the messages of upstream's decoder: `int32`, `[]v1.Container`.
//!
//! Only for texts; nothing may be decided by these names. Most are built from the definitions; what has a
//! name of its own in upstream's source is in the table, facts of `k8s.io/api` v0.37.

use super::short_name;
use super::types::{Definition, Definitions, Type};

/// The name of a type that has none of its own.
pub(super) fn text(definitions: &Definitions, of: &Type) -> String {
    match of {
        Type::String => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Number => "float64".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Any => "runtime.RawExtension".to_owned(),
        Type::AnyObject => "v1.FieldsV1".to_owned(),
        Type::List(item) => format!("[]{}", text(definitions, item)),
        Type::Map(item) => format!("map[string]{}", text(definitions, item)),
        Type::Object(id) => definitions.at(*id).go_type().to_owned(),
    }
}

/// The name of the type of a value that stands so many steps below a field.
pub(super) fn at(definitions: &Definitions, of: &Type, field: Option<(&Definition, &str, usize)>) -> String {
    let own = field.and_then(|(owner, name, steps)| {
        let owner = short_name(&owner.name);
        let found = OWN_NAMES.binary_search_by(|(of, field, _)| (*of, *field).cmp(&(owner, name)));
        inner(OWN_NAMES[found.ok()?].2, steps)
    });
    own.map_or_else(|| text(definitions, of), str::to_owned)
}

/// The name of the items of the items of so many levels of lists and maps.
fn inner(name: &'static str, steps: usize) -> Option<&'static str> {
    (0..steps).try_fold(name, |name, _| {
        let (_, item) = name.starts_with(['[', 'm']).then(|| name.split_once(']'))??;
        Some(item.trim_start_matches('*'))
    })
}

/// Fields whose types have names of their own. In the order of the names, for the search.
const OWN_NAMES: &[(&str, &str, &str)] = &[
    ("apps.v1.DaemonSetCondition", "status", "v1.ConditionStatus"),
    ("apps.v1.DaemonSetCondition", "type", "v1.DaemonSetConditionType"),
    ("apps.v1.DaemonSetUpdateStrategy", "type", "v1.DaemonSetUpdateStrategyType"),
    ("apps.v1.DeploymentCondition", "status", "v1.ConditionStatus"),
    ("apps.v1.DeploymentCondition", "type", "v1.DeploymentConditionType"),
    ("apps.v1.DeploymentStrategy", "type", "v1.DeploymentStrategyType"),
    ("apps.v1.ReplicaSetCondition", "status", "v1.ConditionStatus"),
    ("apps.v1.ReplicaSetCondition", "type", "v1.ReplicaSetConditionType"),
    ("apps.v1.StatefulSetCondition", "status", "v1.ConditionStatus"),
    ("apps.v1.StatefulSetCondition", "type", "v1.StatefulSetConditionType"),
    (
        "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy",
        "whenDeleted",
        "v1.PersistentVolumeClaimRetentionPolicyType",
    ),
    (
        "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy",
        "whenScaled",
        "v1.PersistentVolumeClaimRetentionPolicyType",
    ),
    ("apps.v1.StatefulSetSpec", "podManagementPolicy", "v1.PodManagementPolicyType"),
    ("apps.v1.StatefulSetUpdateStrategy", "type", "v1.StatefulSetUpdateStrategyType"),
    ("batch.v1.CronJobSpec", "concurrencyPolicy", "v1.ConcurrencyPolicy"),
    ("batch.v1.JobCondition", "status", "v1.ConditionStatus"),
    ("batch.v1.JobCondition", "type", "v1.JobConditionType"),
    ("batch.v1.JobSpec", "completionMode", "v1.CompletionMode"),
    ("batch.v1.JobSpec", "podReplacementPolicy", "v1.PodReplacementPolicy"),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", "operator", "v1.PodFailurePolicyOnExitCodesOperator"),
    ("batch.v1.PodFailurePolicyOnPodConditionsPattern", "status", "v1.ConditionStatus"),
    ("batch.v1.PodFailurePolicyOnPodConditionsPattern", "type", "v1.PodConditionType"),
    ("batch.v1.PodFailurePolicyRule", "action", "v1.PodFailurePolicyAction"),
    ("batch.v1.UncountedTerminatedPods", "failed", "[]types.UID"),
    ("batch.v1.UncountedTerminatedPods", "succeeded", "[]types.UID"),
    ("coordination.v1.LeaseSpec", "strategy", "v1.CoordinatedLeaseStrategy"),
    ("core.v1.AppArmorProfile", "type", "v1.AppArmorProfileType"),
    ("core.v1.AttachedVolume", "name", "v1.UniqueVolumeName"),
    ("core.v1.AzureDiskVolumeSource", "cachingMode", "v1.AzureDataDiskCachingMode"),
    ("core.v1.AzureDiskVolumeSource", "kind", "v1.AzureDataDiskKind"),
    ("core.v1.Capabilities", "add", "[]v1.Capability"),
    ("core.v1.Capabilities", "drop", "[]v1.Capability"),
    ("core.v1.ConfigMapNodeConfigSource", "uid", "types.UID"),
    ("core.v1.Container", "imagePullPolicy", "v1.PullPolicy"),
    ("core.v1.Container", "restartPolicy", "v1.ContainerRestartPolicy"),
    ("core.v1.Container", "terminationMessagePolicy", "v1.TerminationMessagePolicy"),
    ("core.v1.ContainerPort", "protocol", "v1.Protocol"),
    ("core.v1.ContainerResizePolicy", "resourceName", "v1.ResourceName"),
    ("core.v1.ContainerResizePolicy", "restartPolicy", "v1.ResourceResizeRestartPolicy"),
    ("core.v1.ContainerRestartRule", "action", "v1.ContainerRestartRuleAction"),
    ("core.v1.ContainerRestartRuleOnExitCodes", "operator", "v1.ContainerRestartRuleOnExitCodesOperator"),
    ("core.v1.ContainerStatus", "allocatedResources", "v1.ResourceList"),
    ("core.v1.ContainerStatus", "stopSignal", "v1.Signal"),
    ("core.v1.EmptyDirVolumeSource", "medium", "v1.StorageMedium"),
    ("core.v1.EndpointPort", "protocol", "v1.Protocol"),
    ("core.v1.EphemeralContainer", "imagePullPolicy", "v1.PullPolicy"),
    ("core.v1.EphemeralContainer", "restartPolicy", "v1.ContainerRestartPolicy"),
    ("core.v1.EphemeralContainer", "terminationMessagePolicy", "v1.TerminationMessagePolicy"),
    ("core.v1.GRPCAction", "mode", "v1.GRPCProbeMode"),
    ("core.v1.HTTPGetAction", "protocol", "v1.HTTPProtocol"),
    ("core.v1.HTTPGetAction", "scheme", "v1.URIScheme"),
    ("core.v1.HostPathVolumeSource", "type", "v1.HostPathType"),
    ("core.v1.ImageVolumeSource", "pullPolicy", "v1.PullPolicy"),
    ("core.v1.Lifecycle", "stopSignal", "v1.Signal"),
    ("core.v1.LoadBalancerIngress", "ipMode", "v1.LoadBalancerIPMode"),
    ("core.v1.ModifyVolumeStatus", "status", "v1.PersistentVolumeClaimModifyVolumeStatus"),
    ("core.v1.NamespaceCondition", "status", "v1.ConditionStatus"),
    ("core.v1.NamespaceCondition", "type", "v1.NamespaceConditionType"),
    ("core.v1.NamespaceSpec", "finalizers", "[]v1.FinalizerName"),
    ("core.v1.NamespaceStatus", "phase", "v1.NamespacePhase"),
    ("core.v1.NodeAddress", "type", "v1.NodeAddressType"),
    ("core.v1.NodeAllocatableMappedResources", "name", "v1.ResourceName"),
    ("core.v1.NodeAllocatableOverheadResources", "name", "v1.ResourceName"),
    ("core.v1.NodeCondition", "status", "v1.ConditionStatus"),
    ("core.v1.NodeCondition", "type", "v1.NodeConditionType"),
    ("core.v1.NodeSelectorRequirement", "operator", "v1.NodeSelectorOperator"),
    ("core.v1.NodeStatus", "allocatable", "v1.ResourceList"),
    ("core.v1.NodeStatus", "capacity", "v1.ResourceList"),
    ("core.v1.NodeStatus", "phase", "v1.NodePhase"),
    ("core.v1.NodeStatus", "volumesInUse", "[]v1.UniqueVolumeName"),
    ("core.v1.ObjectReference", "uid", "types.UID"),
    ("core.v1.PersistentVolumeClaimCondition", "status", "v1.ConditionStatus"),
    ("core.v1.PersistentVolumeClaimCondition", "type", "v1.PersistentVolumeClaimConditionType"),
    ("core.v1.PersistentVolumeClaimSpec", "accessModes", "[]v1.PersistentVolumeAccessMode"),
    ("core.v1.PersistentVolumeClaimSpec", "volumeMode", "v1.PersistentVolumeMode"),
    ("core.v1.PersistentVolumeClaimStatus", "accessModes", "[]v1.PersistentVolumeAccessMode"),
    (
        "core.v1.PersistentVolumeClaimStatus",
        "allocatedResourceStatuses",
        "map[v1.ResourceName]v1.ClaimResourceStatus",
    ),
    ("core.v1.PersistentVolumeClaimStatus", "allocatedResources", "v1.ResourceList"),
    ("core.v1.PersistentVolumeClaimStatus", "capacity", "v1.ResourceList"),
    ("core.v1.PersistentVolumeClaimStatus", "phase", "v1.PersistentVolumeClaimPhase"),
    ("core.v1.PersistentVolumeSpec", "accessModes", "[]v1.PersistentVolumeAccessMode"),
    ("core.v1.PersistentVolumeSpec", "capacity", "v1.ResourceList"),
    ("core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy", "v1.PersistentVolumeReclaimPolicy"),
    ("core.v1.PersistentVolumeSpec", "volumeMode", "v1.PersistentVolumeMode"),
    ("core.v1.PersistentVolumeStatus", "phase", "v1.PersistentVolumePhase"),
    ("core.v1.PodCondition", "status", "v1.ConditionStatus"),
    ("core.v1.PodCondition", "type", "v1.PodConditionType"),
    ("core.v1.PodOS", "name", "v1.OSName"),
    ("core.v1.PodReadinessGate", "conditionType", "v1.PodConditionType"),
    ("core.v1.PodSecurityContext", "fsGroupChangePolicy", "v1.PodFSGroupChangePolicy"),
    ("core.v1.PodSecurityContext", "seLinuxChangePolicy", "v1.PodSELinuxChangePolicy"),
    ("core.v1.PodSecurityContext", "supplementalGroupsPolicy", "v1.SupplementalGroupsPolicy"),
    ("core.v1.PodSpec", "dnsPolicy", "v1.DNSPolicy"),
    ("core.v1.PodSpec", "overhead", "v1.ResourceList"),
    ("core.v1.PodSpec", "preemptionPolicy", "v1.PreemptionPolicy"),
    ("core.v1.PodSpec", "restartPolicy", "v1.RestartPolicy"),
    ("core.v1.PodStatus", "allocatedResources", "v1.ResourceList"),
    ("core.v1.PodStatus", "phase", "v1.PodPhase"),
    ("core.v1.PodStatus", "qosClass", "v1.PodQOSClass"),
    ("core.v1.PodStatus", "resize", "v1.PodResizeStatus"),
    ("core.v1.PortStatus", "protocol", "v1.Protocol"),
    ("core.v1.ResourceHealth", "health", "v1.ResourceHealthStatus"),
    ("core.v1.ResourceHealth", "resourceID", "v1.ResourceID"),
    ("core.v1.ResourceRequirements", "limits", "v1.ResourceList"),
    ("core.v1.ResourceRequirements", "requests", "v1.ResourceList"),
    ("core.v1.ResourceStatus", "name", "v1.ResourceName"),
    ("core.v1.SeccompProfile", "type", "v1.SeccompProfileType"),
    ("core.v1.Secret", "type", "v1.SecretType"),
    ("core.v1.SecurityContext", "procMount", "v1.ProcMountType"),
    ("core.v1.ServicePort", "protocol", "v1.Protocol"),
    ("core.v1.ServiceSpec", "externalTrafficPolicy", "v1.ServiceExternalTrafficPolicy"),
    ("core.v1.ServiceSpec", "internalTrafficPolicy", "v1.ServiceInternalTrafficPolicy"),
    ("core.v1.ServiceSpec", "ipFamilies", "[]v1.IPFamily"),
    ("core.v1.ServiceSpec", "ipFamilyPolicy", "v1.IPFamilyPolicy"),
    ("core.v1.ServiceSpec", "sessionAffinity", "v1.ServiceAffinity"),
    ("core.v1.ServiceSpec", "type", "v1.ServiceType"),
    ("core.v1.Taint", "effect", "v1.TaintEffect"),
    ("core.v1.Toleration", "effect", "v1.TaintEffect"),
    ("core.v1.Toleration", "operator", "v1.TolerationOperator"),
    ("core.v1.TopologySpreadConstraint", "nodeAffinityPolicy", "v1.NodeInclusionPolicy"),
    ("core.v1.TopologySpreadConstraint", "nodeTaintsPolicy", "v1.NodeInclusionPolicy"),
    ("core.v1.TopologySpreadConstraint", "whenUnsatisfiable", "v1.UnsatisfiableConstraintAction"),
    ("core.v1.VolumeHealthCondition", "status", "v1.VolumeHealthStatusType"),
    ("core.v1.VolumeMount", "mountPropagation", "v1.MountPropagationMode"),
    ("core.v1.VolumeMount", "recursiveReadOnly", "v1.RecursiveReadOnlyMode"),
    ("core.v1.VolumeMountStatus", "recursiveReadOnly", "v1.RecursiveReadOnlyMode"),
    ("core.v1.VolumeResourceRequirements", "limits", "v1.ResourceList"),
    ("core.v1.VolumeResourceRequirements", "requests", "v1.ResourceList"),
    ("discovery.v1.EndpointPort", "protocol", "v1.Protocol"),
    ("discovery.v1.EndpointSlice", "addressType", "v1.AddressType"),
    ("meta.v1.Condition", "status", "v1.ConditionStatus"),
    ("meta.v1.DeleteOptions", "propagationPolicy", "v1.DeletionPropagation"),
    ("meta.v1.LabelSelectorRequirement", "operator", "v1.LabelSelectorOperator"),
    ("meta.v1.ManagedFieldsEntry", "operation", "v1.ManagedFieldsOperationType"),
    ("meta.v1.ObjectMeta", "uid", "types.UID"),
    ("meta.v1.OwnerReference", "uid", "types.UID"),
    ("meta.v1.Preconditions", "uid", "types.UID"),
    ("meta.v1.Status", "reason", "v1.StatusReason"),
    ("meta.v1.StatusCause", "reason", "v1.CauseType"),
    ("meta.v1.StatusDetails", "uid", "types.UID"),
    ("policy.v1.PodDisruptionBudgetSpec", "unhealthyPodEvictionPolicy", "v1.UnhealthyPodEvictionPolicyType"),
    ("scheduling.v1.PriorityClass", "preemptionPolicy", "v1.PreemptionPolicy"),
    ("storage.v1.StorageClass", "reclaimPolicy", "v1.PersistentVolumeReclaimPolicy"),
    ("storage.v1.StorageClass", "volumeBindingMode", "v1.VolumeBindingMode"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_order_so_that_the_search_finds_them() {
        assert!(OWN_NAMES.is_sorted_by_key(|(owner, field, _)| (*owner, *field)));
    }

    #[test]
    fn the_items_of_a_list_have_the_name_without_the_brackets() {
        assert_eq!(inner("[]v1.Capability", 1), Some("v1.Capability"));
        assert_eq!(inner("map[v1.ResourceName]v1.Status", 1), Some("v1.Status"));
        assert_eq!(inner("v1.Protocol", 0), Some("v1.Protocol"));
        assert_eq!(inner("v1.ResourceList", 1), None);
    }
}
