//! Decisions about Deployments: arithmetic, steps of a rollout, spreading, history, conditions.

use std::sync::Arc;

use client::Change;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::encoded::Revision;
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use super::arithmetic::fenceposts;
use super::plan::{Plan, Write, plan};
use super::view::{Event, View};

mod properties;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("is a time")
}

fn deployment(replicas: i32, more: &Value) -> Deployment {
    let mut deployment = json!({
        "metadata": {
            "name": "web", "namespace": "default", "uid": "d", "generation": 1,
            "annotations": { "deployment.kubernetes.io/revision": "2" },
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": { "matchLabels": { "app": "web" } },
            "strategy": {
                "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" },
            },
            "template": template("v2"),
        },
        "status": {},
    });
    model::patch::merge(&mut deployment, more);
    serde_json::from_value(deployment).expect("is a deployment")
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": image }] },
    })
}

/// A set with these replicas wanted and available, scaled when `desired` were wanted in all.
fn set(revision: i32, size: i32, available: i32, desired: i32) -> ReplicaSet {
    let name = format!("web-{revision}");
    let mut template = template(&format!("v{revision}"));
    template["metadata"]["labels"]["pod-template-hash"] = revision.to_string().into();
    let set = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:{revision:02}:00Z"),
            "labels": { "app": "web", "pod-template-hash": revision.to_string() },
            "annotations": {
                "deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": (desired + (desired + 3) / 4).to_string(),
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d",
                    "controller": true,
                },
            ],
        },
        "spec": { "replicas": size, "selector": { "matchLabels": { "app": "web" } }, "template": template },
        "status": {
            "replicas": size, "readyReplicas": available, "availableReplicas": available,
            "observedGeneration": 1,
        },
    });
    serde_json::from_value(set).expect("is a set")
}

fn planned_at(deployment: Deployment, sets: Vec<ReplicaSet>, now: Timestamp) -> Plan {
    let mut view = View::default();
    view.apply(Event::Deployments(Change::Reset(vec![Arc::new(deployment)], Revision(1))));
    view.apply(Event::Sets(Change::Reset(sets.into_iter().map(Arc::new).collect(), Revision(1))));
    plan(&view.deployment(&ObjectKey::new("default", "web")).expect("is there"), now)
}

fn planned(deployment: Deployment, sets: Vec<ReplicaSet>) -> Plan {
    planned_at(deployment, sets, now())
}

/// What a plan writes: `+SIZE` for a new set, `NAME FROM TO`, `-NAME`.
fn steps(plan: &Plan) -> Vec<String> {
    let step = |write: &Write| match write {
        Write::Create(set) => Some(format!("+{}", set.spec.replicas.unwrap_or_default())),
        Write::Patch { set, scaled, .. } => scaled.map(|(from, to)| format!("{} {from} {to}", set.name)),
        Write::Delete(set) => Some(format!("-{}", set.name)),
    };
    plan.writes.iter().filter_map(step).collect()
}

fn condition(status: Option<&DeploymentStatus>, kind: &str) -> (String, String) {
    let all = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut found = all.filter(|one| one.type_.as_deref() == Some(kind));
    let found = found.next().cloned().unwrap_or_default();
    (found.status.unwrap_or_default(), found.reason.unwrap_or_default())
}

#[test]
fn surge_rounds_up_and_unavailability_down_and_not_both_to_nothing() {
    let text = |text: &str| Some(IntOrString::String(text.to_owned()));
    for (surge, unavailable, wanted, expected) in [
        (text("25%"), text("25%"), 10, (3, 2)),
        (text("25%"), text("25%"), 1, (1, 0)),
        (text("25%"), text("25%"), 4, (1, 1)),
        (text("0%"), text("10%"), 5, (0, 1)),
        (text("0%"), text("100%"), 5, (0, 5)),
        (text("100%"), text("0%"), 5, (5, 0)),
        (Some(IntOrString::Int(2)), Some(IntOrString::Int(0)), 5, (2, 0)),
        (Some(IntOrString::Int(0)), text("1%"), 50, (0, 1)),
        (None, None, 8, (2, 2)),
        (text("25%"), text("25%"), 0, (0, 1)),
    ] {
        let rolling = RollingUpdateDeployment { max_surge: surge, max_unavailable: unavailable };
        assert_eq!(fenceposts(&rolling, wanted), expected, "{rolling:?} of {wanted}");
    }
}

#[test]
fn a_rolling_update_stays_within_surge_and_availability_at_each_step() {
    for (old, new, expected) in [
        (None, None, vec!["+4"]),
        // One more is allowed, and one may be missing.
        (Some((4, 4)), None, vec!["+1"]),
        (Some((4, 4)), Some((1, 0)), vec!["web-1 4 3"]),
        (Some((3, 3)), Some((1, 0)), vec!["web-2 1 2"]),
        (Some((3, 3)), Some((2, 0)), vec![]),
        (Some((3, 3)), Some((2, 1)), vec!["web-1 3 2"]),
        // What does not run anyhow goes first, and at once.
        (Some((4, 1)), Some((1, 1)), vec!["web-1 4 2"]),
        (Some((1, 1)), Some((4, 4)), vec!["web-1 1 0"]),
        (Some((0, 0)), Some((4, 4)), vec![]),
        (Some((0, 0)), Some((6, 4)), vec!["web-2 6 4"]),
    ] {
        let sets = old.map(|(size, available)| set(1, size, available, 4)).into_iter();
        let sets = sets.chain(new.map(|(size, available)| set(2, size, available, 4))).collect();
        let plan = planned(deployment(4, &json!({})), sets);
        assert_eq!(steps(&plan), expected, "{old:?} {new:?}");
    }
}

