//! The disruption controller: how many of an application's pods may be evicted now.
//!
//! It keeps the status of each PodDisruptionBudget, which evictions ask and charge. It must never allow more
//! than the pods that it has seen permit: where it cannot count, it allows none. It touches no pod.
//!
//! Read next: [`plan`] (the behaviour), [`view`] and [`tally`] (what it knows), [`scale`] (how many pods an
//! application wants), [`execute`] (what it writes).

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use model::clock::Clock;
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, View};

pub mod execute;
pub mod plan;
pub mod scale;
pub mod tally;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API.
pub const NAME: &str = "disruption-controller";
/// Who it is in events, as people know it from upstream.
pub const EVENTS_NAME: &str = "controllermanager";

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), EVENTS_NAME, Arc::clone(&clock));
    let events = vec![
        runner::watch(&client, Event::Budgets),
        runner::watch(&client, Event::Pods),
        runner::watch(&client, Event::StatefulSets),
        runner::watch(&client, Event::ReplicaSets),
        runner::watch(&client, Event::Deployments),
    ];
    let controller = Disruption { executor: Executor { client, recorder } };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it.
struct Disruption {
    executor: Executor,
}

impl Controller for Disruption {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Task> {
        let Some(budget) = view.budget(key) else { return Decision::nothing() };
        let plan = plan::plan(&budget, now);
        let requeue_after = plan.requeue_after;
        let task = (!plan.is_quiet()).then(|| Task { budget: Arc::clone(&budget.entry.budget), plan });
        Decision { plan: task, requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
