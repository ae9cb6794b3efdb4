//! Carries a plan out, exactly as it says.
//!
//! Every write is guarded by the uid that was decided about and noted in a barrier; the controller does not
//! decide again before its view has seen it. The execution may be cut off between any two writes. Whether
//! pods could be made goes into the status, as [`super::status`] says it.

use std::sync::Arc;

use client::Client;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use model::clock::Clock;
use reconcile::barrier::Barrier;
use reconcile::recorder::{Recorder, reference_to};
use reconcile::runner::Outcome;

use super::plan::{self, Plan};
use super::{set_kind, status};
use crate::pod_writes::PodWriter;
use crate::writes::{self, WriteError, refused};

/// A plan and the set it was made for.
pub struct Task {
    /// What to do.
    pub plan: Plan,
    /// The set as it was decided about.
    pub set: Arc<ReplicaSet>,
}

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
    /// The time of conditions.
    pub clock: Arc<dyn Clock>,
}

/// Carries a plan out.
pub async fn execute(executor: Executor, task: Task) -> Outcome {
    let mut barrier = Barrier::default();
    let done = Writer { executor, set: task.set }.carry_out(task.plan, &mut barrier).await;
    Outcome { barrier, error: done.err().map(Into::into) }
}

struct Writer {
    executor: Executor,
    set: Arc<ReplicaSet>,
}

impl Writer {
    async fn carry_out(&self, plan: Plan, barrier: &mut Barrier) -> Result<(), WriteError> {
        let (client, owner) = (&self.executor.client, &self.set.metadata);
        for pod in &plan.release {
            writes::release::<Pod>(client, owner, pod, barrier).await.map_err(refused("release a pod"))?;
        }
        if !plan.adopt.is_empty() {
            let alive = writes::confirm_alive::<ReplicaSet>(client, owner).await;
            alive.map_err(refused("adopt pods"))?;
        }
        for pod in &plan.adopt {
            let adopted = writes::adopt::<Pod>(client, owner, &set_kind(), pod, None, barrier).await;
            adopted.map_err(refused("adopt a pod"))?;
        }
        let pods = PodWriter {
            client: client.clone(),
            recorder: self.executor.recorder.clone(),
            about: reference_to(&*self.set),
            namespace: owner.namespace.clone().unwrap_or_default(),
        };
        let (what, reason, done) = if plan.create > 0 {
            let alike = std::iter::repeat_n(Arc::new(plan::pod_of(&self.set)), plan.create);
            ("create pods", "FailedCreate", pods.create(alike, barrier).await.all())
        } else {
            ("delete pods", "FailedDelete", pods.delete(plan.delete, barrier).await.all())
        };
        if let Some(mut status) = plan.status {
            if let Err(refusal) = &done
                && !writes::is_namespace_terminating(refusal)
            {
                let (message, now) = (refusal.to_string(), self.executor.clock.now());
                status = status::with_failure(&self.set, status, reason, message, now);
            }
            if status::is_news(&self.set, &status) {
                let set = ReplicaSet { status: Some(status), ..(*self.set).clone() };
                let written = client.update_status(&set).await;
                barrier.wrote(&*written.map_err(refused("write the status"))?);
            }
        }
        done.map_err(refused(what))
    }
}
