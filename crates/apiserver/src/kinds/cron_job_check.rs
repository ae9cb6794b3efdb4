//! What a CronJob must be, and what is said about one that is accepted.

use model::field::{Error, ErrorList, Path};
use model::schedule::Schedule;
use model::time_zone;
use serde_json::Value;

use super::check::{self, root};
use super::job_check;
use super::read::Read;

/// Longest name: its jobs add a dash and the minutes since 1970, and have to be labels.
const NAME_BYTES_MAX: usize = 52;
/// What may happen when a job is due and another still runs.
const CONCURRENCY_POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

/// A new CronJob.
pub(crate) fn create(object: &Value) -> ErrorList {
    let mut errors = spec(object.at("spec"), None);
    let name = object.text("metadata.name");
    if name.len() > NAME_BYTES_MAX {
        let detail = format!("must be no more than {NAME_BYTES_MAX} characters");
        errors.push(Error::invalid(&root("metadata.name"), name, detail));
    }
    errors
}

/// An update of the CronJob. One with a name that is too long may still be mended.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    spec(new.at("spec"), Some(old.at("spec")))
}

fn spec(spec: &Value, old: Option<&Value>) -> ErrorList {
    let path = root("spec");
    let mut errors = ErrorList::new();
    let zone = spec.at("timeZone").as_str();
    if check::required(spec, &path, "schedule", &mut errors) {
        let had_zone = old.is_some_and(|old| old.text("schedule").contains("TZ"));
        errors.extend(schedule(spec.text("schedule"), had_zone, zone, &path.child("schedule")));
    }
    check::not_negative(spec, &path, "startingDeadlineSeconds", &mut errors);
    if let Some(zone) = zone.filter(|_| old.is_none_or(|old| old.at("timeZone") != spec.at("timeZone"))) {
        errors.extend(check::each(&path.child("timeZone"), zone, time_zone::validate(zone)));
    }
    check::one_of(spec, &path, "concurrencyPolicy", &CONCURRENCY_POLICIES, &mut errors);
    errors.extend(job_template(spec.at("jobTemplate"), &path.child("jobTemplate.spec")));
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        check::not_negative(spec, &path, key, &mut errors);
    }
    errors
}

fn schedule(text: &str, had_zone: bool, zone: Option<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut refuse = |detail: &str| errors.push(Error::invalid(path, text, detail));
    if let Err(detail) = Schedule::parse(without_zone(text)) {
        refuse(&detail);
    }
    match (text.contains("TZ"), had_zone) {
        (true, true) if zone.is_some() => {
            refuse("cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
        (true, false) => refuse("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        _ => {}
    }
    errors
}

/// The schedule behind a zone that stands in front of it.
fn without_zone(text: &str) -> &str {
    let has_zone = text.starts_with("TZ=") || text.starts_with("CRON_TZ=");
    match text.split_once(' ') {
        Some((_, rest)) if has_zone => rest.trim(),
        _ => text,
    }
}

fn job_template(template: &Value, path: &Path) -> ErrorList {
    let own = template.at("spec");
    let mut errors = job_check::spec(own, path);
    if own.has("selector") {
        let detail = "`selector` will be auto-generated";
        errors.push(Error::invalid(&path.child("selector"), own.at("selector").clone(), detail));
    }
    if own.flag("manualSelector") {
        let at = path.child("manualSelector");
        errors.push(Error::not_supported(&at, true, &["nil", "false"]));
    }
    errors
}

/// Warnings about an accepted CronJob.
pub(crate) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let messages = model::names::dns1123_label(new.text("metadata.name"));
    if old.is_none() && !messages.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising \
             behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
    let template = "spec.jobTemplate.spec";
    if old.is_none_or(|old| !check::same(new.at("spec"), old.at("spec"))) {
        warnings.extend(job_check::warnings_of_spec(new.at(template), template));
    }
    if new.text("spec.schedule").contains("TZ") {
        warnings.push(
            "CRON_TZ or TZ used in spec.schedule is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .to_owned(),
        );
    }
    warnings
}
