//! What a pod's status says about it.
//!
//! These are the questions that controllers, the scheduler, Services and the node agent all ask; they have
//! one answer each, here. Phase and conditions are taken as written: nothing here looks at containers
//! except where its name says so.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};

use crate::meta;

/// `status.phase`, empty where there is none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The condition of this type, where the pod has it.
pub fn condition<'a>(pod: &'a Pod, condition_type: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == condition_type)
}

/// True when the condition `Ready` is `True`.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when the pod is ready; `None` when it is not, or when its status does not say.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// True when the pod is ready, or its status tells that it was: the condition has turned since the pod was
/// started. The node writes it first with the moment of the start, and later with a later one. Where a status
/// does not say when the pod was started, a condition that turned soon after the pod was made is taken for
/// the first one. In doubt the answer is yes.
pub fn has_been_ready(pod: &Pod) -> bool {
    let Some(ready) = condition(pod, "Ready") else { return false };
    if ready.status == "True" {
        return true;
    }
    let turned = ready.last_transition_time.as_ref().map(|time| time.0);
    if let Some(started) = pod.status.as_ref().and_then(|status| status.start_time.as_ref()) {
        return turned.is_some_and(|turned| turned != started.0);
    }
    let Some(made) = pod.metadata.creation_timestamp.as_ref() else { return true };
    let first_written = SignedDuration::from_secs(2);
    turned.is_some_and(|turned| turned.duration_since(made.0) > first_written)
}

/// True when the pod's phase is Running and it is ready.
pub fn is_running_and_ready(pod: &Pod) -> bool {
    phase(pod) == "Running" && is_ready(pod)
}

/// True when the pod has been ready for at least `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    if min_ready_seconds <= 0 {
        return is_ready(pod);
    }
    available_from(pod, min_ready_seconds).is_some_and(|from| from <= now)
}

/// The moment at which a ready pod is, or was, available; `None` when it is not ready.
pub fn available_from(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    let wait = SignedDuration::from_secs(i64::from(min_ready_seconds.max(0)));
    ready_since(pod)?.checked_add(wait).ok()
}

/// True when the pod's containers have ended for good.
pub fn is_failed_or_succeeded(pod: &Pod) -> bool {
    is_failed(pod) || is_succeeded(pod)
}

/// True when the pod's phase is Failed.
pub fn is_failed(pod: &Pod) -> bool {
    phase(pod) == "Failed"
}

/// True when the pod's phase is Succeeded.
pub fn is_succeeded(pod: &Pod) -> bool {
    phase(pod) == "Succeeded"
}

/// True when the pod neither ended nor is being deleted: it holds its resources and may serve.
pub fn is_active(pod: &Pod) -> bool {
    !is_failed_or_succeeded(pod) && !meta::is_terminating(&pod.metadata)
}

/// The node the pod is bound to; `None` while it is not.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn pod(phase: &str, ready: &str, since: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "web-0" },
            "status": {
                "phase": phase,
                "conditions": [
                    { "type": "PodScheduled", "status": "True" },
                    { "type": "Ready", "status": ready, "lastTransitionTime": since },
                ],
            },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_pod_without_status_is_nothing_yet() {
        let pod = Pod::default();
        assert_eq!(phase(&pod), "");
        assert!(!is_ready(&pod) && !is_running_and_ready(&pod) && !is_failed_or_succeeded(&pod));
        assert!(is_active(&pod));
        assert!(!is_available(&pod, 0, Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn running_and_ready_needs_both() {
        let since = "2026-01-01T00:00:00Z";
        assert!(is_running_and_ready(&pod("Running", "True", since)));
        assert!(!is_running_and_ready(&pod("Running", "False", since)));
        assert!(!is_running_and_ready(&pod("Pending", "True", since)));
        assert!(is_failed_or_succeeded(&pod("Failed", "False", since)));
        assert!(is_failed_or_succeeded(&pod("Succeeded", "False", since)));
    }

    #[test]
    fn a_pod_is_available_after_min_ready_seconds_and_not_before() {
        let pod = pod("Running", "True", "2026-01-01T00:00:00Z");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert!(is_available(&pod, 0, at("2026-01-01T00:00:00Z")));
        assert!(!is_available(&pod, 10, at("2026-01-01T00:00:09.999Z")));
        assert!(is_available(&pod, 10, at("2026-01-01T00:00:10Z")));
        assert_eq!(available_from(&pod, 10), Some(at("2026-01-01T00:00:10Z")));
    }

    #[test]
    fn a_condition_that_turned_after_the_start_tells_that_a_pod_was_ready() {
        let (start, later) = ("2026-01-01T00:00:05Z", "2026-01-01T00:00:06Z");
        let pod = |turned: &str, ready: &str| {
            let mut pod = pod("Running", ready, turned);
            let started: Timestamp = start.parse().expect("a time");
            pod.status.get_or_insert_default().start_time = Some(Time(started));
            pod
        };
        assert!(has_been_ready(&pod(start, "True")));
        assert!(!has_been_ready(&pod(start, "False")), "it has not been ready since the start");
        assert!(has_been_ready(&pod(later, "False")), "it was, however shortly");
        assert!(!has_been_ready(&Pod::default()), "it was never started");
    }
}
