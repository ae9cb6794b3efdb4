//! Jobs, CronJobs and DaemonSets as a user sees them.

use crate::space::{IDLE, Space};

fn job(name: &str, fields: &str, script: &str) -> String {
    format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}}}, spec: {{{fields} \
         template: {{spec: {{restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: \
         [{{name: c, image: busybox, command: [sh, -c, '{script}']}}]}}}}}}}}"
    )
}

#[test]
fn an_indexed_job_runs_to_its_end_and_each_pod_knows_its_index() {
    let Some(space) = Space::new() else { return };
    let fields = "completionMode: Indexed, completions: 3, parallelism: 2,";
    space.apply(&job("sum", fields, "echo index $JOB_COMPLETION_INDEX of $(hostname)"));
    space.run(&["wait", "--for=condition=complete", "job/sum", "--timeout=80s"]);
    assert_eq!(space.value("job/sum", "{.status.completedIndexes}"), "0-2");
    assert_eq!(space.value("job/sum", "{.status.succeeded}"), "3");
    let logs = space.run(&["logs", "-l", "job-name=sum", "--tail=-1"]);
    for index in 0..3 {
        assert!(logs.contains(&format!("index {index} of sum-{index}")), "{logs}");
    }
    assert!(!space.run(&["logs", "job/sum"]).is_empty());
    let table = space.run(&["get", "job", "sum", "--no-headers"]);
    let cells: Vec<&str> = table.split_whitespace().take(3).collect();
    assert_eq!(cells, ["sum", "Complete", "3/3"]);
    assert!(space.run(&["get", "all"]).contains("job.batch/sum"));
    let described = space.run(&["describe", "job", "sum"]);
    for part in ["Completed Indexes:  0-2", "0 Active (0 Ready) / 3 Succeeded / 0 Failed", "Job completed"] {
        assert!(described.contains(part), "{part} in {described}");
    }
    space.run(&["delete", "job", "sum", "--timeout=60s"]);
    space.wait("its pods are gone", || space.names("pods").is_empty());
}

#[test]
fn a_job_that_fails_is_tried_again_inside_its_pod_or_ends_at_its_limit() {
    let Some(space) = Space::new() else { return };
    space.apply(&job("never", "backoffLimit: 0,", "exit 3"));
    space.run(&["wait", "--for=condition=failed", "job/never", "--timeout=80s"]);
    let reason = "{.status.conditions[?(@.type==\"Failed\")].reason}";
    assert_eq!(space.value("job/never", reason), "BackoffLimitExceeded");
    assert_eq!(space.value("job/never", "{.status.failed}"), "1");
    let create = ["create", "job", "once", "--image=busybox", "--", "sh", "-c", "echo done"];
    space.run(&create);
    space.run(&["wait", "--for=condition=complete", "job/once", "--timeout=80s"]);
    assert_eq!(space.run(&["logs", "job/once"]), "done");
    let again = "{apiVersion: batch/v1, kind: Job, metadata: {name: again}, spec: {template: {spec: \
                 {restartPolicy: OnFailure, terminationGracePeriodSeconds: 0, volumes: [{name: v, emptyDir: {}}], \
                 containers: [{name: c, image: busybox, volumeMounts: [{name: v, mountPath: /v}], \
                 command: [sh, -c, 'test -e /v/x || { touch /v/x; exit 1; }']}]}}}}";
    space.apply(again);
    space.run(&["wait", "--for=condition=complete", "job/again", "--timeout=80s"]);
    assert_eq!(space.names("pods").iter().filter(|name| name.starts_with("again-")).count(), 1);
    let restarts = "{.items[0].status.containerStatuses[0].restartCount}";
    let path = format!("jsonpath={restarts}");
    assert_eq!(space.run(&["get", "pods", "-l", "job-name=again", "-o", &path]), "1");
}

