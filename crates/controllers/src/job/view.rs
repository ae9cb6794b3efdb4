//! What the controller knows: jobs, the pods of each that still matter, and pods that wait to be counted by
//! nobody.
//!
//! A pod that is over and counted is of no interest any more, and left out: a decision about a job costs what
//! runs now, not what ever ran. The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use client::Change;
use k8s_openapi::Resource;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use model::selector::Selector;
use model::{job, meta, pod};
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use super::backoff::{Backoff, Ended};
use crate::owned_index::{OwnedIndex, Pods};

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To jobs.
    Jobs(Change<Job>),
    /// To pods.
    Pods(Change<Pod>),
}

/// What is decided about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A job.
    Job(ObjectKey),
    /// A pod that waits to be counted by a job that is not there.
    Orphan(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Job(key) => write!(formatter, "{key}"),
            Key::Orphan(key) => write!(formatter, "pod {key}"),
        }
    }
}

#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    selector: Result<Selector, String>,
    backoff: Backoff,
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug)]
pub struct View {
    jobs: HashMap<String, BTreeMap<String, Entry>>,
    pods: OwnedIndex<Pod>,
    horizon: Horizon,
}

impl Default for View {
    fn default() -> View {
        View { jobs: HashMap::new(), pods: OwnedIndex::new(Job::KIND, matters), horizon: Horizon::default() }
    }
}

/// True for pods that run, that wait to be counted, or that could be taken in.
fn matters(one: &Pod) -> bool {
    job::is_tracked(one) || !pod::is_failed_or_succeeded(one) || meta::controller_of(&one.metadata).is_none()
}

/// One job with everything a decision about it needs.
#[derive(Clone, Copy)]
pub struct JobView<'a> {
    /// The job.
    pub job: &'a Arc<Job>,
    /// Its selector, or what is wrong with it.
    pub selector: &'a Result<Selector, String>,
    /// The pods it manages, but for those that are over and counted.
    pub pods: &'a Pods,
    /// The pods of its namespace that nobody manages.
    pub orphans: &'a Pods,
    /// How its pods ended lately.
    pub backoff: &'a Backoff,
}

