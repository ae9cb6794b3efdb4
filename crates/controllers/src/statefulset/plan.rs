//! What to do for a set: the whole StatefulSet behaviour, as one pure function.
//!
//! The order of things is fixed: adopt and release, choose revisions, make and repair the wanted ordinals
//! from the lowest, remove the others from the highest, update from the highest, count. With `OrderedReady`
//! the first ordinal that is not done ends the plan; that is the whole of the ordering guarantee. What is
//! decided here must depend on the view and the time alone. Read next: [`super::rollout`],
//! [`super::execute`].

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use model::selector::Selector;
use model::stateful_set::{ClaimUpdates, Extra, Ordinals, replicas};
use model::{meta, ordinal};

use super::claims::Source;
pub use super::decision::{ClaimWrite, DeleteReason, Notice, Pacing, Plan, PodWrite, Preparation, Step};
use super::repair::{self, Checked};
use super::revisions::{self, Revisions, name_of};
use super::rollout::{self, Strategy};
use super::services::Governing;
use super::settled::Settled;
use super::view::{Phase, PodEntry, SetView};
pub use super::waiting::{NotReady, WaitingOn};
use super::{conditions, retention, status};
use reconcile::recorder::EventKind;

mod claims;
mod removal;

/// Steps of one plan. A larger set takes several plans; the first thousand creates take two seconds at the
/// rate we aim for, and meanwhile nothing else is decided about the set.
const STEPS_MAX: usize = 1_000;
/// Slots that an update looks at in one plan. A cluster has 150,000 pods at most, a specification may ask for
/// two billion.
const OPEN_MAX: usize = 150_000;
/// Reasons to wait that a plan names; all of them would not tell more.
const WAITING_MAX: usize = 16;
/// Least time between two writes of a status that is still moving. While a thousand pods become ready, ten
/// writes a second tell as much as five hundred would.
const STATUS_PAUSE_MS: i64 = 100;
/// The same for words alone: what a pod waits for changes several times while it starts.
const WORDS_PAUSE_MS: i64 = 1_000;
/// How long after a set its Service may come: far longer than an apply takes.
const SERVICE_GRACE: SignedDuration = SignedDuration::from_secs(10);
/// `spec.revisionHistoryLimit` where it is not given.
const HISTORY_LIMIT_DEFAULT: i32 = 10;

/// Decides what to do for a set.
pub fn plan(view: &SetView<'_>, now: Timestamp) -> Plan {
    let set = &view.entry.set;
    let mut plan = Plan {
        namespace: set.metadata.namespace.clone().unwrap_or_default(),
        name: set.metadata.name.clone().unwrap_or_default(),
        uid: set.metadata.uid.clone().unwrap_or_default(),
        ..Plan::default()
    };
    let chosen = choose(view, &mut plan);
    let (selector, extra, revisions) = match chosen {
        Ok(chosen) => chosen,
        Err(message) => {
            plan.waiting_on.push(WaitingOn::InvalidSet { message });
            let mut status = set.status.clone().unwrap_or_default();
            status.observed_generation = set.metadata.generation;
            status.conditions = conditions::of(set, &plan, &status, now);
            plan.status = Some(status).filter(|status| status::is_news(set.status.as_ref(), status));
            return plan;
        }
    };
    let settled = view.settled(name_of(&revisions.update), now);
    let pods = claim_pods(view, &settled, selector, &mut plan.prepare);
    confirm_before_adoption(&mut plan.prepare);
    plan.memory = view.entry.memory.clone();
    plan.memory.tidy(now);

    let status = status::counted(view, &pods, settled.count(), &revisions, now);
    let are_claims_ready = status::are_claims_ready(view, &pods);
    let all = i32::try_from(pods.len()).unwrap_or(i32::MAX).saturating_add(settled.count());
    let current_claims = earlier_claims(extra, &revisions);
    let mut sync = Sync {
        view,
        set,
        extra,
        ordinals: &view.entry.ordinals,
        strategy: Strategy::of(set),
        pods: &pods,
        settled: &settled,
        revisions: &revisions,
        now,
        min_ready_seconds: status::min_ready_seconds(set),
        is_ordered: is_ordered(set),
        templates: Templates::default(),
        claim_updates: extra.claim_updates,
        current_claims: current_claims.as_deref(),
        are_all_at_update: are_claims_ready && status.updated_replicas == Some(all),
        alike: OnceCell::new(),
        busy: BTreeSet::new(),
        status,
        plan,
    };
    if meta::is_terminating(&set.metadata) {
        // Nothing is made, changed or deleted any more.
        sync.plan.prepare.clear();
        sync.wait_for(WaitingOn::SetBeingDeleted);
    } else {
        sync.decide();
        sync.tell_of_service();
    }
    let Sync { mut plan, mut status, .. } = sync;
    status::complete_rollout(set, are_claims_ready, &mut status);
    status.conditions = conditions::of(set, &plan, &status, now);
    plan.status = Some(status).filter(|status| status::is_news(set.status.as_ref(), status));
    plan.forget = forgettable(view, &pods, &revisions);
    let times = plan.waiting_on.iter().filter_map(WaitingOn::ends_at).chain(next_available(set, &pods, now));
    let times = times.chain(service_due(view));
    let next = times.filter(|time| *time > now).min();
    plan.requeue_after = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
    plan
}

