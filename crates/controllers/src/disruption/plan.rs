//! What a budget's status is to say: pure.
//!
//! Allowed are as many disruptions as there are healthy pods beyond those that must be. A pod whose eviction
//! was charged to the budget counts as gone from that moment, until it is gone or [`DELETION_TIMEOUT`] has
//! passed without its end being asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::meta;
use reconcile::recorder::EventKind;

use super::view::BudgetView;
use super::{scale, tally};

/// How long a pod counts as evicted while nobody asks for its end, as upstream.
pub const DELETION_TIMEOUT: Duration = Duration::from_secs(120);
/// The type of a budget's condition.
pub const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

const UNMANAGED: &str = "to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, \
                         which may result in undefined behavior. To account for these pods please set \
                         \".spec.minAvailable\" field of the PDB to an integer value.";

/// What to tell people about the budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How urgent it is.
    pub kind: EventKind,
    /// Why, for programs.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// What to do about a budget.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Its status, if it must be written.
    pub status: Option<PodDisruptionBudgetStatus>,
    /// What to tell about the budget once that is written.
    pub notices: Vec<Notice>,
    /// Pods that were to be evicted and are not: what to tell about them then.
    pub not_deleted: Vec<Arc<Pod>>,
    /// When to look again though nothing has changed.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_quiet(&self) -> bool {
        self.status.is_none()
    }
}

/// The pods of a budget cannot be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// A pod belongs to something that is not there.
    #[error("found no controllers for pod {pod:?}")]
    NoController {
        /// Which.
        pod: String,
    },
    /// A pod belongs to something of a kind that says no replicas.
    #[error("{resource} does not implement the scale subresource")]
    NoScale {
        /// The kind's name in the API, with its group.
        resource: String,
    },
    /// A bound is neither a number nor a percentage.
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    Bound,
}

/// How many pods there should be and must be.
struct Wanted {
    expected: i64,
    desired: i64,
    /// The count has left out the pods that nobody manages.
    needs_owners: bool,
}

/// Decides about a budget.
pub fn plan(view: &BudgetView<'_>, now: Timestamp) -> Plan {
    let budget = &view.entry.budget;
    let tally = &view.entry.tally;
    let mut plan = Plan::default();
    if tally.pods == 0 {
        plan.notices.push(notice(EventKind::Normal, "NoPods", "No matching pods found".to_owned()));
    }
    let current = budget.status.clone().unwrap_or_default();
    let status = match wanted(view) {
        Err(error) => {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            plan.notices.push(notice(EventKind::Warning, "CalculateExpectedPodCountFailed", message));
            allowing_nothing(&current, &error, now)
        }
        Ok(wanted) => {
            if wanted.needs_owners && !tally.unmanaged.is_empty() {
                let selector = &view.entry.selector;
                let message = format!(
                    "Pods selected by this PodDisruptionBudget (selector: {selector}) were found {UNMANAGED}"
                );
                plan.notices.push(notice(EventKind::Warning, "UnmanagedPods", message));
            }
            let disrupted = still_disrupted(view, &current, &mut plan, now);
            counted(budget, &current, &wanted, view, disrupted, now)
        }
    };
    if same(&current, &status) {
        plan.notices.clear();
        plan.not_deleted.clear();
    } else {
        plan.status = Some(status);
    }
    plan
}

fn notice(kind: EventKind, reason: &'static str, message: String) -> Notice {
    Notice { kind, reason, message }
}

fn wanted(view: &BudgetView<'_>) -> Result<Wanted, CountError> {
    let none = PodDisruptionBudgetSpec::default();
    let spec = view.entry.budget.spec.as_ref().unwrap_or(&none);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(bound), _) => {
            let expected = expected_scale(view)?;
            let desired = (expected - amount(bound, expected)?).max(0);
            Ok(Wanted { expected, desired, needs_owners: true })
        }
        (None, Some(IntOrString::Int(count))) => {
            let expected = i64::try_from(view.entry.tally.pods).unwrap_or(i64::MAX);
            Ok(Wanted { expected, desired: i64::from(*count), needs_owners: false })
        }
        (None, Some(bound)) => {
            let expected = expected_scale(view)?;
            Ok(Wanted { expected, desired: amount(bound, expected)?, needs_owners: true })
        }
        (None, None) => Ok(Wanted { expected: 0, desired: 0, needs_owners: false }),
    }
}

/// The replicas that the owners of the pods want together.
fn expected_scale(view: &BudgetView<'_>) -> Result<i64, CountError> {
    let mut scales: BTreeMap<&str, i32> = BTreeMap::new();
    for (owner, pods) in &view.entry.tally.by_owner {
        let Some((uid, replicas)) = view.owners.scale(owner) else {
            let pod = pods.first().cloned().unwrap_or_default();
            let known = view.pod(&pod).and_then(|pod| meta::controller_of(&pod.metadata));
            return Err(match known.and_then(scale::without_scale) {
                Some(resource) => CountError::NoScale { resource },
                None => CountError::NoController { pod },
            });
        };
        scales.insert(uid, replicas);
    }
    Ok(scales.values().map(|replicas| i64::from(*replicas)).sum())
}

