//! The namespace controller: empties namespaces that are being deleted, then lets them go.
//!
//! Sets go first, so that nobody makes pods anew, then pods with their grace, and when no pod is left all
//! else: what pods use outlives them. What remains, and what holds it, is told in the namespace's
//! conditions. It must never remove a finalizer of anybody's object, and never poll quickly: while it waits
//! it is woken by watches on what remains ([`waits`]).
//!
//! It also makes the namespaces that every cluster has.
//!
//! Read next: [`plan`] (the behaviour), [`view`] (what it knows), [`execute`] (what it writes).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::execute::Executor;
use self::view::{Event, View};
use crate::api_resource::ApiResource;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

pub mod execute;
pub mod plan;
pub mod view;
pub mod waits;

#[cfg(test)]
mod tests;

/// Who this controller is to the API.
pub const NAME: &str = "namespace-controller";
/// The finalizer in a namespace's `spec` that is this controller's to remove.
pub const FINALIZER: &str = "kubernetes";
/// Namespaces that every cluster has.
pub const SYSTEM: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Pause between two tries to make the system namespaces.
const SYSTEM_PAUSE: Duration = Duration::from_millis(250);

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
    let contents: Vec<ApiResource> = resources.into_iter().filter(|one| one.namespaced).collect();
    let (waits, waker, woken) = waits::new(client.clone());
    let events = vec![runner::watch(&client, Event::Namespaces), woken.map(Event::LookAgain).boxed()];
    let executor =
        Executor { client: client.clone(), clock: Arc::clone(&clock), contents: contents.into(), waits };
    let controller = Namespaces { executor };
    let running = runner::run(controller, View::default(), events, clock, ready, stop.clone());
    tokio::join!(running, waker.run(stop.clone()), make_system_namespaces(&client, &stop));
}

async fn make_system_namespaces(client: &Client, stop: &CancellationToken) {
    for name in SYSTEM {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        loop {
            match client.create(&namespace).await {
                Ok(_) => break,
                Err(status) if status.is_already_exists() => break,
                Err(status) => tracing::warn!(name, "make a system namespace, to be tried again: {status}"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SYSTEM_PAUSE) => {}
            }
        }
    }
}

/// The controller as the runner drives it.
struct Namespaces {
    executor: Executor,
}

impl Controller for Namespaces {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Arc<Namespace>;

    fn decide(&mut self, view: &mut View, key: &ObjectKey, now: Timestamp) -> Decision<Arc<Namespace>> {
        let Some(entry) = view.get_mut(key) else { return Decision::nothing() };
        match plan::when_to_look(entry, now) {
            plan::Look::Never => Decision::nothing(),
            plan::Look::After(pause) => Decision { plan: None, requeue_after: Some(pause) },
            plan::Look::Now { again_after } => {
                entry.looked = Some(now);
                let plan = Some(Arc::clone(&entry.namespace));
                Decision { plan, requeue_after: Some(again_after) }
            }
        }
    }

    fn execute(&self, _key: &ObjectKey, namespace: Arc<Namespace>) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), namespace).boxed()
    }
}

/// Conditions by their type.
type ByType = BTreeMap<String, k8s_openapi::api::core::v1::NamespaceCondition>;
