//! The mirroring controller: slices of services whose Endpoints somebody else writes.
//!
//! DNS and the service proxy read EndpointSlices only. A service without a selector may have an Endpoints
//! object of its user's making, for instance for a database outside the cluster; this controller repeats it
//! as slices. It must never touch Endpoints, nor slices that it has not made.
//!
//! Read next: [`plan`] (the behaviour), [`view`] (what it knows).

use std::sync::Arc;

use client::{Client, ListOptions, Scope, reflect};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use model::clock::Clock;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};
use tokio_util::sync::CancellationToken;

use self::view::{Event, View};
use crate::endpoints::SLICE_MANAGED_BY_LABEL;
use crate::endpoints::execute::execute_slices;
use crate::endpoints::slices::SliceWrites;

pub mod plan;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API.
pub const NAME: &str = "endpointslicemirroring-controller";
/// The value of `endpointslice.kubernetes.io/managed-by` on slices that are this controller's.
pub const SLICES_MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// The label on Endpoints that are not to be mirrored.
pub const SKIP_MIRROR_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints that are no endpoints but a lock of leaders.
pub const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// Runs the controller until `stop` is cancelled.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let label_selector = format!("{SLICE_MANAGED_BY_LABEL}={SLICES_MANAGER}");
    let own = Scope { options: ListOptions { label_selector, ..ListOptions::default() }, ..Scope::default() };
    let events = vec![
        runner::watch(&client, Event::Services),
        runner::watch(&client, Event::Endpoints),
        reflect(client.clone(), own).map(Event::Slices).boxed(),
    ];
    runner::run(Mirroring { client }, View::default(), events, clock, ready, stop).await;
}

/// The controller as the runner drives it.
struct Mirroring {
    client: Client,
}

impl Controller for Mirroring {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = SliceWrites;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, _now: Timestamp) -> Decision<SliceWrites> {
        let plan = plan::plan(view, key);
        Decision { plan: (!plan.is_empty()).then_some(plan), requeue_after: None }
    }

    fn execute(&self, key: &ObjectKey, plan: SliceWrites) -> BoxFuture<'static, Outcome> {
        execute_slices(self.client.clone(), key.namespace.clone(), plan).boxed()
    }
}
