//! Whose turn it is to have claims brought to the update revision (KEP-4650). Pure.
//!
//! Replicas go in the order of a rolling update, as many at once as it may make unavailable. In a replica's
//! turn first its claims are made or changed, then they have to become ready; then the pod is noted to be at
//! the revision, if the revision would make the same pod, or is left to the rolling update; then it has to
//! be available. None of this makes a pod unavailable, so that it goes on while an unhealthy pod further down
//! stops everything else: that pod may need what its claim is about to get.

use model::stateful_set::{ClaimUpdates, replicas};

use super::super::claims::{self, ClaimNotReady, Source};
use super::super::decision::{ClaimWrite, PodWrite};
use super::super::repair;
use super::super::revisions::{self, name_of};
use super::super::rollout::{self, Strategy, is_primary};
use super::super::view::PodEntry;
use super::{STEPS_MAX, Sync, WaitingOn, why_unhealthy};

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is at the update revision in all and well.
    Over,
    /// Something is to be done or waited for.
    UnderWay,
}

impl<'a> Sync<'a> {
    /// Does what the replicas whose turn it is need for their claims.
    pub(super) fn update_claims(&mut self) {
        if self.strategy == Strategy::OnDelete || self.extra.is_paused || self.are_all_at_update {
            return;
        }
        let mut pods: Vec<(i32, Option<&'a PodEntry>)> = self.slots_to_update();
        // What is under way comes first, whatever has become of the order since it began.
        let is_quiet =
            |pod: &'a PodEntry| self.view.checked(pod).live.iter().all(|live| live.not_ready.is_none());
        let primary_label = self.extra.primary_label.as_ref();
        pods.sort_by_key(|(_, pod)| {
            (pod.is_none_or(is_quiet), pod.is_some_and(|pod| is_primary(primary_label, pod)))
        });
        let mut room = match (self.claim_updates, self.strategy) {
            // Claims stay as they are: what is left is to note revisions that make the same pods.
            (ClaimUpdates::OnClaimDelete, _) => i32::MAX,
            (ClaimUpdates::InPlace, Strategy::RollingUpdate) => {
                rollout::max_unavailable(self.set, replicas(self.set))
            }
            (ClaimUpdates::InPlace, _) => 1,
        };
        for (_, pod) in pods {
            if room <= 0 || self.plan.steps.len() >= STEPS_MAX {
                break;
            }
            let turn = pod.map_or(Turn::UnderWay, |pod| self.turn(pod));
            room -= i32::from(turn == Turn::UnderWay);
        }
    }

    /// The slots from the highest down to the partition, with their pods.
    fn slots_to_update(&self) -> Vec<(i32, Option<&'a PodEntry>)> {
        let partition = match self.strategy {
            Strategy::RollingUpdate => rollout::partition(self.set).unwrap_or_default(),
            Strategy::OnDelete | Strategy::Recreate => 0,
        };
        let mut pods = self.open_pods();
        pods.retain(|(slot, _)| *slot >= partition);
        pods
    }

    fn turn(&mut self, pod: &'a PodEntry) -> Turn {
        if self.busy.contains(&pod.ordinal) || pod.is_terminating {
            return Turn::UnderWay;
        }
        if self.claim_updates == ClaimUpdates::InPlace && self.turn_of_claims(pod) == Turn::UnderWay {
            return Turn::UnderWay;
        }
        let update = name_of(&self.revisions.update);
        if pod.revision() != update {
            if !self.makes_same_pod(pod) {
                return Turn::UnderWay;
            }
            let (uid, revision) = (pod.uid().to_owned(), update.to_owned());
            self.step(pod.ordinal, pod.name(), Vec::new(), PodWrite::Relabel { uid, revision });
        }
        if pod.is_healthy(self.min_ready_seconds, self.now) {
            return Turn::Over;
        }
        if self.claim_updates == ClaimUpdates::InPlace {
            self.wait_for(why_unhealthy(self.view, pod, self.min_ready_seconds));
        }
        Turn::UnderWay
    }

    /// The claims' part of a turn: over when all are at the update revision and ready.
    fn turn_of_claims(&mut self, pod: &'a PodEntry) -> Turn {
        let checked = self.view.checked(pod);
        let name = || pod.name().to_owned();
        if let Some(claim) = checked.terminating.clone() {
            self.wait_for(WaitingOn::ClaimTerminating { claim, pod: name() });
            return Turn::UnderWay;
        }
        let update = name_of(&self.revisions.update);
        let source = Source { revision: Some(update), ..Source::present(self.set) };
        let missing = repair::missing_claims(self.view, pod.ordinal, source);
        let mut writes: Vec<ClaimWrite> =
            missing.into_iter().map(|claim| ClaimWrite::Create(Box::new(claim))).collect();
        for live in checked.live.iter().filter(|live| live.revision() != update) {
            let claim = live.name().to_owned();
            if let Some(field) = live.differs {
                let field = field.to_owned();
                self.wait_for(WaitingOn::ClaimDiffers { claim, pod: name(), field });
                return Turn::UnderWay;
            }
            let change = self.change_of_claim(pod.ordinal, live, source);
            if change.waits_for_volume(&live.claim) {
                let detail = ClaimNotReady::NotBound;
                self.wait_for(WaitingOn::ClaimNotReady { claim, pod: name(), detail });
                return Turn::UnderWay;
            }
            let spec = live.claim.spec.as_ref();
            let class = spec.and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default();
            if change.grows.is_some() && !self.view.lets_grow(class) {
                let class = class.to_owned();
                self.wait_for(WaitingOn::ClaimCannotGrow { claim, pod: name(), class });
                return Turn::UnderWay;
            }
            writes.push(ClaimWrite::Update(Box::new(change)));
        }
        if !writes.is_empty() {
            if pod.revision() == name_of(&self.revisions.current) && pod.revision() != update {
                let at_current = self.status.current_replicas.unwrap_or_default();
                self.status.current_replicas = Some((at_current - 1).max(0));
            }
            self.step(pod.ordinal, pod.name(), writes, PodWrite::None);
            return Turn::UnderWay;
        }
        for live in &checked.live {
            if let Some(detail) = live.not_ready.clone() {
                let claim = live.name().to_owned();
                self.wait_for(WaitingOn::ClaimNotReady { claim, pod: name(), detail });
                return Turn::UnderWay;
            }
        }
        Turn::Over
    }

    /// What brings a claim to the update revision, knowing what the revision had given it that it is at.
    fn change_of_claim(
        &self,
        ordinal: i32,
        live: &claims::LiveClaim,
        source: Source<'_>,
    ) -> claims::ClaimUpdate {
        let earlier = self.revisions.named(live.revision()).and_then(revisions::claim_templates_of);
        let named = |source: Source<'_>| {
            let mut all = repair::claims(self.set, ordinal, source);
            all.find(|claim| claim.metadata.name.as_deref() == Some(live.name()))
        };
        let earlier = earlier.and_then(|templates| named(Source { templates: &templates, revision: None }));
        let template = named(source).unwrap_or_else(|| (*live.claim).clone());
        let revision = source.revision.unwrap_or_default();
        claims::update(&live.claim, &template, earlier.as_ref(), revision)
    }

