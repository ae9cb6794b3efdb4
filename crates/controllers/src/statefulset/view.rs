//! What the controller knows: sets, their pods, claims and revisions, indexed by who needs them.
//!
//! A pod is found by its owner's uid and its ordinal, so that a decision about one set never looks at the
//! pods of another. What is expensive to know about a pod (whether its identity, storage and claims are as
//! the set wants them) is worked out once and kept until something it depends on changes: with 5,000 pods
//! and one event, 4,999 answers stand. The view decides nothing; [`super::plan`] does.

use std::cell::{OnceCell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata as _, Resource};
use model::selector::Selector;
use model::stateful_set::{ClaimUpdates, ExtendedStatefulSet, Extra, Ordinals};
use model::{meta, ordinal};
use serde_json::Value;

use super::by_name::{ByName, names};
use super::classes::Classes;
use super::decision::Notice;
use super::memory::Memory;
use super::repair::{self, Checked};
use super::revisions;
use super::rollout::is_primary;
use super::sameness::Sameness;
use super::services::{Governing, Services};
use super::settled::Settled;
use super::status::min_ready_seconds;
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

pub use self::pod_entry::{Phase, PodEntry};

mod pod_entry;

/// The label that says at which revision a pod was made.
pub const REVISION_LABEL: &str = "controller-revision-hash";

/// The pods that one set owns.
#[derive(Debug, Default)]
pub struct OwnedPods {
    /// Those that bear its name and an ordinal.
    pub members: BTreeMap<i32, PodEntry>,
    /// Those that are called something else.
    pub strays: BTreeMap<String, Arc<Pod>>,
    /// Which of the members need no look; worked out while plans are made.
    settled: RefCell<Settled>,
    #[cfg(test)]
    none_settled: RefCell<Settled>,
}

impl OwnedPods {
    fn forget_all_checks(&mut self) {
        self.members.values_mut().for_each(|entry| entry.checked = OnceCell::new());
        self.settled.get_mut().unsettle_all();
    }
}

/// A set, what follows from its specification alone, and what is remembered about it.
#[derive(Debug)]
pub struct SetEntry {
    /// The set, as upstream's type has it.
    pub set: Arc<StatefulSet>,
    /// The rest of it, or what of that is not understood.
    pub extra: Result<Extra, String>,
    /// Which ordinals it wants.
    pub ordinals: Ordinals,
    /// What no object tells.
    pub memory: Memory,
    /// Its selector, or what is wrong with it.
    pub selector: Result<Selector, String>,
    /// When its status was last sent; unknown after a restart.
    pub status_sent: Option<Timestamp>,
    /// What was told last; it is told again only after something else was.
    told: Vec<Notice>,
    data: OnceCell<(Value, String)>,
    /// What the set's revisions mean.
    pub same: Sameness,
}

impl SetEntry {
    fn new(set: Arc<StatefulSet>, extra: Result<Extra, String>, memory: Memory) -> SetEntry {
        let selector = Selector::from_label_selector(&set.spec.selector);
        let reserved = extra.as_ref().map(|extra| extra.reserved.clone()).unwrap_or_default();
        let ordinals = Ordinals::of(&set, &reserved);
        let (status_sent, told, data, same) = (None, Vec::new(), OnceCell::new(), Sameness::default());
        SetEntry { set, extra, ordinals, memory, selector, status_sent, told, data, same }
    }

    /// What becomes of claims when their templates change.
    pub fn claim_updates(&self) -> ClaimUpdates {
        self.extra.as_ref().map(|extra| extra.claim_updates).unwrap_or_default()
    }

    /// What a revision of the set's present template records, and its text.
    pub fn revision_data(&self) -> &(Value, String) {
        self.data.get_or_init(|| revisions::data_of(&self.set, self.claim_updates()))
    }
}

