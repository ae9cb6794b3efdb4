//! Evicts a pod, or says that it may stay, exactly as the plan says.
//!
//! First the pod's condition says why it goes, then it is deleted with its usual grace; both are about the
//! very pod that was decided about.

use std::sync::Arc;

use client::{Client, PatchKind};
use k8s_openapi::api::core::v1::Pod;
use model::meta;
use model::pod;
use model::status::Status;
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;
use serde_json::json;

use super::plan::Plan;
use crate::writes::{self, Named};

/// Why a pod goes, as its condition and people are told.
const REASON: &str = "TaintManagerEviction";

/// What to do about a pod.
pub struct Task {
    /// The pod as it was decided about.
    pub pod: Arc<Pod>,
    /// The decision.
    pub plan: Plan,
}

/// A pod was not evicted.
#[derive(Debug, thiserror::Error)]
#[error("evict pod {pod} from its tainted node")]
pub struct EvictError {
    /// Which.
    pod: String,
    /// The refusal.
    #[source]
    source: Status,
}

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
}

/// Carries the plan out.
pub async fn execute(executor: Executor, task: Task) -> Outcome {
    let mut barrier = Barrier::default();
    let name = meta::display_name(&task.pod.metadata);
    let tell = |message: String| {
        executor.recorder.record(reference_to(&*task.pod), EventKind::Normal, REASON, message);
    };
    if task.plan.spares {
        tell(format!("Cancelling deletion of Pod {name}"));
    }
    if !task.plan.evicts {
        return Outcome::default();
    }
    tell(format!("Marking for deletion Pod {name}"));
    let error = match executor.evict(&task.pod, &mut barrier).await {
        // It is gone, or another one has its name: there is nobody to evict.
        Err(status) if status.is_not_found() || status.is_conflict() => None,
        Err(source) => Some(EvictError { pod: name, source }.into()),
        Ok(()) => None,
    };
    Outcome { barrier, error }
}

impl Executor {
    async fn evict(&self, pod: &Pod, barrier: &mut Barrier) -> Result<(), Status> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let named = Named::of(&pod.metadata);
        if pod::condition(pod, "DisruptionTarget").is_none_or(|condition| condition.status != "True") {
            let patch = json!({
                "metadata": {"uid": named.uid},
                "status": {"conditions": [{
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByTaintManager",
                    "message": "Taint manager: deleting due to NoExecute taint",
                }]},
            });
            let kind = PatchKind::StrategicMerge;
            let written = self.client.patch::<Pod>(namespace, &named.name, "status", kind, patch).await?;
            barrier.wrote(&*written);
        }
        writes::delete::<Pod>(&self.client, namespace, &named, barrier).await
    }
}
