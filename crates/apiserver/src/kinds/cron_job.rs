//! `batch/v1` `CronJob`: jobs that are made again and again, by the clock.
//!
//! Read next: [`super::cron_job_check`], [`super::job`].

use jiff::Timestamp;
use model::field::ErrorList;
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::replica_set::selector_cell;
use super::{check, cron_job_check, pod_spec};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static CRON_JOB: Kind = {
    let names = Names {
        group: "batch",
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        key_prefix: "/registry/cronjobs",
        definition: "io.k8s.api.batch.v1.CronJob",
    };
    let mut kind = kind(names, COLUMNS, &CronJob);
    kind.short_names = &["cj"];
    kind.categories = &["all"];
    kind.subresources = &[Subresource::Status];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Schedule", "string", "When jobs are made."),
    cells::shown("Timezone", "string", "Whose clock counts."),
    cells::shown("Suspend", "boolean", "Whether no jobs are made for now."),
    cells::shown("Active", "integer", "How many of its jobs run."),
    cells::shown("Last Schedule", "string", "Time since the last job was due."),
    cells::AGE,
    cells::wide("Containers", "string", "Names of the template's containers."),
    cells::wide("Images", "string", "Images of the template's containers."),
    cells::wide("Selector", "string", "Which pods belong to the jobs."),
];

struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        read::set_default_text(spec, "concurrencyPolicy", "Allow");
        read::set_default(spec, "suspend", false);
        read::set_default(spec, "successfulJobsHistoryLimit", 3);
        read::set_default(spec, "failedJobsHistoryLimit", 1);
        let job = read::object_mut(read::object_mut(spec, "jobTemplate"), "spec");
        let template = read::object_mut(job, "template");
        pod_spec::defaults::template(read::object_mut(template, "spec"));
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", json!({}));
        let spec = read::object_mut(object, "spec");
        read::remove(read::object_mut(read::object_mut(spec, "jobTemplate"), "spec"), "scheduling");
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        !check::same(new.at("spec"), old.at("spec"))
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        cron_job_check::create(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        cron_job_check::update(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        cron_job_check::warnings(new, old)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let containers = object.list("spec.jobTemplate.spec.template.spec.containers");
        let suspended = match object.at("spec.suspend").as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let last = match object.text("status.lastScheduleTime") {
            "" => cells::NONE.to_owned(),
            time => cells::since(time, now),
        };
        vec![
            cells::name(object),
            object.text("spec.schedule").into(),
            cells::or_none(object.text("spec.timeZone")),
            suspended.into(),
            object.list("status.active").len().into(),
            last.into(),
            cells::age(object, now),
            cells::joined_field(containers, "name").into(),
            cells::joined_field(containers, "image").into(),
            match object.at("spec.jobTemplate.spec.selector") {
                Value::Null => cells::NONE.into(),
                selector => selector_cell(selector),
            },
        ]
    }
}
