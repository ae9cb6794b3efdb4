//! The taint eviction controller: pods leave nodes with a `NoExecute` taint that they do not tolerate, at
//! once or when their time is over.
//!
//! A pod's time runs from when it met the taint: from when the taint came or the pod was placed, whatever was
//! later, by times that the API keeps, so that a restart of this process gives no pod more. It must never
//! evict a pod whose node has lost the taint, and never ask a disruption budget: a taint is the word of
//! somebody who has decided.
//!
//! Read next: [`plan`] (the behaviour), [`view`] (what it knows), [`execute`] (what it writes).

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
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "taint-eviction-controller";

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let (nodes_clock, pods_clock) = (Arc::clone(&clock), Arc::clone(&clock));
    let events = vec![
        runner::watch(&client, move |change| Event::Nodes(change, nodes_clock.now())),
        runner::watch(&client, move |change| Event::Pods(change, pods_clock.now())),
    ];
    let controller = TaintEviction { executor: Executor { client, recorder } };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it. A key is a pod's.
struct TaintEviction {
    executor: Executor,
}

impl Controller for TaintEviction {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Task> {
        let Some(guest) = view.guest(key) else { return Decision::nothing() };
        let plan = plan::plan(&guest, now);
        let requeue_after = plan.requeue_after;
        let task = (!plan.is_quiet()).then(|| Task { pod: Arc::clone(guest.pod), plan: plan.clone() });
        view.note(key, &plan);
        Decision { plan: task, requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
