//! Carries a plan out, exactly as it says.
//!
//! Every write is guarded by the uid or the version that was decided about and noted in a barrier; the
//! controller does not decide again before its view has seen it. The execution may be cut off between any
//! two writes. Only a set that cannot be made changes what is said in the status.

use std::sync::Arc;

use client::{Client, PatchKind};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use model::clock::Clock;
use model::meta;
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;

use super::plan::{Plan, Write};
use super::revisions::{self, REVISION};
use super::{deployment_kind, status};
use crate::writes::{self, WriteError, refused};

/// A plan and the deployment it was made for.
pub struct Task {
    /// What to do.
    pub plan: Plan,
    /// The deployment as it was decided about.
    pub deployment: Arc<Deployment>,
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
    let writer = Writer { executor, deployment: task.deployment };
    let done = writer.carry_out(task.plan, &mut barrier).await;
    Outcome { barrier, error: done.err().map(Into::into) }
}

struct Writer {
    executor: Executor,
    deployment: Arc<Deployment>,
}

impl Writer {
    fn tell(&self, kind: EventKind, reason: &str, message: String) {
        self.executor.recorder.record(reference_to(&*self.deployment), kind, reason, message);
    }

    fn tell_of_scaling(&self, name: &str, from: i32, to: i32) {
        let how = if to > from { "up" } else { "down" };
        let message = format!("Scaled {how} replica set {name} from {from} to {to}");
        self.tell(EventKind::Normal, "ScalingReplicaSet", message);
    }

    async fn carry_out(&self, plan: Plan, barrier: &mut Barrier) -> Result<(), WriteError> {
        let (client, owner) = (&self.executor.client, &self.deployment.metadata);
        for set in &plan.release {
            let released = writes::release::<ReplicaSet>(client, owner, set, barrier).await;
            released.map_err(refused("release a ReplicaSet"))?;
        }
        if !plan.adopt.is_empty() {
            let alive = writes::confirm_alive::<Deployment>(client, owner).await;
            alive.map_err(refused("adopt ReplicaSets"))?;
        }
        for set in &plan.adopt {
            let adopted =
                writes::adopt::<ReplicaSet>(client, owner, &deployment_kind(), set, None, barrier).await;
            adopted.map_err(refused("adopt a ReplicaSet"))?;
        }
        for write in plan.writes {
            self.write(write, barrier).await?;
        }
        let is_news = plan.status.is_some() && plan.status != self.deployment.status;
        if plan.revision.is_some() || is_news {
            self.write_status(plan.status, plan.revision, barrier).await?;
        }
        Ok(())
    }

    async fn write(&self, write: Write, barrier: &mut Barrier) -> Result<(), WriteError> {
        let client = &self.executor.client;
        let namespace = self.deployment.metadata.namespace.as_deref().unwrap_or_default();
        match write {
            Write::Create(set) => self.create(&set, barrier).await,
            Write::Patch { set, patch, scaled } => {
                let patched = client.patch::<ReplicaSet>(namespace, &set.name, "", PatchKind::Merge, patch);
                barrier.wrote(&*patched.await.map_err(refused("change a ReplicaSet"))?);
                if let Some((from, to)) = scaled {
                    self.tell_of_scaling(&set.name, from, to);
                }
                Ok(())
            }
            Write::Delete(set) => {
                match writes::delete::<ReplicaSet>(client, namespace, &set, barrier).await {
                    Err(status) if status.is_not_found() => Ok(()),
                    done => done.map_err(refused("delete an old ReplicaSet")),
                }
            }
        }
    }

    async fn create(&self, set: &ReplicaSet, barrier: &mut Barrier) -> Result<(), WriteError> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let failed = refused("create a ReplicaSet");
        let refusal = match self.executor.client.create(set).await {
            Ok(created) => {
                barrier.wrote(&*created);
                let size = set.spec.replicas.unwrap_or_default();
                if size > 0 {
                    self.tell_of_scaling(name, 0, size);
                }
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        if writes::is_namespace_terminating(&refusal) {
            return Err(failed(refusal));
        }
        let mut told = self.deployment.status.clone().unwrap_or_default();
        if refusal.is_already_exists() {
            let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
            let known = self.executor.client.get::<ReplicaSet>(namespace, name).await.map_err(&failed)?;
            let uid = self.deployment.metadata.uid.as_deref().unwrap_or_default();
            if meta::is_controlled_by(&known.metadata, uid)
                && revisions::has_template(&known, &self.deployment.spec.template)
            {
                return Ok(());
            }
            // Another template has this hash: the next try hashes the count along.
            told.collision_count = Some(told.collision_count.unwrap_or_default().saturating_add(1));
        } else {
            let message = format!("Failed to create new replica set \"{name}\": {refusal}");
            self.tell(EventKind::Warning, "ReplicaSetCreateError", message.clone());
            status::note_refused(&self.deployment, &mut told, message, self.executor.clock.now());
        }
        self.write_status(Some(told), None, barrier).await?;
        Err(failed(refusal))
    }

    /// Writes the status, and with it the revision, which is an annotation.
    async fn write_status(
        &self,
        status: Option<DeploymentStatus>,
        revision: Option<String>,
        barrier: &mut Barrier,
    ) -> Result<(), WriteError> {
        let mut deployment = (*self.deployment).clone();
        if status.is_some() {
            deployment.status = status;
        }
        if let Some(revision) = revision {
            let annotations = deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(REVISION.to_owned(), revision);
        }
        let written = self.executor.client.update_status(&deployment).await;
        barrier.wrote(&*written.map_err(refused("write the status"))?);
        Ok(())
    }
}