/// What every decision about a set rests on; the error is for people, since only they can mend it.
fn choose<'a>(
    view: &SetView<'a>,
    plan: &mut Plan,
) -> Result<(&'a Selector, &'a Extra, Revisions<'a>), String> {
    let selector = view.entry.selector.as_ref().map_err(Clone::clone)?;
    let extra = view.entry.extra.as_ref().map_err(Clone::clone)?;
    let revisions = revisions::choose(view, selector, &mut plan.prepare)?;
    Ok((selector, extra, revisions))
}

/// The claim templates of the revision before the update under way, where claims follow revisions.
fn earlier_claims(extra: &Extra, revisions: &Revisions<'_>) -> Option<Vec<PersistentVolumeClaim>> {
    let is_updating = name_of(&revisions.current) != name_of(&revisions.update);
    let follows = extra.claim_updates == ClaimUpdates::InPlace;
    (is_updating && follows).then(|| revisions::claim_templates_of(&revisions.current)).flatten()
}

/// Holds back a status that was written a moment ago and is still moving, while nothing else is to be done.
pub fn hold_back_status(plan: &mut Plan, set: &StatefulSet, sent: Option<Timestamp>, now: Timestamp) {
    let Some(status) = &plan.status else { return };
    let stored = set.status.as_ref();
    let is_settled = status.ready_replicas == Some(replicas(set));
    let is_first_of_generation =
        status.observed_generation != stored.and_then(|stored| stored.observed_generation);
    let Some(sent) = sent else { return };
    let passed_ms = now.duration_since(sent).as_millis();
    let pause_ms = if status::is_only_words(stored, status) { WORDS_PAUSE_MS } else { STATUS_PAUSE_MS };
    let rest_ms = i128::from(pause_ms) - passed_ms;
    if (is_settled && pause_ms == STATUS_PAUSE_MS)
        || is_first_of_generation
        || plan.has_actions()
        || rest_ms <= 0
    {
        return;
    }
    plan.status = None;
    let rest = Duration::from_millis(u64::try_from(rest_ms).unwrap_or_default());
    plan.requeue_after = Some(plan.requeue_after.map_or(rest, |pause| pause.min(rest)));
}

/// The pods by ordinal that need a look: those it owns and selects, and the orphans that it adopts. Owned
/// pods that it does not select, or that are not called as its pods are, are let go.
fn claim_pods<'a>(
    view: &SetView<'a>,
    settled: &Settled,
    selector: &Selector,
    prepare: &mut Vec<Preparation>,
) -> BTreeMap<i32, &'a PodEntry> {
    let is_deleted = meta::is_terminating(&view.entry.set.metadata);
    let mut pods = BTreeMap::new();
    let members = settled.unsettled().filter_map(|ordinal| view.pods.members.get(&ordinal));
    for pod in members {
        if view.checked(pod).is_selected {
            pods.insert(pod.ordinal, pod);
        } else {
            let (name, uid) = (pod.name().to_owned(), pod.uid().to_owned());
            prepare.push(Preparation::ReleasePod { name, uid });
        }
    }
    for (name, pod) in &view.pods.strays {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        prepare.push(Preparation::ReleasePod { name: name.clone(), uid });
    }
    if is_deleted {
        return pods;
    }
    for orphan in view.orphans(selector) {
        if !orphan.is_terminating {
            pods.insert(orphan.ordinal, orphan);
            let (name, uid) = (orphan.name().to_owned(), orphan.uid().to_owned());
            prepare.push(Preparation::AdoptPod { name, uid });
        }
    }
    pods
}

