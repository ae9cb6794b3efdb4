//! Jobs: defaults, the selector that the server makes, refusals, rows.

use serde_json::{Value, json};

use super::{MADE, created, errors, kind, row, update_errors, with};

fn job(spec: &Value) -> Value {
    let base = json!({
        "metadata": { "name": "x", "namespace": "default", "uid": "u", "creationTimestamp": MADE },
        "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i:1" }],
        } } },
    });
    with(&base, &json!({ "spec": spec }))
}

#[test]
fn a_job_gets_its_defaults_and_a_selector_of_its_own() {
    let jobs = kind("batch", "Job");
    let object = created(jobs, job(&json!({})));
    let spec = &object["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(1), &json!(1)));
    assert_eq!((&spec["backoffLimit"], &spec["suspend"]), (&json!(6), &json!(false)));
    assert_eq!(spec["completionMode"], "NonIndexed");
    assert_eq!(spec["podReplacementPolicy"], "TerminatingOrFailed");
    assert_eq!(spec["selector"], json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": "u" } }));
    let labels = json!({
        "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "x",
        "controller-uid": "u", "job-name": "x",
    });
    assert_eq!(spec["template"]["metadata"]["labels"], labels);
    assert_eq!(object["metadata"]["labels"], labels);
    let queue = created(jobs, job(&json!({ "parallelism": 3 })));
    assert!(queue["spec"]["completions"].is_null());
    let per_index = json!({ "completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1 });
    assert_eq!(created(jobs, job(&per_index))["spec"]["backoffLimit"], i32::MAX);
    assert_eq!(errors(jobs, job(&per_index)), Vec::<String>::new());
}

#[test]
fn what_a_job_may_not_be_is_refused_in_upstreams_words() {
    let jobs = kind("batch", "Job");
    let indexed = |more: &Value| with(&json!({ "completionMode": "Indexed", "completions": 3 }), more);
    let table: Vec<(Value, &str)> = vec![
        (
            json!({ "parallelism": -1 }),
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({ "template": { "spec": { "restartPolicy": "Always" } } }),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            json!({ "completionMode": "Odd" }),
            "spec.completionMode: Unsupported value: \"Odd\": supported values: \"NonIndexed\", \"Indexed\"",
        ),
        (
            json!({ "completionMode": "Indexed", "parallelism": 1 }),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            json!({ "backoffLimitPerIndex": 1 }),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        (
            indexed(&json!({ "backoffLimitPerIndex": 1, "maxFailedIndexes": 4 })),
            "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
        ),
        (
            json!({ "managedBy": "me" }),
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            json!({ "podFailurePolicy": { "rules": [{ "action": "FailJob" }] } }),
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions \
             is required",
        ),
        (
            json!({ "podFailurePolicy": { "rules": [
                { "action": "Count", "onExitCodes": { "operator": "In", "values": [2, 1] } },
            ] } }),
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered",
        ),
        (
            indexed(&json!({ "successPolicy": { "rules": [{ "succeededIndexes": "0-5" }] } })),
            "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-5\": error parsing \
             succeededIndexes: too large index: \"5\"",
        ),
        (
            json!({ "template": { "metadata": { "labels": { "controller-uid": "w" } } } }),
            "spec.template.metadata.labels[controller-uid]: Invalid value: ",
        ),
    ];
    for (spec, expected) in table {
        let found = errors(jobs, job(&spec));
        assert_eq!(found.len(), 1, "{found:?} of {spec}");
        assert!(found[0].starts_with(expected), "{} instead of {expected}", found[0]);
    }
    let long = with(&job(&indexed(&json!({}))), &json!({ "metadata": { "name": "x".repeat(62) } }));
    let found = errors(jobs, long);
    assert!(found[0].contains("will not able to create pod with invalid DNS label: "), "{found:?}");
}

#[test]
fn most_of_a_job_stays_as_it_was_made() {
    let jobs = kind("batch", "Job");
    let stored = |spec: &Value| created(jobs, job(spec));
    let changed =
        |old: &Value, spec: &Value| update_errors(jobs, old.clone(), with(old, &json!({ "spec": spec })));
    let plain = stored(&json!({}));
    assert_eq!(changed(&plain, &json!({ "parallelism": 4, "suspend": true })), Vec::<String>::new());
    let refused = changed(&plain, &json!({ "completions": 2 }));
    assert_eq!(refused, ["spec.completions: Invalid value: 2: field is immutable"]);
    let image = json!({ "template": { "spec": { "containers": [{ "name": "c", "image": "i:2" }] } } });
    let refused = changed(&plain, &image);
    assert!(refused.len() == 1 && refused[0].ends_with(": field is immutable"), "{refused:?}");
    let indexed = stored(&json!({ "completionMode": "Indexed", "completions": 2, "parallelism": 2 }));
    assert_eq!(changed(&indexed, &json!({ "completions": 3, "parallelism": 3 })), Vec::<String>::new());
    let refused = changed(&indexed, &json!({ "completions": 3 }));
    let expected = "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism";
    assert_eq!(refused, [expected]);
    let suspended = stored(&json!({ "suspend": true }));
    let elsewhere = json!({ "template": { "spec": { "nodeSelector": { "zone": "b" } } } });
    assert_eq!(changed(&suspended, &elsewhere), Vec::<String>::new());
    assert_eq!(changed(&plain, &elsewhere).len(), 1);
}

#[test]
fn the_status_of_a_job_does_not_go_back() {
    let jobs = kind("batch", "Job");
    let complete = json!([
        { "type": "SuccessCriteriaMet", "status": "True" }, { "type": "Complete", "status": "True" },
    ]);
    let times = json!({ "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:00Z" });
    let base = created(jobs, job(&json!({})));
    let old =
        with(&base, &json!({ "status": with(&times, &json!({ "conditions": complete, "succeeded": 1 })) }));
    let check = |new: &Value| -> Vec<String> {
        let found = jobs.strategy.validate_status_update(new, &old);
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(check(&old), Vec::<String>::new());
    let fewer = check(&with(&old, &json!({ "status": { "succeeded": 0 } })));
    assert_eq!(fewer, ["status.succeeded: Invalid value: 0: cannot decrease the succeeded counter"]);
    let reopened = json!([{ "type": "SuccessCriteriaMet", "status": "True" }]);
    let found = check(&with(&old, &json!({ "status": { "conditions": reopened, "completionTime": null } })));
    assert_eq!(
        found,
        ["status.conditions: Invalid value: cannot disable the terminal Complete=True condition"]
    );
    let active = check(&with(&old, &json!({ "status": { "active": 1 } })));
    assert_eq!(active, ["status.active: Invalid value: 1: active>0 is invalid for finished job"]);
}

#[test]
fn rows_of_jobs_say_where_they_stand() {
    let jobs = kind("batch", "Job");
    let status = json!({ "startTime": "2026-01-01T23:00:00Z", "succeeded": 1 });
    let running = with(&created(jobs, job(&json!({ "completions": 3 }))), &json!({ "status": status }));
    let cells = row(jobs, &running);
    assert_eq!(cells[..5], ["x", "Running", "1/3", "60m", "120m"]);
    assert_eq!(cells[5..], ["c", "i:1", "batch.kubernetes.io/controller-uid=u"]);
    let queue = created(jobs, job(&json!({ "parallelism": 3 })));
    assert_eq!(row(jobs, &queue)[2..4], ["0/1 of 3", ""]);
    let suspended = json!({ "conditions": [{ "type": "Suspended", "status": "True" }] });
    assert_eq!(row(jobs, &with(&queue, &json!({ "status": suspended })))[1], "Suspended");
    let headings: Vec<&str> = jobs.columns.iter().map(|column| column.name).collect();
    assert_eq!(headings[..5], ["Name", "Status", "Completions", "Duration", "Age"]);
}
