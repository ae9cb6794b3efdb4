//! CronJobs: defaults, refusals, warnings, rows.

use serde_json::{Value, json};

use super::{MADE, created, errors, kind, row, update_errors, with};

fn cron_job(spec: &Value) -> Value {
    let base = json!({
        "metadata": { "name": "x", "namespace": "default", "creationTimestamp": MADE },
        "spec": { "schedule": "*/5 * * * *", "jobTemplate": { "spec": { "template": { "spec": {
            "restartPolicy": "OnFailure", "containers": [{ "name": "c", "image": "i:1" }],
        } } } } },
    });
    with(&base, &json!({ "spec": spec }))
}

#[test]
fn a_cron_job_gets_its_defaults_and_its_template_only_those_of_pods() {
    let object = created(kind("batch", "CronJob"), cron_job(&json!({})));
    let spec = &object["spec"];
    assert_eq!((&spec["concurrencyPolicy"], &spec["suspend"]), (&json!("Allow"), &json!(false)));
    assert_eq!(spec["successfulJobsHistoryLimit"], 3);
    assert_eq!(spec["failedJobsHistoryLimit"], 1);
    let job = &spec["jobTemplate"]["spec"];
    assert!(job["parallelism"].is_null() && job["selector"].is_null());
    assert_eq!(job["template"]["spec"]["dnsPolicy"], "ClusterFirst");
}

#[test]
fn what_a_cron_job_may_not_be_is_refused_in_upstreams_words() {
    let cron_jobs = kind("batch", "CronJob");
    let zone_in_schedule = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
    let table: Vec<(Value, String)> = vec![
        (json!({ "schedule": "" }), "spec.schedule: Required value".to_owned()),
        (
            json!({ "schedule": "* * *" }),
            "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]".to_owned(),
        ),
        (
            json!({ "schedule": "TZ=UTC 0 * * * *" }),
            format!("spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": {zone_in_schedule}"),
        ),
        (
            json!({ "timeZone": "Mars/Olympus" }),
            "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus".to_owned(),
        ),
        (
            json!({ "concurrencyPolicy": "Maybe" }),
            "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \
             \"Replace\""
                .to_owned(),
        ),
        (
            json!({ "jobTemplate": { "spec": { "manualSelector": true } } }),
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\""
                .to_owned(),
        ),
        (
            json!({ "jobTemplate": { "spec": { "backoffLimit": -1 } } }),
            "spec.jobTemplate.spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(errors(cron_jobs, cron_job(&spec)), [expected], "{spec}");
    }
    let long = with(&cron_job(&json!({})), &json!({ "metadata": { "name": "x".repeat(53) } }));
    let found = errors(cron_jobs, long.clone());
    assert!(found[0].ends_with(": must be no more than 52 characters"), "{found:?}");
    assert_eq!(update_errors(cron_jobs, long.clone(), long), Vec::<String>::new());
}

#[test]
fn a_zone_that_stands_in_a_schedule_already_may_stay_and_is_warned_of() {
    let cron_jobs = kind("batch", "CronJob");
    let old = cron_job(&json!({ "schedule": "CRON_TZ=UTC 0 * * * *" }));
    assert_eq!(update_errors(cron_jobs, old.clone(), old.clone()), Vec::<String>::new());
    let both = with(&old, &json!({ "spec": { "timeZone": "UTC" } }));
    let found = update_errors(cron_jobs, old.clone(), both);
    assert!(found[0].ends_with("cannot use both timeZone field and TZ or CRON_TZ in schedule"), "{found:?}");
    let warnings = cron_jobs.strategy.warnings(&old, Some(&old));
    assert!(warnings[0].contains("is not officially supported"), "{warnings:?}");
}

#[test]
fn rows_of_cron_jobs_show_schedule_zone_and_what_runs() {
    let cron_jobs = kind("batch", "CronJob");
    let object = created(cron_jobs, cron_job(&json!({})));
    let cells = row(cron_jobs, &object);
    assert_eq!(cells[..7], ["x", "*/5 * * * *", "<none>", "False", "0", "<none>", "120m"]);
    let status = json!({ "active": [{}], "lastScheduleTime": "2026-01-01T23:59:00Z" });
    let running =
        with(&object, &json!({ "spec": { "timeZone": "Asia/Tokyo", "suspend": true }, "status": status }));
    assert_eq!(row(cron_jobs, &running)[2..6], ["Asia/Tokyo", "True", "1", "60s"]);
    assert_eq!(row(cron_jobs, &running)[7..], ["c", "i:1", "<none>"]);
}
