//! Carries a placement out through the API.
//!
//! Makes no choices. A binding is refused by the API when the pod has a node already, a volume's reference
//! when the volume has changed; an annotation is guarded by the claim's name only, since the volume
//! controller takes the first node it sees.

use client::{Client, PatchKind};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use model::status::Status;
use model::volume::SELECTED_NODE;
use reconcile::barrier::{Barrier, Removed};
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;
use serde_json::json;

use crate::plan::Plan;

/// What a plan is carried out with.
#[derive(Clone)]
pub struct Executor {
    /// The API.
    pub client: Client,
    /// Tells people.
    pub recorder: Recorder,
}

/// Carries a plan out.
pub async fn execute(executor: Executor, plan: Plan) -> Outcome {
    let mut barrier = Barrier::default();
    let result = match &plan {
        Plan::Bind { pod, node } => executor.bind(pod, node, &mut barrier).await,
        Plan::Claims { pod, node, claims, promises, .. } => {
            let promised = executor.promise(promises, &mut barrier).await;
            // What is found taken is tried again after a pause, when the view knows it.
            if let Err(status) = promised {
                return Outcome { barrier, error: Some(status.into()) };
            }
            executor.annotate(pod, node, claims, &mut barrier).await
        }
        Plan::Unschedulable { pod, message, .. } => executor.unschedulable(pod, message, &mut barrier).await,
        Plan::Wait { .. } => Ok(()),
    };
    let error = match result {
        // Gone, or bound by somebody else: the view will hear of it.
        Err(status) if status.is_not_found() || status.is_conflict() => None,
        Err(status) => Some(status.into()),
        Ok(()) => None,
    };
    Outcome { barrier, error }
}

impl Executor {
    async fn bind(&self, pod: &Pod, node: &str, barrier: &mut Barrier) -> Result<(), Status> {
        let (namespace, name) = names(pod);
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": namespace, "name": name, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        self.client.post::<Pod>(namespace, name, "binding", binding).await?;
        // Bound, it waits no more; nobody decides about it anew before that is seen.
        barrier.removed(Removed {
            resource: Pod::URL_PATH_SEGMENT,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        });
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        self.recorder.record(reference_to(pod), EventKind::Normal, "Scheduled", message);
        Ok(())
    }

    async fn promise(&self, promises: &[PersistentVolume], barrier: &mut Barrier) -> Result<(), Status> {
        for volume in promises {
            barrier.wrote(&*self.client.update(volume).await?);
        }
        Ok(())
    }

    async fn annotate(
        &self,
        pod: &Pod,
        node: &str,
        claims: &[String],
        barrier: &mut Barrier,
    ) -> Result<(), Status> {
        let (namespace, _) = names(pod);
        for claim in claims {
            let patch = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
            let written = self
                .client
                .patch::<PersistentVolumeClaim>(namespace, claim, "", PatchKind::Merge, patch)
                .await?;
            barrier.wrote(&*written);
        }
        Ok(())
    }

    async fn unschedulable(&self, pod: &Pod, message: &str, barrier: &mut Barrier) -> Result<(), Status> {
        let (namespace, name) = names(pod);
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }]},
        });
        let kind = PatchKind::StrategicMerge;
        let written = self.client.patch::<Pod>(namespace, name, "status", kind, patch).await?;
        barrier.wrote(&*written);
        self.recorder.record(reference_to(pod), EventKind::Warning, "FailedScheduling", message.to_owned());
        Ok(())
    }
}

fn names(pod: &Pod) -> (&str, &str) {
    let metadata = &pod.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}
