//! Which pods a plan removes: those of older revisions, those too many, and in which order. Pure.
//!
//! The primary goes last, and never without a chance for another pod to take its label first.

use model::stateful_set::replicas;

use super::super::decision::{DeleteReason, Pacing, PodWrite, Preparation};
use super::super::revisions::name_of;
use super::super::rollout::{self, Rolling, Strategy, is_primary};
use super::super::view::PodEntry;
use super::{Flow, STEPS_MAX, Sync, WaitingOn, owner_writes, why_unhealthy};

impl<'a> Sync<'a> {
    /// Removes all pods of older revisions; nothing is made while one is left.
    pub(super) fn recreate(&mut self) -> Flow {
        let update = name_of(&self.revisions.update);
        let is_outdated = |pod: &&PodEntry| pod.revision() != update && !self.makes_same_pod(pod);
        let outdated: Vec<&'a PodEntry> = self.pods.values().rev().copied().filter(is_outdated).collect();
        let mut flow = Flow::GoOn;
        for pod in outdated {
            flow = Flow::Stop;
            if self.plan.steps.len() >= STEPS_MAX {
                break;
            }
            if pod.is_terminating {
                self.wait_for(WaitingOn::terminating(pod));
            } else {
                self.delete(pod, owner_writes(self.view.checked(pod)), DeleteReason::Outdated);
            }
        }
        if flow == Flow::Stop {
            self.plan.pacing = Pacing::SlowStart;
        }
        flow
    }

    /// Reserves the ordinals of pods whose deletion was specified, as many as there are pods too many: they
    /// go in place of the highest ones, and their gap stays.
    pub(super) fn reserve_specified(&mut self) -> Flow {
        let staying = self.pods.values().filter(|pod| !pod.is_terminating).count();
        let staying = staying + usize::try_from(self.settled.count()).unwrap_or_default();
        let wanted = usize::try_from(replicas(self.set)).unwrap_or_default();
        let surplus = staying.saturating_sub(wanted);
        let mut reserved = self.extra.reserved.clone();
        let specified = self.pods.values().rev().filter(|pod| {
            self.ordinals.contains(pod.ordinal) && !pod.is_terminating && pod.is_specified_for_deletion()
        });
        let before = reserved.clone();
        for pod in specified.take(surplus) {
            reserved = reserved.with(pod.ordinal);
        }
        if reserved == before {
            return Flow::GoOn;
        }
        let resource_version = self.set.metadata.resource_version.clone().unwrap_or_default();
        self.plan.prepare.push(Preparation::Reserve { ordinals: reserved.to_value(), resource_version });
        Flow::Stop
    }

    /// From the highest, and the primary last: remove what is not wanted any more.
    pub(super) fn condemned_ordinals(&mut self) -> Flow {
        let (ordinals, pods) = (self.ordinals, self.pods);
        let is_healthy = |pod: &PodEntry| pod.is_healthy(self.min_ready_seconds, self.now);
        let primary_label = self.extra.primary_label.as_ref();
        let mut condemned: Vec<&PodEntry> =
            pods.values().rev().copied().filter(|pod| !ordinals.contains(pod.ordinal)).collect();
        condemned.sort_by_key(|pod| is_primary(primary_label, pod));
        // An ordered set comes here only when all wanted ones are healthy.
        let first_unhealthy = condemned.iter().filter(|pod| !is_healthy(pod)).map(|pod| pod.ordinal).min();
        let has_others = condemned.iter().any(|pod| !is_primary(primary_label, pod));
        let mut flow = Flow::GoOn;
        for pod in condemned {
            if self.plan.steps.len() >= STEPS_MAX {
                return Flow::Stop;
            }
            let claims = owner_writes(self.view.checked(pod));
            let may_go = flow == Flow::GoOn && !pod.is_terminating;
            let is_healthy = pod.is_healthy(self.min_ready_seconds, self.now);
            let is_its_turn = !self.is_ordered || is_healthy || first_unhealthy == Some(pod.ordinal);
            if may_go && is_its_turn && !self.waits_for_another_primary(pod, has_others) {
                self.delete(pod, claims, DeleteReason::ScaledDown);
            } else {
                if flow == Flow::GoOn && (pod.is_terminating || !is_its_turn) {
                    self.wait_for(why_unhealthy(self.view, pod, self.min_ready_seconds));
                }
                if !claims.is_empty() {
                    self.step(pod.ordinal, pod.name(), claims, PodWrite::None);
                }
            }
            if self.is_ordered {
                flow = Flow::Stop;
            }
        }
        flow
    }

