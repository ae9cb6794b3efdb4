//! Writes a silent node's conditions, its taints and the conditions of its pods, exactly as the plan says,
//! and tells people: also of a node that is new.

use std::sync::Arc;

use client::Client;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use model::meta;
use model::status::Status;
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;

use super::plan::{NODE_NOT_READY, NODE_NOT_READY_MESSAGE, Plan};

/// What to write about a node that has fallen silent.
pub struct Task {
    /// The node as it was decided about.
    pub node: Arc<Node>,
    /// The decision.
    pub plan: Plan,
}

/// A write was refused.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// That of the node.
    #[error("write the conditions of a silent node")]
    Node(#[source] Status),
    /// That of its taints.
    #[error("write the taints of a node")]
    Taints(#[source] Status),
    /// That of a pod.
    #[error("write that pod {pod} of a silent node is not ready")]
    Pod {
        /// Which.
        pod: String,
        /// The refusal.
        #[source]
        source: Status,
    },
}

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
}

/// Writes the conditions and then the pods, each guarded by the revision that was decided about.
pub async fn execute(executor: Executor, task: Task) -> Outcome {
    let mut barrier = Barrier::default();
    let done = executor.write(&task, &mut barrier).await;
    Outcome { barrier, error: done.err().map(Into::into) }
}

impl Executor {
    async fn write(&self, task: &Task, barrier: &mut Barrier) -> Result<(), WriteError> {
        if task.plan.is_new {
            let name = task.node.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.recorder.record(reference_to(&*task.node), EventKind::Normal, "RegisteredNode", message);
        }
        if let Some(conditions) = &task.plan.conditions {
            self.write_node(task, conditions.clone(), barrier).await.map_err(WriteError::Node)?;
        }
        if let Some(taints) = &task.plan.taints {
            self.write_taints(task, taints.clone(), barrier).await.map_err(WriteError::Taints)?;
        }
        for pod in &task.plan.pods {
            match self.client.update_status(pod).await {
                Ok(written) => {
                    barrier.wrote(&*written);
                    let (about, message) = (reference_to(pod), NODE_NOT_READY_MESSAGE.to_owned());
                    self.recorder.record(about, EventKind::Warning, NODE_NOT_READY, message);
                }
                // What is written by somebody else is heard of.
                Err(status) if status.is_not_found() || status.is_conflict() => {}
                Err(source) => {
                    let pod = meta::display_name(&pod.metadata);
                    return Err(WriteError::Pod { pod, source });
                }
            }
        }
        Ok(())
    }

    async fn write_taints(
        &self,
        task: &Task,
        taints: Vec<Taint>,
        barrier: &mut Barrier,
    ) -> Result<(), Status> {
        let mut node = (*task.node).clone();
        node.spec.get_or_insert_default().taints = Some(taints);
        match self.client.update(&node).await {
            Ok(written) => barrier.wrote(&*written),
            // What is written by somebody else is heard of.
            Err(status) if status.is_not_found() || status.is_conflict() => {}
            Err(status) => return Err(status),
        }
        Ok(())
    }

    async fn write_node(
        &self,
        task: &Task,
        conditions: Vec<NodeCondition>,
        barrier: &mut Barrier,
    ) -> Result<(), Status> {
        let mut node = (*task.node).clone();
        node.status.get_or_insert_default().conditions = Some(conditions);
        let written = match self.client.update_status(&node).await {
            Err(status) if status.is_not_found() => return Ok(()),
            written => written?,
        };
        barrier.wrote(&*written);
        if task.plan.was_ready {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Node {name} status is now: NodeNotReady");
            self.recorder.record(reference_to(&*written), EventKind::Normal, "NodeNotReady", message);
        }
        Ok(())
    }
}