fn confirm_before_adoption(prepare: &mut Vec<Preparation>) {
    let is_adoption = |preparation: &Preparation| {
        matches!(preparation, Preparation::AdoptPod { .. } | Preparation::AdoptRevision { .. })
    };
    if prepare.iter().any(is_adoption) {
        prepare.insert(0, Preparation::ConfirmAlive);
    }
}

fn forgettable<'a>(
    view: &SetView<'a>,
    pods: &BTreeMap<i32, &'a PodEntry>,
    revisions: &Revisions<'_>,
) -> Vec<Preparation> {
    let limit = view.entry.set.spec.revision_history_limit;
    let mut in_use: BTreeSet<&str> = pods.values().map(|pod| pod.revision()).collect();
    if view.entry.claim_updates() == ClaimUpdates::InPlace {
        // What an older revision gave a claim has to be known to be taken away again.
        let claims = pods.values().flat_map(|pod| &view.checked(pod).live);
        in_use.extend(claims.map(|claim| claim.revision()));
    }
    revisions.expired(limit.unwrap_or(HISTORY_LIMIT_DEFAULT), &in_use)
}

/// When the next ready pod becomes available.
fn next_available(set: &StatefulSet, pods: &BTreeMap<i32, &PodEntry>, now: Timestamp) -> Option<Timestamp> {
    let min_ready_seconds = status::min_ready_seconds(set);
    if min_ready_seconds == 0 {
        return None;
    }
    let moments = pods.values().filter_map(|pod| pod.available_from(min_ready_seconds));
    moments.filter(|from| *from > now).min()
}

/// When a set whose Service is not as it should be is told of: manifests are applied one after the other, and
/// the Service may come last.
fn service_due(view: &SetView<'_>) -> Option<Timestamp> {
    let created = view.entry.set.metadata.creation_timestamp.as_ref()?.0;
    let is_wrong = view.governing_service() != Governing::Right;
    is_wrong.then(|| created.checked_add(SERVICE_GRACE).ok()).flatten()
}

fn is_ordered(set: &StatefulSet) -> bool {
    let policy = set.spec.pod_management_policy.as_deref();
    policy != Some("Parallel")
}

/// Goes on to the next ordinal, or ends the plan here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

/// Pod templates of the two revisions, decoded when first needed.
#[derive(Default)]
struct Templates {
    current: Option<PodTemplateSpec>,
    update: Option<PodTemplateSpec>,
}

/// One decision in the making.
struct Sync<'a> {
    view: &'a SetView<'a>,
    set: &'a StatefulSet,
    extra: &'a Extra,
    ordinals: &'a Ordinals,
    strategy: Strategy,
    /// The pods that need a look.
    pods: &'a BTreeMap<i32, &'a PodEntry>,
    /// The others: wanted, at the update revision, available, and nothing to repair.
    settled: &'a Settled,
    revisions: &'a Revisions<'a>,
    now: Timestamp,
    min_ready_seconds: i32,
    is_ordered: bool,
    templates: Templates,
    claim_updates: ClaimUpdates,
    /// Where claims follow revisions: the templates of the current one, if it records any and is not the
    /// update revision.
    current_claims: Option<&'a [PersistentVolumeClaim]>,
    /// Nothing of what there is has to be brought to the update revision, or to become ready for it.
    are_all_at_update: bool,
    /// Older revisions that make the same pods as the update revision.
    alike: OnceCell<Vec<&'a str>>,
    /// Ordinals that have a step.
    busy: BTreeSet<i32>,
    status: StatefulSetStatus,
    plan: Plan,
}

