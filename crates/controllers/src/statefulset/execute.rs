//! Carries a plan out, exactly as it says.
//!
//! Every write is guarded by the uid or the version that was decided about, so that a late or repeated plan
//! fails instead of doing harm, and the execution may be cut off between any two writes. What was written is
//! noted in a barrier; the controller does not decide again before its view has seen it. No choices here.

use std::sync::Arc;

use client::{Client, DeleteOptions, PatchKind, Typed};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use model::status::Status;
use serde_json::json;
use tokio::task::JoinSet;

use super::decision::{ClaimWrite, DeleteReason, Pacing, Plan, PodWrite, Preparation, Step};
use super::set_kind;
use super::view::REVISION_LABEL;
use crate::writes::{self, Named, WriteError, refused};
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::Outcome;

/// Steps of one plan under way at once. A create takes a few milliseconds, most of it waiting for a group
/// commit; 64 of them in flight fill commits at well over 500 creates a second.
const IN_FLIGHT_MAX: usize = 64;
/// Largest batch of a slow start, as upstream has it.
const BATCH_MAX: usize = 500;

/// A plan and the set it was made for.
pub struct Task {
    /// What to do.
    pub plan: Plan,
    /// The set as it was decided about.
    pub set: Arc<StatefulSet>,
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
    let Task { plan, set } = task;
    let writer = Writer { executor, set };
    let mut barrier = Barrier::default();
    let mut done = writer.prepare(&plan.prepare, &mut barrier).await;
    if done.is_ok() {
        done = match plan.pacing {
            Pacing::InOrder => writer.in_order(plan.steps, &mut barrier).await,
            Pacing::SlowStart => writer.slow_start(plan.steps, &mut barrier).await,
        };
    }
    for notice in plan.notices {
        writer.tell(notice.kind, &notice.reason, notice.message);
    }
    if let Some(status) = plan.status {
        done = done.and(writer.write_status(status, &mut barrier).await);
    }
    done = done.and(writer.prepare(&plan.forget, &mut barrier).await);
    Outcome { barrier, error: done.err().and_then(WriteError::failure).map(Into::into) }
}

#[derive(Clone)]
struct Writer {
    executor: Executor,
    set: Arc<StatefulSet>,
}

impl Writer {
    fn client(&self) -> &Client {
        &self.executor.client
    }

