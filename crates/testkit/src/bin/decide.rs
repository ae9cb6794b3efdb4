//! Stopwatch for one decision: how long the StatefulSet controller's plan takes when one pod of a large set
//! has changed. Nothing runs but the plan itself; it prints one JSON object.

#![allow(clippy::disallowed_methods, reason = "a stopwatch reads the system clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use client::Change;
use controllers::statefulset::decision::{PodWrite, Preparation};
use controllers::statefulset::plan::{Plan, plan};
use controllers::statefulset::view::{Event, View};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use model::encoded::Revision;
use model::stateful_set::ExtendedStatefulSet;
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::json;

#[derive(Parser)]
struct Arguments {
    /// Replicas of the set
    #[arg(long, default_value_t = 5_000)]
    replicas: u32,
    /// Decisions that are timed
    #[arg(long, default_value_t = 1_000)]
    times: u32,
}

/// A picture in which what is planned happens at once.
struct World {
    view: View,
    key: ObjectKey,
    set: ExtendedStatefulSet,
    pods: Vec<Pod>,
    now: Timestamp,
    counter: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut world = World::new(arguments.replicas)?;
    world.settle()?;
    ensure!(world.pods.len() == arguments.replicas as usize, "{} pods were made", world.pods.len());
    let mut taken: Vec<Duration> = Vec::new();
    for time in 0..arguments.times {
        let index = (time as usize * 7_919) % world.pods.len();
        // It becomes unready, and ready again: each is one changed pod.
        for is_ready in [false, true] {
            world.change(index, is_ready);
            let started = Instant::now();
            let plan = world.plan()?;
            taken.push(started.elapsed());
            let ready = plan.status.map(|status| status.ready_replicas.unwrap_or_default());
            let expected = i32::try_from(arguments.replicas)? - i32::from(!is_ready);
            ensure!(ready.is_none_or(|ready| ready == expected), "the plan counts {ready:?}, not {expected}");
        }
    }
    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{}", json!({"replicas": arguments.replicas, "p50_us": at(50), "p99_us": at(99)}));
    Ok(())
}

impl World {
    fn new(replicas: u32) -> Result<World> {
        let labels = json!({"app": "load"});
        let set = json!({
            "metadata": {"name": "load", "namespace": "default", "uid": "set", "generation": 1},
            "spec": {
                "serviceName": "load", "replicas": replicas, "podManagementPolicy": "Parallel",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "busybox"}]},
                },
            },
        });
        let set: ExtendedStatefulSet = serde_json::from_value(set)?;
        let mut world = World {
            view: View::default(),
            key: ObjectKey::new("default", "load"),
            set,
            pods: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse()?,
            counter: 1,
        };
        let sets = vec![Arc::new(world.set.clone())];
        world.view.apply(Event::Sets(Change::Reset(sets, Revision(1))));
        world.view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1))));
        world.view.apply(Event::Claims(Change::Reset(Vec::new(), Revision(1))));
        world.view.apply(Event::Revisions(Change::Reset(Vec::new(), Revision(1))));
        Ok(world)
    }

    fn plan(&self) -> Result<Plan> {
        Ok(plan(&self.view.set(&self.key).context("the set is gone")?, self.now))
    }

    fn stamp(&mut self, metadata: &mut ObjectMeta) {
        self.counter += 1;
        metadata.resource_version = Some(self.counter.to_string());
        metadata.namespace = Some("default".to_owned());
        metadata.uid.get_or_insert_with(|| format!("uid-{}", self.counter));
        metadata.creation_timestamp.get_or_insert(Time(self.now));
    }

    /// Carries plans out until there is nothing to do.
    fn settle(&mut self) -> Result<()> {
        loop {
            let plan = self.plan()?;
            if plan.is_quiet() {
                return Ok(());
            }
            for preparation in &plan.prepare {
                if let Preparation::CreateRevision { revision } = preparation {
                    let mut revision = (**revision).clone();
                    self.stamp(&mut revision.metadata);
                    self.view.apply(Event::Revisions(Change::Apply(Arc::new(revision))));
                }
            }
            for step in &plan.steps {
                if let PodWrite::Create(pod) = &step.write {
                    self.pods.push((**pod).clone());
                    self.change(self.pods.len() - 1, true);
                }
            }
            if plan.status.is_some() {
                self.set.set.status = plan.status;
                let mut metadata = self.set.set.metadata.clone();
                self.stamp(&mut metadata);
                self.set.set.metadata = metadata;
                self.view.apply(Event::Sets(Change::Apply(Arc::new(self.set.clone()))));
            }
        }
    }

    fn change(&mut self, index: usize, is_ready: bool) {
        let mut pod = self.pods[index].clone();
        self.stamp(&mut pod.metadata);
        let condition = PodCondition {
            type_: "Ready".to_owned(),
            status: if is_ready { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(Time(self.now)),
            ..PodCondition::default()
        };
        pod.status = Some(PodStatus {
            phase: Some("Running".to_owned()),
            start_time: Some(Time(self.now)),
            conditions: Some(vec![condition]),
            ..PodStatus::default()
        });
        self.pods[index] = pod.clone();
        self.view.apply(Event::Pods(Change::Apply(Arc::new(pod))));
    }
}