#[test]
fn a_running_job_is_suspended_and_deleted_without_a_trace() {
    let Some(space) = Space::new() else { return };
    let manifest = job("long", "", "sleep 1000").replace("[sh, -c, 'sleep 1000']", IDLE);
    space.apply(&manifest);
    space.wait_value("job/long", "{.status.ready}", "1");
    space.run(&["patch", "job", "long", "-p", r#"{"spec":{"suspend":true}}"#]);
    space.wait("no pod is left", || space.names("pods").is_empty());
    assert_eq!(space.value("job/long", "{.status.failed}"), "", "a suspension is no failure");
    space.run(&["patch", "job", "long", "-p", r#"{"spec":{"suspend":false}}"#]);
    space.wait_value("job/long", "{.status.ready}", "1");
    space.run(&["delete", "job", "long", "--cascade=foreground", "--timeout=60s"]);
    assert!(space.names("pods").is_empty());
}

#[test]
fn a_cron_job_makes_jobs_by_the_clock_and_by_hand() {
    let Some(space) = Space::new() else { return };
    let create =
        ["create", "cronjob", "tick", "--image=busybox", "--schedule=* * * * *", "--", "echo", "tock"];
    space.run(&create);
    space.run(&["create", "job", "by-hand", "--from=cronjob/tick"]);
    space.run(&["wait", "--for=condition=complete", "job/by-hand", "--timeout=80s"]);
    assert_eq!(space.run(&["logs", "job/by-hand"]), "tock");
    let owner = "{.metadata.ownerReferences[0].name}";
    assert_eq!(space.value("job/by-hand", owner), "tick");
    space.wait("the clock has made a job", || {
        space.names("jobs").iter().any(|name| name.starts_with("tick-"))
    });
    assert!(!space.value("cronjob/tick", "{.status.lastScheduleTime}").is_empty());
    space.run(&["patch", "cronjob", "tick", "-p", r#"{"spec":{"suspend":true}}"#]);
    let table = space.run(&["get", "cj", "tick", "--no-headers"]);
    assert!(table.contains("* * * * *") && table.contains("True"), "{table}");
    let refused =
        space.kubectl(&["create", "cronjob", "no", "--image=busybox", "--schedule=TZ=UTC * * * * *"]);
    assert!(refused.stderr.contains("use timeZone field instead"), "{}", refused.stderr);
    assert!(space.run(&["describe", "cronjob", "tick"]).contains("Created job tick-"));
    space.run(&["delete", "cronjob", "tick", "--timeout=60s"]);
    space.wait("its jobs are gone", || space.names("jobs").is_empty() && space.names("pods").is_empty());
}

#[test]
fn a_daemon_set_runs_a_pod_on_the_node_and_rolls_out_and_back() {
    let Some(space) = Space::new() else { return };
    let manifest = format!(
        "{{apiVersion: apps/v1, kind: DaemonSet, metadata: {{name: log}}, spec: {{selector: {{matchLabels: \
         {{app: log}}}}, template: {{metadata: {{labels: {{app: log}}}}, spec: {{terminationGracePeriodSeconds: \
         5, containers: [{{name: c, image: busybox, command: {IDLE}}}]}}}}}}}}"
    );
    let rolled_out = || {
        let printed = space.run(&["rollout", "status", "daemonset/log", "--timeout=80s"]);
        assert!(printed.contains("daemon set \"log\" successfully rolled out"), "{printed}");
    };
    space.apply(&manifest);
    rolled_out();
    let pods = space.names("pods");
    assert_eq!(pods.len(), 1);
    let node = space.run(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    assert_eq!(space.value(&format!("pod/{}", pods[0]), "{.spec.nodeName}"), node);
    space.run(&["rollout", "restart", "daemonset/log"]);
    rolled_out();
    assert_ne!(space.names("pods"), pods);
    let history = space.run(&["rollout", "history", "daemonset/log"]);
    assert!(history.contains("daemonset.apps/log") && history.lines().count() >= 4, "{history}");
    space.run(&["rollout", "undo", "daemonset/log"]);
    rolled_out();
    let table = space.run(&["get", "ds", "log", "--no-headers"]);
    let cells: Vec<&str> = table.split_whitespace().take(6).collect();
    assert_eq!(cells, ["log", "1", "1", "1", "1", "1"]);
    let described = space.run(&["describe", "ds", "log"]);
    for part in ["Desired Number of Nodes Scheduled: 1", "Created pod: log-"] {
        assert!(described.contains(part), "{part} in {described}");
    }
    space.run(&["delete", "ds", "log", "--timeout=60s"]);
    space.wait("its pods are gone", || space.names("pods").is_empty());
}
