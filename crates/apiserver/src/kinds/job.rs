//! `batch/v1` `Job`: pods that run until enough of them have succeeded.
//!
//! Read next: [`super::job_check`], [`super::job_policy_check`], [`super::job_status_check`], and
//! [`super::pod_spec`] for the template.

use jiff::Timestamp;
use model::field::ErrorList;
use model::job;
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::replica_set::selector_cell;
use super::{check, job_check, job_status_check, pod_spec};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static JOB: Kind = {
    let names = Names {
        group: "batch",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        key_prefix: "/registry/jobs",
        definition: "io.k8s.api.batch.v1.Job",
    };
    let mut kind = kind(names, COLUMNS, &Job);
    kind.categories = &["all"];
    kind.subresources = &[Subresource::Status];
    kind.orphans_by_default = true;
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Status", "string", "Where the job stands."),
    cells::shown("Completions", "string", "How many pods have succeeded, of how many wanted."),
    cells::shown("Duration", "string", "How long it has run, or ran."),
    cells::AGE,
    cells::wide("Containers", "string", "Names of the template's containers."),
    cells::wide("Images", "string", "Images of the template's containers."),
    cells::wide("Selector", "string", "Which pods belong to the job."),
];

/// Failures that are put up with when nobody says how many.
const BACKOFF_LIMIT: i32 = 6;

struct Job;

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        if !spec.has("completions") && !spec.has("parallelism") {
            read::set(spec, "completions", 1);
        }
        read::set_default(spec, "parallelism", 1);
        let limit = if spec.has("backoffLimitPerIndex") { i32::MAX } else { BACKOFF_LIMIT };
        read::set_default(spec, "backoffLimit", limit);
        read::set_default(spec, "completionMode", "NonIndexed");
        read::set_default(spec, "suspend", false);
        read::set_default(spec, "manualSelector", false);
        let policy = if spec.has("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        read::set_default(spec, "podReplacementPolicy", policy);
        if let Some(policy) = read::present_mut(spec, "podFailurePolicy") {
            for rule in read::list_mut(policy, "rules") {
                for pattern in read::list_mut(rule, "onPodConditions") {
                    read::set_default_text(pattern, "status", "True");
                }
            }
        }
        let template = read::object_mut(spec, "template");
        pod_spec::defaults::template(read::object_mut(template, "spec"));
        labels_of_template(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", json!({}));
        read::remove(read::object_mut(object, "spec"), "scheduling");
        if !object.flag("spec.manualSelector") {
            generate_selector(object);
        }
        labels_of_template(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        read::keep(new, old, "status");
        read::keep(read::object_mut(new, "spec"), old.at("spec"), "scheduling");
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        !check::same(new.at("spec"), old.at("spec"))
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        job_check::create(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        job_check::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        job_status_check::update(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        job_check::warnings(new, old)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let containers = object.list("spec.template.spec.containers");
        vec![
            cells::name(object),
            standing(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            cells::age(object, now),
            cells::joined_field(containers, "name").into(),
            cells::joined_field(containers, "image").into(),
            selector_cell(object.at("spec.selector")),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.successful", object.number("status.succeeded").unwrap_or_default().to_string())]
    }
}

/// A job without labels has those of its pods.
fn labels_of_template(object: &mut Value) {
    let labels = object.at("spec.template.metadata.labels").clone();
    let own = object.entries("metadata.labels").next();
    if own.is_none() && labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        read::set(read::object_mut(object, "metadata"), "labels", labels);
    }
}

/// Pods are told apart by the uid of their job, unless somebody wants to choose them. What is there already
/// stays: if it is wrong, validation says so.
fn generate_selector(object: &mut Value) {
    let (uid, name) = (object.text("metadata.uid").to_owned(), object.text("metadata.name").to_owned());
    let spec = read::object_mut(object, "spec");
    let metadata = read::object_mut(read::object_mut(spec, "template"), "metadata");
    let labels = read::object_mut(metadata, "labels");
    for key in [job::JOB_NAME_OLD, job::JOB_NAME] {
        read::set_default(labels, key, name.as_str());
    }
    for key in [job::CONTROLLER_UID_OLD, job::CONTROLLER_UID] {
        read::set_default(labels, key, uid.as_str());
    }
    let wanted = read::object_mut(read::object_mut(spec, "selector"), "matchLabels");
    read::set_default(wanted, job::CONTROLLER_UID, uid);
}

/// True when a condition of this type holds.
pub(crate) fn holds(object: &Value, kind: &str) -> bool {
    let mut conditions = object.list("status.conditions").iter();
    conditions.any(|condition| condition.text("type") == kind && condition.text("status") == "True")
}

fn standing(object: &Value) -> &'static str {
    match () {
        () if holds(object, "Complete") => "Complete",
        () if holds(object, "Failed") => "Failed",
        () if object.has("metadata.deletionTimestamp") => "Terminating",
        () if holds(object, "Suspended") => "Suspended",
        () if holds(object, "FailureTarget") => "FailureTarget",
        () => "Running",
    }
}

fn completions(object: &Value) -> String {
    let succeeded = object.number("status.succeeded").unwrap_or_default();
    match (object.number("spec.completions"), object.number("spec.parallelism").unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(object: &Value, now: Timestamp) -> String {
    let at = |path: &str| object.text(path).parse::<Timestamp>().ok();
    let Some(began) = at("status.startTime") else { return String::new() };
    let until = at("status.completionTime").unwrap_or(now);
    model::duration::human(until.as_second() - began.as_second())
}
