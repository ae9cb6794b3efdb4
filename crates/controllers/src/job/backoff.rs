//! How long a job waits after pods that failed: ten seconds, twice as long for each further one in a row, ten
//! minutes at most. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use model::pod;

/// The wait after the first failure.
pub const BACKOFF_SECONDS_MIN: i64 = 10;
/// The longest wait, after seven failures: 10 s · 2^6 > 600 s.
pub const BACKOFF_SECONDS_MAX: i64 = 600;
/// Failures that are remembered: more make no wait longer.
const REMEMBERED_MAX: usize = 8;

/// How a pod ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub uid: String,
    /// Whether it did what it was for.
    pub succeeded: bool,
}

impl Ended {
    /// What is known of the end of a pod.
    pub fn of(one: &Pod) -> Ended {
        let uid = one.metadata.uid.clone().unwrap_or_default();
        Ended { at: finished_at(one), uid, succeeded: pod::is_succeeded(one) }
    }
}

/// The failures since the last success. Noting one again makes no difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: BTreeSet<(Timestamp, String)>,
    succeeded: Option<Timestamp>,
}

impl Backoff {
    /// Notes how pods ended.
    pub fn note(&mut self, ended: &[Ended]) {
        let successes = ended.iter().filter(|one| one.succeeded).map(|one| one.at);
        self.succeeded = self.succeeded.max(successes.max());
        for one in ended.iter().filter(|one| !one.succeeded) {
            self.failures.insert((one.at, one.uid.clone()));
        }
        if let Some(succeeded) = self.succeeded {
            self.failures.retain(|(at, _)| *at > succeeded);
        }
        while self.failures.len() > REMEMBERED_MAX {
            self.failures.pop_first();
        }
    }

    /// How long to wait before another pod is made.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        let last = self.failures.last().map(|(at, _)| *at);
        last.map_or(Duration::ZERO, |last| remaining(self.failures.len(), last, now))
    }
}

/// How long to wait after so many failures, of which this was the last.
pub fn remaining(failures: usize, last: Timestamp, now: Timestamp) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let doublings = (failures - 1).min(REMEMBERED_MAX);
    let seconds = (BACKOFF_SECONDS_MIN << doublings).min(BACKOFF_SECONDS_MAX);
    let left = SignedDuration::from_secs(seconds) - now.duration_since(last);
    Duration::try_from(left).unwrap_or(Duration::ZERO)
}

/// When a pod ended: when its last container did, else when it was not ready any more, else when somebody
/// deleted it.
pub fn finished_at(one: &Pod) -> Timestamp {
    let of_containers = || {
        let status = one.status.as_ref()?;
        let of = |container: &ContainerStatus| {
            Some(container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)
        };
        let all: Option<Vec<Timestamp>> = status.container_statuses.iter().flatten().map(of).collect();
        all?.into_iter().max()
    };
    let not_ready = || {
        let ready = pod::condition(one, "Ready").filter(|ready| ready.status == "False")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let deleted = || {
        let until = one.metadata.deletion_timestamp.as_ref()?.0;
        let grace = one.metadata.deletion_grace_period_seconds.unwrap_or_default();
        until.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let created = || one.metadata.creation_timestamp.as_ref().map(|time| time.0);
    of_containers().or_else(not_ready).or_else(deleted).or_else(created).unwrap_or(Timestamp::UNIX_EPOCH)
}
