//! The jobs that a CronJob makes. Pure.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{job, meta};

use super::cron_job_kind;
use super::timing::zone_of;

/// The name of the job of a moment: one that was made already has it.
pub fn name_for(cron_job: &CronJob, at: Timestamp) -> String {
    let name = cron_job.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{}", at.as_second().div_euclid(60))
}

/// The job of a moment.
pub fn job_for(cron_job: &CronJob, at: Timestamp) -> Job {
    let template = &cron_job.spec.job_template;
    let like = template.metadata.clone().unwrap_or_default();
    let mut annotations = like.annotations.unwrap_or_default();
    annotations.insert(job::SCHEDULED_TIMESTAMP.to_owned(), in_zone(cron_job, at));
    Job {
        metadata: ObjectMeta {
            name: Some(name_for(cron_job, at)),
            namespace: cron_job.metadata.namespace.clone(),
            labels: like.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![meta::owner_reference(&cron_job.metadata, &cron_job_kind())]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// A moment as the CronJob's clock shows it.
fn in_zone(cron_job: &CronJob, at: Timestamp) -> String {
    let zoned = zone_of(cron_job).map(|zone| at.to_zoned(zone));
    match zoned {
        Some(zoned) if !zoned.offset().is_zero() => zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        _ => at.to_string(),
    }
}

/// How the status refers to a job.
pub fn reference(one: &Job) -> ObjectReference {
    ObjectReference {
        resource_version: one.metadata.resource_version.clone(),
        ..reconcile::recorder::reference_to(one)
    }
}

/// True when the controller made the job itself.
pub fn is_scheduled(one: &Job) -> bool {
    let annotations = one.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(job::SCHEDULED_TIMESTAMP))
}