impl View {
    /// What there is to know about one job; `None` when it is gone.
    pub fn job(&self, key: &ObjectKey) -> Option<JobView<'_>> {
        let entry = self.entry(key)?;
        Some(JobView {
            job: &entry.job,
            selector: &entry.selector,
            pods: self.pods.of(&entry.job.metadata),
            orphans: self.pods.orphans(&key.namespace),
            backoff: &entry.backoff,
        })
    }

    /// The pod of this name, if it waits to be counted and no job is there that will.
    pub fn orphan(&self, key: &ObjectKey) -> Option<&Arc<Pod>> {
        let one = self.pods.get(key).filter(|one| job::is_tracked(one))?;
        self.caretakers(&one.metadata).is_empty().then_some(one)
    }

    /// Notes how pods of a job ended: later decisions wait longer after failures.
    pub fn note_ended(&mut self, job: &Job, ended: &[Ended]) {
        let key = ObjectKey::of(job);
        let entry = self.jobs.get_mut(&key.namespace).and_then(|jobs| jobs.get_mut(&key.name));
        if let Some(entry) = entry.filter(|entry| entry.job.metadata.uid == job.metadata.uid) {
            entry.backoff.note(ended);
        }
    }

    fn entry(&self, key: &ObjectKey) -> Option<&Entry> {
        self.jobs.get(&key.namespace)?.get(&key.name)
    }

    /// The job that manages a pod, or for one that nobody manages those that would take it in.
    fn caretakers(&self, metadata: &ObjectMeta) -> Vec<ObjectKey> {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let Some(jobs) = self.jobs.get(namespace) else { return Vec::new() };
        if let Some(owner) = meta::controller_of(metadata) {
            let known = jobs.get(&owner.name);
            let is_known = owner.kind == Job::KIND
                && known.is_some_and(|known| known.job.metadata.uid.as_ref() == Some(&owner.uid));
            return if is_known { vec![ObjectKey::new(namespace, &owner.name)] } else { Vec::new() };
        }
        let empty = BTreeMap::new();
        let labels = metadata.labels.as_ref().unwrap_or(&empty);
        let selecting = jobs.iter().filter(|(_, entry)| {
            let is_open = !job::is_finished(&entry.job) && !meta::is_terminating(&entry.job.metadata);
            is_open && entry.selector.as_ref().is_ok_and(|selector| selector.matches(labels))
        });
        selecting.map(|(name, _)| ObjectKey::new(namespace, name)).collect()
    }

    fn touch(&self, one: &Pod, touched: &mut BTreeSet<Key>) {
        let caretakers = self.caretakers(&one.metadata);
        if caretakers.is_empty() && job::is_tracked(one) {
            touched.insert(Key::Orphan(ObjectKey::of(one)));
        }
        touched.extend(caretakers.into_iter().map(Key::Job));
    }

    fn insert_job(&mut self, job: Arc<Job>, touched: &mut BTreeSet<Key>) {
        let key = ObjectKey::of(&*job);
        touched.insert(Key::Job(key.clone()));
        let selector = match job.spec.as_ref().and_then(|spec| spec.selector.as_ref()) {
            Some(LabelSelector { match_labels: None, match_expressions: None }) | None => {
                Ok(Selector::nothing())
            }
            Some(selector) => Selector::from_label_selector(selector),
        };
        let jobs = self.jobs.entry(key.namespace).or_default();
        let known = jobs.remove(&key.name).filter(|known| known.job.metadata.uid == job.metadata.uid);
        let backoff = known.map(|known| known.backoff).filter(|_| !job::is_finished(&job));
        jobs.insert(key.name, Entry { job, selector, backoff: backoff.unwrap_or_default() });
    }

    fn remove_job(&mut self, key: &ObjectKey, touched: &mut BTreeSet<Key>) {
        let Some(jobs) = self.jobs.get_mut(&key.namespace) else { return };
        let known = jobs.remove(&key.name);
        if jobs.is_empty() {
            self.jobs.remove(&key.namespace);
        }
        let Some(known) = known else { return };
        for one in self.pods.of(&known.job.metadata).values() {
            self.touch(one, touched);
        }
    }

    fn touch_all(&self, touched: &mut BTreeSet<Key>) {
        for one in self.pods.all() {
            self.touch(one, touched);
        }
        for (namespace, jobs) in &self.jobs {
            touched.extend(jobs.keys().map(|name| Key::Job(ObjectKey::new(namespace, name))));
        }
    }
}

/// The kinds that this view shows.
const KINDS: &[&str] = &[Job::URL_PATH_SEGMENT, Pod::URL_PATH_SEGMENT];

impl Picture for View {
    type Key = Key;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Jobs(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(jobs, _) => {
                        let mut before = std::mem::take(&mut self.jobs);
                        for job in jobs {
                            let key = ObjectKey::of(&*job);
                            let known = before.get_mut(&key.namespace).and_then(|all| all.remove(&key.name));
                            if let Some(known) = known {
                                self.jobs.entry(key.namespace).or_default().insert(key.name, known);
                            }
                            self.insert_job(job, &mut touched);
                        }
                        self.touch_all(&mut touched);
                    }
                    Change::Apply(job) => self.insert_job(job, &mut touched),
                    Change::Delete(job) => self.remove_job(&ObjectKey::of(&*job), &mut touched),
                }
            }
            Event::Pods(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(pods, _) => {
                        self.pods.reset(pods);
                        self.touch_all(&mut touched);
                    }
                    Change::Apply(one) => {
                        if let Some(known) = self.pods.remove(&ObjectKey::of(&*one)) {
                            self.touch(&known, &mut touched);
                        }
                        if self.pods.insert(Arc::clone(&one)) {
                            self.touch(&one, &mut touched);
                        }
                    }
                    Change::Delete(one) => {
                        if let Some(known) = self.pods.remove(&ObjectKey::of(&*one)) {
                            touched.extend(self.caretakers(&known.metadata).into_iter().map(Key::Job));
                        }
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
        if removed.resource == Pod::URL_PATH_SEGMENT {
            return self.pods.is_gone(removed);
        }
        let known = self.entry(&ObjectKey::new(&removed.namespace, &removed.name));
        known.is_none_or(|known| known.job.metadata.uid.as_ref() != Some(&removed.uid))
    }
}