/// A bound as a number of pods out of `whole`; a part of a pod counts as one.
fn amount(bound: &IntOrString, whole: i64) -> Result<i64, CountError> {
    match bound {
        IntOrString::Int(count) => Ok(i64::from(*count)),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<u32>().ok());
            let percent = i64::from(percent.ok_or(CountError::Bound)?);
            Ok(whole.saturating_mul(percent).saturating_add(99) / 100)
        }
    }
}

/// The evicted pods that are still there and whose end nobody has asked for yet.
fn still_disrupted(
    view: &BudgetView<'_>,
    current: &PodDisruptionBudgetStatus,
    plan: &mut Plan,
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let mut still = BTreeMap::new();
    for (name, since) in current.disrupted_pods.iter().flatten() {
        let Some(pod) = view.pod(name) else { continue };
        // Another pod has taken the name since: a StatefulSet's do.
        let is_newer = pod.metadata.creation_timestamp.as_ref().is_some_and(|created| created.0 > since.0);
        if is_newer || meta::is_terminating(&pod.metadata) {
            continue;
        }
        let until = since.0.checked_add(SignedDuration::try_from(DELETION_TIMEOUT).unwrap_or_default());
        let left = until.map(|until| until.duration_since(now)).unwrap_or_default();
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => {
                plan.requeue_after = Some(plan.requeue_after.map_or(left, |soonest| soonest.min(left)));
                still.insert(name.clone(), since.clone());
            }
            _ => plan.not_deleted.push(Arc::clone(pod)),
        }
    }
    still
}

fn counted(
    budget: &PodDisruptionBudget,
    current: &PodDisruptionBudgetStatus,
    wanted: &Wanted,
    view: &BudgetView<'_>,
    disrupted: BTreeMap<String, Time>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let leaving = disrupted.keys().filter_map(|name| view.pod(name)).filter(|pod| tally::is_healthy(pod));
    let healthy = view.entry.tally.healthy.saturating_sub(leaving.count());
    let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
    // Where no pod is expected none may go: the first ones would otherwise appear before a budget that
    // still allows what it allowed to nobody.
    let allowed = if wanted.expected > 0 { (healthy - wanted.desired).max(0) } else { 0 };
    let generation = budget.metadata.generation;
    let (verdict, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let condition = condition(verdict, reason, String::new(), generation, now);
    let count = |number: i64| Some(i32::try_from(number).unwrap_or(i32::MAX));
    PodDisruptionBudgetStatus {
        conditions: with_condition(current.conditions.as_deref(), condition),
        current_healthy: count(healthy),
        desired_healthy: count(wanted.desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: count(allowed),
        expected_pods: count(wanted.expected),
        observed_generation: generation,
    }
}

/// The status where the pods cannot be counted: the same, but that none may go.
fn allowing_nothing(
    current: &PodDisruptionBudgetStatus,
    error: &CountError,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let condition = condition("False", "SyncFailed", error.to_string(), current.observed_generation, now);
    PodDisruptionBudgetStatus {
        conditions: with_condition(current.conditions.as_deref(), condition),
        disruptions_allowed: Some(0),
        ..current.clone()
    }
}

fn condition(
    status: &str,
    reason: &str,
    message: String,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: DISRUPTION_ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation,
        last_transition_time: Time(seconds),
    }
}

/// The conditions with this one, which keeps its time where only its words have changed.
fn with_condition(current: Option<&[Condition]>, mut new: Condition) -> Option<Vec<Condition>> {
    let mut conditions = current.unwrap_or_default().to_vec();
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(known) => {
            if known.status == new.status {
                new.last_transition_time = known.last_transition_time.clone();
            }
            *known = new;
        }
        None => conditions.push(new),
    }
    Some(conditions)
}

/// Equal, where nothing and zero, and nothing and an empty map, are the same.
fn same(current: &PodDisruptionBudgetStatus, new: &PodDisruptionBudgetStatus) -> bool {
    let counts = |status: &PodDisruptionBudgetStatus| {
        [status.current_healthy, status.desired_healthy, status.disruptions_allowed, status.expected_pods]
            .map(Option::unwrap_or_default)
    };
    let disrupted = |status: &PodDisruptionBudgetStatus| status.disrupted_pods.clone().unwrap_or_default();
    counts(current) == counts(new)
        && current.observed_generation.unwrap_or_default() == new.observed_generation.unwrap_or_default()
        && disrupted(current) == disrupted(new)
        && current.conditions == new.conditions
}
