//! What broke in Kubernetes and was reported there: each a test whose name begins with the report's number.
//!
//! Those that take an API are in `tests/cluster/reported.rs`. A test shows what Ordinal does where upstream
//! went wrong; it must never lean on how either does it.

use client::Change;
use model::encoded::Revision;
use reconcile::picture::Picture as _;
use serde_json::json;

use super::script::{self, live, new_set};
use super::world::{World, name_of};
use crate::statefulset::view::{Event, View};

/// Turns that a small set gets to come to rest.
const TURNS_MAX: usize = 40;

/// The answer to the last command of a script.
fn answer(script: &str) -> String {
    let text = script::run(script);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|line| !line.starts_with("  ")).expect("there is a command");
    lines[last + 1..].join("\n")
}

#[track_caller]
fn says(script: &str, part: &str) {
    let answer = answer(script);
    assert!(answer.contains(part), "{part:?} is not said:\n{answer}");
}

#[track_caller]
fn does_not_say(script: &str, part: &str) {
    let answer = answer(script);
    assert!(!answer.contains(part), "{part:?} is said:\n{answer}");
}

/// Upstream an ordered set waits for its first pod that is not ready, whichever revision that is at: once a
/// bad template made one pod crash, the corrected template was never tried until somebody deleted it.
#[test]
fn k67250_a_rolling_update_gets_past_a_broken_pod() {
    let broken = "apply web replicas=2\nsettle web\napply web template=bad\nsync web\npod web-1 gone\n\
                  sync web\npod web-1 crashloop\napply web template=good\nsync web\n";
    says(broken, "delete pod web-1 (outdated and never ready)");
    let healed = format!("{broken}pod web-1 gone\nsettle web\nshow pods\n");
    says(&healed, "web-0 Running ready at <good>\n  web-1 Running ready at <good>");
}

/// A claim that was deleted just before its pod was made anew left the pod Pending for ever: claims were made
/// only together with their pods.
#[test]
fn k74374_a_pending_pod_gets_its_deleted_claim_again() {
    let lost = "apply web replicas=1 claims=data\nsync web\nclaim data-web-0 gone\nsync web\n";
    says(lost, "create claim data-web-0");
}

/// A claim with a deletion timestamp passed for one that exists: the pod was made, the claim went, and
/// nothing was left to start it with.
#[test]
fn k83282_a_pod_is_not_made_while_its_claim_is_being_deleted() {
    let going = "apply web replicas=1 claims=data\nsettle web\nclaim data-web-0 delete\npod web-0 delete\n\
                 pod web-0 gone\nsync web\n";
    does_not_say(going, "create pod");
    says(going, "wait for claim data-web-0 of pod web-0 to be gone");
    let gone = format!("{going}claim data-web-0 gone\nsync web\n");
    says(&gone, "create claim data-web-0, create pod web-0");
}

/// A pod that its node refused at once was deleted and made again many times a second.
#[test]
fn k89067_a_pod_that_ends_at_once_again_and_again_is_replaced_after_growing_pauses() {
    let mut script = "apply web replicas=1\nsync web\n".to_owned();
    for pause in [0, 1, 2, 4, 8] {
        script.push_str("pod web-0 failed\n");
        if pause > 0 {
            does_not_say(&format!("{script}sync web\n"), "delete pod");
            does_not_say(&format!("{script}tick {}\nsync web\n", pause - 1), "delete pod");
        }
        script.push_str(&format!("tick {pause}\nsync web\n"));
        says(&script, "delete pod web-0 (it has ended)");
        script.push_str("pod web-0 gone\nsync web\n");
    }
}

/// A set whose update waits for availability: one pod is ready since now, for `minReadySeconds: 300`.
fn update_of_slow_pods(fields: &str) -> String {
    format!(
        "apply web replicas=3 min-ready=300 {fields}\nsettle web\ntick 300\nsettle web\n\
         tick 300\nsettle web\ntick 300\nsettle web\n\
         apply web template=v2\nsync web\npod web-2 gone\nsync web\npod web-2 ready\nsync web\n"
    )
}