    /// True when the update revision would make this pod as it is: it is not replaced then.
    pub(super) fn makes_same_pod(&self, pod: &PodEntry) -> bool {
        self.alike().contains(&pod.revision())
    }

    /// The older revisions that make the same pods as the update revision.
    fn alike(&self) -> &[&'a str] {
        self.alike.get_or_init(|| {
            let update = &*self.revisions.update;
            let older = self.revisions.history.iter().filter(|revision| name_of(revision) != name_of(update));
            let alike = older.filter(|revision| self.view.entry.same.make_same_pods(revision, update));
            alike.map(|revision| name_of(revision)).collect()
        })
    }

    /// True for a pod that the update has not come to in all.
    pub(super) fn is_behind(&self, pod: &'a PodEntry) -> bool {
        let update = name_of(&self.revisions.update);
        pod.revision() != update || !self.view.checked(pod).are_claims_at(update)
    }

    /// True for a pod that is to be replaced, and whose claims are ready for the next one.
    pub(super) fn is_replaced(&self, pod: &'a PodEntry) -> bool {
        let update = name_of(&self.revisions.update);
        let is_outdated = pod.revision() != update && !self.makes_same_pod(pod);
        if !is_outdated || self.claim_updates == ClaimUpdates::OnClaimDelete {
            return is_outdated;
        }
        let checked = self.view.checked(pod);
        checked.are_claims_at(update) && checked.are_claims_ready()
    }
}
