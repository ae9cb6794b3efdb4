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
use model::status::Status;
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;
use tokio::task::JoinSet;

use super::plan::{self, Plan};
use super::{set_kind, status};
use crate::writes::{self, Named};

/// Writes of one plan under way at once. A create takes a few milliseconds, most of it waiting for a group
/// commit; 64 of them in flight fill commits at well over 500 creates a second.
const IN_FLIGHT_MAX: usize = 64;

/// A plan and the set it was made for.
pub struct Task {
    /// What to do.
    pub plan: Plan,
    /// The set as it was decided about.
    pub set: Arc<ReplicaSet>,
}

/// A write that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct WriteError {
    what: &'static str,
    #[source]
    source: Status,
}

fn refused(what: &'static str) -> impl Fn(Status) -> WriteError {
    move |source| WriteError { what, source }
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

#[derive(Clone)]
struct Writer {
    executor: Executor,
    set: Arc<ReplicaSet>,
}

impl Writer {
    fn tell(&self, kind: EventKind, reason: &str, message: String) {
        self.executor.recorder.record(reference_to(&*self.set), kind, reason, message);
    }

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
            match writes::adopt::<Pod>(client, owner, &set_kind(), pod, barrier).await {
                // It is gone meanwhile.
                Err(status) if status.is_not_found() => {}
                done => done.map_err(refused("adopt a pod"))?,
            }
        }
        let (what, reason, done) = if plan.create > 0 {
            ("create pods", "FailedCreate", self.create(plan.create, barrier).await)
        } else {
            ("delete pods", "FailedDelete", self.delete(plan.delete, barrier).await)
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

    /// One pod, then two, then four ...: a quota or a broken webhook is met by a few calls, not by all.
    async fn create(&self, count: usize, barrier: &mut Barrier) -> Result<(), Status> {
        let pod = Arc::new(plan::pod_of(&self.set));
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let size = batch.min(left);
            let creates = (0..size).map(|_| {
                let (writer, pod) = (self.clone(), Arc::clone(&pod));
                async move { writer.create_one(&pod).await }
            });
            at_once(creates, barrier).await?;
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(self, pod: &Pod) -> (Barrier, Result<(), Status>) {
        let mut barrier = Barrier::default();
        let done = match self.executor.client.create(pod).await {
            Ok(created) => {
                barrier.wrote(&*created);
                let name = created.metadata.name.as_deref().unwrap_or_default();
                self.tell(EventKind::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(refusal) if writes::is_namespace_terminating(&refusal) => Err(refusal),
            Err(refusal) => {
                self.tell(EventKind::Warning, "FailedCreate", format!("Error creating: {refusal}"));
                Err(refusal)
            }
        };
        (barrier, done)
    }

    async fn delete(&self, pods: Vec<Named>, barrier: &mut Barrier) -> Result<(), Status> {
        let deletes = pods.into_iter().map(|pod| {
            let writer = self.clone();
            async move { writer.delete_one(&pod).await }
        });
        at_once(deletes, barrier).await
    }

    async fn delete_one(self, pod: &Named) -> (Barrier, Result<(), Status>) {
        let mut barrier = Barrier::default();
        let namespace = self.set.metadata.namespace.as_deref().unwrap_or_default();
        let done = match writes::delete::<Pod>(&self.executor.client, namespace, pod, &mut barrier).await {
            Ok(()) => {
                self.tell(EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {}", pod.name));
                Ok(())
            }
            Err(refusal) if refusal.is_not_found() => Ok(()),
            Err(refusal) => {
                self.tell(EventKind::Warning, "FailedDelete", format!("Error deleting: {refusal}"));
                Err(refusal)
            }
        };
        (barrier, done)
    }
}

/// Runs writes beside each other, [`IN_FLIGHT_MAX`] at once; all of them, whatever fails. Gives the first
/// refusal.
async fn at_once<F>(writes: impl Iterator<Item = F>, barrier: &mut Barrier) -> Result<(), Status>
where
    F: Future<Output = (Barrier, Result<(), Status>)> + Send + 'static,
{
    let (mut writes, mut running, mut first) = (writes, JoinSet::new(), Ok(()));
    loop {
        while running.len() < IN_FLIGHT_MAX
            && let Some(write) = writes.next()
        {
            running.spawn(write);
        }
        let Some(finished) = running.join_next().await else { return first };
        let (written, done) =
            finished.unwrap_or_else(|error| (Barrier::default(), Err(Status::internal(error))));
        barrier.merge(written);
        first = first.and(done);
    }
}
