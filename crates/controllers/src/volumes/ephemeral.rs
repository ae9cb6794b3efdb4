//! Generic ephemeral volumes: a pod that asks for one gets a claim `<pod>-<volume>` that goes with it.
//!
//! A claim of that name that is not the pod's own is left alone, and people are told. Pure.

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::meta;
use model::resource::GroupVersionKind;

use super::plan::{Plan, Step};
use super::view::View;
use reconcile::recorder::{EventKind, reference_to};
use reconcile::runner::ObjectKey;

/// Decides about a pod.
pub fn plan(view: &View, key: &ObjectKey) -> Plan {
    let mut plan = Plan::default();
    let Some(entry) = view.pod(key) else { return plan };
    let pod = &*entry.pod;
    if meta::is_terminating(&pod.metadata) || model::pod::is_failed_or_succeeded(pod) {
        return plan;
    }
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let Some(claim) = claim_of(pod, volume) else { continue };
        let claim_key = ObjectKey::of(&claim);
        let Some(known) = view.claim(&claim_key) else {
            plan.steps.push(Step::CreateClaim(Box::new(claim)));
            continue;
        };
        if !meta::is_controlled_by(&known.metadata, pod.metadata.uid.as_deref().unwrap_or_default()) {
            let message = format!(
                "ephemeral volume {}: PVC {claim_key} was not created for pod {key} (pod is not owner)",
                volume.name
            );
            plan.tell(reference_to(pod), EventKind::Warning, "FailedBinding", message);
        }
    }
    plan
}

/// The claim of a volume, if it is ephemeral.
fn claim_of(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let described = template.metadata.clone().unwrap_or_default();
    let kind = GroupVersionKind::constant(Pod::GROUP, Pod::VERSION, Pod::KIND);
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{pod_name}-{}", volume.name)),
            namespace: pod.metadata.namespace.clone(),
            labels: described.labels,
            annotations: described.annotations,
            owner_references: Some(vec![meta::owner_reference(&pod.metadata, &kind)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}
