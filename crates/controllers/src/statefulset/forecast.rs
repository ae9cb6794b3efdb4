//! What a set will do: the same pure plan, carried out on a picture instead of on a cluster, until it rests.
//!
//! The picture is kind: a pod that is made becomes ready, a pod that is deleted goes. What stands there and
//! is not ready stays so, since nobody can know better. Nothing is ever written from here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::Change;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodCondition, PodStatus};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use model::encoded::Revision;
use model::stateful_set::{ExtendedStatefulSet, Extra, Ordinals, Reserved, replicas};
use model::{meta, ordinal};
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde::{Deserialize, Serialize};

use super::claims::{ClaimUpdate, Growth};
use super::decision::{ClaimWrite, DeleteReason, Plan, PodWrite, Preparation};
use super::plan::plan;
use super::set_kind;
use super::status::min_ready_seconds;
use super::view::{Event, REVISION_LABEL, View};
use super::waiting::WaitingOn;

/// Turns before a forecast is given up: each replica is deleted, made and seen ready, all of it twice over.
const TURNS_PER_REPLICA: usize = 12;
/// Turns for what belongs to the set as a whole.
const TURNS_EXTRA: usize = 50;

/// Moves after which a forecast is given up: what 5,000 replicas with a claim each do in two updates.
/// A manifest may ask for a billion.
const MOVES_MAX: usize = 25_000;

/// Everything a forecast starts from.
pub struct Picture {
    /// The set as it would be written.
    pub set: ExtendedStatefulSet,
    /// Pods of its namespace.
    pub pods: Vec<Arc<Pod>>,
    /// Claims of its namespace.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// Revisions of its namespace.
    pub revisions: Vec<Arc<ControllerRevision>>,
    /// All storage classes, where they are known.
    pub classes: Option<Vec<Arc<StorageClass>>>,
}

/// One thing that would be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Move {
    /// A pod is made.
    CreatePod {
        /// Its name.
        pod: String,
        /// At which revision.
        revision: String,
    },
    /// A pod is deleted.
    DeletePod {
        /// Its name.
        pod: String,
        /// Why.
        why: DeleteReason,
    },
    /// A pod's identity or storage is repaired.
    UpdatePod {
        /// Its name.
        pod: String,
    },
    /// A claim is made.
    CreateClaim {
        /// Its name.
        claim: String,
    },
    /// A claim gets other owners: what it goes with.
    OwnClaim {
        /// Its name.
        claim: String,
        /// Kinds and names.
        owners: Vec<String>,
    },
    /// A live claim asks for more storage, and its volume grows.
    GrowClaim {
        /// Its name.
        claim: String,
        /// What it asked for.
        from: String,
        /// What it asks for then.
        to: String,
    },
    /// A live claim follows its template in something else.
    ChangeClaim {
        /// Its name.
        claim: String,
        /// What changes; nothing where only the revision does that it carries.
        changes: Vec<String>,
    },
    /// A pod is noted to be at another revision, which makes the same pod: it is not restarted.
    NotePod {
        /// Its name.
        pod: String,
        /// The revision.
        revision: String,
    },
    /// A claim is collected with its last owner.
    DeleteClaim {
        /// Its name.
        claim: String,
    },
    /// Something about the set as a whole, in words.
    Prepare {
        /// What.
        what: String,
    },
}

/// How it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "camelCase")]
pub enum End {
    /// Every replica is as the set says.
    Rests,
    /// It waits for something that this picture does not bring about.
    Waits {
        /// What for.
        reasons: Vec<WaitingOn>,
    },
    /// It was still moving when the forecast was given up.
    StillMoves,
}

/// What a set would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Everything that would be done, in order.
    pub moves: Vec<Move>,
    /// Pods that would be deleted and made again, in order.
    pub restarts: Vec<String>,
    /// How many replicas the set would have.
    pub replicas: i32,
    /// How many of them are unavailable now.
    pub unavailable_now: usize,
    /// How many would be at worst.
    pub unavailable_at_worst: usize,
    /// During how many steps it would be so many.
    pub steps_at_worst: usize,
    /// How long it waits by itself, all in all: `minReadySeconds`, back-off, the primary.
    pub waits_seconds: i64,
    /// How it ends.
    pub end: End,
}

