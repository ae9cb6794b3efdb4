//! What is foreseen for pictures that are easy to foresee.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("is a time")
}

fn set(spec: &Value) -> ExtendedStatefulSet {
    let mut object = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "set", "generation": 1 },
        "spec": {
            "serviceName": "web",
            "replicas": 3,
            "selector": { "matchLabels": { "app": "web" } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
            },
        },
    });
    model::patch::merge(&mut object, &json!({ "spec": spec }));
    serde_json::from_value(object).expect("is a set")
}

/// A set that has come to rest, as a picture.
fn running(spec: &Value) -> World {
    let picture = Picture { set: set(spec), pods: vec![], claims: vec![], revisions: vec![], classes: None };
    let mut world = World::new(picture, now());
    let mut nothing = empty();
    for _ in 0..100 {
        let plan = world.plan().expect("is there");
        world.carry_out(&plan, &mut nothing);
        world.live();
    }
    assert_eq!(world.unavailable(), 0);
    world
}

fn empty() -> Forecast {
    Forecast {
        moves: vec![],
        restarts: vec![],
        replicas: 0,
        unavailable_now: 0,
        unavailable_at_worst: 0,
        steps_at_worst: 0,
        waits_seconds: 0,
        end: End::StillMoves,
    }
}

/// The same picture with another specification.
fn change(world: &World, spec: &Value) -> Picture {
    let view = world.view.set(&world.key).expect("is there");
    let mut changed = set(spec);
    changed.set.status = world.set.status.clone();
    changed.set.metadata.generation = Some(2);
    let names = |number: i32| ordinal::claim_name("data", "web", number);
    Picture {
        set: changed,
        pods: view.pods.members.values().map(|entry| Arc::clone(&entry.pod)).collect(),
        claims: (0..5).filter_map(|number| view.claim(&names(number)).cloned()).collect(),
        revisions: view.revisions().cloned().collect(),
        classes: None,
    }
}

fn of_pods(forecast: &Forecast) -> Vec<String> {
    let words = |one: &Move| match one {
        Move::CreatePod { pod, .. } => Some(format!("+{pod}")),
        Move::DeletePod { pod, .. } => Some(format!("-{pod}")),
        _ => None,
    };
    forecast.moves.iter().filter_map(words).collect()
}

#[test]
fn a_new_set_is_foreseen_in_order_with_its_claims() {
    let picture =
        Picture { set: set(&json!({})), pods: vec![], claims: vec![], revisions: vec![], classes: None };
    let foreseen = forecast(picture, now());
    assert_eq!(of_pods(&foreseen), ["+web-0", "+web-1", "+web-2"]);
    let claims = foreseen.moves.iter().filter(|one| matches!(one, Move::CreateClaim { .. })).count();
    assert_eq!((claims, foreseen.end), (3, End::Rests));
}

#[test]
fn a_new_template_restarts_from_the_highest_with_one_away() {
    let world = running(&json!({}));
    let template =
        json!({ "template": { "spec": { "containers": [{ "name": "app", "image": "app:v2" }] } } });
    let foreseen = forecast(change(&world, &template), now());
    assert_eq!(foreseen.restarts, ["web-2", "web-1", "web-0"]);
    assert_eq!((foreseen.unavailable_now, foreseen.unavailable_at_worst), (0, 1));
    assert_eq!(foreseen.end, End::Rests);
}

#[test]
fn scaling_down_removes_from_the_highest_and_claims_go_where_the_policy_says_so() {
    let world = running(&json!({}));
    let kept = forecast(change(&world, &json!({ "replicas": 1 })), now());
    assert_eq!(of_pods(&kept), ["-web-2", "-web-1"]);
    assert!(!kept.moves.iter().any(|one| matches!(one, Move::DeleteClaim { .. })));
    let policy = json!({
        "replicas": 1, "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete" },
    });
    let gone = forecast(change(&world, &policy), now());
    let claims: Vec<&Move> =
        gone.moves.iter().filter(|one| matches!(one, Move::DeleteClaim { .. })).collect();
    let claim = |number: i32| Move::DeleteClaim { claim: ordinal::claim_name("data", "web", number) };
    assert_eq!(claims, [&claim(2), &claim(1)]);
}

