//! Writes a budget's status, exactly as the plan says, and tells people.

use std::sync::Arc;

use client::Client;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::meta;
use model::status::Status;
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;

use super::plan::Plan;

/// What to write about a budget.
pub struct Task {
    /// The budget as it was decided about.
    pub budget: Arc<PodDisruptionBudget>,
    /// The decision.
    pub plan: Plan,
}

/// The status was refused.
#[derive(Debug, thiserror::Error)]
#[error("write the status of a disruption budget")]
pub struct WriteError(#[source] Status);

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
}

/// Writes the status onto the very version that was decided about: an eviction that was charged meanwhile
/// must not be forgotten.
pub async fn execute(executor: Executor, task: Task) -> Outcome {
    let mut barrier = Barrier::default();
    let mut budget = (*task.budget).clone();
    budget.status = task.plan.status;
    match executor.client.update_status(&budget).await {
        Ok(written) => barrier.wrote(&*written),
        // What is written by somebody else is heard of.
        Err(status) if status.is_not_found() || status.is_conflict() => return Outcome::default(),
        Err(status) => return Outcome { barrier, error: Some(WriteError(status).into()) },
    }
    for notice in task.plan.notices {
        let about = reference_to(&budget);
        executor.recorder.record(about, notice.kind, notice.reason, notice.message);
    }
    for pod in task.plan.not_deleted {
        let name = meta::display_name(&budget.metadata);
        let message = format!("Pod was expected by PDB {name} to be deleted but it wasn't");
        executor.recorder.record(reference_to(&*pod), EventKind::Warning, "NotDeleted", message);
    }
    Outcome { barrier, error: None }
}