impl<'a> Sync<'a> {
    fn decide(&mut self) {
        self.plan.pacing = if self.is_ordered { Pacing::InOrder } else { Pacing::SlowStart };
        if self.strategy == Strategy::Recreate && self.recreate() == Flow::Stop {
            return;
        }
        if self.reserve_specified() == Flow::Stop {
            return;
        }
        let is_settled = self.wanted_ordinals() == Flow::GoOn && self.condemned_ordinals() == Flow::GoOn;
        self.update_claims();
        if is_settled {
            self.rolling_update();
        }
    }

    /// The wanted ordinals whose pods need a look, or to be made, with their slots; from the lowest.
    fn open_slots(&self) -> impl DoubleEndedIterator<Item = (i32, i32)> + use<'a> {
        let ordinals = self.ordinals;
        self.settled.open(ordinals).map(|ordinal| (ordinals.slot(ordinal), ordinal))
    }

    /// Their pods, from the highest slot down. Of a set that lacks more than any cluster holds, those at the
    /// top: their turn comes first.
    fn open_pods(&self) -> Vec<(i32, Option<&'a PodEntry>)> {
        let slots = self.open_slots().rev().take(OPEN_MAX);
        slots.map(|(slot, ordinal)| (slot, self.pods.get(&ordinal).copied())).collect()
    }

    fn wait_for(&mut self, reason: WaitingOn) {
        if self.plan.waiting_on.len() < WAITING_MAX && !self.plan.waiting_on.contains(&reason) {
            self.plan.waiting_on.push(reason);
        }
    }

    /// Waits for something that keeps an ordered set from going on, and a parallel one not.
    fn hold(&mut self, reason: WaitingOn) -> Flow {
        self.wait_for(reason);
        if self.is_ordered { Flow::Stop } else { Flow::GoOn }
    }

    /// Warns of a Service that does not give the pods names of their own; once, as all notices.
    fn tell_of_service(&mut self) {
        let name = self.set.spec.service_name.as_deref().unwrap_or_default();
        let (reason, what) = match self.view.governing_service() {
            Governing::Right => return,
            Governing::Missing => ("ServiceNotFound", "does not exist"),
            Governing::NotHeadless => ("ServiceNotHeadless", "is not headless (clusterIP: None)"),
        };
        if service_due(self.view).is_some_and(|due| due <= self.now) {
            let message = format!(
                "the Service {name} that spec.serviceName names {what}: pods have no DNS names of their own"
            );
            self.plan.notices.push(Notice { kind: EventKind::Warning, reason: reason.to_owned(), message });
        }
    }

    fn step(&mut self, ordinal: i32, pod: &str, claims: Vec<ClaimWrite>, write: PodWrite) {
        let is_first = self.busy.insert(ordinal);
        assert!(is_first, "an ordinal has at most one step in a plan");
        self.plan.steps.push(Step { ordinal, pod: pod.to_owned(), claims, write });
    }

    fn delete(&mut self, pod: &PodEntry, claims: Vec<ClaimWrite>, why: DeleteReason) {
        let uid = pod.uid().to_owned();
        let resource_version = pod.pod.metadata.resource_version.clone();
        self.step(pod.ordinal, pod.name(), claims, PodWrite::Delete { uid, resource_version, why });
    }

    /// From the lowest: make what is missing, replace what has ended, repair what is off.
    fn wanted_ordinals(&mut self) -> Flow {
        for ordinal in self.settled.open(self.ordinals) {
            if self.plan.steps.len() >= STEPS_MAX {
                return Flow::Stop;
            }
            let flow = match self.pods.get(&ordinal).copied() {
                None => self.missing(ordinal),
                Some(pod) => self.existing(pod),
            };
            if flow == Flow::Stop {
                self.keep_claims_after(ordinal);
                return Flow::Stop;
            }
        }
        Flow::GoOn
    }

    /// Where the order stops, the claims of the ordinals that it does not come to must still not go with
    /// their pods: they may be left from a scaling down that was taken back.
    fn keep_claims_after(&mut self, ordinal: i32) {
        let pods = self.pods;
        for (later, pod) in pods.range(ordinal.saturating_add(1)..) {
            let claims = self.claims_going_with(pod);
            if self.ordinals.contains(*later) && !claims.is_empty() && self.plan.steps.len() < STEPS_MAX {
                self.step(*later, pod.name(), claims, PodWrite::None);
            }
        }
    }

    /// Takes a wanted pod's claims from it where it owns them: it will be replaced, and they are not.
    fn claims_going_with(&self, pod: &'a PodEntry) -> Vec<ClaimWrite> {
        let goes = |claim: &PersistentVolumeClaim| {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let owners = self.view.claim(name).and_then(|claim| claim.metadata.owner_references.as_deref());
            retention::names_pod(owners.unwrap_or_default(), pod.name())
        };
        let mut claims = owner_writes(self.view.checked(pod));
        claims.retain(|write| matches!(write, ClaimWrite::SetOwners(claim) if goes(claim)));
        claims
    }

    fn missing(&mut self, ordinal: i32) -> Flow {
        let set_name = self.set.metadata.name.as_deref().unwrap_or_default();
        let name = ordinal::pod_name(set_name, ordinal);
        if let Some(reason) = WaitingOn::name_taken(self.view, &name) {
            return self.hold(reason);
        }
        let claims = repair::claims_of_new(self.view, ordinal, self.source(ordinal));
        if let Some(claim) = claims.stale {
            return self.hold(WaitingOn::StaleClaim { claim, pod: name });
        }
        if let Some(claim) = claims.terminating {
            return self.claim_terminating(claim, &name);
        }
        let set = self.set;
        let (revision, template) = match self.template(ordinal) {
            Ok(found) => found,
            Err(message) => {
                self.wait_for(WaitingOn::InvalidSet { message });
                return Flow::Stop;
            }
        };
        let pod = repair::new_pod(set, template, revision, ordinal);
        self.step(ordinal, &name, claims.writes, PodWrite::Create(Box::new(pod)));
        if self.is_ordered { Flow::Stop } else { Flow::GoOn }
    }

    fn claim_terminating(&mut self, claim: String, pod: &str) -> Flow {
        let set = &self.plan.name;
        let message =
            format!("create Pod {pod} in StatefulSet {set} failed error: pvc {claim} is being deleted");
        let reason = "FailedCreate".to_owned();
        self.plan.notices.push(Notice { kind: EventKind::Warning, reason, message });
        self.hold(WaitingOn::ClaimTerminating { claim, pod: pod.to_owned() })
    }

    /// The template that a new pod of this ordinal is made from: below the partition the current one.
    fn template(&mut self, ordinal: i32) -> Result<(&'a str, &PodTemplateSpec), String> {
        let (revision, slot) = if self.is_kept_back(ordinal) {
            (&self.revisions.current, &mut self.templates.current)
        } else {
            (&self.revisions.update, &mut self.templates.update)
        };
        let name = name_of(revision);
        if slot.is_none() {
            let template = revisions::template_of(revision);
            *slot = Some(template.map_err(|error| format!("read revision {name}: {error}"))?);
        }
        Ok((name, slot.as_ref().expect("it was put there above")))
    }

    /// What claims of this ordinal are made from.
    fn source(&self, ordinal: i32) -> Source<'a> {
        let present = Source::present(self.set);
        if self.claim_updates == ClaimUpdates::OnClaimDelete {
            present
        } else if self.is_kept_back(ordinal) {
            let templates = self.current_claims.unwrap_or(present.templates);
            Source { templates, revision: Some(name_of(&self.revisions.current)) }
        } else {
            Source { revision: Some(name_of(&self.revisions.update)), ..present }
        }
    }

    fn is_kept_back(&self, ordinal: i32) -> bool {
        if self.strategy != Strategy::RollingUpdate {
            return false;
        }
        let at_current = self.set.status.as_ref().and_then(|status| status.current_replicas);
        let kept = rollout::partition(self.set).unwrap_or_else(|| at_current.unwrap_or_default());
        self.ordinals.slot(ordinal) < kept
    }

    /// True for a pod that is not at the revision it would be made at and was never ready: to replace it
    /// costs no availability, and without that a corrected template would never reach it. An adopted pod that
    /// says no revision is left to the rolling update.
    fn is_broken_and_outdated(&self, pod: &PodEntry) -> bool {
        let is_asked_for = self.strategy == Strategy::RollingUpdate && !self.extra.is_paused;
        let target =
            if self.is_kept_back(pod.ordinal) { &self.revisions.current } else { &self.revisions.update };
        let is_outdated = !pod.revision().is_empty() && pod.revision() != name_of(target);
        let is_broken = is_asked_for && !self.extra.is_strict && !pod.has_been_ready && is_outdated;
        let made = || self.revisions.named(pod.revision());
        is_broken && !made().is_some_and(|made| self.view.entry.same.make_same_pods(made, target))
    }

    fn existing(&mut self, pod: &'a PodEntry) -> Flow {
        if pod.is_terminating {
            let claims = self.claims_going_with(pod);
            if !claims.is_empty() {
                self.step(pod.ordinal, pod.name(), claims, PodWrite::None);
            }
            return self.hold(WaitingOn::terminating(pod));
        }
        if matches!(pod.phase, Phase::Failed | Phase::Succeeded) {
            if let Some((until, failures)) = self.plan.memory.replaced_from(pod.ordinal, self.now) {
                let pod = pod.name().to_owned();
                return self.hold(WaitingOn::BackOff { pod, failures, until });
            }
            self.plan.memory.ended(pod.ordinal, self.now);
            self.delete(pod, self.claims_going_with(pod), DeleteReason::Ended);
            return if self.is_ordered { Flow::Stop } else { Flow::GoOn };
        }
        if self.is_broken_and_outdated(pod) {
            self.delete(pod, self.claims_going_with(pod), DeleteReason::Broken);
            return if self.is_ordered { Flow::Stop } else { Flow::GoOn };
        }
        let checked = self.view.checked(pod);
        if pod.phase == Phase::Pending
            && !checked.missing.is_empty()
            && let Some(claim) = checked.terminating.clone()
        {
            return self.claim_terminating(claim, pod.name());
        }
        let is_done = pod.is_available(self.min_ready_seconds, self.now);
        // An ordered set repairs only what is done; of a pending pod the claims, so that it can go on.
        let is_repaired = is_done || !self.is_ordered;
        let missing = match self.claim_updates {
            ClaimUpdates::InPlace if !checked.missing.is_empty() => {
                repair::missing_claims(self.view, pod.ordinal, self.source(pod.ordinal))
            }
            _ => checked.missing.clone(),
        };
        let (claims, write) = repairs(pod, checked, missing, is_repaired);
        if !claims.is_empty() || write != PodWrite::None {
            self.step(pod.ordinal, pod.name(), claims, write);
        }
        if is_done {
            return Flow::GoOn;
        }
        self.hold(why_unhealthy(self.view, pod, self.min_ready_seconds))
    }
}

