//! What Jobs and their pods are marked with, and how a Job stands.
//!
//! These words are the API's: the server writes some, the controller others, clients read all of them.

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec};
use k8s_openapi::api::core::v1::Pod;

use crate::meta;

/// The finalizer that keeps a pod until its Job has counted it.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The label with the Job's uid.
pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// The same, as it was called before.
pub const CONTROLLER_UID_OLD: &str = "controller-uid";
/// The label with the Job's name.
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// The same, as it was called before.
pub const JOB_NAME_OLD: &str = "job-name";
/// The annotation and the label with the pod's index.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The annotation that counts the failures of an index before this pod.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The same for failures that the policy ignores.
pub const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The moment for which a CronJob made a Job.
pub const SCHEDULED_TIMESTAMP: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// What `spec.managedBy` calls this controller.
pub const CONTROLLER: &str = "kubernetes.io/job-controller";

/// The condition of this type, if it holds.
pub fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// True when nothing will happen to the Job any more.
pub fn is_finished(job: &Job) -> bool {
    condition(job, "Complete").is_some() || condition(job, "Failed").is_some()
}

/// True when each completion has an index of its own.
pub fn is_indexed(job: &Job) -> bool {
    spec_of(job).is_some_and(|spec| spec.completion_mode.as_deref() == Some("Indexed"))
}

/// True while no pod of the Job may run.
pub fn is_suspended(job: &Job) -> bool {
    spec_of(job).is_some_and(|spec| spec.suspend == Some(true))
}

/// True when somebody else looks after the Job.
pub fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = spec_of(job).and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|name| name != CONTROLLER)
}

/// True when the pod waits to be counted.
pub fn is_tracked(pod: &Pod) -> bool {
    meta::has_finalizer(&pod.metadata, TRACKING)
}

/// The pod's index; `None` where it has none that can be one.
pub fn completion_index(pod: &Pod) -> Option<u32> {
    pod.metadata.annotations.as_ref()?.get(COMPLETION_INDEX)?.parse().ok()
}

fn spec_of(job: &Job) -> Option<&JobSpec> {
    job.spec.as_ref()
}
