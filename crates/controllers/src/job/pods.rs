//! The pods that a job makes. Pure.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{job, meta};

use super::facts::{Facts, annotated};
use super::failure_policy::judge;
use super::job_kind;

/// The variable with a pod's index.
pub const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What the API leaves of a name before it adds five characters to make it one that is free.
const STEM_BYTES_MAX: usize = 58;

/// A pod as the template says, that waits to be counted.
pub fn plain(job: &Job) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let like = template.metadata.unwrap_or_default();
    let mut finalizers = like.finalizers.unwrap_or_default();
    if !finalizers.iter().any(|one| one == job::TRACKING) {
        finalizers.push(job::TRACKING.to_owned());
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: job.metadata.namespace.clone(),
            labels: like.labels,
            annotations: like.annotations,
            finalizers: Some(finalizers),
            owner_references: Some(vec![meta::owner_reference(&job.metadata, &job_kind())]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// A pod for an index; `failed` is the one that it follows.
pub fn indexed(facts: &Facts<'_>, index: u32, failed: Option<&Arc<Pod>>) -> Pod {
    let mut one = plain(facts.job);
    let name = facts.job.metadata.name.as_deref().unwrap_or_default();
    let text = index.to_string();
    let suffix = format!("-{text}-");
    // Names are of ASCII.
    let stem = name.get(..STEM_BYTES_MAX - suffix.len()).unwrap_or(name);
    one.metadata.generate_name = Some(format!("{stem}{suffix}"));
    one.metadata.labels.get_or_insert_default().insert(job::COMPLETION_INDEX.to_owned(), text.clone());
    let annotations = one.metadata.annotations.get_or_insert_default();
    annotations.insert(job::COMPLETION_INDEX.to_owned(), text);
    if facts.spec.backoff_limit_per_index.is_some() {
        let (mut failures, mut ignored) = (0, 0);
        if let Some(failed) = failed {
            let counts = judge(facts.spec, failed).counts();
            failures = annotated(failed, job::INDEX_FAILURES) + i64::from(counts);
            ignored = annotated(failed, job::INDEX_IGNORED_FAILURES) + i64::from(!counts);
        }
        annotations.insert(job::INDEX_FAILURES.to_owned(), failures.to_string());
        if ignored > 0 {
            annotations.insert(job::INDEX_IGNORED_FAILURES.to_owned(), ignored.to_string());
        }
    }
    if let Some(spec) = &mut one.spec {
        spec.hostname = Some(format!("{name}-{index}"));
        spec.init_containers.iter_mut().flatten().for_each(add_index);
        spec.containers.iter_mut().for_each(add_index);
    }
    one
}

fn add_index(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector {
        field_path: format!("metadata.labels['{}']", job::COMPLETION_INDEX),
        ..ObjectFieldSelector::default()
    };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    env.push(EnvVar { name: INDEX_VARIABLE.to_owned(), value_from: Some(source), ..EnvVar::default() });
}
