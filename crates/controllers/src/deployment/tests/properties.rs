//! Rollouts in worlds where everybody acts late and in any order: a plan must never take pods that are
//! needed, and a fair world comes to rest.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use proptest::prelude::*;
use serde_json::json;

use super::super::arithmetic::{least, replicas};
use super::super::plan::Write;
use super::super::revisions::{REVISION, has_template};
use super::{deployment, planned, set, template};

/// Pods that a set makes or ends at once.
const BURST: i32 = 500;
/// Rounds in which every part of the world acts once: a step of the rollout takes a few, and there are at
/// most as many steps as pods and sets.
const ROUNDS_MAX: usize = 500;

#[derive(Debug, Clone)]
enum Happening {
    /// The controller decides and writes.
    Decide,
    /// A set's controller tells what it sees and then makes or ends pods.
    React(usize),
    /// A pod of a set becomes available.
    Run(usize),
    /// Somebody wants another template.
    Change(u8),
    /// Somebody scales a set up.
    Meddle(usize, i32),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Decide),
        4 => (0_usize..4).prop_map(Happening::React),
        6 => (0_usize..4).prop_map(Happening::Run),
        1 => (1_u8..4).prop_map(Happening::Change),
        1 => ((0_usize..4), prop_oneof![1..4, Just(i32::MAX)])
            .prop_map(|(which, count)| Happening::Meddle(which, count)),
    ]
}

/// What a set has in truth, whatever its status says. No pod fails by itself.
#[derive(Debug, Default)]
struct Pods {
    available: i32,
    starting: i32,
}

struct World {
    deployment: Deployment,
    sets: BTreeMap<String, ReplicaSet>,
    pods: BTreeMap<String, Pods>,
}

impl World {
    fn new(wanted: i32, surge: i32, unavailable: i32) -> World {
        let more = json!({ "spec": {
            "template": template("v1"),
            "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } },
        } });
        let first = set(1, wanted, wanted, wanted);
        let name = first.metadata.name.clone().expect("has a name");
        World {
            deployment: deployment(wanted, &more),
            sets: BTreeMap::from([(name.clone(), first)]),
            pods: BTreeMap::from([(name, Pods { available: wanted, starting: 0 })]),
        }
    }

    /// The pods that are available and that no set has been told to lose.
    fn lasting(&self) -> i64 {
        let of = |(name, set): (&String, &ReplicaSet)| {
            i64::from(self.pods[name].available.min(set.spec.replicas.unwrap_or_default()))
        };
        self.sets.iter().map(of).sum()
    }

    fn nth(&self, which: usize) -> String {
        self.sets.keys().nth(which % self.sets.len().max(1)).cloned().unwrap_or_default()
    }

    /// True when there was nothing to write.
    fn decide(&mut self) -> bool {
        let plan = planned(self.deployment.clone(), self.sets.values().cloned().collect());
        let is_quiet = plan.is_quiet(&self.deployment);
        for write in plan.writes {
            match write {
                Write::Create(made) => self.create(*made),
                Write::Patch { set, patch, .. } => self.patch(&set.name, &patch),
                Write::Delete(set) => {
                    assert_eq!(self.sets[&set.name].spec.replicas, Some(0), "only what is empty goes");
                    self.sets.remove(&set.name);
                    self.pods.remove(&set.name);
                }
            }
            let (lasting, least) = (self.lasting(), least(&self.deployment));
            assert!(lasting >= least, "{lasting} pods are left where {least} must be");
        }
        self.deployment.status = plan.status;
        if let Some(revision) = plan.revision {
            let annotations = self.deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(REVISION.to_owned(), revision);
        }
        is_quiet
    }

    fn create(&mut self, mut made: ReplicaSet) {
        let name = made.metadata.name.clone().expect("has a name");
        let made_at = 10 + self.sets.len();
        let created = serde_json::from_value(json!(format!("2026-01-01T00:{made_at}:00Z")));
        made.metadata.creation_timestamp = Some(created.expect("is a time"));
        made.metadata.uid = Some(name.clone());
        made.metadata.generation = Some(1);
        self.pods.insert(name.clone(), Pods::default());
        assert!(self.sets.insert(name, made).is_none(), "a template has one set");
    }

    fn patch(&mut self, name: &str, patch: &serde_json::Value) {
        let known = &self.sets[name];
        let mut object = serde_json::to_value(known).expect("encodes");
        model::patch::merge(&mut object, patch);
        let mut patched: ReplicaSet = serde_json::from_value(object).expect("is a set");
        if patched.spec != known.spec {
            patched.metadata.generation = known.metadata.generation.map(|generation| generation + 1);
        }
        self.sets.insert(name.to_owned(), patched);
    }

    fn react(&mut self, name: &str) {
        let (Some(set), Some(pods)) = (self.sets.get_mut(name), self.pods.get_mut(name)) else { return };
        let actual = pods.available + pods.starting;
        let status = set.status.get_or_insert_default();
        status.replicas = actual;
        status.available_replicas = Some(pods.available).filter(|count| *count > 0);
        status.ready_replicas = status.available_replicas;
        status.observed_generation = set.metadata.generation;
        let wanted = set.spec.replicas.unwrap_or_default();
        if actual < wanted {
            pods.starting += (wanted - actual).min(BURST);
        } else {
            let going = (actual - wanted).min(BURST);
            let idle = going.min(pods.starting);
            pods.starting -= idle;
            pods.available -= going - idle;
        }
    }

    fn run(&mut self, name: &str, count: i32) {
        let Some(pods) = self.pods.get_mut(name) else { return };
        let count = pods.starting.min(count);
        pods.starting -= count;
        pods.available += count;
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Decide => {
                self.decide();
            }
            Happening::React(which) => self.react(&self.nth(*which)),
            Happening::Run(which) => self.run(&self.nth(*which), 1),
            Happening::Change(version) => {
                let wanted = serde_json::from_value(template(&format!("v{version}")));
                self.deployment.spec.template = wanted.expect("is a template");
                self.deployment.metadata.generation =
                    self.deployment.metadata.generation.map(|generation| generation + 1);
            }
            Happening::Meddle(which, count) => {
                let name = self.nth(*which);
                let size = self.sets.get(&name).and_then(|set| set.spec.replicas).unwrap_or_default();
                self.patch(&name, &json!({ "spec": { "replicas": size.saturating_add(*count) } }));
            }
        }
    }

    /// Lets everybody act in turn until there is nothing to do.
    fn come_to_rest(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let is_quiet = self.decide();
            let before: Vec<_> = self.sets.values().cloned().collect();
            for name in self.sets.keys().cloned().collect::<Vec<_>>() {
                self.run(&name, i32::MAX);
                self.react(&name);
            }
            if is_quiet && self.sets.values().cloned().collect::<Vec<_>>() == before {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.pods);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_takes_pods_that_are_needed_and_every_rollout_ends(
        wanted in 1_i32..24, surge in 0_i32..6, unavailable in 0_i32..6,
        happenings in proptest::collection::vec(happening(), 0..150),
    ) {
        let mut world = World::new(wanted, surge, unavailable);
        for happening in &happenings {
            world.happen(happening);
        }
        world.come_to_rest();
        for (name, set) in &world.sets {
            let is_new = has_template(set, &world.deployment.spec.template);
            let expected = if is_new { replicas(&world.deployment) } else { 0 };
            prop_assert_eq!(world.pods[name].available, expected);
            prop_assert_eq!(set.spec.replicas, Some(expected));
        }
    }
}
