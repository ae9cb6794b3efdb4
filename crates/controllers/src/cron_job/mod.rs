//! The CronJob controller: a job for each moment that a schedule names.
//!
//! It watches CronJobs and their jobs. The name of a job holds the moment it is for, so that none is made
//! twice, whatever is cut off. It must never start what is suspended, nor a job beside another where that is
//! forbidden.
//!
//! Read next: [`plan`], [`timing`] (which moments count), [`jobs`] (what is made), [`view`], [`execute`].

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::batch::v1::CronJob;
use model::clock::Clock;
use model::resource::GroupVersionKind;
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

pub mod execute;
pub mod jobs;
pub mod plan;
pub mod timing;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "cronjob-controller";

pub(crate) fn cron_job_kind() -> GroupVersionKind {
    GroupVersionKind::constant(CronJob::GROUP, CronJob::VERSION, CronJob::KIND)
}

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![runner::watch(&client, Event::CronJobs), runner::watch(&client, Event::Jobs)];
    let controller = CronJobs { executor: Executor { client, recorder } };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it.
struct CronJobs {
    executor: Executor,
}

impl Controller for CronJobs {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Task> {
        let Some(seen) = view.cron_job(key) else { return Decision::nothing() };
        let cron_job = Arc::clone(seen.cron_job);
        let plan = plan::plan(&seen, now);
        view.note_told(key, &plan.noted);
        let requeue_after = plan.requeue_after;
        let plan = (!plan.is_quiet(&cron_job)).then(|| Task { plan, cron_job });
        Decision { plan, requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
