//! Which nodes a set is for, and how long it waits on one where its pods fail. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, PodSpec, Toleration};
use model::placement;

/// The wait after a pod failed on a node; it doubles with each further one.
const BACKOFF_SECONDS_MIN: i64 = 1;
/// The longest wait: a quarter of an hour.
const BACKOFF_SECONDS_MAX: i64 = 900;

/// Whether a node is to have a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Run,
    /// Not a new one; one that is there may stay.
    Stay,
    /// It is not.
    Leave,
}

/// What the set says about a node.
pub fn judge(spec: &PodSpec, node: &Node) -> Verdict {
    let is_named =
        spec.node_name.as_deref().is_none_or(|name| name.is_empty() || name == placement::name(node));
    if !is_named || !placement::is_selected(spec, node) {
        return Verdict::Leave;
    }
    if placement::untolerated(spec, node, &["NoSchedule", "NoExecute"]).is_none() {
        return Verdict::Run;
    }
    let must_leave = placement::untolerated(spec, node, &["NoExecute"]).is_some();
    if must_leave { Verdict::Leave } else { Verdict::Stay }
}

/// The spec of the template, which tolerates what must not keep such pods away.
pub fn tolerant(spec: &PodSpec) -> PodSpec {
    let mut all = vec![
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if spec.host_network == Some(true) {
        all.push(("network-unavailable", "NoSchedule"));
    }
    let mut spec = spec.clone();
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in all {
        let toleration = Toleration {
            key: Some(format!("node.kubernetes.io/{key}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    spec
}

/// How pods of a set fail on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    wait_seconds: i64,
    at: Timestamp,
}

impl Failure {
    /// One more failure.
    pub fn next(known: Option<Failure>, now: Timestamp) -> Failure {
        let fresh = known.filter(|known| now.duration_since(known.at).as_secs() <= 2 * BACKOFF_SECONDS_MAX);
        let wait_seconds =
            fresh.map_or(BACKOFF_SECONDS_MIN, |known| (known.wait_seconds * 2).min(BACKOFF_SECONDS_MAX));
        Failure { wait_seconds, at: now }
    }

    /// How long the next pod that failed there is left as it is.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        let left = SignedDuration::from_secs(self.wait_seconds) - now.duration_since(self.at);
        Duration::try_from(left).unwrap_or(Duration::ZERO)
    }

    /// True when it is so long ago that it makes no difference.
    pub fn is_old(&self, now: Timestamp) -> bool {
        now.duration_since(self.at).as_secs() > 2 * BACKOFF_SECONDS_MAX
    }
}