    /// True while a pod that is to go is the primary and others of its kind go before it, or another pod
    /// could still take its place. That wait is bounded: a set whose label nobody moves goes on.
    fn waits_for_another_primary(&mut self, pod: &PodEntry, has_others: bool) -> bool {
        if !is_primary(self.extra.primary_label.as_ref(), pod) || !pod.is_ready {
            return false;
        }
        if has_others {
            return true;
        }
        let is_successor = |other: &&PodEntry| {
            other.ordinal != pod.ordinal
                && self.ordinals.contains(other.ordinal)
                && other.is_healthy(self.min_ready_seconds, self.now)
        };
        let mut successors = self.pods.values().copied().filter(|other| is_successor(other)).peekable();
        if self.settled.count() == 0 && successors.peek().is_none() {
            return false;
        }
        // Another one has taken over already; the label of this one is late or not its holder's to remove.
        if successors.any(|other| is_primary(self.extra.primary_label.as_ref(), other)) {
            return false;
        }
        let until = self.plan.memory.primary_until(pod.uid(), self.now);
        if until > self.now {
            self.wait_for(WaitingOn::Primary { pod: pod.name().to_owned(), until });
        }
        until > self.now
    }

    /// From the highest down to the partition: see [`rollout`].
    pub(super) fn rolling_update(&mut self) {
        if self.strategy != Strategy::RollingUpdate {
            return;
        }
        let partition = rollout::partition(self.set).unwrap_or_default();
        let mut pods = self.open_pods();
        for (_, pod) in &mut pods {
            *pod = pod.filter(|pod| !self.busy.contains(&pod.ordinal));
        }
        let is_unfinished = self.is_unfinished(&pods, partition);
        if self.extra.is_paused {
            if is_unfinished {
                self.wait_for(WaitingOn::Paused);
            }
            return;
        }
        let rolling = Rolling {
            pods: &pods,
            partition,
            max_unavailable: rollout::max_unavailable(self.set, replicas(self.set)),
            is_replaced: &|pod: &'a PodEntry| self.is_replaced(pod),
            primary_label: self.extra.primary_label.as_ref(),
            min_ready_seconds: self.min_ready_seconds,
            now: self.now,
        };
        let mut taken = rolling.take();
        if let Some(primary) = taken.primary.and_then(|ordinal| self.pods.get(&ordinal).copied()) {
            if !self.waits_for_another_primary(primary, false) {
                taken.ordinals.push(primary.ordinal);
            }
        } else if !self.plan.waiting_on.iter().any(|reason| matches!(reason, WaitingOn::Primary { .. })) {
            self.plan.memory.no_primary();
        }
        let room = STEPS_MAX.saturating_sub(self.plan.steps.len());
        for ordinal in taken.ordinals.into_iter().take(room) {
            let pod = self.pods[&ordinal];
            self.delete(pod, Vec::new(), DeleteReason::Outdated);
            let at_current = self.status.current_replicas.unwrap_or_default();
            self.status.current_replicas = Some((at_current - 1).max(0));
        }
        let is_healthy = |pod: &PodEntry| pod.is_healthy(self.min_ready_seconds, self.now);
        let unhealthy = pods.iter().find_map(|(_, pod)| pod.filter(|pod| !is_healthy(pod)));
        if let Some(pod) = unhealthy.filter(|pod| is_unfinished && !self.busy.contains(&pod.ordinal)) {
            self.wait_for(why_unhealthy(self.view, pod, self.min_ready_seconds));
        }
    }

    fn is_unfinished(&self, pods: &[(i32, Option<&'a PodEntry>)], partition: i32) -> bool {
        let at_or_above = pods.iter().filter(|(slot, _)| *slot >= partition);
        at_or_above.filter_map(|(_, pod)| *pod).any(|pod| self.is_behind(pod))
    }
}