/// The kinds that this view shows.
const KINDS: &[&str] = &[
    StatefulSet::URL_PATH_SEGMENT,
    Pod::URL_PATH_SEGMENT,
    PersistentVolumeClaim::URL_PATH_SEGMENT,
    ControllerRevision::URL_PATH_SEGMENT,
];

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To sets.
    Sets(Change<ExtendedStatefulSet>),
    /// To pods.
    Pods(Change<Pod>),
    /// To claims.
    Claims(Change<PersistentVolumeClaim>),
    /// To revisions.
    Revisions(Change<ControllerRevision>),
    /// To Services. They are told about and nothing else: no decision waits for their list.
    Services(Change<Service>),
    /// To storage classes, which say what claims can follow; no decision waits for their list either.
    Classes(Change<StorageClass>),
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug, Default)]
pub struct View {
    sets: ByName<SetEntry>,
    pods: ByName<Arc<Pod>>,
    /// By their namespace and the uid of their set: what was copied into another namespace with its owners
    /// is nobody's there.
    owned: HashMap<ObjectKey, OwnedPods>,
    orphans: ByName<PodEntry>,
    claims: ByName<Arc<PersistentVolumeClaim>>,
    revisions: ByName<Arc<ControllerRevision>>,
    /// Names of the revisions of each owner, by its uid; in the heap of no uid those that nobody owns.
    revisions_of: HashMap<String, BTreeSet<(String, String)>>,
    services: Services,
    classes: Classes,
    horizon: Horizon,
    none: OwnedPods,
    /// Plans settle nothing and look at every pod: what they say must be the same.
    #[cfg(test)]
    pub(super) looks_at_all: std::cell::Cell<bool>,
}

/// Which sets an event touched.
pub type Touched = BTreeSet<ObjectKey>;

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        let mut touched = Touched::new();
        match event {
            Event::Sets(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(sets, _) => {
                        self.touch_all(&mut touched);
                        let mut before = std::mem::take(&mut self.sets);
                        for set in sets {
                            let known = before.remove(set.metadata());
                            self.apply_set(set, known, &mut touched);
                        }
                    }
                    Change::Apply(set) => {
                        let known = self.sets.remove(set.metadata());
                        self.apply_set(set, known, &mut touched);
                    }
                    Change::Delete(set) => {
                        self.sets.remove(set.metadata());
                        touched.insert(ObjectKey::of(&*set));
                    }
                }
            }
            Event::Pods(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(pods, _) => {
                        let ready: HashSet<String> = self.uids_that_have_been_ready();
                        self.pods = ByName::default();
                        self.orphans = ByName::default();
                        self.owned.clear();
                        for pod in pods {
                            let has_been_ready =
                                pod.metadata.uid.as_ref().is_some_and(|uid| ready.contains(uid));
                            self.apply_pod(pod, has_been_ready, &mut touched);
                        }
                        self.touch_all(&mut touched);
                    }
                    Change::Apply(pod) => {
                        let has_been_ready = self.has_been_ready(&pod);
                        self.remove_pod(&pod, &mut touched);
                        self.apply_pod(pod, has_been_ready, &mut touched);
                    }
                    Change::Delete(pod) => self.remove_pod(&pod, &mut touched),
                }
            }
            Event::Claims(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(claims, _) => {
                        self.claims = ByName::default();
                        for claim in claims {
                            self.claims.insert(&claim.metadata.clone(), claim);
                        }
                        self.forget_all_checks();
                        self.touch_all(&mut touched);
                    }
                    Change::Apply(claim) => {
                        self.touch_claim(&claim.metadata, &mut touched);
                        self.claims.insert(&claim.metadata.clone(), claim);
                    }
                    Change::Delete(claim) => {
                        self.claims.remove(&claim.metadata);
                        self.touch_claim(&claim.metadata, &mut touched);
                    }
                }
            }
            Event::Services(change) => {
                let changed = self.services.apply(&change);
                if matches!(change, Change::Reset(..)) {
                    self.touch_all(&mut touched);
                }
                changed.iter().for_each(|service| self.touch_governed(&service.metadata, &mut touched));
            }
            Event::Classes(change) if self.classes.apply(&change) => self.touch_all(&mut touched),
            Event::Classes(_) => {}
            Event::Revisions(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(revisions, _) => {
                        self.revisions = ByName::default();
                        self.revisions_of.clear();
                        revisions.into_iter().for_each(|revision| self.put_revision(revision));
                        self.touch_all(&mut touched);
                    }
                    Change::Apply(revision) => {
                        self.touch_owner(&revision.metadata, &mut touched);
                        self.take_revision(&revision.metadata);
                        self.put_revision(revision);
                    }
                    Change::Delete(revision) => {
                        self.take_revision(&revision.metadata);
                        self.touch_owner(&revision.metadata, &mut touched);
                    }
                }
            }
        }
        touched
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    fn is_gone(&self, removed: &Removed) -> bool {
        let Removed { resource, namespace, name, uid } = removed;
        let metadata = if *resource == Pod::URL_PATH_SEGMENT {
            self.pods.get(namespace, name).map(|pod| &pod.metadata)
        } else {
            self.revisions.get(namespace, name).map(|revision| &revision.metadata)
        };
        metadata.is_none_or(|metadata| metadata.uid.as_deref() != Some(uid) || meta::is_terminating(metadata))
    }
}

