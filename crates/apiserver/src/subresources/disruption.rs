//! What disruption budgets say to an eviction: pure.
//!
//! A budget's status tells how many pods may be evicted; the disruption controller keeps it. An eviction
//! takes one off and writes down whose it was, so that the controller does not count that pod again before it
//! has gone. Nothing here reads or writes the store; [`super::eviction`] does.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::resource::GroupVersionResource;
use model::selector::Selector;
use model::status::{Cause, Reason, Status};
use serde_json::{Value, json};

use crate::pipeline::metadata;

/// Evicted pods that a budget remembers until its controller has seen them go, upstream's number. Each is a
/// name of up to 253 bytes and a time: 600 KB, which is below what an object may weigh.
const DISRUPTED_PODS_MAX: usize = 2_000;
/// What a refusal on a budget's account says first.
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// The type of the cause in such a refusal; clients match on it.
const CAUSE: &str = "DisruptionBudget";
/// When a client may try again whose budget has not been looked at yet.
const UNSEEN_RETRY_SECONDS: u32 = 10;
/// The resource as refusals name it: in the singular, as upstream does here and nowhere else.
const BUDGET: GroupVersionResource = GroupVersionResource::constant("policy", "v1", "poddisruptionbudget");

/// What one budget says.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// The pod may go and costs nothing: it is not ready, and nobody counts on it.
    Free,
    /// The pod may go once the budget has been written like this.
    Charged(Value),
}

/// True for a pod that no budget counts on: it has ended, has not begun, or is going already.
pub(super) fn needs_no_budget(pod: &Value) -> bool {
    metadata::is_terminating(pod)
        || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
}

/// True when the budget is about a pod with these labels.
pub(super) fn covers(budget: &PodDisruptionBudget, labels: &BTreeMap<String, String>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    // One that cannot be understood selects nothing.
    selector
        .and_then(|selector| Selector::from_label_selector(selector).ok())
        .is_some_and(|selector| selector.matches(labels))
}

/// The refusal where a pod has more than one budget.
pub(super) fn more_than_one() -> Status {
    let text =
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    Status::new(Reason::Unknown, text)
}

/// Asks `budget` whether `pod` may go at `now`.
pub(super) fn ask(budget: &Value, pod: &Value, now: &Value) -> Result<Answer, Status> {
    let name = metadata::text(budget, "name");
    let (spec, status) = (&budget["spec"], &budget["status"]);
    let count = |key: &str| status[key].as_i64().unwrap_or_default();
    let (healthy, desired) = (count("currentHealthy"), count("desiredHealthy"));
    if !is_ready(pod) {
        let is_always_allowed = spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if is_always_allowed || (healthy >= desired && desired > 0) {
            return Ok(Answer::Free);
        }
    }
    let generation = metadata::of(budget).get("generation").and_then(Value::as_i64).unwrap_or_default();
    if count("observedGeneration") < generation {
        let text = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(text, UNSEEN_RETRY_SECONDS));
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden(&BUDGET, name, "pdb disruptions allowed is negative"));
    }
    let disrupted = status["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if disrupted > DISRUPTED_PODS_MAX {
        let detail = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(&BUDGET, name, detail));
    }
    if allowed == 0 {
        let failure = condition(status).filter(|condition| condition["reason"] == "SyncFailed");
        let text = match failure {
            Some(condition) => {
                let why = condition["message"].as_str().unwrap_or_default();
                format!(
                    "The disruption budget {name} does not allow evicting pods currently because it failed \
                     sync: {why}"
                )
            }
            None => {
                format!(
                    "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
                )
            }
        };
        return Err(refused(text, 0));
    }
    Ok(Answer::Charged(charged(budget, metadata::text(pod, "name"), allowed - 1, now)))
}

/// The budget with one disruption less, spent on the pod of that name.
fn charged(budget: &Value, pod: &str, left: i64, now: &Value) -> Value {
    let mut budget = budget.clone();
    let observed = budget["status"]["observedGeneration"].clone();
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = left.into();
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = now.clone();
    if left == 0 {
        set_condition(
            status,
            json!({
                "type": "DisruptionAllowed",
                "status": "False",
                "reason": "InsufficientPods",
                "message": "",
                "observedGeneration": observed,
                "lastTransitionTime": now,
            }),
        );
    }
    budget
}

/// The pod with the condition that says why it goes.
pub(super) fn marked(pod: &Value, now: &Value) -> Value {
    let mut pod = pod.clone();
    set_condition(
        &mut pod["status"],
        json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastTransitionTime": now,
        }),
    );
    pod
}

/// Sets a condition; one whose status stays keeps the time since when it has it.
fn set_condition(status: &mut Value, mut new: Value) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let conditions = status["conditions"].as_array_mut().expect("was just made a list");
    match conditions.iter_mut().find(|condition| condition["type"] == new["type"]) {
        Some(known) => {
            if known["status"] == new["status"] {
                new["lastTransitionTime"] = known["lastTransitionTime"].take();
            }
            *known = new;
        }
        None => conditions.push(new),
    }
}

