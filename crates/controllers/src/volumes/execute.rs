//! Carries a plan out, exactly as it says.
//!
//! Objects are written at the version that was decided about, or the one that this same plan wrote; a
//! conflict ends the plan, and the next decision sees why. What must not be decided from a late view is read
//! anew here: that a claim is gone before its volume is removed, that no pod uses a claim before it goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::{Body, Client, DeleteOptions, Precondition, Reply, Scope, Target, Typed, Verb};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use model::meta;
use model::status::Status;
use storage::driver::{CreateVolume, Driver, DriverError, Volume, VolumeId};

use super::matching;
use super::plan::{ClaimId, Plan, Provision, Step};
use super::{CLAIM_PROTECTION, PROVISIONED_BY, VOLUME_PROTECTION, provision, sweep, view};
use reconcile::barrier::{Barrier, Removed};
use reconcile::recorder::{EventKind, Recorder, reference_to};
use reconcile::runner::{ObjectKey, Outcome};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The API refused.
    #[error("{what}")]
    Api {
        /// The step.
        what: String,
        /// The refusal.
        #[source]
        source: Status,
    },
    /// The driver could not.
    #[error("{what}")]
    Driver {
        /// The step.
        what: String,
        /// Its reason.
        #[source]
        source: DriverError,
    },
    /// The API says otherwise than the view did.
    #[error("{what}: {reason}")]
    Outdated {
        /// The step.
        what: String,
        /// What is different.
        reason: &'static str,
    },
    /// The plan names a driver that is not there.
    #[error("there is no driver {0}")]
    NoDriver(String),
}

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    recorder: Recorder,
    drivers: Arc<BTreeMap<&'static str, Arc<dyn Driver>>>,
}

impl Executor {
    /// An executor over these drivers.
    pub fn new(client: Client, recorder: Recorder, drivers: Vec<Arc<dyn Driver>>) -> Executor {
        let drivers = drivers.into_iter().map(|driver| (driver.name(), driver)).collect();
        Executor { client, recorder, drivers: Arc::new(drivers) }
    }
}

/// Carries a plan out.
pub async fn execute(executor: Executor, plan: Plan) -> Outcome {
    for notice in plan.notices {
        executor.recorder.record(notice.about, notice.kind, notice.reason, notice.message);
    }
    let mut run = Run { executor, barrier: Barrier::default(), versions: HashMap::new() };
    for step in plan.steps {
        let what = step.to_string();
        if let Err(error) = run.step(step, &what).await {
            return Outcome { barrier: run.barrier, error: Some(error.into()) };
        }
    }
    Outcome { barrier: run.barrier, error: None }
}

/// One plan being carried out.
struct Run {
    executor: Executor,
    barrier: Barrier,
    /// Versions of what this plan wrote.
    versions: HashMap<(&'static str, ObjectKey), String>,
}

impl Run {
    async fn step(&mut self, step: Step, what: &str) -> Result<(), StepError> {
        let api = |source| StepError::Api { what: what.to_owned(), source };
        match step {
            Step::Volume(volume) => self.put(*volume, false).await.map_err(api),
            Step::VolumeStatus(volume) => self.put(*volume, true).await.map_err(api),
            Step::Claim(claim) => self.put(*claim, false).await.map_err(api),
            Step::ClaimStatus(claim) => self.put(*claim, true).await.map_err(api),
            Step::CreateClaim(claim) => self.create_claim(&claim).await.map_err(api),
            Step::Provision(provision) => self.provision(*provision, what).await,
            Step::ConfirmClaimGone(claim) => self.confirm_claim_gone(&claim, what).await,
            Step::ConfirmVolumeGone { name } => {
                match self.client().get::<PersistentVolume>("", &name).await {
                    Err(status) if status.is_not_found() => Ok(()),
                    Err(status) => Err(api(status)),
                    Ok(_) => Err(outdated(what, "it is still there")),
                }
            }
            Step::Tell(notice) => {
                let recorder = &self.executor.recorder;
                recorder.record(notice.about, notice.kind, notice.reason, notice.message);
                Ok(())
            }
            Step::Remove { driver, id, volume } => self.remove(&driver, &id, *volume, what).await,
            Step::DeleteVolume { name, uid } => self.delete_volume(&name, uid).await.map_err(api),
            Step::ReleaseVolume { name, uid } => self.release_volume(&name, &uid, what).await,
            Step::ReleaseClaim(claim) => self.release_claim(&claim, what).await,
        }
    }

    fn client(&self) -> &Client {
        &self.executor.client
    }

    /// Writes an object or its status, at the version that this plan wrote if it did.
    async fn put<K: Typed>(&mut self, mut object: K, status: bool) -> Result<(), Status> {
        let key = (K::URL_PATH_SEGMENT, ObjectKey::of(&object));
        if let Some(version) = self.versions.get(&key) {
            object.metadata_mut().resource_version = Some(version.clone());
        }
        let written = match status {
            true => self.client().update_status(&object).await?,
            false => self.client().update(&object).await?,
        };
        self.barrier.wrote(&*written);
        self.versions.insert(key, written.metadata().resource_version.clone().unwrap_or_default());
        Ok(())
    }

