//! The node lifecycle controller: tells when a node has fallen silent.
//!
//! A node's agent renews its Lease. When the controller has not seen that happen for [`plan::SILENCE_MAX`]
//! by its own clock, it says of the node's conditions that nobody knows them, and of the node's pods that
//! they are not ready, so that no service sends anybody there. A node that is not ready, or unreachable, gets
//! taints that say so: one that keeps new pods away and, in its turn ([`zones`]), one that makes those go
//! that do not tolerate it. It must never say that a node or a pod is well, that is the agent's to say, and
//! it evicts nothing itself ([`crate::taint_eviction`]).
//!
//! Read next: [`plan`] (the behaviour), [`taints`] and [`zones`], [`view`] (what it knows), [`execute`] (what
//! it writes).

use std::sync::Arc;

use client::{Client, Scope, reflect};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use model::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::execute::{Executor, Task};
use self::view::{Event, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, Outcome};

pub mod execute;
pub mod plan;
pub mod taints;
pub mod view;
pub mod zones;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "node-controller";
/// Where the nodes' leases are.
pub const LEASES: &str = "kube-node-lease";

/// Runs the controller until `stop` is cancelled.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(client: Client, clock: Arc<dyn Clock>, ready: CancellationToken, stop: CancellationToken) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let leases = Scope { namespace: LEASES.to_owned(), ..Scope::default() };
    let (nodes_clock, leases_clock) = (Arc::clone(&clock), Arc::clone(&clock));
    let events = vec![
        runner::watch(&client, move |change| Event::Nodes(change, nodes_clock.now())),
        runner::watch(&client, Event::Pods),
        reflect(client.clone(), leases).map(move |change| Event::Leases(change, leases_clock.now())).boxed(),
    ];
    let controller = Nodes { executor: Executor { client, recorder } };
    tokio::join!(runner::run(controller, View::default(), events, clock, ready, stop), writer.run());
}

/// The controller as the runner drives it. A key is a node's name.
struct Nodes {
    executor: Executor,
}

impl Controller for Nodes {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Task;

    fn decide(&mut self, view: &mut View, node: &String, now: Timestamp) -> Decision<Task> {
        let Some(entry) = view.node(node) else { return Decision::nothing() };
        let plan = plan::plan(entry, view.ready_pods(node), view.turn(node, now), now);
        let requeue_after = plan.requeue_after;
        let entry = Arc::clone(&entry.node);
        view.note(node, &plan, now);
        let task = (!plan.is_quiet()).then(|| Task { node: entry, plan });
        Decision { plan: task, requeue_after }
    }

    fn execute(&self, _node: &String, task: Task) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), task).boxed()
    }
}
