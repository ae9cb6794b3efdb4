//! Which pods an update takes, and when: rolling updates, `Recreate`, broken pods, the primary last. Pure.
//!
//! A rolling update may make `maxUnavailable` of the wanted pods unavailable, no matter why they are. What is
//! outdated and unavailable already costs nothing and goes first; then the others, from the highest slot
//! down to the partition, while there is budget (KEP-961, as mended in 1.36).

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::stateful_set::PrimaryLabel;

use super::view::PodEntry;

/// `spec.updateStrategy.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// One after the other; also what is taken for a type that nobody knows.
    RollingUpdate,
    /// When somebody deletes them.
    OnDelete,
    /// All at once, and only then new ones (KEP-3541).
    Recreate,
}

impl Strategy {
    /// That of a set.
    pub fn of(set: &StatefulSet) -> Strategy {
        match set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) {
            Some("OnDelete") => Strategy::OnDelete,
            Some("Recreate") => Strategy::Recreate,
            _ => Strategy::RollingUpdate,
        }
    }
}

/// How many pods an update may make unavailable: `maxUnavailable`, of a percentage the part rounded down, and
/// at least one.
pub fn max_unavailable(set: &StatefulSet, replicas: i32) -> i32 {
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let amount = match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        None => 1,
        Some(IntOrString::Int(amount)) => *amount,
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok());
            let part = percent.unwrap_or_default().clamp(0, 100) * i64::from(replicas) / 100;
            i32::try_from(part).unwrap_or(i32::MAX)
        }
    };
    amount.max(1)
}

/// `spec.updateStrategy.rollingUpdate.partition`; `None` where `rollingUpdate` is not there at all.
pub fn partition(set: &StatefulSet) -> Option<i32> {
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    rolling.map(|rolling| rolling.partition.unwrap_or_default().max(0))
}

/// True for a pod that its set's primary label names.
pub fn is_primary(label: Option<&PrimaryLabel>, pod: &PodEntry) -> bool {
    label.is_some_and(|label| label.is_in(pod.pod.metadata.labels.as_ref()))
}

/// The pods that a rolling update deletes now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Their ordinals, in the order in which they are deleted.
    pub ordinals: Vec<i32>,
    /// The primary, where it is its turn and only it is left.
    pub primary: Option<i32>,
}

/// What a rolling update looks at.
pub struct Rolling<'r, 'p> {
    /// The wanted pods from the highest slot down, without those that are at the revision and well; `None`
    /// where there is none, or where this plan makes or repairs it: that counts as away until it was seen.
    pub pods: &'r [(i32, Option<&'p PodEntry>)],
    /// The slot of the last of `pods` that is updated at all.
    pub partition: i32,
    /// How many may be unavailable.
    pub max_unavailable: i32,
    /// Which pods are to be replaced.
    pub is_replaced: &'r dyn Fn(&'p PodEntry) -> bool,
    /// Who goes last.
    pub primary_label: Option<&'r PrimaryLabel>,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// The time.
    pub now: Timestamp,
}

impl<'p> Rolling<'_, 'p> {
    /// Decides. Each of `pods` is given by its slot.
    pub fn take(&self) -> Taken {
        let is_healthy = |pod: &PodEntry| pod.is_healthy(self.min_ready_seconds, self.now);
        let unavailable = self.pods.iter().filter(|(_, pod)| !pod.is_some_and(is_healthy)).count();
        let mut budget = i64::from(self.max_unavailable) - i64::try_from(unavailable).unwrap_or(i64::MAX);
        let outdated: Vec<&'p PodEntry> = self
            .pods
            .iter()
            .filter(|(slot, _)| *slot >= self.partition)
            .filter_map(|(_, pod)| *pod)
            .filter(|pod| !pod.is_terminating && (self.is_replaced)(pod))
            .collect();
        let mut taken = Taken::default();
        taken.ordinals.extend(outdated.iter().filter(|pod| !is_healthy(pod)).map(|pod| pod.ordinal));
        let (primaries, others): (Vec<&PodEntry>, Vec<&PodEntry>) = outdated
            .into_iter()
            .filter(|pod| is_healthy(pod))
            .partition(|pod| is_primary(self.primary_label, pod));
        let is_primarys_turn = others.is_empty() && taken.ordinals.is_empty();
        for pod in others {
            if budget > 0 {
                budget -= 1;
                taken.ordinals.push(pod.ordinal);
            }
        }
        if is_primarys_turn && budget > 0 {
            taken.primary = primaries.first().map(|pod| pod.ordinal);
        }
        taken
    }
}