#[test]
fn a_set_that_was_scaled_down_just_now_does_not_count_the_pods_that_it_loses() {
    // Twenty are wanted and fifteen must stay. The old set has to lose five of its twenty and does not know.
    let mut old = set(1, 15, 20, 20);
    old.metadata.generation = Some(2);
    let sets = |old: &ReplicaSet| vec![old.clone(), set(2, 10, 2, 20)];
    assert!(steps(&planned(deployment(20, &json!({})), sets(&old))).is_empty(), "its status is an old one");
    // It knows, and has not deleted any: as many go as pods are available in their place.
    old.status.get_or_insert_default().observed_generation = Some(2);
    assert_eq!(steps(&planned(deployment(20, &json!({})), sets(&old))), ["web-1 15 13"]);
}

#[test]
fn sets_that_are_scaled_as_far_as_numbers_go_are_brought_back() {
    const MOST: i32 = i32::MAX;
    for (old, new, expected) in [
        ((MOST, 4), (MOST, 4), format!("web-2 {MOST} 4")),
        ((MOST, 4), (4, 4), format!("web-1 {MOST} 0")),
        ((MOST, 4), (1, 0), format!("web-1 {MOST} 3")),
        ((MOST, MOST), (4, 4), format!("web-1 {MOST} 0")),
    ] {
        let mut sets = vec![set(1, old.0, old.1, 4), set(2, new.0, new.1, 4)];
        let plan = planned(deployment(4, &json!({})), sets.clone());
        assert_eq!(steps(&plan), [expected], "{old:?} {new:?}");
        let told = plan.status.and_then(|status| status.replicas);
        assert_eq!(told, Some(MOST), "what cannot be said is the most that can");
        // The number changes too: in proportion, over two of that size.
        sets[1].spec.replicas = Some(MOST);
        let spread = steps(&planned(deployment(MOST, &json!({})), sets));
        assert!(!spread.is_empty(), "there are too many");
    }
    let mut last = set(3, 4, 4, 4);
    let annotations = last.metadata.annotations.get_or_insert_default();
    annotations.insert("deployment.kubernetes.io/revision".to_owned(), i64::MAX.to_string());
    assert_eq!(planned(deployment(4, &json!({})), vec![last]).revision, Some(i64::MAX.to_string()));
}

#[test]
fn recreation_waits_for_the_last_old_pod() {
    let recreate = json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } });
    let plan = |set: ReplicaSet| steps(&planned(deployment(3, &recreate), vec![set]));
    assert_eq!(plan(set(1, 3, 3, 3)), ["web-1 3 0"]);
    let mut ending = set(1, 0, 0, 3);
    ending.status.get_or_insert_default().terminating_replicas = Some(1);
    assert!(plan(ending).is_empty());
    let mut late = set(1, 0, 0, 3);
    late.metadata.generation = Some(2);
    assert!(plan(late).is_empty(), "its status is about what it was before");
    assert_eq!(plan(set(1, 0, 0, 3)), ["+3"]);
}

#[test]
fn a_change_of_the_number_in_a_rollout_is_spread_in_proportion() {
    // Wanted before, sizes of the old sets and the new; wanted now; what becomes of them.
    for (before, sizes, wanted, expected) in [
        (10, vec![8, 5], 15, vec!["web-1 8 12", "web-2 5 7"]),
        (10, vec![10, 0], 20, vec!["web-1 10 20"]),
        (10, vec![7, 4], 5, vec!["web-1 7 4", "web-2 4 3"]),
        (10, vec![8, 5], 0, vec!["web-1 8 0", "web-2 5 0"]),
    ] {
        let sets =
            sizes.iter().zip(1..).map(|(size, revision)| set(revision, *size, *size, before)).collect();
        let plan = planned(deployment(wanted, &json!({})), sets);
        assert_eq!(steps(&plan), expected, "{before} {sizes:?} {wanted}");
        let all: i32 =
            steps(&plan).iter().filter_map(|step| step.rsplit(' ').next()?.parse::<i32>().ok()).sum();
        let surge = if sizes.contains(&0) || wanted == 0 { 0 } else { (wanted + 3) / 4 };
        assert_eq!(all, wanted + surge, "nothing is lost and nothing is too many");
    }
}

#[test]
fn a_paused_deployment_scales_but_rolls_nothing_out() {
    let paused = json!({ "spec": { "paused": true } });
    let plan = planned(deployment(6, &paused), vec![set(1, 4, 4, 4)]);
    assert_eq!(steps(&plan), ["web-1 4 6"]);
    let told = condition(plan.status.as_ref(), "Progressing");
    assert_eq!(told, ("Unknown".to_owned(), "DeploymentPaused".to_owned()));
    let resumed =
        planned(Deployment { status: plan.status, ..deployment(6, &json!({})) }, vec![set(1, 6, 6, 6)]);
    assert_eq!(steps(&resumed), ["+2"]);
}