impl View {
    /// What there is to know about one set; `None` when it is gone.
    pub fn set(&self, key: &ObjectKey) -> Option<SetView<'_>> {
        let entry = self.sets.get(&key.namespace, &key.name)?;
        let uid = entry.set.metadata.uid.as_deref().unwrap_or_default();
        let pods = self.owned.get(&ObjectKey::new(&key.namespace, uid)).unwrap_or(&self.none);
        Some(SetView { entry, pods, view: self })
    }

    /// Notes that a set's status is on its way.
    pub fn status_sent(&mut self, key: &ObjectKey, now: Timestamp) {
        if let Some(entry) = self.entry_mut(key) {
            entry.status_sent = Some(now);
        }
    }

    /// Keeps of the notices of a plan those that are news; what is told stays told while it stays true.
    pub fn keep_news(&mut self, key: &ObjectKey, notices: &mut Vec<Notice>) {
        if let Some(entry) = self.entry_mut(key) {
            let told = std::mem::replace(&mut entry.told, notices.clone());
            notices.retain(|notice| !told.contains(notice));
        }
    }

    /// Keeps what is to be remembered about a set.
    pub fn remember(&mut self, key: &ObjectKey, memory: Memory) {
        if let Some(entry) = self.entry_mut(key) {
            entry.memory = memory;
        }
    }

    /// What is known of a pod's past before its new version is taken in.
    fn has_been_ready(&self, pod: &Pod) -> bool {
        let Some(owner) = meta::controller_of(&pod.metadata) else { return false };
        let (namespace, name) = names(&pod.metadata);
        let number = ordinal::parse(name).map_or(-1, |(_, number)| number);
        let entry = self
            .owned
            .get(&ObjectKey::new(namespace, &owner.uid))
            .and_then(|owned| owned.members.get(&number));
        entry.is_some_and(|entry| entry.has_been_ready && entry.pod.metadata.uid == pod.metadata.uid)
    }

    fn uids_that_have_been_ready(&self) -> HashSet<String> {
        let members = self.owned.values().flat_map(|owned| owned.members.values());
        members.filter(|entry| entry.has_been_ready).map(|entry| entry.uid().to_owned()).collect()
    }

    fn entry_mut(&mut self, key: &ObjectKey) -> Option<&mut SetEntry> {
        self.sets.0.get_mut(&key.namespace)?.get_mut(&key.name)
    }

    fn touch_all(&self, touched: &mut Touched) {
        for (namespace, names) in &self.sets.0 {
            touched.extend(names.keys().map(|name| ObjectKey::new(namespace, name)));
        }
    }

    fn apply_set(&mut self, set: Arc<ExtendedStatefulSet>, known: Option<SetEntry>, touched: &mut Touched) {
        touched.insert(ObjectKey::of(&*set));
        let ExtendedStatefulSet { set, extra } = Arc::unwrap_or_clone(set);
        let (set, metadata) = (Arc::new(set.clone()), set.metadata);
        let known = known.filter(|known| known.set.metadata.uid == metadata.uid);
        let entry = match known {
            Some(known) if known.set.spec == set.spec && known.extra == extra => SetEntry { set, ..known },
            known => {
                let (namespace, _) = names(&metadata);
                let uid = metadata.uid.as_deref().unwrap_or_default();
                if let Some(pods) = self.owned.get_mut(&ObjectKey::new(namespace, uid)) {
                    pods.forget_all_checks();
                }
                SetEntry::new(set, extra, known.map(|known| known.memory).unwrap_or_default())
            }
        };
        self.sets.insert(&metadata, entry);
    }

    fn apply_pod(&mut self, pod: Arc<Pod>, has_been_ready: bool, touched: &mut Touched) {
        self.touch_pod(&pod, touched);
        self.pods.insert(&pod.metadata, Arc::clone(&pod));
        let entry = PodEntry::new(Arc::clone(&pod), has_been_ready);
        match meta::controller_of(&pod.metadata) {
            None => {
                self.orphans.insert(&pod.metadata, entry);
            }
            Some(owner) if owner.kind == StatefulSet::KIND => {
                let owned = self.owned.entry(owner_key(&pod.metadata, &owner.uid)).or_default();
                if entry.ordinal >= 0 && ordinal::pod_name(&owner.name, entry.ordinal) == entry.name() {
                    owned.settled.get_mut().unsettle(entry.ordinal);
                    owned.members.insert(entry.ordinal, entry);
                } else {
                    owned.strays.insert(entry.name().to_owned(), pod);
                }
            }
            Some(_) => {}
        }
    }

    /// Takes a pod out of the view, as it was last known.
    fn remove_pod(&mut self, pod: &Pod, touched: &mut Touched) {
        let Some(known) = self.pods.remove(&pod.metadata) else { return };
        self.touch_pod(&known, touched);
        self.orphans.remove(&known.metadata);
        let Some(owner) = meta::controller_of(&known.metadata) else { return };
        let at = owner_key(&known.metadata, &owner.uid);
        let Some(owned) = self.owned.get_mut(&at) else { return };
        let (_, name) = names(&known.metadata);
        if owned.strays.remove(name).is_none()
            && let Some((_, number)) = ordinal::parse(name)
        {
            owned.members.remove(&number);
            owned.settled.get_mut().forget(number);
        }
        if owned.members.is_empty() && owned.strays.is_empty() {
            self.owned.remove(&at);
        }
    }

    fn put_revision(&mut self, revision: Arc<ControllerRevision>) {
        let owner = meta::controller_of(&revision.metadata).map(|owner| owner.uid.clone());
        let (namespace, name) = names(&revision.metadata);
        let name = (namespace.to_owned(), name.to_owned());
        self.revisions_of.entry(owner.unwrap_or_default()).or_default().insert(name);
        self.revisions.insert(&revision.metadata.clone(), revision);
    }

    fn take_revision(&mut self, metadata: &ObjectMeta) {
        let Some(known) = self.revisions.remove(metadata) else { return };
        let owner = meta::controller_of(&known.metadata).map_or("", |owner| &owner.uid);
        let (namespace, name) = names(&known.metadata);
        if let Some(owned) = self.revisions_of.get_mut(owner) {
            owned.remove(&(namespace.to_owned(), name.to_owned()));
            if owned.is_empty() {
                self.revisions_of.remove(owner);
            }
        }
    }

    /// A pod touches its owner and the set whose name it bears: it may be adopted, or stand in the way.
    fn touch_pod(&self, pod: &Pod, touched: &mut Touched) {
        // An orphan is only ever adopted by the set whose name it bears.
        if meta::controller_of(&pod.metadata).is_some() {
            self.touch_owner(&pod.metadata, touched);
        }
        let (namespace, name) = names(&pod.metadata);
        if let Some((parent, _)) = ordinal::parse(name)
            && self.sets.get(namespace, parent).is_some()
        {
            touched.insert(ObjectKey::new(namespace, parent));
        }
    }

    /// An object touches its owner, if that is the set of this name that we know; an orphan touches those
    /// that select it.
    fn touch_owner(&self, metadata: &ObjectMeta, touched: &mut Touched) {
        let (namespace, _) = names(metadata);
        match meta::controller_of(metadata) {
            Some(owner) => {
                let set = self.sets.get(namespace, &owner.name);
                if owner.kind == StatefulSet::KIND
                    && set.is_some_and(|entry| entry.set.metadata.uid.as_ref() == Some(&owner.uid))
                {
                    touched.insert(ObjectKey::new(namespace, &owner.name));
                }
            }
            None => {
                let empty = BTreeMap::new();
                let labels = metadata.labels.as_ref().unwrap_or(&empty);
                for (name, entry) in self.sets.in_namespace(namespace) {
                    if entry.selector.as_ref().is_ok_and(|selector| selector.matches(labels)) {
                        touched.insert(ObjectKey::new(namespace, name));
                    }
                }
            }
        }
    }

    /// A Service touches the sets that name it.
    fn touch_governed(&self, metadata: &ObjectMeta, touched: &mut Touched) {
        let (namespace, name) = names(metadata);
        let governed = self.sets.in_namespace(namespace);
        let governed = governed.filter(|(_, set)| set.set.spec.service_name.as_deref() == Some(name));
        touched.extend(governed.map(|(set, _)| ObjectKey::new(namespace, set)));
    }

    /// A claim touches the sets one of whose ordinals has a claim of this name.
    fn touch_claim(&mut self, metadata: &ObjectMeta, touched: &mut Touched) {
        let (namespace, name) = names(metadata);
        let Some((stem, number)) = ordinal::parse(name) else { return };
        // Both the template's name and the set's may have hyphens.
        for (at, _) in stem.match_indices('-') {
            let (template, set_name) = (&stem[..at], &stem[at + 1..]);
            let Some(entry) = self.sets.get(namespace, set_name) else { continue };
            let templates = entry.set.spec.volume_claim_templates.iter().flatten();
            if !templates.into_iter().any(|claim| claim.metadata.name.as_deref() == Some(template)) {
                continue;
            }
            touched.insert(ObjectKey::new(namespace, set_name));
            let uid = entry.set.metadata.uid.as_deref().unwrap_or_default();
            if let Some(owned) = self.owned.get_mut(&ObjectKey::new(namespace, uid))
                && let Some(pod) = owned.members.get_mut(&number)
            {
                pod.checked = OnceCell::new();
                owned.settled.get_mut().unsettle(number);
            }
        }
    }

    fn forget_all_checks(&mut self) {
        self.owned.values_mut().for_each(OwnedPods::forget_all_checks);
    }
}

