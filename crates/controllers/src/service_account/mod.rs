//! The service account controller: what every namespace gets, so that pods can run in it.
//!
//! That is the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`, with the certificate by which
//! pods know the API server. Both are made at once and again when somebody deletes them; the ConfigMap is
//! also put right when somebody changes it. It must never touch any other account or map.
//!
//! Read next: [`plan`] (the behaviour), [`view`] (what it knows), [`execute`] (what it writes).

use std::sync::Arc;

use client::transport::ListOptions;
use client::{Client, Scope, reflect};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use model::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::plan::Plan;
use self::view::{Event, View};
use reconcile::runner::{self, Controller, Decision, Outcome};

pub mod execute;
pub mod plan;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API.
pub const NAME: &str = "service-account-controller";
/// The account that pods get which ask for none.
pub const ACCOUNT: &str = "default";
/// The map with the API server's certificate authority ...
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// ... and the key in it.
pub const ROOT_CA_KEY: &str = "ca.crt";

/// Runs the controller until `stop` is cancelled. `root_ca` is the authority's certificate in PEM.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(
    client: Client,
    clock: Arc<dyn Clock>,
    root_ca: String,
    ready: CancellationToken,
    stop: CancellationToken,
) {
    let client = client.named(NAME);
    let named = |name: &str| {
        let field_selector = format!("metadata.name={name}");
        Scope { options: ListOptions { field_selector, ..ListOptions::default() }, ..Scope::default() }
    };
    let events = vec![
        runner::watch(&client, Event::Namespaces),
        reflect(client.clone(), named(ACCOUNT)).map(Event::Accounts).boxed(),
        reflect(client.clone(), named(ROOT_CA)).map(Event::Maps).boxed(),
    ];
    let controller = ServiceAccounts { root_ca, client };
    runner::run(controller, View::default(), events, clock, ready, stop).await;
}

/// The controller as the runner drives it. A key is a namespace's name.
struct ServiceAccounts {
    root_ca: String,
    client: Client,
}

impl Controller for ServiceAccounts {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Plan;

    fn decide(&mut self, view: &mut View, namespace: &String, _now: Timestamp) -> Decision<Plan> {
        let plan = plan::plan(view, namespace, &self.root_ca);
        Decision { plan: Some(plan).filter(|plan| !plan.is_quiet()), requeue_after: None }
    }

    fn execute(&self, _namespace: &String, plan: Plan) -> BoxFuture<'static, Outcome> {
        execute::execute(self.client.clone(), plan).boxed()
    }
}