/// Carries the plan out on a picture until it rests.
pub fn forecast(picture: Picture, now: Timestamp) -> Forecast {
    let replicas = replicas(&picture.set.set);
    let count = usize::try_from(replicas).unwrap_or_default() + picture.pods.len();
    let mut world = World::new(picture, now);
    let mut forecast = Forecast {
        moves: Vec::new(),
        restarts: Vec::new(),
        replicas,
        unavailable_now: world.unavailable(),
        unavailable_at_worst: 0,
        steps_at_worst: 0,
        waits_seconds: 0,
        end: End::StillMoves,
    };
    for _ in 0..count.saturating_mul(TURNS_PER_REPLICA).saturating_add(TURNS_EXTRA) {
        if forecast.moves.len() > MOVES_MAX {
            break;
        }
        let Some(plan) = world.plan() else { break };
        let has_actions = plan.has_actions();
        world.carry_out(&plan, &mut forecast);
        if has_actions {
            let unavailable = world.unavailable();
            if unavailable > forecast.unavailable_at_worst {
                (forecast.unavailable_at_worst, forecast.steps_at_worst) = (unavailable, 0);
            }
            if unavailable > 0 && unavailable == forecast.unavailable_at_worst {
                forecast.steps_at_worst += 1;
            }
        }
        if world.live() || has_actions || plan.status.is_some() {
            continue;
        }
        let Some(pause) = plan.requeue_after else {
            forecast.end = match plan.waiting_on {
                reasons if reasons.is_empty() => End::Rests,
                reasons => End::Waits { reasons },
            };
            break;
        };
        forecast.waits_seconds += world.pass(pause);
    }
    let made = forecast.moves.iter().filter_map(|one| match one {
        Move::CreatePod { pod, .. } => Some(pod.as_str()),
        _ => None,
    });
    let made: BTreeSet<&str> = made.collect();
    let restarts = forecast.moves.iter().filter_map(|one| match one {
        Move::DeletePod { pod, .. } if made.contains(pod.as_str()) => Some(pod.clone()),
        _ => None,
    });
    forecast.restarts = restarts.collect();
    forecast
}

/// The picture, and what moves in it.
struct World {
    view: View,
    key: ObjectKey,
    set: StatefulSet,
    extra: Result<Extra, String>,
    now: Timestamp,
    counter: u64,
    /// Pods that were made and are not ready yet.
    starting: Vec<Pod>,
    /// Claims that were changed and whose volumes have not followed yet.
    changing: Vec<PersistentVolumeClaim>,
}

impl World {
    fn new(picture: Picture, now: Timestamp) -> World {
        let Picture { set: ExtendedStatefulSet { mut set, extra }, pods, claims, revisions, classes } =
            picture;
        set.metadata.uid.get_or_insert_with(|| "new".to_owned());
        let key = ObjectKey::of(&set);
        let mut view = View::default();
        // Later than every revision that a cluster has.
        let counter = u64::MAX / 2;
        let set_of_view = ExtendedStatefulSet { set: set.clone(), extra: extra.clone() };
        view.apply(Event::Sets(Change::Reset(vec![Arc::new(set_of_view)], Revision(counter))));
        view.apply(Event::Pods(Change::Reset(pods, Revision(counter))));
        view.apply(Event::Claims(Change::Reset(claims, Revision(counter))));
        if let Some(classes) = classes {
            view.apply(Event::Classes(Change::Reset(classes, Revision(counter))));
        }
        view.apply(Event::Revisions(Change::Reset(revisions, Revision(counter))));
        World { view, key, set, extra, now, counter, starting: Vec::new(), changing: Vec::new() }
    }

    fn plan(&self) -> Option<Plan> {
        Some(plan(&self.view.set(&self.key)?, self.now))
    }

    fn unavailable(&self) -> usize {
        let Some(view) = self.view.set(&self.key) else { return 0 };
        let seconds = min_ready_seconds(&self.set);
        let ordinals: &Ordinals = &view.entry.ordinals;
        // Over what is there, not over what is wanted: that may be a billion.
        let wanted = view.pods.members.values().filter(|pod| ordinals.contains(pod.ordinal));
        let healthy = wanted.filter(|pod| pod.is_healthy(seconds, self.now)).count();
        usize::try_from(replicas(&self.set)).unwrap_or_default().saturating_sub(healthy)
    }

