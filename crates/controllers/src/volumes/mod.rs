//! The volume controller: claims get volumes, volumes are given back, and neither goes while it is in use.
//!
//! Upstream spreads this over several controllers: the binder, a provisioner beside each driver, the two
//! protection controllers and the one for generic ephemeral volumes. Here they share one view. Binding is
//! written in an order that a crash may cut anywhere, and each write carries the version that was decided
//! about, so that a volume never has two claims. It must never remove a volume but one that its own driver
//! made, whose policy is `Delete` and whose claim is gone, read past every view, or that holds nothing and is
//! known to nobody.
//!
//! Read next: [`binding`], [`reclaim`] and [`ephemeral`] (the behaviour by key), [`matching`] (which volume
//! fits), [`provision`], [`sweep`] (what crashes leave), [`plan`] (plans as values), [`view`] (what it
//! knows), [`execute`] (what it writes).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use model::clock::Clock;
use storage::driver::Driver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::execute::Executor;
use self::plan::Plan;
use self::view::{Event, View};
use reconcile::recorder::Recorder;
use reconcile::runner::{self, Controller, Decision, ObjectKey, Outcome};

pub mod binding;
pub mod ephemeral;
pub mod execute;
pub mod matching;
pub mod plan;
pub mod provision;
pub mod reclaim;
pub mod sweep;
pub mod view;

#[cfg(test)]
mod tests;

/// Who this controller is to the API, and in events.
pub const NAME: &str = "persistentvolume-controller";

/// On claims: both sides of the binding were written.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On volumes: the driver that made it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On claims: who is to make its volume.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The same under its older name.
pub const STORAGE_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
pub use model::volume::{BOUND_BY_CONTROLLER, SELECTED_NODE};
/// Keeps a claim while a pod uses it.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while it is bound.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Shortest pause between two tries to make one claim's volume; it doubles with each further one.
const PROVISION_PAUSE_MS_MIN: u64 = 100;
/// Longest such pause: a disk that got room again is found within half a minute.
const PROVISION_PAUSE_MS_MAX: u64 = 30_000;

/// What is decided about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A claim: its binding, its provisioning, its protection.
    Claim(ObjectKey),
    /// A volume, by its name: its phase, its reclaim, its protection.
    Volume(String),
    /// A pod with generic ephemeral volumes.
    Pod(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Claim(key) => write!(formatter, "persistentvolumeclaim {key}"),
            Key::Volume(name) => write!(formatter, "persistentvolume {name}"),
            Key::Pod(key) => write!(formatter, "pod {key}"),
        }
    }
}

/// Runs the controller until `stop` is cancelled. Volumes of other drivers are left to their provisioners.
/// `ready` is cancelled once the first picture is complete.
pub async fn run(
    client: Client,
    drivers: Vec<Arc<dyn Driver>>,
    clock: Arc<dyn Clock>,
    ready: CancellationToken,
    stop: CancellationToken,
) {
    let client = client.named(NAME);
    let (recorder, writer) = Recorder::new(client.clone(), NAME, Arc::clone(&clock));
    let events = vec![
        runner::watch(&client, Event::Claims),
        runner::watch(&client, Event::Volumes),
        runner::watch(&client, Event::Classes),
        runner::watch(&client, Event::Pods),
        runner::watch(&client, Event::Nodes),
    ];
    let view = View::new(drivers.iter().map(|driver| driver.name()));
    let sweeping = sweep::run(client.clone(), drivers.clone(), stop.clone());
    let executor = Executor::new(client, recorder, drivers);
    let controller = Volumes { executor, tries: HashMap::new() };
    tokio::join!(runner::run(controller, view, events, clock, ready, stop), writer.run(), sweeping);
}

/// The controller as the runner drives it.
struct Volumes {
    executor: Executor,
    /// Tries to make a claim's volume and when the next may be; dropped when the claim is bound or gone.
    /// Apart from the queue's back-off, because an exhausted node ends in a new wish of the scheduler,
    /// which would otherwise be tried at once, without end.
    tries: HashMap<ObjectKey, (u32, Instant)>,
}

impl Volumes {
    /// How long this claim has to wait for its next try; notes the try if it need not.
    fn pace(&mut self, key: &ObjectKey, now: Instant) -> Option<Duration> {
        let (tries, not_before) = self.tries.get(key).copied().unwrap_or((0, now));
        if now < not_before {
            return Some(not_before - now);
        }
        let pause_ms = PROVISION_PAUSE_MS_MIN.saturating_mul(1 << tries.min(32)).min(PROVISION_PAUSE_MS_MAX);
        self.tries.insert(key.clone(), (tries.saturating_add(1), now + Duration::from_millis(pause_ms)));
        None
    }
}

impl Controller for Volumes {
    const NAME: &'static str = NAME;
    type View = View;
    type Plan = Plan;

    fn decide(&mut self, view: &mut View, key: &Key, now: Timestamp) -> Decision<Plan> {
        let mut plan = plan::plan(view, key, now);
        if let Key::Claim(claim) = key {
            view.reserve(claim, plan.reserve.take());
            if plan.provisions() {
                if let Some(pause) = self.pace(claim, Instant::now()) {
                    return Decision { plan: None, requeue_after: Some(pause) };
                }
            } else if !view.is_unbound(claim) {
                self.tries.remove(claim);
            }
        }
        view.keep_news(key, &mut plan.notices);
        let requeue_after = plan.requeue_after;
        if plan.is_quiet() {
            return Decision { plan: None, requeue_after };
        }
        tracing::debug!("{key}: {plan}");
        Decision { plan: Some(plan), requeue_after }
    }

    fn execute(&self, _key: &Key, plan: Plan) -> BoxFuture<'static, Outcome> {
        execute::execute(self.executor.clone(), plan).boxed()
    }
}
