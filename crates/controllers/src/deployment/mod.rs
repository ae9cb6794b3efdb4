//! The Deployment controller: ReplicaSets that follow each other, one a template.
//!
//! It watches deployments and ReplicaSets and moves replicas from the old sets to the new one, within what
//! the strategy allows. It looks at no pod: what it must know of pods stands in the status of their sets,
//! which counts also those on their way out. It must never have fewer pods available than the strategy says.
//!
//! Read next: [`plan`] (the order of things), [`rollout`] and [`scaling`] (who gets how many),
//! [`arithmetic`], [`status`], [`revisions`], [`view`], [`execute`].

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use model::clock::Clock;
use model::resource::GroupVersionKind;
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

pub mod arithmetic;
pub mod execute;
pub mod plan;
pub mod revisions;
pub mod rollout;
pub mod scaling;
pub mod status;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "deployment-controller";

pub(crate) fn deployment_kind() -> GroupVersionKind {
    GroupVersionKind::constant(Deployment::GROUP, Deployment::VERSION, Deployment::KIND)
}

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![runner::watch(&client, Event::Deployments), runner::watch(&client, Event::Sets)];
    let executor = Executor { client, recorder, clock: Arc::clone(&clock) };
    let controller = Deployments { executor };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it.
struct Deployments {
    executor: Executor,
}

impl Controller for Deployments {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Task> {
        let Some(seen) = view.deployment(key) else { return Decision::nothing() };
        let deployment = Arc::clone(seen.deployment);
        let plan = plan::plan(&seen, now);
        let requeue_after = plan.requeue_after;
        let plan = (!plan.is_quiet(&deployment)).then_some(Task { plan, deployment });
        Decision { plan, requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