fn condition(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "DisruptionAllowed")
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn refused(message: String, retry_after_seconds: u32) -> Status {
    let mut status = Status::new(Reason::TooManyRequests, REFUSED);
    status.details.retry_after_seconds = retry_after_seconds;
    status.details.causes = vec![Cause { reason: CAUSE.to_owned(), message, field: String::new() }];
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ready: &str) -> Value {
        json!({
            "metadata": {"name": "web-0"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn budget(status: Value) -> Value {
        let mut budget = json!({
            "metadata": {"name": "web", "generation": 1},
            "spec": {},
            "status": {
                "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2,
                "expectedPods": 3,
            },
        });
        for (key, value) in status.as_object().expect("a map") {
            budget["status"][key] = value.clone();
        }
        budget
    }

    fn now() -> Value {
        json!("2026-01-01T00:00:00Z")
    }

    fn refusal(budget: &Value, pod: &Value) -> (u16, String, u32) {
        let status = ask(budget, pod, &now()).expect_err("is refused");
        let cause = status.details.causes.first().map_or(&status.message, |cause| &cause.message);
        (status.code(), cause.clone(), status.details.retry_after_seconds)
    }

    #[test]
    fn an_eviction_takes_one_off_and_writes_down_whose_it_was() {
        let Ok(Answer::Charged(charged)) = ask(&budget(json!({})), &pod("True"), &now()) else {
            panic!("it is allowed")
        };
        assert_eq!(charged["status"]["disruptionsAllowed"], 0);
        assert_eq!(charged["status"]["disruptedPods"], json!({"web-0": "2026-01-01T00:00:00Z"}));
        let condition = &charged["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("InsufficientPods"))
        );
        let (code, text, pause) = refusal(&charged, &pod("True"));
        assert_eq!((code, pause), (429, 0));
        assert_eq!(text, "The disruption budget web needs 2 healthy pods and has 3 currently");
    }

    #[test]
    fn a_budget_that_nobody_has_looked_at_yet_asks_for_patience() {
        let (code, text, pause) = refusal(&budget(json!({"observedGeneration": 0})), &pod("True"));
        assert_eq!((code, pause), (429, UNSEEN_RETRY_SECONDS));
        assert_eq!(text, "The disruption budget web is still being processed by the server.");
    }

    #[test]
    fn a_budget_that_could_not_be_counted_says_why() {
        let failed = json!({"disruptionsAllowed": 0, "conditions": [{
            "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed",
            "message": "found no controllers for pod \"web-0\"",
        }]});
        let (code, text, _) = refusal(&budget(failed), &pod("True"));
        assert_eq!(code, 429);
        let expected = "The disruption budget web does not allow evicting pods currently because it failed \
                        sync: found no controllers for pod \"web-0\"";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_pod_that_is_not_ready_goes_free_where_the_policy_or_the_healthy_ones_allow_it() {
        let spent = json!({"disruptionsAllowed": 0});
        assert_eq!(ask(&budget(spent.clone()), &pod("False"), &now()), Ok(Answer::Free));
        let mut short = budget(json!({"disruptionsAllowed": 0, "currentHealthy": 1}));
        assert_eq!(refusal(&short, &pod("False")).0, 429, "too few are healthy");
        short["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert_eq!(ask(&short, &pod("False"), &now()), Ok(Answer::Free));
        assert_eq!(refusal(&short, &pod("True")).0, 429, "the policy is about pods that are not ready");
    }

    #[test]
    fn a_status_that_cannot_be_is_forbidden_to_use() {
        let (code, text, _) = refusal(&budget(json!({"disruptionsAllowed": -1})), &pod("True"));
        assert_eq!(code, 403);
        let expected = "poddisruptionbudget.policy \"web\" is forbidden: pdb disruptions allowed is negative";
        assert_eq!(text, expected);
        let many: serde_json::Map<String, Value> =
            (0..=DISRUPTED_PODS_MAX).map(|index| (format!("p-{index}"), now())).collect();
        assert_eq!(refusal(&budget(json!({"disruptedPods": many})), &pod("True")).0, 403);
    }

    #[test]
    fn pods_that_have_ended_not_begun_or_are_going_need_no_budget() {
        for phase in ["Succeeded", "Failed", "Pending"] {
            assert!(needs_no_budget(&json!({"status": {"phase": phase}})), "{phase}");
        }
        assert!(!needs_no_budget(&pod("False")));
        let mut going = pod("True");
        going["metadata"]["deletionTimestamp"] = now();
        assert!(needs_no_budget(&going));
    }

    #[test]
    fn a_mark_keeps_the_time_since_when_it_is_there() {
        let once = marked(&pod("True"), &now());
        assert_eq!(once["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
        assert_eq!(marked(&once, &json!("2026-01-01T00:01:00Z")), once);
    }

    #[test]
    fn no_selector_selects_nothing_and_an_empty_one_everything() {
        let budget = |spec: Value| -> PodDisruptionBudget {
            serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": spec})).expect("a budget")
        };
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        assert!(!covers(&budget(json!({})), &labels));
        assert!(covers(&budget(json!({"selector": {}})), &labels));
        assert!(covers(&budget(json!({"selector": {"matchLabels": {"app": "web"}}})), &labels));
        assert!(!covers(&budget(json!({"selector": {"matchLabels": {"app": "db"}}})), &labels));
    }
}
