//! The StatefulSet controller: pods with names, order and storage of their own.
//!
//! It watches sets, pods, claims and revisions, and makes a set's pods and claims what the set says. Claims
//! it makes and gives owners; it never deletes one. It must never have two pods of one ordinal: a name is
//! taken until the API says that it is free.
//!
//! Read next: [`plan`] (the behaviour), [`view`] (what it knows), [`execute`] (what it writes),
//! [`decision`] and [`waiting`] (plans as values), [`rollout`], [`settled`], [`revisions`], [`sameness`],
//! [`repair`], [`retention`], [`claims`], [`status`], [`conditions`], [`memory`], [`services`]; [`forecast`]
//! carries plans out on a picture, for [`review`], which answers `ordinal plan` and `StatefulSetReview`.

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::StatefulSet;
use model::clock::Clock;
use model::resource::GroupVersionKind;
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

mod by_name;
pub mod claims;
mod classes;
pub mod conditions;
pub mod decision;
pub mod execute;
pub mod forecast;
pub mod memory;
pub mod plan;
pub mod repair;
pub mod retention;
pub mod review;
pub mod revisions;
pub mod rollout;
pub mod sameness;
pub mod services;
pub mod settled;
pub mod status;
pub mod view;
pub mod waiting;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "statefulset-controller";

/// The label that repeats a pod's name, so that a Service can select one ordinal.
pub const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// The label that repeats a pod's ordinal.
pub const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";
/// The label with the hash in a revision's name.
pub const REVISION_HASH_LABEL: &str = "controller.kubernetes.io/hash";

fn set_kind() -> GroupVersionKind {
    GroupVersionKind::constant(StatefulSet::GROUP, StatefulSet::VERSION, StatefulSet::KIND)
}

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![
        runner::watch(&client, Event::Sets),
        runner::watch(&client, Event::Pods),
        runner::watch(&client, Event::Claims),
        runner::watch(&client, Event::Revisions),
        runner::watch(&client, Event::Services),
        runner::watch(&client, Event::Classes),
    ];
    let executor = Executor { client, recorder };
    let controller = StatefulSets { executor };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it.
struct StatefulSets {
    executor: Executor,
}

impl Controller for StatefulSets {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Task> {
        let Some(set_view) = view.set(key) else { return Decision::nothing() };
        let mut plan = plan::plan(&set_view, now);
        plan::hold_back_status(&mut plan, &set_view.entry.set, set_view.entry.status_sent, now);
        let (set, requeue_after) = (Arc::clone(&set_view.entry.set), plan.requeue_after);
        view.keep_news(key, &mut plan.notices);
        view.remember(key, std::mem::take(&mut plan.memory));
        for waiting in &plan.waiting_on {
            tracing::debug!(set = %key, "waiting for {waiting}");
        }
        if plan.is_quiet() {
            return Decision { plan: None, requeue_after };
        }
        if plan.status.is_some() {
            view.status_sent(key, now);
        }
        Decision { plan: Some(Task { plan, set }), requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
