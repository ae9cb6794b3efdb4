//! From the abstract to the real and back: the view that a controller has of a picture, and what the plan
//! for it writes.
//!
//! The objects are those that the real plan itself makes; nothing of a pod or a revision is made up here but
//! what a node or the API writes into it. The time stands still: pauses after failures count as over, which
//! is what a restart forgets as well.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use client::Change;
use controllers::statefulset::decision::{ClaimWrite, DeleteReason, Plan, PodWrite, Preparation, Step};
use controllers::statefulset::view::{Event as Seen, REVISION_LABEL, SetView, View};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::encoded::Revision;
use model::stateful_set::{ExtendedStatefulSet, Extra};
use model::{meta, ordinal};
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::json;

use super::state::{ClaimCell, Life, ORDINALS, Owner, Picture, PodCell, SetCell, Spec, VERSIONS, Why, Write};

/// What decides: the real plan, or one that is wrong on purpose.
#[derive(Clone, Copy)]
pub struct Planner {
    /// How it reads what its controller has seen.
    pub reads: fn(Picture) -> Picture,
    /// What it decides then.
    pub plans: fn(&SetView<'_>, Timestamp) -> Plan,
}

impl Planner {
    /// The one of the product.
    pub const REAL: Planner =
        Planner { reads: |picture| picture, plans: controllers::statefulset::plan::plan };
}

const NAME: &str = "web";
const NAMESPACE: &str = "default";

/// The real objects that stand for the abstract ones.
pub struct Objects {
    pods: Vec<Pod>,
    claims: Vec<PersistentVolumeClaim>,
    revisions: Vec<ControllerRevision>,
    statuses: Mutex<HashMap<u64, StatefulSetStatus>>,
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("is a time")
}

/// The moment at which everything is decided: long after all that has happened.
pub fn now() -> Timestamp {
    second(1_000)
}

impl Objects {
    /// Asks the real plan for what it would make.
    pub fn new() -> Objects {
        let mut objects = Objects {
            pods: Vec::new(),
            claims: Vec::new(),
            revisions: Vec::new(),
            statuses: Mutex::new(HashMap::new()),
        };
        for version in 1..=VERSIONS {
            let spec = Spec {
                generation: 1,
                replicas: u8::try_from(ORDINALS).expect("is small"),
                version: u8::try_from(version).expect("is small"),
                partition: 0,
                max_unavailable: 1,
                is_ordered: false,
                is_on_delete: false,
                deletes_scaled: false,
            };
            let picture = Picture {
                set: SetCell { spec, status: 0 },
                pods: [None; ORDINALS],
                claims: [None; ORDINALS],
                revisions: [0; VERSIONS],
            };
            let plan = objects.plan(&picture, Planner::REAL);
            let revision = plan.prepare.iter().find_map(|preparation| match preparation {
                Preparation::CreateRevision { revision } => Some((**revision).clone()),
                _ => None,
            });
            objects.revisions.push(revision.expect("a new template is recorded"));
            objects.claims.clear();
            for Step { claims, write, .. } in plan.steps {
                let PodWrite::Create(pod) = write else { panic!("an empty set makes its pods") };
                objects.pods.push(*pod);
                let [ClaimWrite::Create(claim)] = &claims[..] else { panic!("a pod has one claim") };
                objects.claims.push((**claim).clone());
            }
        }
        assert_eq!(objects.pods.len(), ORDINALS * VERSIONS);
        objects
    }

    /// Plans for a picture.
    pub fn plan(&self, picture: &Picture, planner: Planner) -> Plan {
        let picture = (planner.reads)(*picture);
        let mut view = View::default();
        let at = Revision(1);
        view.apply(Seen::Sets(Change::Reset(vec![Arc::new(self.set(picture.set))], at)));
        let revisions = picture.revisions.iter().enumerate().filter(|(_, number)| **number > 0);
        let revisions = revisions.map(|(index, number)| {
            let mut revision = self.revisions[index].clone();
            revision.revision = Some(i64::from(*number));
            revision.metadata.uid = Some(format!("revision-{index}"));
            Arc::new(revision)
        });
        view.apply(Seen::Revisions(Change::Reset(revisions.collect(), at)));
        let claims =
            (0..ORDINALS).filter_map(|ordinal| Some(Arc::new(self.claim(ordinal, picture.claims[ordinal]?))));
        view.apply(Seen::Claims(Change::Reset(claims.collect(), at)));
        let pods =
            (0..ORDINALS).filter_map(|ordinal| Some(Arc::new(self.pod(ordinal, picture.pods[ordinal]?))));
        view.apply(Seen::Pods(Change::Reset(pods.collect(), at)));
        let view = view.set(&ObjectKey::new(NAMESPACE, NAME)).expect("the set is there");
        (planner.plans)(&view, now())
    }

