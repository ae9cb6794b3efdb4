//! What is to be done about a deployment, in upstream's order. Pure: the same view gives the same plan.
//!
//! One plan is one step: it changes the new set, or the old ones, or it cleans up. The next is decided once
//! the view shows what came of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use model::meta;
use serde_json::json;

use super::arithmetic::{is_rolling, replicas};
use super::revisions::{self, Annotations, DESIRED_REPLICAS, REVISION, number_in, scale_annotations};
use super::rollout::{self, Set, by_age};
use super::scaling::{self, Sizes};
use super::status;
use super::view::DeploymentView;
use crate::writes::Named;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Make a set.
    Create(Box<ReplicaSet>),
    /// Patch a set.
    Patch {
        /// The set.
        set: Named,
        /// The merge patch.
        patch: serde_json::Value,
        /// From how many replicas to how many, where that changes.
        scaled: Option<(i32, i32)>,
    },
    /// Delete a set that the history has no room for.
    Delete(Named),
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Sets to take in. Before that the deployment itself must be asked for again: it may be gone.
    pub adopt: Vec<Named>,
    /// Sets to let go.
    pub release: Vec<Named>,
    /// What to write, in this order.
    pub writes: Vec<Write>,
    /// The deployment's own revision, where it is out of date.
    pub revision: Option<String>,
    /// The status that follows; `None` while sets change hands.
    pub status: Option<DeploymentStatus>,
    /// When to decide again though nothing happens.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_quiet(&self, deployment: &Deployment) -> bool {
        self.adopt.is_empty()
            && self.release.is_empty()
            && self.writes.is_empty()
            && self.revision.is_none()
            && self.status.as_ref().is_none_or(|status| deployment.status.as_ref() == Some(status))
    }

    fn resize(&mut self, deployment: &Deployment, all: &[Set<'_>], sizes: &Sizes) {
        for set in all {
            let Some(size) = sizes.get(set.name()).filter(|size| **size != set.size) else { continue };
            self.scale(deployment, set, *size);
        }
    }

    /// Gives a set so many replicas, and says in its annotations of how many.
    fn scale(&mut self, deployment: &Deployment, set: &Set<'_>, size: i32) {
        let missing = revisions::missing(scale_annotations(deployment), &set.set.metadata);
        let scaled = (size != set.size).then_some((set.size, size));
        if scaled.is_none() && missing.is_empty() {
            return;
        }
        let set = Named::of(&set.set.metadata);
        let patch = json!({
            "metadata": { "uid": set.uid, "annotations": missing }, "spec": { "replicas": size },
        });
        self.writes.push(Write::Patch { set, patch, scaled });
    }
}

/// Decides about a deployment.
pub fn plan(view: &DeploymentView<'_>, now: Timestamp) -> Plan {
    let deployment: &Deployment = view.deployment;
    let Ok(selector) = view.selector else { return Plan::default() };
    let is_going = meta::is_terminating(&deployment.metadata);
    let empty = std::collections::BTreeMap::new();
    let selects = |set: &ReplicaSet| selector.matches(set.metadata.labels.as_ref().unwrap_or(&empty));
    let (ours, strangers): (Vec<_>, Vec<_>) = view.sets.values().partition(|set| selects(set));
    if !is_going {
        let stays = |set: &&Arc<ReplicaSet>| !meta::is_terminating(&set.metadata);
        let adopted = view.orphans.values().filter(stays).filter(|set| selects(set));
        let plan = Plan {
            adopt: adopted.map(|set| Named::of(&set.metadata)).collect(),
            release: strangers.into_iter().filter(stays).map(|set| Named::of(&set.metadata)).collect(),
            ..Plan::default()
        };
        if !plan.adopt.is_empty() || !plan.release.is_empty() {
            return plan;
        }
    }
    let mut all: Vec<Set<'_>> = ours.into_iter().map(Set::of).collect();
    all.sort_by(by_age);
    let found = all.iter().position(|set| revisions::has_template(set.set, &deployment.spec.template));
    let new = found.map(|index| all.remove(index));
    let mut step = Step { deployment, new, old: all, now, plan: Plan::default() };
    let mut status = deployment.status.clone().unwrap_or_default();
    if is_going {
        step.plan.status = Some(step.counted(&status));
        return step.plan;
    }
    status::note_pause(deployment, &mut status, now);
    step.take(status);
    step.plan
}

/// One decision under way.
struct Step<'a> {
    deployment: &'a Deployment,
    new: Option<Set<'a>>,
    old: Vec<Set<'a>>,
    now: Timestamp,
    plan: Plan,
}