/// True when the next pod is taken in the second in which the updated one is available, and not before.
#[track_caller]
fn waits_for_availability(fields: &str) {
    let ready = update_of_slow_pods(fields);
    does_not_say(&ready, "delete pod");
    does_not_say(&format!("{ready}tick 299\nsync web\n"), "delete pod");
    says(&format!("{ready}tick 300\nsync web\n"), "delete pod web-1 (outdated)");
}

/// With `Parallel` and `maxUnavailable`, pods counted as back once they were ready: `minReadySeconds` was not
/// waited for, and a set of five was without any available pod within minutes.
#[test]
fn k112307_an_update_within_max_unavailable_waits_for_min_ready_seconds() {
    waits_for_availability("policy=Parallel max-unavailable=1");
}

/// The same without `maxUnavailable`: a restart of a parallel set went on as soon as a pod was ready.
#[test]
fn k119234_an_update_of_a_parallel_set_waits_for_min_ready_seconds() {
    waits_for_availability("policy=Parallel");
}

/// KEP-961 names it beside the two above and the next one as what had to be mended about `minReadySeconds`
/// before `maxUnavailable` could be relied on. What they have in common is kept here for ordered sets: health
/// is availability, and its moment is looked for and not met by chance.
#[test]
fn k123911_an_ordered_update_goes_on_in_the_second_a_pod_is_available() {
    waits_for_availability("");
    waits_for_availability("max-unavailable=1");
    says(&format!("{}tick 100\nsync web\n", update_of_slow_pods("")), "look again in 200s");
}

/// A condemned pod that was ready, but not yet available, passed for healthy when the first unhealthy pod was
/// looked for, and for unhealthy when it was its turn: scaling down hung.
#[test]
fn k123918_a_pod_that_is_ready_but_not_available_can_be_scaled_down() {
    let ready = "apply web replicas=2 min-ready=30\nsync web\npod web-0 ready\nsync web\ntick 30\nsync web\n\
                 pod web-1 ready\nsync web\napply web replicas=1\nsync web\n";
    says(ready, "delete pod web-1 (scaled down)");
}

/// With `maxUnavailable`, old pods that never were available used the whole budget up, so that the revision
/// that would have mended them was never rolled out.
#[test]
fn k137409_pods_that_are_unavailable_already_do_not_stop_their_own_update() {
    for fields in ["", "rollout=strict"] {
        let bad = format!(
            "apply web replicas=2 policy=Parallel max-unavailable=1 template=bad {fields}\nsync web\n\
             pod web-0 crashloop\npod web-1 crashloop\nsync web\napply web template=good\nsync web\n"
        );
        says(&bad, "delete pod web-0 (outdated");
        says(&bad, "delete pod web-1 (outdated");
    }
}

/// Two revisions with the same data but different names: the controller took now one and now the other for
/// the update, restarted pods for ever and counted `currentReplicas` below zero.
#[test]
fn k58347_a_second_revision_with_the_same_data_restarts_nothing() {
    let mut world = World::new();
    let mut set = new_set("web");
    set["spec"]["replicas"] = json!(2);
    world.put_set(serde_json::from_value(set).expect("is a set"));
    rest(&mut world, &["web"]);
    let before: Vec<_> = world.pods.values().map(|pod| pod.metadata.uid.clone()).collect();
    for number in [1, 2, 7] {
        let mut twin = world.revisions.values().next().expect("there is one").clone();
        twin.metadata.name = Some(format!("web-zzzz{number}"));
        twin.metadata.uid = None;
        twin.revision = Some(number);
        world.put_revision(twin);
        rest(&mut world, &["web"]);
        let after: Vec<_> = world.pods.values().map(|pod| pod.metadata.uid.clone()).collect();
        assert_eq!(after, before, "twin of number {number}");
    }
}

/// A controller that had just started decided before it had seen the revisions: it recorded the same template
/// again under another name. (The other half of the test has an API.)
#[test]
fn k56355_nothing_is_decided_before_the_revisions_were_seen() {
    let mut view = View::default();
    view.apply(Event::Sets(Change::Reset(Vec::new(), Revision(1))));
    view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1))));
    view.apply(Event::Claims(Change::Reset(Vec::new(), Revision(1))));
    assert!(!view.is_synced());
    view.apply(Event::Revisions(Change::Reset(Vec::new(), Revision(1))));
    assert!(view.is_synced());
}

