//! When the cluster is ready: every part has its first picture, and the node is registered.
//!
//! `/readyz` says ok from then on until the moment a stop is asked for. A part that takes long is named in
//! the log, so that nobody waits without knowing for what. It must never make a part wait for another.

use std::time::Duration;

use apiserver::Api;
use client::{Change, Client, ListOptions, Scope, Typed, reflect};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use tokio_util::sync::CancellationToken;

/// Where the nodes' leases are.
const LEASES: &str = "kube-node-lease";
/// After so long, and each time again, the parts that are not ready are named.
const PATIENCE: Duration = Duration::from_secs(5);

/// The parts that have to be ready.
#[derive(Default)]
pub(super) struct Readiness {
    parts: Vec<(&'static str, CancellationToken)>,
}

impl Readiness {
    /// One more part; it cancels the token once it is ready.
    pub(super) fn part(&mut self, name: &'static str) -> CancellationToken {
        let ready = CancellationToken::new();
        self.parts.push((name, ready.clone()));
        ready
    }

    /// Lets `/readyz` say ok from when every part is ready, which cancels `ready`, until `stop`.
    pub(super) async fn tell(self, api: &Api, ready: &CancellationToken, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.complete() => {}
        }
        api.set_ready(true);
        ready.cancel();
        stop.cancelled().await;
        api.set_ready(false);
    }

    async fn complete(&self) {
        let all = async {
            for (_, ready) in &self.parts {
                ready.cancelled().await;
            }
        };
        tokio::pin!(all);
        while tokio::time::timeout(PATIENCE, &mut all).await.is_err() {
            tracing::warn!("not ready yet; waiting for: {}", self.missing().join(", "));
        }
    }

    fn missing(&self) -> Vec<&'static str> {
        let missing = self.parts.iter().filter(|(_, ready)| !ready.is_cancelled());
        missing.map(|(name, _)| *name).collect()
    }
}

/// Returns once the node is ready, and says so itself: its lease was renewed after `since`. What an earlier
/// run of this cluster wrote does not count.
pub(super) async fn node_registered(client: Client, name: &str, since: Timestamp) {
    let scope = |namespace: &str| Scope {
        namespace: namespace.to_owned(),
        options: ListOptions { field_selector: format!("metadata.name={name}"), ..ListOptions::default() },
    };
    first(client.clone(), scope(LEASES), |lease: &Lease| {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
        renewed.is_some_and(|at| at.0 >= since)
    })
    .await;
    first(client, scope(""), |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
    .await;
}

/// Returns once an object in the scope is as wanted.
async fn first<K: Typed>(client: Client, scope: Scope, wanted: impl Fn(&K) -> bool) {
    let mut changes = reflect::<K>(client, scope);
    while let Some(change) = changes.next().await {
        let found = match change {
            Change::Reset(objects, _) => objects.iter().any(|object| wanted(object)),
            Change::Apply(object) => wanted(&object),
            Change::Delete(_) => false,
        };
        if found {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::clock::Clock;

    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test]
    async fn the_api_is_ready_from_when_every_part_is_until_the_stop() {
        let api = Api::in_memory(Arc::new(Still));
        api.set_ready(false);
        let mut readiness = Readiness::default();
        let (first, second) = (readiness.part("first"), readiness.part("second"));
        assert_eq!(readiness.missing(), ["first", "second"]);
        let (ready, stop) = (CancellationToken::new(), CancellationToken::new());
        let telling = readiness.tell(&api, &ready, stop.clone());
        tokio::pin!(telling);
        second.cancel();
        assert!(futures::poll!(&mut telling).is_pending());
        assert!(!api.is_ready(), "one part is not ready");
        first.cancel();
        assert!(futures::poll!(&mut telling).is_pending());
        assert!(api.is_ready() && ready.is_cancelled());
        stop.cancel();
        telling.await;
        assert!(!api.is_ready(), "a cluster that stops is not ready");
    }

    #[tokio::test]
    async fn a_cluster_that_is_stopped_while_it_starts_is_never_ready() {
        let api = Api::in_memory(Arc::new(Still));
        api.set_ready(false);
        let mut readiness = Readiness::default();
        readiness.part("first").cancel();
        let (ready, stop) = (CancellationToken::new(), CancellationToken::new());
        stop.cancel();
        readiness.tell(&api, &ready, stop).await;
        assert!(!api.is_ready() && !ready.is_cancelled());
    }
}