#[test]
fn what_time_alone_brings_is_counted_and_what_nothing_brings_is_waited_for() {
    let slow = json!({ "minReadySeconds": 10 });
    let picture = Picture { set: set(&slow), pods: vec![], claims: vec![], revisions: vec![], classes: None };
    let foreseen = forecast(picture, now());
    assert_eq!((foreseen.waits_seconds, foreseen.end), (30, End::Rests));
    // A pod that is not ready and was: nobody can say that it will be.
    let world = running(&json!({}));
    let mut picture = change(&world, &json!({ "replicas": 5 }));
    let mut pod = (*picture.pods[1]).clone();
    let status = pod.status.as_mut().expect("has a status");
    status.conditions.as_mut().expect("has conditions")[0].status = "False".to_owned();
    picture.pods[1] = Arc::new(pod);
    let foreseen = forecast(picture, now());
    assert!(matches!(&foreseen.end, End::Waits { reasons } if reasons[0].to_string().contains("web-1")));
    assert_eq!(of_pods(&foreseen), Vec::<String>::new());
}

#[test]
fn nothing_is_foreseen_for_a_change_that_changes_nothing() {
    let world = running(&json!({}));
    let foreseen = forecast(change(&world, &json!({})), now());
    assert_eq!((foreseen.moves, foreseen.end), (vec![], End::Rests));
}

#[test]
fn claims_that_follow_their_templates_grow_one_after_the_other_and_nothing_restarts() {
    let with = |size: &str| {
        json!({
            "volumeClaimUpdateStrategy": { "type": "InPlace" },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" }, "spec": { "resources": { "requests": { "storage": size } } },
            }],
        })
    };
    let mut world = running(&with("1Gi"));
    for number in 0..3 {
        let name = ordinal::claim_name("data", "web", number);
        let mut claim =
            (**world.view.set(&world.key).expect("is there").claim(&name).expect("is there")).clone();
        claim.status = serde_json::from_value(json!({ "phase": "Bound", "capacity": { "storage": "1Gi" } }))
            .expect("is a status");
        world.put_claim(claim);
    }
    let foreseen = forecast(change(&world, &with("2Gi")), now());
    let grown: Vec<&str> = foreseen
        .moves
        .iter()
        .filter_map(|one| match one {
            Move::GrowClaim { claim, from, to } => {
                assert_eq!((from.as_str(), to.as_str()), ("1Gi", "2Gi"));
                Some(claim.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(grown, ["data-web-2", "data-web-1", "data-web-0"]);
    assert_eq!((foreseen.restarts, foreseen.unavailable_at_worst), (vec![], 0));
    assert_eq!(foreseen.end, End::Rests);
    // Where it is known that their class does not let them, that is foreseen too.
    let fixed = Picture { classes: Some(vec![]), ..change(&world, &with("2Gi")) };
    let End::Waits { reasons } = forecast(fixed, now()).end else { panic!("it must wait") };
    assert!(matches!(&reasons[..], [WaitingOn::ClaimCannotGrow { claim, .. }] if claim == "data-web-2"));
}

#[test]
fn a_forecast_of_two_billion_replicas_is_given_up() {
    let spec = json!({ "replicas": i32::MAX, "podManagementPolicy": "Parallel" });
    let picture = Picture { set: set(&spec), pods: vec![], claims: vec![], revisions: vec![], classes: None };
    let forecast = forecast(picture, now());
    assert_eq!(forecast.end, End::StillMoves);
    assert!(forecast.moves.len() > MOVES_MAX && forecast.moves.len() < 2 * MOVES_MAX);
    assert_eq!(forecast.unavailable_now, usize::try_from(i32::MAX).expect("fits"));
}