#[test]
fn a_template_that_returns_brings_its_set_back_under_a_new_number() {
    let plan = planned(deployment(4, &json!({})), vec![set(2, 0, 0, 4), set(3, 4, 4, 4)]);
    assert_eq!(plan.revision.as_deref(), Some("4"));
    let Some(Write::Patch { set, patch, .. }) = plan.writes.first() else { panic!("{plan:?}") };
    assert_eq!(set.name, "web-2");
    let annotations = &patch["metadata"]["annotations"];
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "4");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "2");
    assert_eq!(steps(&plan), ["web-2 0 1"]);
}

#[test]
fn a_new_set_is_named_by_the_hash_of_its_template_and_selects_by_it() {
    let plan = planned(deployment(4, &json!({ "metadata": { "annotations": { "team": "a" } } })), vec![]);
    let Some(Write::Create(made)) = plan.writes.first() else { panic!("{plan:?}") };
    let name = made.metadata.name.clone().unwrap_or_default();
    let hash = name.strip_prefix("web-").expect("is named after the deployment").to_owned();
    let template = made.spec.template.as_ref().and_then(|template| template.metadata.as_ref());
    let label = template.and_then(|metadata| metadata.labels.as_ref()?.get("pod-template-hash"));
    assert_eq!(label, Some(&hash));
    assert_eq!(
        made.spec.selector.match_labels.as_ref().map(|labels| &labels["pod-template-hash"]),
        Some(&hash)
    );
    let annotations = made.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations["deployment.kubernetes.io/desired-replicas"], "4");
    assert_eq!(annotations["deployment.kubernetes.io/max-replicas"], "5");
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "1");
    assert_eq!(annotations["team"], "a");
    let collided = json!({ "status": { "collisionCount": 1 } });
    let again = planned(deployment(4, &collided), vec![]);
    let Some(Write::Create(other)) = again.writes.first() else { panic!("{again:?}") };
    assert_ne!(other.metadata.name, made.metadata.name, "another count gives another name");
}

#[test]
fn the_history_keeps_the_newest_revisions_and_every_set_with_pods() {
    let few = json!({
        "metadata": { "annotations": { "deployment.kubernetes.io/revision": "9" } },
        "spec": { "revisionHistoryLimit": 1, "template": template("v9") },
        "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 },
    });
    let mut busy = set(4, 0, 0, 2);
    busy.status.get_or_insert_default().replicas = 1;
    let sets = vec![set(3, 0, 0, 2), busy, set(5, 0, 0, 2), set(6, 0, 0, 2), set(9, 2, 2, 2)];
    assert_eq!(steps(&planned(deployment(2, &few), sets)), ["-web-3", "-web-5"]);
}

#[test]
fn a_rollout_is_told_as_it_goes_until_it_is_complete() {
    let plan = planned(deployment(2, &json!({})), vec![]);
    let told = |plan: &Plan| condition(plan.status.as_ref(), "Progressing").1;
    assert_eq!(told(&plan), "NewReplicaSetCreated");
    assert_eq!(condition(plan.status.as_ref(), "Available").1, "MinimumReplicasUnavailable");
    let after = |plan: Plan| Deployment { status: plan.status, ..deployment(2, &json!({})) };
    let plan = planned(after(plan), vec![set(2, 2, 1, 2)]);
    assert_eq!(told(&plan), "ReplicaSetUpdated");
    assert!(plan.requeue_after.is_some(), "the deadline runs");
    let plan = planned(after(plan), vec![set(2, 2, 2, 2)]);
    assert_eq!(told(&plan), "NewReplicaSetAvailable");
    assert_eq!(condition(plan.status.as_ref(), "Available").1, "MinimumReplicasAvailable");
    let rested = after(plan);
    let plan = planned(rested.clone(), vec![set(2, 2, 2, 2)]);
    assert!(plan.is_quiet(&rested), "{plan:?}");
    assert_eq!(plan.requeue_after, None);
}

#[test]
fn a_rollout_without_progress_is_given_up_after_its_deadline() {
    let plan = planned(deployment(2, &json!({})), vec![]);
    let stuck = || set(2, 2, 0, 2);
    let begun = Deployment { status: plan.status, ..deployment(2, &json!({})) };
    let plan = planned(begun, vec![stuck()]);
    let waiting = Deployment { status: plan.status, ..deployment(2, &json!({})) };
    let at = |seconds: i64| now() + SignedDuration::from_secs(seconds);
    let early = planned_at(waiting.clone(), vec![stuck()], at(600));
    assert!(early.is_quiet(&waiting));
    let late = planned_at(waiting.clone(), vec![stuck()], at(601));
    let told = condition(late.status.as_ref(), "Progressing");
    assert_eq!(told, ("False".to_owned(), "ProgressDeadlineExceeded".to_owned()));
}