    /// The status of a number.
    pub fn status(&self, number: u64) -> Option<StatefulSetStatus> {
        self.statuses.lock().expect("nobody panics with it").get(&number).cloned()
    }

    /// The version that the status of a number calls current.
    pub fn current_version(&self, status: u64) -> Option<u8> {
        let name = self.status(status)?.current_revision?;
        self.version_of(&name)
    }

    fn set(&self, cell: SetCell) -> ExtendedStatefulSet {
        let spec = cell.spec;
        let policy = |deletes: bool| if deletes { "Delete" } else { "Retain" };
        let strategy = if spec.is_on_delete {
            json!({ "type": "OnDelete" })
        } else {
            let rolling = json!({ "partition": spec.partition, "maxUnavailable": spec.max_unavailable });
            json!({ "type": "RollingUpdate", "rollingUpdate": rolling })
        };
        let set = json!({
            "metadata": {
                "name": NAME, "namespace": NAMESPACE, "uid": "set", "generation": spec.generation,
            },
            "spec": {
                "serviceName": NAME,
                "replicas": spec.replicas,
                "podManagementPolicy": if spec.is_ordered { "OrderedReady" } else { "Parallel" },
                "revisionHistoryLimit": 0,
                "selector": { "matchLabels": { "app": NAME } },
                "updateStrategy": strategy,
                "persistentVolumeClaimRetentionPolicy": {
                    "whenScaled": policy(spec.deletes_scaled), "whenDeleted": policy(false),
                },
                "template": {
                    "metadata": { "labels": { "app": NAME } },
                    "spec": { "containers": [{ "name": "app", "image": format!("app:v{}", spec.version) }] },
                },
                "volumeClaimTemplates": [{
                    "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"] },
                }],
            },
        });
        let mut set: StatefulSet = serde_json::from_value(set).expect("is a set");
        set.status = self.status(cell.status);
        ExtendedStatefulSet { set, extra: Ok(Extra::default()) }
    }

    fn pod(&self, ordinal: usize, cell: PodCell) -> Pod {
        let mut pod = self.pods[usize::from(cell.version - 1) * ORDINALS + ordinal].clone();
        pod.metadata.uid = Some(pod_uid(ordinal, cell.uid));
        pod.metadata.resource_version = Some("1".to_owned());
        pod.metadata.creation_timestamp = Some(Time(second(0)));
        pod.metadata.deletion_timestamp = cell.is_terminating.then(|| Time(second(500)));
        let phase = match cell.life {
            Life::Pending => "Pending",
            Life::Running | Life::Ready => "Running",
            Life::Failed => "Failed",
        };
        let ready = if cell.life == Life::Ready { "True" } else { "False" };
        let turned = second(if cell.was_ready { 100 } else { 0 });
        let status = json!({
            "phase": phase,
            "startTime": Time(second(0)),
            "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": Time(turned) }],
        });
        pod.status = Some(serde_json::from_value(status).expect("is a status"));
        pod
    }

    fn claim(&self, ordinal: usize, cell: ClaimCell) -> PersistentVolumeClaim {
        let mut claim = self.claims[ordinal].clone();
        claim.metadata.uid = Some(format!("claim-{ordinal}"));
        claim.metadata.resource_version = Some("1".to_owned());
        claim.metadata.deletion_timestamp = cell.is_terminating.then(|| Time(second(500)));
        if let Owner::Pod(uid) = cell.owner {
            let mut owner = Pod::default();
            owner.metadata.name = Some(ordinal::pod_name(NAME, as_i32(ordinal)));
            owner.metadata.uid = Some(pod_uid(ordinal, uid));
            let kind = model::resource::GroupVersionKind::constant("", "v1", "Pod");
            claim.metadata.owner_references = Some(vec![meta::owner_reference(&owner.metadata, &kind)]);
        }
        claim
    }

    fn version_of(&self, revision: &str) -> Option<u8> {
        let is_it = |known: &ControllerRevision| known.metadata.name.as_deref() == Some(revision);
        let index = self.revisions.iter().position(is_it)?;
        u8::try_from(index + 1).ok()
    }

    /// What a plan writes, in its order.
    pub fn writes(&self, picture: &Picture, plan: &Plan) -> Vec<Write> {
        let mut writes: Vec<Write> =
            plan.prepare.iter().map(|preparation| self.preparation(picture, preparation)).collect();
        for step in &plan.steps {
            let ordinal = usize::try_from(step.ordinal).expect("is not negative");
            writes.extend(step.claims.iter().map(|claim| claim_write(picture, ordinal, claim)));
            writes.extend(self.pod_write(picture, ordinal, &step.write));
        }
        writes.extend(plan.status.as_ref().map(|status| {
            let text = serde_json::to_string(status).expect("encodes");
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            let number = hasher.finish();
            self.statuses.lock().expect("nobody panics with it").insert(number, status.clone());
            Write::Status { was: picture.set, status: number }
        }));
        writes.extend(plan.forget.iter().map(|preparation| self.preparation(picture, preparation)));
        writes
    }

    fn preparation(&self, picture: &Picture, preparation: &Preparation) -> Write {
        let index_of = |name: &str| self.version_of(name).map(|version| usize::from(version) - 1);
        let small = |number: i64| u8::try_from(number).expect("few revisions are made");
        match preparation {
            Preparation::CreateRevision { revision } => {
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                let number = small(revision.revision.unwrap_or_default());
                index_of(name).map_or(Write::Strange, |index| Write::CreateRevision { index, number })
            }
            Preparation::RaiseRevision { name, number, .. } => {
                index_of(name).map_or(Write::Strange, |index| Write::RaiseRevision {
                    index,
                    was: picture.revisions[index],
                    number: small(*number),
                })
            }
            Preparation::DeleteRevision { name, .. } => {
                index_of(name).map_or(Write::Strange, |index| Write::DeleteRevision { index })
            }
            _ => Write::Strange,
        }
    }

    fn pod_write(&self, picture: &Picture, ordinal: usize, write: &PodWrite) -> Option<Write> {
        match write {
            PodWrite::None => None,
            PodWrite::Create(pod) => {
                let labels = pod.metadata.labels.as_ref();
                let revision = labels.and_then(|labels| labels.get(REVISION_LABEL));
                let version = revision.and_then(|revision| self.version_of(revision));
                Some(version.map_or(Write::Strange, |version| Write::CreatePod { ordinal, version }))
            }
            PodWrite::Update(_) | PodWrite::Relabel { .. } => Some(Write::Strange),
            PodWrite::Delete { uid, resource_version, why } => {
                let Some(pod) = picture.pods[ordinal].filter(|pod| pod_uid(ordinal, pod.uid) == *uid) else {
                    return Some(Write::Strange);
                };
                let why = match why {
                    DeleteReason::Ended => Why::Ended,
                    DeleteReason::ScaledDown => Why::ScaledDown,
                    DeleteReason::Outdated => Why::Outdated,
                    DeleteReason::Broken => Why::Broken,
                };
                let was = resource_version.as_ref().map(|_| pod);
                Some(Write::DeletePod { ordinal, uid: pod.uid, was, why })
            }
        }
    }
}

fn claim_write(picture: &Picture, ordinal: usize, write: &ClaimWrite) -> Write {
    let (ClaimWrite::Create(claim) | ClaimWrite::SetOwners(claim)) = write else { return Write::Strange };
    let owner = match claim.metadata.owner_references.as_deref().unwrap_or_default() {
        [] => Owner::Nobody,
        [owner] => match picture.pods[ordinal] {
            Some(pod) if pod_uid(ordinal, pod.uid) == owner.uid => Owner::Pod(pod.uid),
            _ => return Write::Strange,
        },
        _ => return Write::Strange,
    };
    match write {
        ClaimWrite::Create(_) => Write::MakeClaim { ordinal, owner },
        _ => Write::OwnClaim { ordinal, was: picture.claims[ordinal], owner },
    }
}

fn pod_uid(ordinal: usize, uid: u8) -> String {
    format!("pod-{ordinal}-{uid}")
}

fn as_i32(ordinal: usize) -> i32 {
    i32::try_from(ordinal).expect("is small")
}
