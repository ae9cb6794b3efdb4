//! The DaemonSet controller: one pod of a template on each node that it is for.
//!
//! It watches sets, their pods and revisions, and nodes. Where a pod is to be is decided here and told to the
//! scheduler as affinity for one node; it still sees that the pod has room. It must never have more than one
//! pod on a node, but for the moment of an update that says so, nor take away more at once than it may.
//!
//! Read next: [`plan`], [`nodes`] (which nodes), [`staffing`] (who is missing or too many), [`rollout`],
//! [`revisions`], [`status`], [`pods`], [`view`], [`execute`].

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::DaemonSet;
use model::clock::Clock;
use model::resource::GroupVersionKind;
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

pub mod execute;
pub mod nodes;
pub mod plan;
pub mod pods;
pub mod revisions;
pub mod rollout;
pub mod staffing;
pub mod status;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "daemonset-controller";
/// The label that tells the pods of one template from those of another.
pub const HASH_LABEL: &str = "controller-revision-hash";

pub(crate) fn set_kind() -> GroupVersionKind {
    GroupVersionKind::constant(DaemonSet::GROUP, DaemonSet::VERSION, DaemonSet::KIND)
}

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![
        runner::watch(&client, Event::Sets),
        runner::watch(&client, Event::Pods),
        runner::watch(&client, Event::Revisions),
        runner::watch(&client, Event::Nodes),
    ];
    let controller = DaemonSets { executor: Executor { client, recorder } };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it.
struct DaemonSets {
    executor: Executor,
}

impl Controller for DaemonSets {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Task> {
        let Some(seen) = view.set(key) else { return Decision::nothing() };
        let set = Arc::clone(seen.set);
        let plan = plan::plan(&seen, now);
        view.note_failures(key, &plan.failed_on, now);
        let requeue_after = plan.requeue_after;
        let plan = (!plan.is_quiet(&set)).then(|| Task { plan, set });
        Decision { plan, requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