    fn namespace(&self) -> &str {
        self.set.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn set_name(&self) -> &str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    fn tell(&self, kind: EventKind, reason: &str, message: String) {
        self.executor.recorder.record(reference_to(&*self.set), kind, reason, message);
    }

    async fn prepare(&self, all: &[Preparation], barrier: &mut Barrier) -> Result<(), WriteError> {
        for preparation in all {
            let done = self.preparation(preparation, barrier).await;
            done.map_err(refused(preparation.to_string()))?;
        }
        Ok(())
    }

    async fn preparation(&self, preparation: &Preparation, barrier: &mut Barrier) -> Result<(), Status> {
        let (client, owner) = (self.client(), &self.set.metadata);
        match preparation {
            Preparation::ConfirmAlive => writes::confirm_alive::<StatefulSet>(client, owner).await,
            Preparation::AdoptRevision { name, uid } => {
                let object = Named::new(name, uid);
                writes::adopt::<ControllerRevision>(client, owner, &set_kind(), &object, None, barrier).await
            }
            Preparation::AdoptPod { name, uid } => {
                let object = Named::new(name, uid);
                writes::adopt::<Pod>(client, owner, &set_kind(), &object, None, barrier).await
            }
            Preparation::ReleasePod { name, uid } => {
                writes::release::<Pod>(client, owner, &Named::new(name, uid), barrier).await
            }
            Preparation::CreateRevision { revision } => {
                barrier.wrote(&*self.client().create(&**revision).await?);
                Ok(())
            }
            Preparation::RaiseRevision { name, resource_version, number } => {
                let patch = json!({
                    "metadata": { "resourceVersion": resource_version },
                    "revision": number,
                });
                let (namespace, kind) = (self.namespace(), PatchKind::Merge);
                let raised = self.client().patch::<ControllerRevision>(namespace, name, "", kind, patch);
                barrier.wrote(&*raised.await?);
                Ok(())
            }
            Preparation::Reserve { ordinals, resource_version } => {
                let patch = json!({
                    "metadata": { "resourceVersion": resource_version },
                    "spec": { "reserveOrdinals": ordinals },
                });
                let (namespace, name, kind) = (self.namespace(), self.set_name(), PatchKind::Merge);
                let reserved = self.client().patch::<StatefulSet>(namespace, name, "", kind, patch);
                barrier.wrote(&*reserved.await?);
                Ok(())
            }
            Preparation::DeleteRevision { name, uid } => {
                let deleted = self.delete::<ControllerRevision>(name, uid, None, barrier).await;
                deleted.or_else(|status| if status.is_not_found() { Ok(()) } else { Err(status) })
            }
        }
    }

    async fn in_order(&self, steps: Vec<Step>, barrier: &mut Barrier) -> Result<(), WriteError> {
        for step in steps {
            self.step(step, barrier).await?;
        }
        Ok(())
    }

    /// One step, then two, then four ...: a quota or a broken webhook is met by a few calls, not by all.
    async fn slow_start(&self, steps: Vec<Step>, barrier: &mut Barrier) -> Result<(), WriteError> {
        let mut steps = steps.into_iter().peekable();
        let mut batch = 1;
        while steps.peek().is_some() {
            let mut running = JoinSet::new();
            let mut first_error = Ok(());
            let mut rest = steps.by_ref().take(batch);
            loop {
                while running.len() < IN_FLIGHT_MAX
                    && let Some(step) = rest.next()
                {
                    let writer = self.clone();
                    running.spawn(async move {
                        let mut written = Barrier::default();
                        let done = writer.step(step, &mut written).await;
                        (written, done)
                    });
                }
                let Some(finished) = running.join_next().await else { break };
                let (written, done) = finished.unwrap_or_else(|error| {
                    (Barrier::default(), Err(refused("carry out a step")(Status::internal(error))))
                });
                barrier.merge(written);
                first_error = first_error.and(done);
            }
            first_error?;
            batch = (batch * 2).min(BATCH_MAX);
        }
        Ok(())
    }

    async fn step(&self, step: Step, barrier: &mut Barrier) -> Result<(), WriteError> {
        for claim in step.claims {
            self.claim(&step.pod, claim, barrier).await?;
        }
        let pod = step.pod;
        match step.write {
            PodWrite::None => Ok(()),
            PodWrite::Create(object) => {
                let created = self.client().create(&*object).await;
                let done = created.map(|created| barrier.wrote(&*created));
                // Somebody has the name: no event, as upstream; the view will tell who.
                if !matches!(&done, Err(status) if status.is_already_exists()) {
                    self.tell_of_pod("create", &pod, &done);
                }
                done.map_err(refused(format!("create pod {pod}")))
            }
            PodWrite::Update(object) => {
                let updated = self.client().update(&*object).await;
                let done = updated.map(|updated| barrier.wrote(&*updated));
                self.tell_of_pod("update", &pod, &done);
                done.map_err(refused(format!("update pod {pod}")))
            }
            PodWrite::Relabel { uid, revision } => {
                let done = self.relabel(&pod, &uid, &revision, barrier).await;
                self.tell_of_pod("update", &pod, &done);
                done.map_err(refused(format!("update pod {pod}")))
            }
            PodWrite::Delete { uid, resource_version, why } => {
                let done = match self.delete::<Pod>(&pod, &uid, resource_version, barrier).await {
                    // It changed meanwhile: nothing failed, it is only decided anew.
                    Err(conflict) if conflict.is_conflict() => {
                        let (client, named) = (self.client(), Named::new(&pod, &uid));
                        let namespace = self.namespace();
                        let overtaken =
                            writes::overtaken::<Pod>(client, namespace, &named, conflict, barrier);
                        return Err(overtaken.await);
                    }
                    done => done,
                };
                self.tell_of_pod("delete", &pod, &done);
                if why == DeleteReason::Broken && done.is_ok() {
                    let message = format!(
                        "Pod {pod} is replaced at once: it is not at the update revision and was never ready"
                    );
                    self.tell(EventKind::Normal, "ReplacedBroken", message);
                }
                match done {
                    Err(status)
                        if status.is_not_found()
                            && matches!(why, DeleteReason::Outdated | DeleteReason::Broken) =>
                    {
                        Ok(())
                    }
                    done => done.map_err(refused(format!("delete pod {pod}"))),
                }
            }
        }
    }

    async fn claim(&self, pod: &str, write: ClaimWrite, barrier: &mut Barrier) -> Result<(), WriteError> {
        let set = self.set_name();
        match write {
            ClaimWrite::Create(claim) => {
                let name = claim.metadata.name.clone().unwrap_or_default();
                match self.client().create::<PersistentVolumeClaim>(&claim).await {
                    Ok(created) => {
                        barrier.wrote(&*created);
                        let message = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
                        self.tell(EventKind::Normal, "SuccessfulCreate", message);
                        Ok(())
                    }
                    // Whoever made it: a claim of that name is the pod's.
                    Err(status) if status.is_already_exists() => Ok(()),
                    Err(source) => {
                        let message = format!(
                            "create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {source}"
                        );
                        self.tell(EventKind::Warning, "FailedCreate", message);
                        Err(refused(format!("create claim {name}"))(source))
                    }
                }
            }
            ClaimWrite::SetOwners(claim) => {
                let name = claim.metadata.name.clone().unwrap_or_default();
                let updated = self.client().update::<PersistentVolumeClaim>(&claim).await;
                let updated = updated.map_err(refused(format!("set the owners of claim {name}")))?;
                barrier.wrote(&*updated);
                Ok(())
            }
            ClaimWrite::Update(update) => {
                let (name, namespace) = (&update.claim, self.namespace());
                let (kind, patch) = (PatchKind::Merge, update.patch());
                match self.client().patch::<PersistentVolumeClaim>(namespace, name, "", kind, patch).await {
                    Ok(updated) => {
                        barrier.wrote(&*updated);
                        let message = format!("update Claim {name} Pod {pod} in StatefulSet {set} success");
                        self.tell(EventKind::Normal, "SuccessfulUpdate", message);
                        Ok(())
                    }
                    Err(source) => {
                        let message = format!(
                            "update Claim {name} for Pod {pod} in StatefulSet {set} failed error: {source}"
                        );
                        self.tell(EventKind::Warning, "FailedUpdate", message);
                        Err(refused(format!("update claim {name}"))(source))
                    }
                }
            }
        }
    }

    /// Notes the revision of a pod that is as that revision would make it.
    async fn relabel(
        &self,
        name: &str,
        uid: &str,
        revision: &str,
        barrier: &mut Barrier,
    ) -> Result<(), Status> {
        let patch = json!({ "metadata": { "uid": uid, "labels": { (REVISION_LABEL): revision } } });
        let kind = PatchKind::Merge;
        barrier.wrote(&*self.client().patch::<Pod>(self.namespace(), name, "", kind, patch).await?);
        Ok(())
    }

    fn tell_of_pod(&self, verb: &str, pod: &str, done: &Result<(), Status>) {
        let set = self.set_name();
        let (reason, _) = verb.split_at(1);
        let titled = format!("{}{}", reason.to_uppercase(), &verb[1..]);
        match done {
            Ok(()) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.tell(EventKind::Normal, &format!("Successful{titled}"), message);
            }
            Err(status) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {status}");
                self.tell(EventKind::Warning, &format!("Failed{titled}"), message);
            }
        }
    }

    /// Deletes an object with its default grace, if it is still the one that was decided about.
    async fn delete<K: Typed>(
        &self,
        name: &str,
        uid: &str,
        resource_version: Option<String>,
        barrier: &mut Barrier,
    ) -> Result<(), Status> {
        let mut options = DeleteOptions::default();
        options.precondition.resource_version = resource_version;
        let object = Named::new(name, uid);
        writes::delete_with::<K>(self.client(), self.namespace(), &object, options, barrier).await
    }

    async fn write_status(&self, status: StatefulSetStatus, barrier: &mut Barrier) -> Result<(), WriteError> {
        let set = StatefulSet { status: Some(status), ..(*self.set).clone() };
        let written = self.client().update_status(&set).await;
        barrier.wrote(&*written.map_err(refused("write the status"))?);
        Ok(())
    }
}
