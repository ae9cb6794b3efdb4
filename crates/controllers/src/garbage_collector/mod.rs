//! The garbage collector: what becomes of objects whose owners go.
//!
//! It watches every resource but events and keeps a graph of who owns whom, by uid. An object whose owners
//! are all gone is deleted; references to owners that are gone are taken off an object that has others. An
//! owner that is deleted in the foreground waits here for its dependents, one that orphans them is let go
//! when none refers to it. It must never delete on the word of its graph alone: each owner that seems to be
//! gone is asked for, and each write names the uid and the revision that were decided about.
//!
//! Read next: [`plan`] (the behaviour), [`view`] (the graph), [`execute`] (what it writes), [`source`] (how
//! it watches kinds it knows nothing about).

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use model::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::plan::Action;
use self::view::{Uid, View};
use crate::api_resource::ApiResource;
use reconcile::runner::{self, Controller, Decision, Outcome};

pub mod execute;
pub mod plan;
pub mod source;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API.
pub const NAME: &str = "generic-garbage-collector";

/// Runs the controller over `resources` until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(
    client: Client,
    clock: Arc<dyn Clock>,
    resources: Vec<ApiResource>,
    ready: CancellationToken,
    stop: CancellationToken,
) {
    let client = client.named(NAME);
    let watched: Vec<ApiResource> = resources.into_iter().filter(|one| !one.is_event()).collect();
    let resources = Arc::new(view::Resources::new(watched));
    let events = (0..resources.len()).map(|index| source::watch(client.clone(), &resources, index)).collect();
    let view = View::new(Arc::clone(&resources));
    runner::run(Collector { resources, client }, view, events, clock, ready, stop).await;
}

/// The controller as the runner drives it.
struct Collector {
    resources: Arc<view::Resources>,
    client: Client,
}

impl Controller for Collector {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = execute::Task;

    fn decide(&mut self, view: &mut View, uid: &Uid, now: Timestamp) -> Decision<execute::Task> {
        view.notice_unknown_owners(uid, now);
        match plan::plan(view, uid, now) {
            Action::Leave => Decision::nothing(),
            Action::LookAgain(pause) => Decision { plan: None, requeue_after: Some(pause) },
            Action::Do(step) => {
                let object = view.object(uid).expect("a step is for an object that is known");
                tracing::debug!(%object, "{step}");
                Decision { plan: Some(execute::Task { object, step }), requeue_after: None }
            }
        }
    }

    fn execute(&self, _uid: &Uid, task: execute::Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.client.clone(), Arc::clone(&self.resources), task).boxed()
    }
}
