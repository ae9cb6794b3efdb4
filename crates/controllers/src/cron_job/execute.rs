//! Carries a plan out, exactly as it says.
//!
//! Every write is guarded by the uid or the version that was decided about and noted in a barrier. The
//! execution may be cut off between any two writes: a job that is not in the status yet is found by its name.

use std::sync::Arc;

use client::{Client, DeleteOptions, Propagation};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::meta;
use model::status::Status;
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;

use super::jobs;
use super::plan::{Plan, is_news};
use crate::writes::{self, Named, WriteError, refused};

/// A plan and the CronJob it was made for.
pub struct Task {
    /// What to do.
    pub plan: Plan,
    /// The CronJob as it was decided about.
    pub cron_job: Arc<CronJob>,
}

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
}

/// Carries a plan out.
pub async fn execute(executor: Executor, task: Task) -> Outcome {
    let mut barrier = Barrier::default();
    let writer = Writer { executor, cron_job: task.cron_job };
    let done = writer.carry_out(task.plan, &mut barrier).await;
    Outcome { barrier, error: done.err().map(Into::into) }
}

struct Writer {
    executor: Executor,
    cron_job: Arc<CronJob>,
}

impl Writer {
    fn tell(&self, kind: EventKind, reason: &str, message: String) {
        self.executor.recorder.record(reference_to(&*self.cron_job), kind, reason, message);
    }

    async fn carry_out(&self, plan: Plan, barrier: &mut Barrier) -> Result<(), WriteError> {
        for (kind, reason, message) in plan.events {
            self.tell(kind, reason, message);
        }
        for job in &plan.replace {
            self.delete(job, barrier).await.map_err(refused("replace a job"))?;
        }
        let mut status = plan.status;
        if let Some((job, at)) = plan.start {
            self.start(&job, at, &mut status, barrier).await?;
        }
        if is_news(&self.cron_job, &status) {
            let cron_job = CronJob { status: Some(status), ..(*self.cron_job).clone() };
            let written = self.executor.client.update_status(&cron_job).await;
            barrier.wrote(&*written.map_err(refused("write the status"))?);
        }
        for job in &plan.prune {
            self.delete(job, barrier).await.map_err(refused("delete an old job"))?;
        }
        Ok(())
    }

    async fn start(
        &self,
        job: &Job,
        at: Timestamp,
        status: &mut CronJobStatus,
        barrier: &mut Barrier,
    ) -> Result<(), WriteError> {
        let client = &self.executor.client;
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let failed = refused("create a job");
        let made = match client.create(job).await {
            Ok(made) => {
                barrier.wrote(&*made);
                self.tell(EventKind::Normal, "SuccessfulCreate", format!("Created job {name}"));
                Some(made)
            }
            Err(refusal) if refusal.is_already_exists() => {
                let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
                let known = client.get::<Job>(namespace, name).await.map_err(failed)?;
                let uid = self.cron_job.metadata.uid.as_deref().unwrap_or_default();
                // Somebody else's job has the name: this moment has none.
                meta::is_controlled_by(&known.metadata, uid).then_some(known)
            }
            Err(refusal) => {
                if !writes::is_namespace_terminating(&refusal) {
                    let text = format!("Error creating job: {refusal}");
                    self.tell(EventKind::Warning, "FailedCreate", text);
                }
                return Err(failed(refusal));
            }
        };
        let active = status.active.get_or_insert_default();
        if let Some(made) = made.filter(|made| active.iter().all(|one| one.uid != made.metadata.uid)) {
            active.push(jobs::reference(&made));
        }
        if active.is_empty() {
            status.active = None;
        }
        status.last_schedule_time = Some(Time(at));
        Ok(())
    }

    async fn delete(&self, job: &Named, barrier: &mut Barrier) -> Result<(), Status> {
        let namespace = self.cron_job.metadata.namespace.as_deref().unwrap_or_default();
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let client = &self.executor.client;
        match writes::delete_with::<Job>(client, namespace, job, options, barrier).await {
            Ok(()) => {
                self.tell(EventKind::Normal, "SuccessfulDelete", format!("Deleted job {}", job.name));
                Ok(())
            }
            Err(refusal) if refusal.is_not_found() => Ok(()),
            Err(refusal) => {
                self.tell(EventKind::Warning, "FailedDelete", format!("Deleted job: {refusal}"));
                Err(refusal)
            }
        }
    }
}
