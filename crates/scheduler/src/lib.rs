//! The scheduler: which node a pod runs on.
//!
//! A controller of pods without a node, the most important first, in the house's shape: [`view`] knows nodes,
//! pods and volumes, [`plan`] filters and scores, [`execute`] binds through the API. It must never talk to a
//! node and never move a pod that has one.
//!
//! A pod whose claims wait for their first consumer is placed in two steps: on the chosen node each takes a
//! volume that is there, whose object gets a reference to it, or gets the node as an annotation; the volume
//! controller binds or makes their volumes, and when that is seen the pod is bound.
//!
//! A pod that fits nowhere may have less important ones removed ([`preemption`]): it is promised the room on
//! their node (`status.nominatedNodeName`), which nobody of its rank or below is then given, and is bound
//! when they have gone.
//!
//! Read next: [`plan`] (the decision), [`filters`] and [`scores`] (the plug-ins), [`request`] (what a pod
//! asks for), [`affinity`] and [`spread`] (what it asks of other pods, looked up in counts that are kept).

pub mod affinity;
pub mod execute;
pub mod filters;
#[cfg(test)]
mod fixtures;
mod neighbours;
pub mod plan;
pub mod preemption;
pub mod request;
pub mod scores;
pub mod selection;
pub mod spread;
mod supply;
mod terms;
#[cfg(test)]
mod tests;
pub mod view;
mod volumes;

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use model::clock::Clock;
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};
use tokio_util::sync::CancellationToken;

use execute::Executor;
use plan::Plan;
use view::{Event, View};

/// Who the scheduler is: pods that name another in `spec.schedulerName` are not its own.
pub const NAME: &str = "default-scheduler";

/// Runs the scheduler until `stop` is cancelled. `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![
        runner::watch(&client, Event::Pods),
        runner::watch(&client, Event::Nodes),
        runner::watch(&client, Event::Claims),
        runner::watch(&client, Event::Volumes),
        runner::watch(&client, Event::Classes),
        runner::watch(&client, Event::Namespaces),
        runner::watch(&client, Event::Budgets),
    ];
    let scheduler = Scheduler { executor: Executor { client, recorder } };
    tokio::join!(runner::run(scheduler, View::default(), events, clock, ready, stop), writer.run());
}

struct Scheduler {
    executor: Executor,
}

impl Controller for Scheduler {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Plan;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, _now: Timestamp) -> Decision<Plan> {
        view.give_back(key);
        let Some(plan) = plan::plan(view, key) else { return Decision::nothing() };
        view.note(key, &plan);
        if plan.is_quiet() {
            return Decision::nothing();
        }
        Decision { plan: Some(plan), requeue_after: None }
    }

    fn execute(&self, _key: &ObjectKey, plan: Plan) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), plan).boxed()
    }
}