    async fn create_claim(&mut self, claim: &PersistentVolumeClaim) -> Result<(), Status> {
        match self.client().create(claim).await {
            Ok(created) => self.barrier.wrote(&*created),
            Err(status) if status.is_already_exists() => {}
            Err(status) => return Err(status),
        }
        Ok(())
    }

    fn tell(&self, about: ObjectReference, kind: EventKind, reason: &str, message: String) {
        self.executor.recorder.record(about, kind, reason, message);
    }

    fn driver(&self, name: &str) -> Result<Arc<dyn Driver>, StepError> {
        self.executor.drivers.get(name).cloned().ok_or_else(|| StepError::NoDriver(name.to_owned()))
    }

    async fn provision(&mut self, provision: Provision, what: &str) -> Result<(), StepError> {
        let Provision { driver: driver_name, request, volume, about, class, without_node } = provision;
        let driver = self.driver(&driver_name)?;
        let name = request.name.clone();
        let failed = format!("failed to provision volume with StorageClass \"{class}\"");
        let made = match self.create_volume(&*driver, request).await {
            Ok(made) => made,
            Err(source) => {
                self.tell(about, EventKind::Warning, "ProvisioningFailed", format!("{failed}: {source}"));
                if matches!(source, DriverError::ResourceExhausted { .. })
                    && let Some(claim) = without_node
                {
                    let done = self.put(*claim, false).await;
                    return done.map_err(|source| StepError::Api { what: what.to_owned(), source });
                }
                return Err(StepError::Driver { what: what.to_owned(), source });
            }
        };
        let volume = provision::complete(volume, &driver_name, &made);
        let created = match self.client().create(&volume).await {
            Err(status) if status.is_already_exists() => self.same_volume(&name, &volume).await,
            created => created,
        };
        match created {
            Ok(created) => {
                self.barrier.wrote(&*created);
                let message = format!("Successfully provisioned volume {name}");
                self.tell(about, EventKind::Normal, "ProvisioningSucceeded", message);
                Ok(())
            }
            Err(source) => {
                self.tell(about, EventKind::Warning, "ProvisioningFailed", format!("{failed}: {source}"));
                Err(StepError::Api { what: what.to_owned(), source })
            }
        }
    }

    /// Has a volume made. What a try that a crash cut off has left for another node, before there was an
    /// object for it, is in the way of this one: it goes if nobody knows of it and it holds nothing.
    async fn create_volume(&self, driver: &dyn Driver, request: CreateVolume) -> Result<Volume, DriverError> {
        let refusal = match driver.create_volume(request.clone()).await {
            Err(refusal @ DriverError::AlreadyExists { .. }) => refusal,
            made => return made,
        };
        // The drivers here call a volume what they are asked to.
        let id = VolumeId(request.name.clone());
        let listed = self.client().list::<PersistentVolume>(&Scope::default()).await;
        let is_unknown = listed.is_ok_and(|(volumes, _)| {
            volumes.iter().all(|volume| sweep::names(volume).all(|name| name != id.0))
        });
        if is_unknown && driver.discard_empty(&id).await? {
            return driver.create_volume(request).await;
        }
        Err(refusal)
    }

    /// The object that an earlier try has made for the same claim.
    async fn same_volume(
        &self,
        name: &str,
        wanted: &PersistentVolume,
    ) -> Result<Arc<PersistentVolume>, Status> {
        let live = self.client().get::<PersistentVolume>("", name).await?;
        let uid = |volume: &PersistentVolume| {
            matching::claim_of(volume).and_then(|(_, reference)| reference.uid.clone())
        };
        if uid(&live) != uid(wanted) {
            return Err(Status::already_exists(&PersistentVolume::resource(), name));
        }
        Ok(live)
    }

    async fn confirm_claim_gone(&self, claim: &ClaimId, what: &str) -> Result<(), StepError> {
        let ObjectKey { namespace, name } = &claim.key;
        match self.client().get::<PersistentVolumeClaim>(namespace, name).await {
            Ok(live) if live.metadata.uid.as_ref() == Some(&claim.uid) => {
                Err(outdated(what, "it is still there"))
            }
            Ok(_) => Ok(()),
            Err(status) if status.is_not_found() => Ok(()),
            Err(source) => Err(StepError::Api { what: what.to_owned(), source }),
        }
    }

    /// Removes a driver's volume. `volume` is its object in the phase for a failure.
    async fn remove(
        &mut self,
        driver_name: &str,
        id: &VolumeId,
        mut volume: PersistentVolume,
        what: &str,
    ) -> Result<(), StepError> {
        let driver = self.driver(driver_name)?;
        let name = ObjectKey::of(&volume).name;
        let live = self.client().get::<PersistentVolume>("", &name).await;
        let live = live.map_err(|source| StepError::Api { what: what.to_owned(), source })?;
        if !is_removable(&live, &volume, driver_name, id) {
            return Err(outdated(what, "its object says otherwise by now"));
        }
        let Err(source) = driver.delete_volume(id).await else { return Ok(()) };
        let message = source.to_string();
        self.tell(reference_to(&volume), EventKind::Warning, "VolumeFailedDelete", message.clone());
        let told = live.status.as_ref().and_then(|status| status.message.as_ref());
        if matching::volume_phase(&live) != "Failed" || told != Some(&message) {
            volume.status.get_or_insert_default().message = Some(message);
            if let Err(status) = self.put(volume, true).await {
                tracing::debug!(volume = name, "its failure could not be written down: {status}");
            }
        }
        Err(StepError::Driver { what: what.to_owned(), source })
    }

