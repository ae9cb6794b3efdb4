//! The ReplicaSet controller: so many pods of one template.
//!
//! It watches sets and pods, takes in pods that a set selects and nobody owns, lets go of those it selects
//! no more, and makes or deletes what is missing or too much. It must never count a pod twice, nor make one
//! twice because its view is late.
//!
//! Read next: [`plan`] (what is done), [`ranks`] (who goes first), [`status`], [`view`], [`execute`].

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::ReplicaSet;
use model::clock::Clock;
use model::resource::GroupVersionKind;
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

pub mod execute;
pub mod plan;
pub mod ranks;
pub mod status;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "replicaset-controller";

pub(crate) fn set_kind() -> GroupVersionKind {
    GroupVersionKind::constant(ReplicaSet::GROUP, ReplicaSet::VERSION, ReplicaSet::KIND)
}

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![runner::watch(&client, Event::Sets), runner::watch(&client, Event::Pods)];
    let executor = Executor { client, recorder, clock: Arc::clone(&clock) };
    let controller = ReplicaSets { executor };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it.
struct ReplicaSets {
    executor: Executor,
}

impl Controller for ReplicaSets {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Task> {
        let Some(set_view) = view.set(key) else { return Decision::nothing() };
        let set = Arc::clone(set_view.set);
        let plan = plan::plan(&set_view, now);
        let requeue_after = plan.requeue_after;
        let plan = (!plan.is_quiet(&set)).then_some(Task { plan, set });
        Decision { plan, requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
