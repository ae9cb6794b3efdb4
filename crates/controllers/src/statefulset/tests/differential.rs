//! The plan beside the oracle: over random histories both must agree on what a decision does.
//!
//! The histories keep to what upstream knows, and to the replacement of broken pods; reserved ordinals,
//! pauses and primaries are not the oracle's.

use std::collections::{BTreeMap, BTreeSet};

use client::Typed;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use model::stateful_set::ROLLOUT_ANNOTATION;
use proptest::prelude::*;
use serde_json::json;

use super::oracle::{Action, Facts, PodFacts, Verdict, judge, owner_text};
use super::properties::{Happening, change_spec, happen};
use super::script::new_set;
use super::world::World;
use crate::statefulset::decision::{ClaimWrite, DeleteReason, Plan, PodWrite, Preparation};
use crate::statefulset::view::REVISION_LABEL;

const REPLICAS_MAX: i32 = 4;

#[derive(Debug, Clone)]
enum Event {
    Common(Happening),
    MaxUnavailable(serde_json::Value),
    WhenDeleted(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let pod = 0..REPLICAS_MAX + 2;
    let amounts = vec![json!(1), json!(2), json!("50%"), json!("10%")];
    let common = prop_oneof![
        1 => (0..=REPLICAS_MAX).prop_map(Happening::Scale),
        1 => (0..3).prop_map(Happening::Start),
        2 => (1..4_u8).prop_map(Happening::Template),
        1 => (0..4).prop_map(Happening::Partition),
        1 => prop::sample::select(vec!["OnDelete", "RollingUpdate"]).prop_map(Happening::Strategy),
        1 => any::<bool>().prop_map(Happening::WhenScaled),
        6 => pod.clone().prop_map(Happening::Ready),
        1 => pod.clone().prop_map(Happening::Unready),
        1 => pod.clone().prop_map(Happening::Fail),
        1 => pod.clone().prop_map(Happening::Delete),
        4 => pod.clone().prop_map(Happening::Gone),
        1 => pod.clone().prop_map(Happening::LoseClaim),
        1 => pod.prop_map(Happening::Relabel),
        1 => (1..20_i64).prop_map(Happening::Tick),
        8 => Just(Happening::Sync),
    ];
    prop_oneof![
        30 => common.prop_map(Event::Common),
        1 => prop::sample::select(amounts).prop_map(Event::MaxUnavailable),
        1 => any::<bool>().prop_map(Event::WhenDeleted),
    ]
}

/// A world, and what of its past the oracle has to be told.
struct Told {
    world: World,
    were_ready: BTreeSet<String>,
    ended_before: BTreeSet<i32>,
    is_strict: bool,
}

fn version_of(revision: &ControllerRevision) -> String {
    let image = revision.data.0.pointer("/spec/template/spec/containers/0/image");
    image.and_then(|image| image.as_str()).expect("a revision records its image").to_owned()
}

/// The number at the end of an object's name.
fn number_of<K: Typed>(object: &K) -> i32 {
    number(object.metadata().name.as_deref().unwrap_or_default())
}

fn number(name: &str) -> i32 {
    name.rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("ends in a number")
}

fn whole(value: &serde_json::Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}

fn owners(owners: Option<&Vec<OwnerReference>>) -> Vec<String> {
    owners.into_iter().flatten().map(owner_text).collect()
}

impl Told {
    fn new(is_ordered: bool, min_ready_seconds: i32, is_strict: bool) -> Told {
        let mut set = new_set("web");
        set["spec"]["podManagementPolicy"] = json!(if is_ordered { "OrderedReady" } else { "Parallel" });
        set["spec"]["minReadySeconds"] = json!(min_ready_seconds);
        set["spec"]["replicas"] = json!(3);
        if is_strict {
            set["metadata"]["annotations"] = json!({ (ROLLOUT_ANNOTATION): "strict" });
        }
        set["spec"]["volumeClaimTemplates"] =
            json!([{ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"] } }]);
        let mut world = World::new();
        world.put_set(serde_json::from_value(set).expect("is a set"));
        Told { world, were_ready: BTreeSet::new(), ended_before: BTreeSet::new(), is_strict }
    }

    fn plan(&self) -> Plan {
        self.world.plan("web").expect("the set exists")
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Common(Happening::Sync) => {
                for step in &self.plan().steps {
                    if matches!(step.write, PodWrite::Delete { why: DeleteReason::Ended, .. }) {
                        self.ended_before.insert(step.ordinal);
                    }
                }
                happen(&mut self.world, &Happening::Sync);
            }
            // As the API's defaults have it.
            Event::Common(Happening::Strategy("RollingUpdate")) => {
                happen(&mut self.world, &Happening::Partition(0));
            }
            Event::Common(happening) => happen(&mut self.world, happening),
            Event::MaxUnavailable(amount) => change_spec(&mut self.world, |spec| {
                if spec["updateStrategy"]["type"] == "RollingUpdate" {
                    spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = amount.clone();
                }
            }),
            Event::WhenDeleted(deletes) => change_spec(&mut self.world, |spec| {
                let policy = if *deletes { "Delete" } else { "Retain" };
                spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = json!(policy);
            }),
        }
        self.note_readiness();
    }

    /// Notes who is or was ready. A condition that turned after its pod was made says that it was; nodes
    /// first write it within two seconds.
    fn note_readiness(&mut self) {
        for pod in self.world.pods.values() {
            let made = pod.metadata.creation_timestamp.as_ref().expect("was made").0;
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let turned = conditions.filter_map(|condition| condition.last_transition_time.as_ref());
            let has_turned =
                turned.into_iter().any(|turned| turned.0.duration_since(made) > SignedDuration::from_secs(2));
            if has_turned || model::pod::is_ready(pod) {
                self.were_ready.insert(pod.metadata.uid.clone().expect("has a uid"));
            }
        }
    }

    fn verdict(&self) -> Verdict {
        let set: &StatefulSet = &self.world.sets["web"];
        let spec = serde_json::to_value(&set.spec).expect("encodes");
        let (strategy, start) = (&spec["updateStrategy"], whole(&spec["ordinals"]["start"]));
        let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let deletes = |when: &str| spec["persistentVolumeClaimRetentionPolicy"][when] == "Delete";
        let update = spec["template"]["spec"]["containers"][0]["image"].as_str().expect("has an image");
        let current = set.status.as_ref().and_then(|status| status.current_revision.as_ref());
        let current = current.and_then(|name| self.world.revisions.get(name)).map(version_of);
        let pods = self.world.pods.values().map(|pod| (number_of(pod), self.pod(pod)));
        let claims = self.world.claims.values().map(|claim| {
            let is_terminating = claim.metadata.deletion_timestamp.is_some();
            (number_of(claim), (is_terminating, claim.metadata.owner_references.clone().unwrap_or_default()))
        });
        judge(&Facts {
            now: self.world.now,
            uid: set.metadata.uid.clone().expect("has a uid"),
            range: start..start + whole(&spec["replicas"]),
            min_ready: SignedDuration::from_secs(whole(&spec["minReadySeconds"]).into()),
            is_ordered: spec["podManagementPolicy"] == "OrderedReady",
            partition: (strategy["type"] == "RollingUpdate")
                .then(|| whole(&strategy["rollingUpdate"]["partition"])),
            max_unavailable: rolling.and_then(|rolling| rolling.max_unavailable.clone()),
            deletes: (deletes("whenScaled"), deletes("whenDeleted")),
            update: update.to_owned(),
            current: current.unwrap_or_else(|| update.to_owned()),
            is_strict: self.is_strict,
            pods: pods.collect(),
            claims: claims.collect(),
        })
    }

    fn pod(&self, pod: &Pod) -> PodFacts {
        let status = pod.status.clone().unwrap_or_default();
        let ready = status.conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
        let ready = ready.filter(|ready| ready.status == "True").and_then(|ready| ready.last_transition_time);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().expect("has a uid");
        let owners = pod.metadata.owner_references.iter().flatten();
        PodFacts {
            was_ready: self.were_ready.contains(&uid),
            uid,
            phase: status.phase.unwrap_or_default(),
            ready_since: ready.map(|time| time.0),
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
            version: self.world.revisions.get(&labels[REVISION_LABEL]).map(version_of).unwrap_or_default(),
            owner: owners.clone().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()),
            is_selected: labels.get("app").is_some_and(|app| app == "web"),
            ended_before: self.ended_before.contains(&number_of(pod)),
        }
    }

    /// What a plan does, in the oracle's words.
    fn actions(&self, plan: &Plan) -> BTreeSet<Action> {
        let mut revisions: BTreeMap<String, String> = self
            .world
            .revisions
            .iter()
            .map(|(name, revision)| (name.clone(), version_of(revision)))
            .collect();
        let mut actions = BTreeSet::new();
        for preparation in &plan.prepare {
            match preparation {
                Preparation::AdoptPod { name, .. } => drop(actions.insert(Action::Adopt(number(name)))),
                Preparation::ReleasePod { name, .. } => drop(actions.insert(Action::Release(number(name)))),
                Preparation::CreateRevision { revision } => {
                    let name = revision.metadata.name.clone().expect("has a name");
                    revisions.insert(name, version_of(revision));
                }
                _ => {}
            }
        }
        for step in &plan.steps {
            for claim in &step.claims {
                let (ClaimWrite::Create(object) | ClaimWrite::SetOwners(object)) = claim else {
                    panic!("nothing changes a claim in place here:\n{plan}");
                };
                let name = number_of(&**object);
                let owners = owners(object.metadata.owner_references.as_ref());
                actions.insert(match claim {
                    ClaimWrite::Create(_) => Action::MakeClaim(name, owners),
                    _ => Action::Own(name, owners),
                });
            }
            let pod = step.ordinal;
            match &step.write {
                PodWrite::None => {}
                PodWrite::Create(object) => {
                    let revision = &object.metadata.labels.as_ref().expect("has labels")[REVISION_LABEL];
                    actions.insert(Action::Create(pod, revisions[revision].clone()));
                }
                PodWrite::Update(_) | PodWrite::Relabel { .. } => drop(actions.insert(Action::Repair(pod))),
                PodWrite::Delete { .. } => drop(actions.insert(Action::Delete(pod))),
            }
        }
        actions
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn plan_and_oracle_agree_on_what_is_done(
        is_ordered in any::<bool>(),
        is_strict in any::<bool>(),
        min_ready_seconds in prop_oneof![Just(0), Just(5)],
        events in prop::collection::vec(event(), 0..80),
    ) {
        let mut told = Told::new(is_ordered, min_ready_seconds, is_strict);
        for event in &events {
            told.happen(event);
            let (plan, verdict) = (told.plan(), told.verdict());
            let done = told.actions(&plan);
            let left: Vec<_> = verdict.must.difference(&done).collect();
            let allowed: BTreeSet<Action> = verdict.must.union(&verdict.may).cloned().collect();
            let extra: Vec<_> = done.difference(&allowed).collect();
            let pods = super::script::show(&told.world, &["pods"]).expect("can be shown");
            prop_assert!(
                left.is_empty() && extra.is_empty(),
                "the oracle asks for {left:?} and does not allow {extra:?}\n{plan}\n{pods}\n{}",
                serde_json::to_string(&told.world.sets["web"].spec).expect("encodes")
            );
        }
    }
}