    async fn delete_volume(&mut self, name: &str, uid: String) -> Result<(), Status> {
        let target = Target {
            resource: PersistentVolume::resource(),
            namespace: String::new(),
            name: name.to_owned(),
            subresource: "",
        };
        let precondition = Precondition { uid: Some(uid.clone()), resource_version: None };
        let options = DeleteOptions { precondition, ..DeleteOptions::default() };
        match self.client().call(Verb::Delete, target, Body::Delete(options)).await {
            Ok(Reply::Object(object)) if object.metadata().is_ok_and(|found| meta::is_terminating(found)) => {
                self.barrier.wrote_at(PersistentVolume::URL_PATH_SEGMENT, object.revision());
            }
            Ok(_) => self.removed::<PersistentVolume>(&ObjectKey::new("", name), uid),
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(status),
        }
        Ok(())
    }

    fn removed<K: Typed>(&mut self, key: &ObjectKey, uid: String) {
        self.barrier.removed(Removed {
            resource: K::URL_PATH_SEGMENT,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid,
        });
    }

    async fn release_volume(&mut self, name: &str, uid: &str, what: &str) -> Result<(), StepError> {
        let live = match self.client().get::<PersistentVolume>("", name).await {
            Ok(live) => live,
            Err(status) if status.is_not_found() => return Ok(()),
            Err(source) => return Err(StepError::Api { what: what.to_owned(), source }),
        };
        if matching::volume_phase(&live) == "Bound" {
            return Err(outdated(what, "it is bound"));
        }
        self.let_go(live, uid, VOLUME_PROTECTION, what).await
    }

    async fn release_claim(&mut self, claim: &ClaimId, what: &str) -> Result<(), StepError> {
        let ObjectKey { namespace, name } = &claim.key;
        let api = |source| StepError::Api { what: what.to_owned(), source };
        let live = match self.client().get::<PersistentVolumeClaim>(namespace, name).await {
            Ok(live) => live,
            Err(status) if status.is_not_found() => return Ok(()),
            Err(status) => return Err(api(status)),
        };
        let scope = Scope { namespace: namespace.clone(), ..Scope::default() };
        let (pods, _) = self.client().list::<Pod>(&scope).await.map_err(api)?;
        if pods.iter().any(|pod| view::uses(pod, &live)) {
            return Err(outdated(what, "a pod uses it"));
        }
        self.let_go(live, &claim.uid, CLAIM_PROTECTION, what).await
    }

    /// Takes a finalizer off an object that is to be deleted.
    async fn let_go<K: Typed + Clone>(
        &mut self,
        live: Arc<K>,
        uid: &str,
        finalizer: &str,
        what: &str,
    ) -> Result<(), StepError> {
        let metadata = live.metadata();
        if metadata.uid.as_deref() != Some(uid) || !meta::is_terminating(metadata) {
            return Err(outdated(what, "it is not the one that was to be deleted"));
        }
        let mut object = (*live).clone();
        let finalizers = object.metadata_mut().finalizers.get_or_insert_default();
        finalizers.retain(|own| own != finalizer);
        let is_last = finalizers.is_empty();
        let key = ObjectKey::of(&object);
        match self.client().update(&object).await {
            Ok(_) if is_last => self.removed::<K>(&key, uid.to_owned()),
            Ok(written) => self.barrier.wrote(&*written),
            Err(status) if status.is_not_found() => self.removed::<K>(&key, uid.to_owned()),
            Err(source) => return Err(StepError::Api { what: what.to_owned(), source }),
        }
        Ok(())
    }
}

/// True when a volume's object still allows what was decided: all that content may be removed by.
fn is_removable(live: &PersistentVolume, decided: &PersistentVolume, driver: &str, id: &VolumeId) -> bool {
    let (Some(spec), Some(annotations)) = (&live.spec, &live.metadata.annotations) else { return false };
    let uid = |volume: &PersistentVolume| {
        matching::claim_of(volume).and_then(|(_, reference)| reference.uid.clone())
    };
    live.metadata.uid == decided.metadata.uid
        && uid(live) == uid(decided)
        && matches!(matching::volume_phase(live), "Released" | "Failed")
        && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete")
        && annotations.get(PROVISIONED_BY).is_some_and(|by| by == driver)
        && spec.csi.as_ref().is_some_and(|csi| csi.driver == driver && csi.volume_handle == id.0)
}

fn outdated(what: &str, reason: &'static str) -> StepError {
    StepError::Outdated { what: what.to_owned(), reason }
}
