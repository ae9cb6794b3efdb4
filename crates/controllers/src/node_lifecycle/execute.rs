//! Writes a node's conditions, exactly as the plan says, and tells people.

use std::sync::Arc;

use client::Client;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use model::status::Status;

use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;

/// The conditions of a node that has fallen silent.
pub struct Task {
    /// The node as it was decided about.
    pub node: Arc<Node>,
    /// Its conditions.
    pub conditions: Vec<NodeCondition>,
    /// True when people are to be told.
    pub was_ready: bool,
}

/// The write was refused.
#[derive(Debug, thiserror::Error)]
#[error("write the conditions of a silent node")]
pub struct WriteError(#[source] Status);

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
}

/// Writes the conditions, guarded by the revision that was decided about.
pub async fn execute(executor: Executor, task: Task) -> Outcome {
    let mut node = (*task.node).clone();
    node.status.get_or_insert_default().conditions = Some(task.conditions);
    let mut outcome = Outcome::default();
    match executor.client.update_status(&node).await {
        Ok(written) => {
            outcome.barrier = Barrier::default();
            outcome.barrier.wrote(&*written);
            if task.was_ready {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                let message = format!("Node {name} status is now: NodeNotReady");
                let about = reference_to(&*written);
                executor.recorder.record(about, EventKind::Normal, "NodeNotReady", message);
            }
        }
        Err(status) if status.is_not_found() => {}
        Err(status) => outcome.error = Some(WriteError(status).into()),
    }
    outcome
}
