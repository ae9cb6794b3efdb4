//! Carries a plan out, exactly as it says.
//!
//! Every write is guarded by the uid that was decided about and noted in a barrier; the controller does not
//! decide again before its view has seen it. The execution may be cut off between any two writes: the status
//! names who ended before anybody loses the finalizer.

use std::sync::Arc;

use client::{Client, DeleteOptions, Precondition, Propagation};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use model::{job, meta};
use reconcile::barrier::Barrier;
use reconcile::recorder::{Recorder, reference_to};
use reconcile::runner::Outcome;

use super::job_kind;
use super::plan::Plan;
use crate::pod_writes::PodWriter;
use crate::writes::{self, Named, WriteError, refused};

/// What there is to do.
pub enum Task {
    /// A plan, and the job it was made for.
    Carry(Box<Plan>, Arc<Job>),
    /// A pod that waits for a job that is gone.
    Untrack(Arc<Pod>),
}

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
}

/// Carries out what there is to do.
pub async fn execute(executor: Executor, task: Task) -> Outcome {
    let mut barrier = Barrier::default();
    let done = match task {
        Task::Carry(plan, job) => Writer { executor, job }.carry_out(*plan, &mut barrier).await,
        Task::Untrack(pod) => untrack(&executor.client, &pod, &mut barrier).await,
    };
    Outcome { barrier, error: done.err().map(Into::into) }
}

/// Lets a pod go whose job is gone. The job is asked for once more: the view may not have seen it yet.
async fn untrack(client: &Client, pod: &Pod, barrier: &mut Barrier) -> Result<(), WriteError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(owner) = meta::controller_of(&pod.metadata) {
        match client.get::<Job>(namespace, &owner.name).await {
            Ok(live) if live.metadata.uid.as_ref() == Some(&owner.uid) && !job::is_finished(&live) => {
                barrier.wrote(&*live);
                return Ok(());
            }
            Err(status) if !status.is_not_found() => return Err(refused("look for a pod's job")(status)),
            _ => {}
        }
    }
    let named = Named::of(&pod.metadata);
    let done = writes::remove_finalizer::<Pod>(client, namespace, &named, job::TRACKING, barrier).await;
    done.map_err(refused("let a pod go whose job is gone"))
}

struct Writer {
    executor: Executor,
    job: Arc<Job>,
}

impl Writer {
    async fn carry_out(&self, plan: Plan, barrier: &mut Barrier) -> Result<(), WriteError> {
        let (client, owner) = (&self.executor.client, &self.job.metadata);
        self.hand_over(&plan, barrier).await?;
        let pods = PodWriter {
            client: client.clone(),
            recorder: self.executor.recorder.clone(),
            about: reference_to(&*self.job),
            namespace: owner.namespace.clone().unwrap_or_default(),
        };
        let (wanted, too_many) = (plan.create.len(), plan.dismiss.len());
        let untracked = pods.remove_finalizer(plan.dismiss.clone(), job::TRACKING, barrier).await;
        untracked.all().map_err(refused("let pods go that are too many"))?;
        let dismissed = pods.delete(plan.dismiss, barrier).await;
        let created = pods.create(plan.create, barrier).await;
        if let Some(status) = plan.status {
            let stayed = too_many - dismissed.count;
            let status = corrected(status, wanted - created.count, stayed);
            if self.job.status.as_ref() != Some(&status) {
                let job = Job { status: Some(status), ..(*self.job).clone() };
                let written = client.update_status(&job).await;
                barrier.wrote(&*written.map_err(refused("write the status"))?);
                for (kind, reason, message) in plan.told {
                    self.executor.recorder.record(reference_to(&*self.job), kind, &reason, message);
                }
            }
        }
        let deleted = pods.delete(plan.delete, barrier).await;
        let untracked = pods.remove_finalizer(plan.untrack, job::TRACKING, barrier).await;
        if plan.expire {
            self.expire(barrier).await?;
        }
        dismissed.all().map_err(refused("delete pods"))?;
        created.all().map_err(refused("create pods"))?;
        deleted.all().map_err(refused("delete pods of a job that is over"))?;
        untracked.all().map_err(refused("let pods go that are counted"))
    }

    async fn hand_over(&self, plan: &Plan, barrier: &mut Barrier) -> Result<(), WriteError> {
        let (client, owner) = (&self.executor.client, &self.job.metadata);
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        for pod in &plan.release {
            writes::release::<Pod>(client, owner, pod, barrier).await.map_err(refused("release a pod"))?;
            let let_go = writes::remove_finalizer::<Pod>(client, namespace, pod, job::TRACKING, barrier);
            let_go.await.map_err(refused("release a pod"))?;
        }
        if !plan.adopt.is_empty() {
            let alive = writes::confirm_alive::<Job>(client, owner).await;
            alive.map_err(refused("adopt pods"))?;
        }
        let kind = job_kind();
        for pod in &plan.adopt {
            let adopted = writes::adopt::<Pod>(client, owner, &kind, pod, Some(job::TRACKING), barrier).await;
            adopted.map_err(refused("adopt a pod"))?;
        }
        Ok(())
    }

    async fn expire(&self, barrier: &mut Barrier) -> Result<(), WriteError> {
        let metadata = &self.job.metadata;
        let (uid, resource_version) = (metadata.uid.clone(), metadata.resource_version.clone());
        let options = DeleteOptions {
            propagation: Some(Propagation::Foreground),
            precondition: Precondition { uid, resource_version },
            ..DeleteOptions::default()
        };
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let (client, named) = (&self.executor.client, Named::of(metadata));
        match writes::delete_with::<Job>(client, namespace, &named, options, barrier).await {
            Err(status) if status.is_not_found() => Ok(()),
            done => done.map_err(refused("delete a job whose time is over")),
        }
    }
}

/// The status when so many pods were not made and so many are still there.
fn corrected(mut status: JobStatus, not_made: usize, stayed: usize) -> JobStatus {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    if not_made > 0 || stayed > 0 {
        let active = status.active.unwrap_or_default() - count(not_made) + count(stayed);
        status.active = Some(active).filter(|active| *active > 0);
        status.terminating = status.terminating.map(|terminating| terminating - count(stayed));
    }
    status
}
