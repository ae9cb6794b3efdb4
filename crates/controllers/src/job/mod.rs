//! The Job controller: pods that run until enough of them have succeeded, each counted exactly once.
//!
//! It watches jobs and pods. A pod carries a finalizer until its job has counted it, so that one that is
//! deleted meanwhile is not lost: what was seen to end goes into the status first, then the finalizer goes,
//! then the counters move. It must never count a pod twice, nor take the finalizer off one that it has not
//! counted.
//!
//! Read next: [`plan`] (the order of things), [`facts`] (what the pods come to), [`ending`] (when a job is
//! over), [`staffing`] (how many pods), [`tracking`] (counting), [`backoff`], [`failure_policy`],
//! [`pods`], [`view`], [`execute`].

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::batch::v1::Job;
use model::clock::Clock;
use model::resource::GroupVersionKind;
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, Key, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, Outcome};

pub mod backoff;
pub mod ending;
pub mod execute;
pub mod facts;
pub mod failure_policy;
pub mod plan;
pub mod pods;
pub mod staffing;
pub mod tracking;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "job-controller";

pub(crate) fn job_kind() -> GroupVersionKind {
    GroupVersionKind::constant(Job::GROUP, Job::VERSION, Job::KIND)
}

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![runner::watch(&client, Event::Jobs), runner::watch(&client, Event::Pods)];
    let controller = Jobs { executor: Executor { client, recorder } };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it.
struct Jobs {
    executor: Executor,
}

impl Controller for Jobs {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &Key, now: Timestamp) -> Decision<Task> {
        let job_key = match key {
            Key::Job(key) => key,
            Key::Orphan(key) => {
                let plan = view.orphan(key).map(|pod| Task::Untrack(Arc::clone(pod)));
                return Decision { plan, requeue_after: None };
            }
        };
        let Some(seen) = view.job(job_key) else { return Decision::nothing() };
        let job = Arc::clone(seen.job);
        let plan = plan::plan(&seen, now);
        view.note_ended(&job, &plan.ended);
        let requeue_after = plan.requeue_after;
        let plan = (!plan.is_quiet(&job)).then(|| Task::Carry(Box::new(plan), job));
        Decision { plan, requeue_after }
    }

    fn execute(&self, _key: &Key, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
