//! What the controller knows: CronJobs, and the jobs that each manages.
//!
//! The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use model::meta;
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use crate::owned_index::{Objects, OwnedIndex};

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To CronJobs.
    CronJobs(Change<CronJob>),
    /// To jobs.
    Jobs(Change<Job>),
}

/// What was told about a CronJob, so that it is not told at each decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The moment whose job was not started.
    pub skipped: Option<Timestamp>,
    /// The moment that it is too late for.
    pub missed: Option<Timestamp>,
    /// Uids of jobs that somebody else made; those that are gone are forgotten.
    pub strangers: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    cron_job: Arc<CronJob>,
    told: Told,
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug)]
pub struct View {
    cron_jobs: HashMap<ObjectKey, Entry>,
    jobs: OwnedIndex<Job>,
    horizon: Horizon,
}

impl Default for View {
    fn default() -> View {
        View {
            cron_jobs: HashMap::new(),
            jobs: OwnedIndex::new(CronJob::KIND, |job| meta::controller_of(&job.metadata).is_some()),
            horizon: Horizon::default(),
        }
    }
}

/// One CronJob with everything a decision about it needs.
#[derive(Clone, Copy)]
pub struct CronJobView<'a> {
    /// The CronJob.
    pub cron_job: &'a Arc<CronJob>,
    /// Its jobs.
    pub jobs: &'a Objects<Job>,
    /// What was told about it.
    pub told: &'a Told,
    /// The jobs are shown as they were when the CronJob was written, or later: one that is not there is gone.
    pub is_current: bool,
}

impl View {
    /// What there is to know about one CronJob; `None` when it is gone.
    pub fn cron_job(&self, key: &ObjectKey) -> Option<CronJobView<'_>> {
        let entry = self.cron_jobs.get(key)?;
        let metadata = &entry.cron_job.metadata;
        let written: u64 =
            metadata.resource_version.as_deref().unwrap_or_default().parse().unwrap_or_default();
        Some(CronJobView {
            cron_job: &entry.cron_job,
            jobs: self.jobs.of(metadata),
            told: &entry.told,
            is_current: self.horizon.seen(Job::URL_PATH_SEGMENT).0 >= written,
        })
    }

    /// Notes what was told.
    pub fn note_told(&mut self, key: &ObjectKey, told: &Told) {
        if let Some(entry) = self.cron_jobs.get_mut(key) {
            entry.told = told.clone();
        }
    }

    fn insert_cron_job(&mut self, cron_job: Arc<CronJob>, touched: &mut BTreeSet<ObjectKey>) {
        let key = ObjectKey::of(&*cron_job);
        touched.insert(key.clone());
        let known = self.cron_jobs.remove(&key);
        let known = known.filter(|known| known.cron_job.metadata.uid == cron_job.metadata.uid);
        let told = known.map(|known| known.told).unwrap_or_default();
        self.cron_jobs.insert(key, Entry { cron_job, told });
    }

    fn touch(job: &Job, touched: &mut BTreeSet<ObjectKey>) {
        if let Some(owner) = meta::controller_of(&job.metadata) {
            let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
            touched.insert(ObjectKey::new(namespace, owner.name.as_str()));
        }
    }
}

/// The kinds that this view shows.
const KINDS: &[&str] = &[CronJob::URL_PATH_SEGMENT, Job::URL_PATH_SEGMENT];

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        match event {
            Event::CronJobs(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(all, _) => {
                        let present: BTreeSet<ObjectKey> =
                            all.iter().map(|one| ObjectKey::of(&**one)).collect();
                        self.cron_jobs.retain(|key, _| present.contains(key));
                        all.into_iter().for_each(|one| self.insert_cron_job(one, &mut touched));
                    }
                    Change::Apply(one) => self.insert_cron_job(one, &mut touched),
                    Change::Delete(one) => {
                        self.cron_jobs.remove(&ObjectKey::of(&*one));
                    }
                }
            }
            Event::Jobs(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(jobs, _) => {
                        self.jobs.reset(jobs);
                        touched.extend(self.cron_jobs.keys().cloned());
                    }
                    Change::Apply(job) => {
                        if self.jobs.insert(Arc::clone(&job)) {
                            View::touch(&job, &mut touched);
                        }
                    }
                    Change::Delete(job) => {
                        if let Some(known) = self.jobs.remove(&ObjectKey::of(&*job)) {
                            View::touch(&known, &mut touched);
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
        self.jobs.is_gone(removed)
    }
}