    /// Lets time pass, in whole seconds and at least one: the world knows none shorter.
    fn pass(&mut self, pause: Duration) -> i64 {
        let seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX / 4)
            + i64::from(pause.subsec_nanos() > 0 || pause.is_zero());
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        seconds
    }

    /// What is not the controller: pods that were made become ready, claims that were changed what they ask
    /// for.
    fn live(&mut self) -> bool {
        let (starting, changing) = (std::mem::take(&mut self.starting), std::mem::take(&mut self.changing));
        let moved = !starting.is_empty() || !changing.is_empty();
        for mut claim in changing {
            let spec = claim.spec.clone().unwrap_or_default();
            if let Some(status) = &mut claim.status {
                status.current_volume_attributes_class_name = spec.volume_attributes_class_name;
                status.capacity = spec.resources.and_then(|resources| resources.requests);
            }
            self.put_claim(claim);
        }
        for mut pod in starting {
            let condition = PodCondition {
                type_: "Ready".to_owned(),
                status: "True".to_owned(),
                last_transition_time: Some(Time(self.now)),
                ..PodCondition::default()
            };
            pod.status = Some(PodStatus {
                phase: Some("Running".to_owned()),
                start_time: Some(Time(self.now)),
                conditions: Some(vec![condition]),
                ..PodStatus::default()
            });
            self.put_pod(pod);
        }
        moved
    }

    fn stamp(&mut self, metadata: &mut ObjectMeta) {
        self.counter += 1;
        metadata.resource_version = Some(self.counter.to_string());
        metadata.namespace = Some(self.key.namespace.clone());
        let counter = self.counter;
        metadata.uid.get_or_insert_with(|| format!("new-{counter}"));
        metadata.creation_timestamp.get_or_insert(Time(self.now));
    }

    fn put_pod(&mut self, mut pod: Pod) {
        self.stamp(&mut pod.metadata);
        self.view.apply(Event::Pods(Change::Apply(Arc::new(pod))));
    }

    fn put_set(&mut self) {
        self.counter += 1;
        self.set.metadata.resource_version = Some(self.counter.to_string());
        let set = ExtendedStatefulSet { set: self.set.clone(), extra: self.extra.clone() };
        self.view.apply(Event::Sets(Change::Apply(Arc::new(set))));
    }

    fn carry_out(&mut self, plan: &Plan, forecast: &mut Forecast) {
        self.view.remember(&self.key, plan.memory.clone());
        for preparation in plan.prepare.iter().chain(&plan.forget) {
            self.prepare(preparation, forecast);
        }
        for step in &plan.steps {
            for claim in &step.claims {
                self.claim(claim, forecast);
            }
            let pod = step.pod.clone();
            match &step.write {
                PodWrite::None => {}
                PodWrite::Create(object) => {
                    let labels = object.metadata.labels.as_ref();
                    let revision = labels.and_then(|labels| labels.get(REVISION_LABEL)).cloned();
                    forecast.moves.push(Move::CreatePod { pod, revision: revision.unwrap_or_default() });
                    let mut object = (**object).clone();
                    self.stamp(&mut object.metadata);
                    object.status =
                        Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
                    self.put_pod(object.clone());
                    self.starting.push(object);
                }
                PodWrite::Update(object) => {
                    forecast.moves.push(Move::UpdatePod { pod });
                    self.put_pod((**object).clone());
                }
                PodWrite::Relabel { revision, .. } => {
                    let object = self.pod(&step.pod);
                    let revision = revision.clone();
                    if let Some(mut object) = object {
                        let labels = object.metadata.labels.get_or_insert_default();
                        labels.insert(REVISION_LABEL.to_owned(), revision.clone());
                        self.put_pod(object);
                    }
                    forecast.moves.push(Move::NotePod { pod, revision });
                }
                PodWrite::Delete { why, .. } => {
                    forecast.moves.push(Move::DeletePod { pod, why: *why });
                    self.remove_pod(&step.pod, forecast);
                }
            }
        }
        if let Some(status) = &plan.status {
            self.set.status = Some(status.clone());
            self.put_set();
        }
    }

    fn prepare(&mut self, preparation: &Preparation, forecast: &mut Forecast) {
        match preparation {
            Preparation::ConfirmAlive => return,
            Preparation::AdoptRevision { name, .. } => {
                if let Some(revision) = self.revision(name) {
                    let mut revision = (*revision).clone();
                    revision.metadata.owner_references = Some(vec![self.owner()]);
                    self.put_revision(revision);
                }
            }
            Preparation::AdoptPod { name, .. } => {
                if let Some(mut pod) = self.pod(name) {
                    let owner = self.owner();
                    pod.metadata.owner_references.get_or_insert_default().push(owner);
                    self.put_pod(pod);
                }
            }
            Preparation::ReleasePod { name, .. } => {
                if let Some(mut pod) = self.pod(name) {
                    let uid = self.set.metadata.uid.clone().unwrap_or_default();
                    pod.metadata.owner_references.get_or_insert_default().retain(|owner| owner.uid != uid);
                    self.put_pod(pod);
                }
            }
            Preparation::CreateRevision { revision } => self.put_revision((**revision).clone()),
            Preparation::RaiseRevision { name, number, .. } => {
                if let Some(revision) = self.revision(name) {
                    self.put_revision(ControllerRevision { revision: Some(*number), ..(*revision).clone() });
                }
            }
            Preparation::DeleteRevision { name, .. } => {
                if let Some(revision) = self.revision(name) {
                    self.view.apply(Event::Revisions(Change::Delete(revision)));
                }
            }
            Preparation::Reserve { ordinals, .. } => {
                let entries = ordinals.as_array().map(Vec::as_slice).unwrap_or_default();
                if let (Ok(extra), Ok(reserved)) = (&mut self.extra, Reserved::parse(entries)) {
                    extra.reserved = reserved;
                    self.put_set();
                }
            }
        }
        forecast.moves.push(Move::Prepare { what: preparation.to_string() });
    }

    fn claim(&mut self, write: &ClaimWrite, forecast: &mut Forecast) {
        let claim = match write {
            ClaimWrite::Update(update) => return self.update_claim(update, forecast),
            ClaimWrite::Create(claim) | ClaimWrite::SetOwners(claim) => claim,
        };
        let name = claim.metadata.name.clone().unwrap_or_default();
        forecast.moves.push(match write {
            ClaimWrite::Create(_) => Move::CreateClaim { claim: name },
            ClaimWrite::SetOwners(_) | ClaimWrite::Update(_) => {
                let owners = claim.metadata.owner_references.iter().flatten();
                let owners = owners.map(|owner| format!("{} {}", owner.kind, owner.name)).collect();
                Move::OwnClaim { claim: name, owners }
            }
        });
        self.put_claim((**claim).clone());
    }

    fn put_claim(&mut self, mut claim: PersistentVolumeClaim) {
        self.stamp(&mut claim.metadata);
        self.view.apply(Event::Claims(Change::Apply(Arc::new(claim))));
    }

    fn update_claim(&mut self, update: &ClaimUpdate, forecast: &mut Forecast) {
        let claim = || update.claim.clone();
        let rest = ClaimUpdate { grows: None, ..update.clone() };
        if let Some(Growth { from, to }) = update.grows.clone() {
            forecast.moves.push(Move::GrowClaim { claim: claim(), from, to });
        }
        if update.grows.is_none() || !rest.is_only_revision() {
            forecast.moves.push(Move::ChangeClaim { claim: claim(), changes: rest.words() });
        }
        let found = self.view.set(&self.key).and_then(|view| view.claim(&update.claim));
        let Some(changed) = found.map(|found| update.applied(found)) else { return };
        self.changing.push(changed.clone());
        self.put_claim(changed);
    }

    /// The pod goes, and with it the claims that have no other owner.
    fn remove_pod(&mut self, name: &str, forecast: &mut Forecast) {
        let Some(pod) = self.pod(name) else { return };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.view.apply(Event::Pods(Change::Delete(Arc::new(pod.clone()))));
        let Some((_, number)) = ordinal::parse(name) else { return };
        let templates = self.set.spec.volume_claim_templates.clone().unwrap_or_default();
        for template in templates {
            let template = template.metadata.name.unwrap_or_default();
            let claim = ordinal::claim_name(&template, &self.key.name, number);
            let Some(found) = self.view.set(&self.key).and_then(|view| view.claim(&claim).cloned()) else {
                continue;
            };
            let owners = found.metadata.owner_references.as_deref().unwrap_or_default();
            if !owners.is_empty() && owners.iter().all(|owner| owner.uid == uid) {
                forecast.moves.push(Move::DeleteClaim { claim });
                self.view.apply(Event::Claims(Change::Delete(found)));
            }
        }
    }

    fn pod(&self, name: &str) -> Option<Pod> {
        self.view.set(&self.key)?.pod_named(name).map(|pod| (**pod).clone())
    }

    fn revision(&self, name: &str) -> Option<Arc<ControllerRevision>> {
        self.view.set(&self.key)?.revision(name).cloned()
    }

    fn put_revision(&mut self, mut revision: ControllerRevision) {
        self.stamp(&mut revision.metadata);
        self.view.apply(Event::Revisions(Change::Apply(Arc::new(revision))));
    }

    fn owner(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        meta::owner_reference(&self.set.metadata, &set_kind())
    }
}

#[cfg(test)]
mod tests;