/// A pod whose containers ended well when its node was drained or restarted had the phase Succeeded, which
/// nobody replaced: only Failed was thought of.
#[test]
fn k118310_a_pod_that_succeeded_is_replaced() {
    let ended = "apply web replicas=2\nsettle web\npod web-0 succeeded\nsync web\n";
    says(ended, "delete pod web-0 (it has ended)");
    says(&format!("{ended}pod web-0 gone\nsync web\n"), "create pod web-0");
}

/// Sets found their pods by selector alone: two whose selectors overlap deleted each other's.
#[test]
fn k36859_sets_whose_selectors_overlap_leave_each_others_pods_alone() {
    let mut world = World::new();
    for name in ["web", "db"] {
        let mut set = new_set(name);
        set["spec"]["replicas"] = json!(2);
        set["spec"]["selector"]["matchLabels"] = json!({ "app": "both" });
        set["spec"]["template"]["metadata"]["labels"] = json!({ "app": "both" });
        world.put_set(serde_json::from_value(set).expect("is a set"));
    }
    rest(&mut world, &["web", "db"]);
    let before: Vec<_> = world.pods.values().map(|pod| (name_of(pod), pod.metadata.uid.clone())).collect();
    assert_eq!(before.len(), 4);
    let mut web = world.sets["web"].clone();
    web.spec.replicas = Some(1);
    world.put_set(web);
    rest(&mut world, &["web", "db"]);
    let after: Vec<_> = world.pods.values().map(|pod| (name_of(pod), pod.metadata.uid.clone())).collect();
    let expected: Vec<_> = before.into_iter().filter(|(name, _)| name != "web-1").collect();
    assert_eq!(after, expected);
}

/// Not a report, but what the model of `testkit` found: a decision to take a pod because it costs nothing
/// must not be carried out when the pod has become ready meanwhile.
#[test]
fn a_pod_that_got_ready_meanwhile_is_not_taken_as_one_that_costs_nothing() {
    for (is_strict, ready_once) in [(false, false), (true, true)] {
        let mut world = World::new();
        let mut set = new_set("web");
        set["spec"]["podManagementPolicy"] = json!("Parallel");
        set["spec"]["replicas"] = json!(3);
        if is_strict {
            set["metadata"]["annotations"] = json!({ (model::stateful_set::ROLLOUT_ANNOTATION): "strict" });
        }
        world.put_set(serde_json::from_value(set).expect("is a set"));
        let plan = world.plan("web").expect("there is a set");
        world.carry_out(&plan).expect("is not refused");
        let running = json!({ "running": {} });
        for name in ["web-0", "web-1", "web-2"] {
            if ready_once {
                world.make_ready(name);
            }
            world.tick(5);
            world.set_phase(name, "Running", false, &running);
        }
        let mut set = world.sets["web"].clone();
        let template = json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "app", "image": "app:v2" }] },
        });
        set.spec.template = serde_json::from_value(template).expect("is a template");
        world.put_set(set);
        let plan = world.plan("web").expect("there is a set");
        assert_eq!(plan.steps.len(), 3, "{plan}");
        for name in ["web-0", "web-1", "web-2"] {
            world.make_ready(name);
        }
        world.carry_out(&plan).expect_err("the pods have changed");
        assert!(world.pods.values().all(|pod| pod.metadata.deletion_timestamp.is_none()));
        let plan = world.plan("web").expect("there is a set");
        assert_eq!(plan.steps.len(), 1, "now they are taken one after the other:\n{plan}");
    }
}

/// Lets sets and their pods be until nothing moves.
fn rest(world: &mut World, sets: &[&str]) {
    for _ in 0..TURNS_MAX {
        let mut has_moved = false;
        for set in sets {
            let plan = world.plan(set).expect("there is a set");
            has_moved |= !plan.is_quiet();
            world.carry_out(&plan).expect("is not refused");
            let status = world.sets[*set].status.as_ref().expect("it was written");
            assert!(status.current_replicas.is_some_and(|count| count >= 0));
        }
        has_moved |= live(world);
        if !has_moved {
            return;
        }
    }
    panic!("it does not come to rest");
}