impl Step<'_> {
    fn counted(&self, before: &DeploymentStatus) -> DeploymentStatus {
        status::counted(self.deployment, before, self.new.as_ref(), &self.old, self.now)
    }

    fn take(&mut self, mut status: DeploymentStatus) {
        let deployment = self.deployment;
        if let Some(new) = self.new {
            self.annotate(&new);
            status::note_found(deployment, &mut status, new.name(), self.now);
        }
        let is_paused = deployment.spec.paused.unwrap_or_default();
        if is_paused || self.is_rescaled() {
            let sizes = scaling::spread(deployment, self.new.as_ref(), &self.old);
            if is_paused || !sizes.is_empty() {
                self.spread(&sizes);
                if is_paused {
                    self.clean_up();
                }
                self.plan.status = Some(self.counted(&status));
                return;
            }
        }
        let is_done =
            if is_rolling(deployment) { self.roll(&mut status) } else { self.recreate(&mut status) };
        if is_done && deployment.status.as_ref().is_some_and(|told| status::is_complete(deployment, told)) {
            self.clean_up();
        }
        let told = status::of_rollout(deployment, &status, self.new.as_ref(), &self.old, self.now);
        self.plan.requeue_after = status::look_again(deployment, &told, self.now);
        self.plan.status = Some(told);
    }

    /// Keeps revision and annotations of the new set, and the deployment's own revision.
    fn annotate(&mut self, new: &Set<'_>) {
        let (deployment, next) = (self.deployment, revisions::next_revision(&self.old));
        let annotations = revisions::annotations_for(deployment, new.set, next);
        let own = revisions::revision_of(&new.set.metadata).max(next);
        let min_ready = |seconds: Option<i32>| seconds.unwrap_or_default();
        let wanted = min_ready(deployment.spec.min_ready_seconds);
        if !annotations.is_empty() || min_ready(new.set.spec.min_ready_seconds) != wanted {
            let set = Named::of(&new.set.metadata);
            let patch = json!({
                "metadata": { "uid": set.uid, "annotations": annotations },
                "spec": { "minReadySeconds": wanted },
            });
            self.plan.writes.push(Write::Patch { set, patch, scaled: None });
        }
        self.number(own);
    }

    fn number(&mut self, revision: i64) {
        let wanted = Annotations::from([(REVISION.to_owned(), revision.to_string())]);
        self.plan.revision = revisions::missing(wanted, &self.deployment.metadata).remove(REVISION);
    }

    /// True when the number of wanted replicas has changed since the sets were last scaled.
    fn is_rescaled(&self) -> bool {
        let wanted = replicas(self.deployment);
        let active = self.old.iter().chain(&self.new).filter(|set| set.size > 0);
        let told = active.filter_map(|set| number_in(&set.set.metadata, DESIRED_REPLICAS));
        told.into_iter().any(|told| told != wanted)
    }

    fn spread(&mut self, sizes: &Sizes) {
        let all: Vec<Set<'_>> = self.old.iter().chain(&self.new).copied().collect();
        for set in all {
            if let Some(size) = sizes.get(set.name()) {
                self.plan.scale(self.deployment, &set, *size);
            }
        }
    }

    fn create(&mut self, size: i32, status: &mut DeploymentStatus) {
        let next = revisions::next_revision(&self.old);
        let set = revisions::new_set(self.deployment, size, next);
        let name = set.metadata.name.clone().unwrap_or_default();
        self.plan.writes.push(Write::Create(Box::new(set)));
        self.number(next);
        status::note_created(self.deployment, status, &name, self.now);
    }

    /// One step of a rolling update; true when there is none to take.
    fn roll(&mut self, status: &mut DeploymentStatus) -> bool {
        let deployment = self.deployment;
        let total = rollout::sum(self.old.iter().chain(&self.new), |set| set.size);
        let Some(new) = self.new else {
            self.create(rollout::new_size(deployment, 0, total), status);
            return false;
        };
        let size = rollout::new_size(deployment, new.size, total);
        if size != new.size {
            self.plan.scale(deployment, &new, size);
            return false;
        }
        let sizes = rollout::old_sizes(deployment, Some(&new), &self.old);
        let before = self.plan.writes.len();
        self.plan.resize(deployment, &self.old, &sizes);
        self.plan.writes.len() == before
    }

    /// One step of an update that ends all old pods first; true when there is none to take.
    fn recreate(&mut self, status: &mut DeploymentStatus) -> bool {
        let deployment = self.deployment;
        let none = self.old.iter().map(|set| (set.name().to_owned(), 0)).collect();
        let before = self.plan.writes.len();
        self.plan.resize(deployment, &self.old, &none);
        if self.plan.writes.len() != before || rollout::old_pods_run(&self.old) {
            return false;
        }
        let wanted = replicas(deployment);
        match self.new {
            None => self.create(wanted, status),
            Some(new) if new.size != wanted => self.plan.scale(deployment, &new, wanted),
            Some(_) => return true,
        }
        false
    }

    fn clean_up(&mut self) {
        let superfluous = revisions::superfluous(self.deployment, &self.old);
        let deletes = superfluous.iter().map(|set| Write::Delete(Named::of(&set.set.metadata)));
        self.plan.writes.extend(deletes);
    }
}
