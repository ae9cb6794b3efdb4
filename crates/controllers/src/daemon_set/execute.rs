//! Carries a plan out, exactly as it says.
//!
//! Every write is guarded by the uid or the version that was decided about and noted in a barrier; the
//! controller does not decide again before its view has seen it. The execution may be cut off between any
//! two writes.

use std::sync::Arc;

use client::{Client, PatchKind};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;
use model::meta;
use reconcile::barrier::Barrier;
use reconcile::recorder::{Recorder, reference_to};
use reconcile::runner::Outcome;
use serde_json::json;

use super::plan::Plan;
use super::revisions::Write;
use super::set_kind;
use crate::pod_writes::PodWriter;
use crate::writes::{self, WriteError, refused};

/// A plan and the set it was made for.
pub struct Task {
    /// What to do.
    pub plan: Plan,
    /// The set as it was decided about.
    pub set: Arc<DaemonSet>,
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
    let done = Writer { executor, set: task.set }.carry_out(task.plan, &mut barrier).await;
    Outcome { barrier, error: done.err().map(Into::into) }
}

struct Writer {
    executor: Executor,
    set: Arc<DaemonSet>,
}

impl Writer {
    async fn carry_out(&self, plan: Plan, barrier: &mut Barrier) -> Result<(), WriteError> {
        let (client, namespace) = (&self.executor.client, self.namespace());
        self.hand_over(&plan, barrier).await?;
        if let Some(write) = plan.revision {
            self.write_revision(write, barrier).await?;
        }
        for (kind, reason, message) in plan.events {
            self.executor.recorder.record(reference_to(&*self.set), kind, reason, message);
        }
        let pods = PodWriter {
            client: client.clone(),
            recorder: self.executor.recorder.clone(),
            about: reference_to(&*self.set),
            namespace: namespace.to_owned(),
        };
        let deleted = pods.delete(plan.delete, barrier).await;
        let created = pods.create(plan.create, barrier).await;
        if plan.status.is_some() && plan.status != self.set.status {
            self.write_status(plan.status, barrier).await?;
        }
        for revision in &plan.forget {
            match writes::delete::<ControllerRevision>(client, namespace, revision, barrier).await {
                Err(status) if status.is_not_found() => {}
                done => done.map_err(refused("forget a revision"))?,
            }
        }
        deleted.all().map_err(refused("delete pods"))?;
        created.all().map_err(refused("create pods"))
    }

    fn namespace(&self) -> &str {
        self.set.metadata.namespace.as_deref().unwrap_or_default()
    }

    async fn hand_over(&self, plan: &Plan, barrier: &mut Barrier) -> Result<(), WriteError> {
        let (client, owner, kind) = (&self.executor.client, &self.set.metadata, set_kind());
        for pod in &plan.release {
            writes::release::<Pod>(client, owner, pod, barrier).await.map_err(refused("release a pod"))?;
        }
        if !plan.adopt.is_empty() || !plan.adopt_revisions.is_empty() {
            let alive = writes::confirm_alive::<DaemonSet>(client, owner).await;
            alive.map_err(refused("adopt pods and revisions"))?;
        }
        for pod in &plan.adopt {
            let adopted = writes::adopt::<Pod>(client, owner, &kind, pod, None, barrier).await;
            adopted.map_err(refused("adopt a pod"))?;
        }
        for revision in &plan.adopt_revisions {
            let adopted =
                writes::adopt::<ControllerRevision>(client, owner, &kind, revision, None, barrier).await;
            adopted.map_err(refused("adopt a revision"))?;
        }
        Ok(())
    }

    async fn write_revision(&self, write: Write, barrier: &mut Barrier) -> Result<(), WriteError> {
        let (client, namespace) = (&self.executor.client, self.namespace());
        let new = match write {
            Write::Raise { name, resource_version, number } => {
                let patch =
                    json!({ "metadata": { "resourceVersion": resource_version }, "revision": number });
                let kind = PatchKind::Merge;
                let raised = client.patch::<ControllerRevision>(namespace, &name, "", kind, patch).await;
                barrier.wrote(&*raised.map_err(refused("raise a revision"))?);
                return Ok(());
            }
            Write::Create(new) => new,
        };
        let failed = refused("create a revision");
        let refusal = match client.create(&*new).await {
            Ok(created) => {
                barrier.wrote(&*created);
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        if refusal.is_already_exists() {
            let name = new.metadata.name.as_deref().unwrap_or_default();
            let known = client.get::<ControllerRevision>(namespace, name).await.map_err(&failed)?;
            let uid = self.set.metadata.uid.as_deref().unwrap_or_default();
            if meta::is_controlled_by(&known.metadata, uid) && known.data == new.data {
                barrier.wrote(&*known);
                return Ok(());
            }
            // Another template has this hash: the next try hashes the count along.
            let mut status = self.set.status.clone().unwrap_or_default();
            status.collision_count = Some(status.collision_count.unwrap_or_default().saturating_add(1));
            self.write_status(Some(status), barrier).await?;
        }
        Err(failed(refusal))
    }

    async fn write_status(
        &self,
        status: Option<DaemonSetStatus>,
        barrier: &mut Barrier,
    ) -> Result<(), WriteError> {
        let set = DaemonSet { status, ..(*self.set).clone() };
        let written = self.executor.client.update_status(&set).await;
        barrier.wrote(&*written.map_err(refused("write the status"))?);
        Ok(())
    }
}
