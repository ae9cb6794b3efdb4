//! Carries a placement out through the API.
//!
//! Makes no choices. A binding is refused by the API when the pod has a node already, a volume's reference
//! when the volume has changed; an annotation is guarded by the claim's name only, since the volume
//! controller takes the first node it sees.

use std::sync::Arc;

use client::{Client, DeleteOptions, PatchKind, Precondition};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use model::meta;
use model::status::Status;
use model::volume::SELECTED_NODE;
use reconcile::barrier::{Barrier, Removed};
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;
use serde_json::{Value, json};

use crate::NAME;
use crate::plan::Plan;
use crate::preemption;
use crate::view::BINDING;

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
        Plan::Unschedulable { pod, message, known, loses_promise, .. } => {
            let nominated = loses_promise.then_some(None);
            executor.unschedulable(pod, message, nominated, *known, &mut barrier).await
        }
        Plan::Preempt { pod, node, victims, displaced, message } => {
            let preempted = executor.preempt(pod, node, victims, displaced, message, &mut barrier).await;
            // Who was not removed is decided about anew after a pause.
            if let Err(status) = preempted {
                return Outcome { barrier, error: Some(status.into()) };
            }
            Ok(())
        }
        Plan::Wait { .. } | Plan::Await { .. } => Ok(()),
    };
    let result = match (result, &plan) {
        (
            Err(status),
            Plan::Bind { pod, .. } | Plan::Unschedulable { pod, .. } | Plan::Preempt { pod, .. },
        ) if status.is_not_found() || status.is_conflict() => executor.overtaken(pod, &mut barrier).await,
        (result, _) => result,
    };
    Outcome { barrier, error: result.err().map(Into::into) }
}

impl Executor {
    /// The pod is gone, or bound by somebody else: has the barrier wait until the view knows that, too. To
    /// decide anew on the old picture would be to ask for the same again and again.
    async fn overtaken(&self, pod: &Pod, barrier: &mut Barrier) -> Result<(), Status> {
        let (namespace, name) = names(pod);
        match self.client.get::<Pod>(namespace, name).await {
            Ok(live) if live.metadata.uid == pod.metadata.uid => barrier.wrote(&*live),
            Ok(_) => barrier.removed(removed(BINDING, pod)),
            Err(status) if status.is_not_found() => barrier.removed(removed(BINDING, pod)),
            Err(status) => return Err(status),
        }
        Ok(())
    }

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
        barrier.removed(removed(BINDING, pod));
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

    /// Promises a pod a node, and removes those who are in its way there: in this order, so that nobody goes
    /// for a pod of which that is not known.
    async fn preempt(
        &self,
        pod: &Pod,
        node: &str,
        victims: &[Arc<Pod>],
        displaced: &[Arc<Pod>],
        message: &str,
        barrier: &mut Barrier,
    ) -> Result<(), Status> {
        match self.unschedulable(pod, message, Some(Some(node)), false, barrier).await {
            Err(status) if status.is_not_found() || status.is_conflict() => return Ok(()),
            nominated => nominated?,
        }
        for other in displaced {
            match self.nominate(other, None, barrier).await {
                Err(status) if status.is_not_found() || status.is_conflict() => {}
                done => done?,
            }
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        for victim in victims.iter().filter(|victim| !meta::is_terminating(&victim.metadata)) {
            match self.remove(victim, barrier).await {
                // Gone by itself, or another one has its name.
                Err(status) if status.is_not_found() || status.is_conflict() => {}
                Err(status) => return Err(status),
                Ok(()) => {
                    let message = format!("Preempted by pod {uid} on node {node}");
                    self.recorder.record(reference_to(&**victim), EventKind::Normal, "Preempted", message);
                }
            }
        }
        Ok(())
    }

    async fn nominate(&self, pod: &Pod, node: Option<&str>, barrier: &mut Barrier) -> Result<(), Status> {
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"nominatedNodeName": node}});
        self.patch_status(pod, patch, barrier).await
    }

    async fn remove(&self, victim: &Pod, barrier: &mut Barrier) -> Result<(), Status> {
        let patch = json!({
            "metadata": {"uid": victim.metadata.uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": preemption::REASON,
                "message": format!("{NAME}: preempting to accommodate a higher priority pod"),
            }]},
        });
        self.patch_status(victim, patch, barrier).await?;
        let (namespace, name) = names(victim);
        let precondition = Precondition { uid: victim.metadata.uid.clone(), resource_version: None };
        let options = DeleteOptions { precondition, ..DeleteOptions::default() };
        self.client.delete::<Pod>(namespace, name, options).await?;
        barrier.removed(removed(Pod::URL_PATH_SEGMENT, victim));
        Ok(())
    }

    /// Says why a pod waits, where it is not `known`, and what it is promised where that changes.
    async fn unschedulable(
        &self,
        pod: &Pod,
        message: &str,
        nominated: Option<Option<&str>>,
        known: bool,
        barrier: &mut Barrier,
    ) -> Result<(), Status> {
        let mut patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }]},
        });
        if let Some(node) = nominated {
            patch["status"]["nominatedNodeName"] = node.into();
        }
        self.patch_status(pod, patch, barrier).await?;
        if !known {
            let about = reference_to(pod);
            self.recorder.record(about, EventKind::Warning, "FailedScheduling", message.to_owned());
        }
        Ok(())
    }

    async fn patch_status(&self, pod: &Pod, patch: Value, barrier: &mut Barrier) -> Result<(), Status> {
        let (namespace, name) = names(pod);
        let kind = PatchKind::StrategicMerge;
        let written = self.client.patch::<Pod>(namespace, name, "status", kind, patch).await?;
        barrier.wrote(&*written);
        Ok(())
    }
}

fn removed(resource: &'static str, pod: &Pod) -> Removed {
    let (namespace, name) = names(pod);
    Removed {
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    }
}

fn names(pod: &Pod) -> (&str, &str) {
    let metadata = &pod.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}
