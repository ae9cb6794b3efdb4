//! The endpoints controller: which addresses stand behind a Service.
//!
//! It watches services and pods, and keeps for each service with a selector the EndpointSlices that DNS and
//! the service proxy read, and the older Endpoints object that people and some clients still read. A pod's
//! change costs the services that select it, nothing else, and what is right already is not written again.
//! It must never touch slices or Endpoints of services without a selector: those are their maker's.
//!
//! Read next: [`slices`] and [`legacy`] (the behaviour), [`plan`] (both as one value), [`view`] (what it
//! knows), [`execute`] (what it writes).

use std::sync::Arc;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use model::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::plan::Plan;
use self::view::{Event, View};
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

pub mod execute;
pub mod legacy;
pub mod plan;
pub mod ports;
pub mod slices;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API.
pub const NAME: &str = "endpoint-controller";
/// The value of `endpointslice.kubernetes.io/managed-by` on slices that are this controller's.
pub const SLICES_MANAGER: &str = "endpointslice-controller.k8s.io";

/// The label with the name of a slice's service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label that says who looks after a slice.
pub const SLICE_MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// The label that says who looks after an Endpoints object.
pub const ENDPOINTS_MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
/// The label on what belongs to a headless service.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let events = vec![
        runner::watch(&client, Event::Services),
        runner::watch(&client, Event::Pods),
        runner::watch(&client, Event::Slices),
        runner::watch(&client, Event::Endpoints),
    ];
    let controller = EndpointsOfServices { client };
    runner::run(controller, View::default(), events, clock, ready, stop).await;
}

/// The controller as the runner drives it.
struct EndpointsOfServices {
    client: Client,
}

impl Controller for EndpointsOfServices {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Plan;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Plan> {
        let plan = plan::plan(view, key, now);
        let requeue_after = plan.requeue_after;
        if plan.is_quiet() {
            return Decision { plan: None, requeue_after };
        }
        if plan.endpoints.is_some() {
            view.endpoints_sent(key, now);
        }
        tracing::debug!(service = %key, "{plan}");
        Decision { plan: Some(plan), requeue_after }
    }

    fn execute(&self, _key: &ObjectKey, plan: Plan) -> BoxFuture<'static, Outcome> {
        execute::execute(self.client.clone(), plan).boxed()
    }
}