fn why_unhealthy(view: &SetView<'_>, pod: &PodEntry, min_ready_seconds: i32) -> WaitingOn {
    if pod.is_terminating {
        WaitingOn::terminating(pod)
    } else if pod.is_ready {
        WaitingOn::not_available(pod, min_ready_seconds)
    } else {
        WaitingOn::not_ready(view, pod)
    }
}

/// What to write for a pod that stays. Claims that are missing are made for a pending pod, or where the
/// pod's storage is repaired.
fn repairs(
    pod: &PodEntry,
    checked: &Checked,
    missing: Vec<PersistentVolumeClaim>,
    is_repaired: bool,
) -> (Vec<ClaimWrite>, PodWrite) {
    let is_pending = pod.phase == Phase::Pending;
    let mut claims = Vec::new();
    if is_pending || (is_repaired && checked.is_storage_wrong) {
        claims.extend(missing.into_iter().map(|claim| ClaimWrite::Create(Box::new(claim))));
    }
    if is_pending || is_repaired {
        claims.extend(owner_writes(checked));
    }
    let write = match &checked.pod {
        Some(repaired) if is_repaired => PodWrite::Update(repaired.clone()),
        _ => PodWrite::None,
    };
    (claims, write)
}

fn owner_writes(checked: &Checked) -> Vec<ClaimWrite> {
    checked.owners.iter().map(|claim| ClaimWrite::SetOwners(Box::new(claim.clone()))).collect()
}