fn owner_key(metadata: &ObjectMeta, uid: &str) -> ObjectKey {
    ObjectKey::new(names(metadata).0, uid)
}

/// One set with everything a decision about it needs.
#[derive(Clone, Copy)]
pub struct SetView<'a> {
    /// The set.
    pub entry: &'a SetEntry,
    /// The pods it owns.
    pub pods: &'a OwnedPods,
    view: &'a View,
}

impl<'a> SetView<'a> {
    fn namespace(&self) -> &'a str {
        self.entry.set.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Pods without owner that bear the set's name and an ordinal, and that it selects.
    pub fn orphans(&self, selector: &Selector) -> Vec<&'a PodEntry> {
        let (namespace, name) = names(&self.entry.set.metadata);
        let prefix = format!("{name}-");
        let empty = BTreeMap::new();
        let orphans = self.view.orphans.beginning_with(namespace, &prefix);
        orphans
            .into_iter()
            .filter(|orphan| ordinal::pod_name(name, orphan.ordinal) == orphan.name())
            .filter(|orphan| selector.matches(orphan.pod.metadata.labels.as_ref().unwrap_or(&empty)))
            .collect()
    }

    /// The pod of this name, whoever owns it.
    pub fn pod_named(&self, name: &str) -> Option<&'a Arc<Pod>> {
        self.view.pods.get(self.namespace(), name)
    }

    /// The claim of this name.
    pub fn claim(&self, name: &str) -> Option<&'a Arc<PersistentVolumeClaim>> {
        self.view.claims.get(self.namespace(), name)
    }

    /// The revisions that the set owns, and those of its namespace that nobody does.
    pub fn revisions(&self) -> impl Iterator<Item = &'a Arc<ControllerRevision>> {
        let (view, namespace) = (self.view, self.namespace());
        let uid = self.entry.set.metadata.uid.as_deref().filter(|uid| !uid.is_empty());
        let own = uid.and_then(|uid| view.revisions_of.get(uid)).into_iter().flatten();
        // What was copied into another namespace with its owners is nobody's there.
        let own = own.filter(move |(of, _)| of == namespace);
        let beginning = (namespace.to_owned(), String::new());
        let loose =
            view.revisions_of.get("").into_iter().flat_map(move |loose| loose.range(beginning.clone()..));
        let loose = loose.take_while(move |(of, _)| of == namespace);
        own.chain(loose).filter_map(|(namespace, name)| view.revisions.get(namespace, name))
    }

    /// The revision of this name.
    pub fn revision(&self, name: &str) -> Option<&'a Arc<ControllerRevision>> {
        self.view.revisions.get(self.namespace(), name)
    }

    /// The members of which nothing has to be done, nor anything be waited for, at this revision.
    pub fn settled(&self, update: &str, now: Timestamp) -> Ref<'a, Settled> {
        let min_ready_seconds = min_ready_seconds(&self.entry.set);
        let extra = self.entry.extra.as_ref().ok();
        let primary_label = extra.and_then(|extra| extra.primary_label.as_ref());
        let is_settled = |ordinal: i32| {
            self.pods.members.get(&ordinal).is_some_and(|pod| {
                pod.revision() == update
                    && pod.is_healthy(min_ready_seconds, now)
                    && pod.is_created
                    && self.entry.ordinals.contains(ordinal)
                    && !pod.is_specified_for_deletion()
                    && !is_primary(primary_label, pod)
                    && self.checked(pod).is_as_wanted(update)
            })
        };
        #[cfg(test)]
        if self.view.looks_at_all.get() {
            let mut none = Settled::default();
            self.pods.members.keys().for_each(|ordinal| none.unsettle(*ordinal));
            *self.pods.none_settled.borrow_mut() = none;
            return self.pods.none_settled.borrow();
        }
        self.pods.settled.borrow_mut().settle(update, is_settled);
        self.pods.settled.borrow()
    }

    /// True when claims of a class can grow, as far as is known.
    pub fn lets_grow(&self, class: &str) -> bool {
        self.view.classes.let_grow(class)
    }

    /// What is known of the Service that the set names.
    pub fn governing_service(&self) -> Governing {
        match self.entry.set.spec.service_name.as_deref().unwrap_or_default() {
            "" => Governing::Right,
            name => self.view.services.governing(self.namespace(), name),
        }
    }

    /// What of a pod is not as the set wants it; worked out once until something it depends on changes.
    pub fn checked(&self, pod: &'a PodEntry) -> &'a Checked {
        pod.checked.get_or_init(|| repair::check(self, pod))
    }
}
