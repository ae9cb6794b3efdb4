//! Properties over random histories: what must never be planned, and that a fair world comes to rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::Change;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use model::{meta, ordinal};
use proptest::prelude::*;
use serde_json::json;

use super::script::{live, new_set};
use super::world::World;
use crate::statefulset::decision::{ClaimWrite, DeleteReason, Plan, PodWrite};
use crate::statefulset::view::Event;
use model::stateful_set::{
    ClaimUpdates, Extra, Ordinals, PRIMARY_LABEL_ANNOTATION, Reserved, SPECIFIED_DELETE_LABEL, replicas,
};
use reconcile::picture::Picture as _;

/// Largest number of replicas in a history: small enough to run thousands, large enough for every order.
const REPLICAS_MAX: i32 = 5;
/// Turns a fair world gets to come to rest: five pods replaced twice, four turns each, and some more.
const TURNS_MAX: usize = 120;

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    Scale(i32),
    Start(i32),
    Template(u8),
    Partition(i32),
    Strategy(&'static str),
    Paused(bool),
    Reserve(Vec<i32>),
    Specify(i32),
    Primary(i32),
    Claims(ClaimUpdates),
    Size(u8),
    WhenScaled(bool),
    Ready(i32),
    Unready(i32),
    Fail(i32),
    Delete(i32),
    Gone(i32),
    LoseClaim(i32),
    Relabel(i32),
    Serve,
    Tick(i64),
    Sync,
}

fn happening() -> impl Strategy<Value = Happening> {
    let pod = 0..REPLICAS_MAX + 2;
    prop_oneof![
        1 => (0..=REPLICAS_MAX).prop_map(Happening::Scale),
        1 => (0..3).prop_map(Happening::Start),
        1 => (1..4_u8).prop_map(Happening::Template),
        1 => (0..4).prop_map(Happening::Partition),
        1 => prop::sample::select(vec!["OnDelete", "RollingUpdate", "Recreate"]).prop_map(Happening::Strategy),
        1 => any::<bool>().prop_map(Happening::Paused),
        1 => prop::collection::vec(0..4, 0..3).prop_map(Happening::Reserve),
        1 => pod.clone().prop_map(Happening::Specify),
        1 => pod.clone().prop_map(Happening::Primary),
        1 => prop::sample::select(vec![ClaimUpdates::InPlace, ClaimUpdates::OnClaimDelete])
            .prop_map(Happening::Claims),
        1 => (1..4_u8).prop_map(Happening::Size),
        1 => Just(Happening::Serve),
        1 => any::<bool>().prop_map(Happening::WhenScaled),
        4 => pod.clone().prop_map(Happening::Ready),
        1 => pod.clone().prop_map(Happening::Unready),
        1 => pod.clone().prop_map(Happening::Fail),
        1 => pod.clone().prop_map(Happening::Delete),
        3 => pod.clone().prop_map(Happening::Gone),
        1 => pod.clone().prop_map(Happening::LoseClaim),
        1 => pod.prop_map(Happening::Relabel),
        1 => (1..20_i64).prop_map(Happening::Tick),
        6 => Just(Happening::Sync),
    ]
}

pub(super) fn change_spec(world: &mut World, change: impl FnOnce(&mut serde_json::Value)) {
    let before = world.sets.get("web").expect("the set exists");
    let mut value = serde_json::to_value(before).expect("encodes");
    change(&mut value["spec"]);
    let mut set: StatefulSet = serde_json::from_value(value).expect("decodes");
    if set.spec != before.spec {
        set.metadata.generation = before.metadata.generation.map(|generation| generation + 1);
    }
    world.put_set(set);
}

fn change_extra(world: &mut World, change: impl FnOnce(&mut Extra)) {
    change(world.extras.entry("web".to_owned()).or_default());
    let mut set = world.sets.get("web").expect("the set exists").clone();
    set.metadata.generation = set.metadata.generation.map(|generation| generation + 1);
    world.put_set(set);
}

fn label(world: &mut World, pod: &str, key: &str, value: &str) {
    if let Some(mut pod) = world.pods.get(pod).cloned() {
        pod.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        world.put_pod(pod);
    }
}

pub(super) fn happen(world: &mut World, happening: &Happening) {
    let running = json!({ "running": {} });
    let name = |number: i32| ordinal::pod_name("web", number);
    let is_there = |world: &World, number: i32| world.pods.contains_key(&name(number));
    match happening {
        Happening::Scale(replicas) => change_spec(world, |spec| spec["replicas"] = json!(replicas)),
        Happening::Start(start) => change_spec(world, |spec| spec["ordinals"] = json!({ "start": start })),
        Happening::Template(version) => change_spec(world, |spec| {
            spec["template"]["spec"]["containers"][0]["image"] = json!(format!("app:v{version}"));
        }),
        Happening::Partition(partition) => change_spec(world, |spec| {
            spec["updateStrategy"] =
                json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": partition } });
        }),
        Happening::Strategy(kind) => {
            change_spec(world, |spec| spec["updateStrategy"] = json!({ "type": kind }));
        }
        Happening::Paused(is_paused) => {
            change_extra(world, |extra| extra.is_paused = *is_paused);
        }
        Happening::Reserve(ordinals) => change_extra(world, |extra| {
            let entries: Vec<_> = ordinals.iter().map(|ordinal| json!(ordinal)).collect();
            extra.reserved = Reserved::parse(&entries).expect("is right");
        }),
        Happening::Specify(number) => label(world, &name(*number), SPECIFIED_DELETE_LABEL, "true"),
        Happening::Primary(number) => label(world, &name(*number), "role", "primary"),
        Happening::Claims(updates) => change_extra(world, |extra| extra.claim_updates = *updates),
        Happening::Size(size) => change_spec(world, |spec| {
            let request = &mut spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
            if request.as_str() < Some(&format!("{size}Gi")) {
                *request = json!(format!("{size}Gi"));
            }
        }),
        Happening::Serve => {
            world.serve_claims();
        }
        Happening::WhenScaled(delete) => change_spec(world, |spec| {
            let policy = if *delete { "Delete" } else { "Retain" };
            spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = json!(policy);
        }),
        Happening::Ready(number) if is_there(world, *number) => world.make_ready(&name(*number)),
        Happening::Unready(number) if is_there(world, *number) => {
            world.set_phase(&name(*number), "Running", false, &running);
        }
        Happening::Fail(number) if is_there(world, *number) => {
            world.set_phase(&name(*number), "Failed", false, &running);
        }
        Happening::Delete(number) if is_there(world, *number) => world.delete_pod(&name(*number)),
        Happening::Gone(number)
            if world.pods.get(&name(*number)).is_some_and(|pod| meta::is_terminating(&pod.metadata)) =>
        {
            world.remove_pod(&name(*number));
            world.collect_claims();
        }
        Happening::LoseClaim(number) => {
            let claim = ordinal::claim_name("data", "web", *number);
            if world.claims.contains_key(&claim) {
                world.remove_claim(&claim);
            }
        }
        Happening::Relabel(number) => label(world, &name(*number), "app", "debug"),
        Happening::Tick(seconds) => world.tick(*seconds),
        Happening::Sync => {
            let plan = world.plan("web").expect("the set exists");
            // A refusal is as good as a crash in the middle of the plan.
            let _ = world.carry_out(&plan);
        }
        _ => {}
    }
}

fn world(policy: &str, min_ready_seconds: i32) -> World {
    let mut set = new_set("web");
    set["spec"]["podManagementPolicy"] = json!(policy);
    set["spec"]["minReadySeconds"] = json!(min_ready_seconds);
    set["spec"]["replicas"] = json!(3);
    set["metadata"]["annotations"] = json!({ (PRIMARY_LABEL_ANNOTATION): "role=primary" });
    set["spec"]["volumeClaimTemplates"] = json!([{ "metadata": { "name": "data" }, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
        } }]);
    let mut world = World::new();
    world.put_set(serde_json::from_value(set).expect("is a set"));
    world
}

/// What no plan may ever say, in any world.
fn check_safety(world: &World, plan: &Plan, is_ordered: bool) {
    let set = world.sets.get("web").expect("the set exists");
    let mut ordinals = BTreeSet::new();
    for step in &plan.steps {
        assert!(ordinals.insert(step.ordinal), "two steps for one ordinal:\n{plan}");
    }
    let deleted = |why: DeleteReason| {
        let is_that =
            move |write: &PodWrite| matches!(write, PodWrite::Delete { why: reason, .. } if *reason == why);
        plan.steps.iter().filter(move |step| is_that(&step.write))
    };
    let ordinals = Ordinals::of(set, &world.extras.get("web").cloned().unwrap_or_default().reserved);
    let is_healthy = |number: i32| {
        let pod = world.pods.get(&ordinal::pod_name("web", number));
        pod.is_some_and(|pod| {
            let seconds = set.spec.min_ready_seconds.unwrap_or_default();
            model::pod::is_available(pod, seconds, world.now) && !meta::is_terminating(&pod.metadata)
        })
    };
    let unavailable = ordinals.iter().filter(|number| !is_healthy(*number)).count();
    let kind = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    if kind == Some("Recreate") {
        let makes = plan.steps.iter().any(|step| matches!(step.write, PodWrite::Create(_)));
        let removes = deleted(DeleteReason::Outdated).count() > 0;
        assert!(!makes || !removes, "nothing is made while an outdated pod is left:\n{plan}");
        return;
    }
    let taken = deleted(DeleteReason::Outdated).filter(|step| is_healthy(step.ordinal)).count();
    assert!(taken == 0 || taken + unavailable <= 1, "an update makes one at a time unavailable:\n{plan}");
    for step in deleted(DeleteReason::Broken) {
        assert!(!is_healthy(step.ordinal), "what is broken is not healthy:\n{plan}");
    }
    for step in deleted(DeleteReason::ScaledDown) {
        assert!(!ordinals.contains(step.ordinal), "a wanted pod is not scaled down:\n{plan}");
    }
    for step in plan.steps.iter().filter(|step| matches!(step.write, PodWrite::Create(_))) {
        assert!(ordinals.contains(step.ordinal), "only wanted pods are made:\n{plan}");
        assert!(!world.pods.contains_key(&step.pod), "a name is taken until it is free:\n{plan}");
        if is_ordered {
            for lower in ordinals.iter().take_while(|lower| *lower < step.ordinal) {
                let pod = world.pods.get(&ordinal::pod_name("web", lower));
                let is_healthy = pod.is_some_and(|pod| {
                    model::pod::is_running_and_ready(pod) && !meta::is_terminating(&pod.metadata)
                });
                assert!(is_healthy, "made before {lower} is ready:\n{plan}");
            }
        }
    }
    check_claims(world, plan, &ordinals);
    if is_ordered {
        let moves = plan
            .steps
            .iter()
            .filter(|step| matches!(step.write, PodWrite::Create(_) | PodWrite::Delete { .. }));
        assert!(moves.count() <= 1, "an ordered set makes one move at a time:\n{plan}");
    }
    if let Some(status) = &plan.status {
        for count in [status.ready_replicas, status.current_replicas, status.updated_replicas] {
            assert!((0..=status.replicas).contains(&count.unwrap_or_default()), "bad count:\n{plan}");
        }
        assert!(status.available_replicas <= status.ready_replicas, "bad count:\n{plan}");
    }
}

/// Volumes of one replica grow at a time, and a claim is never asked to be smaller.
fn check_claims(world: &World, plan: &Plan, ordinals: &Ordinals) {
    let storage = |list: Option<std::collections::BTreeMap<String, Quantity>>| {
        list.and_then(|list| list.get("storage").cloned()).unwrap_or_default().0
    };
    let asked =
        |claim: &PersistentVolumeClaim| storage(claim.spec.clone().and_then(|spec| spec.resources?.requests));
    let grown: BTreeSet<i32> = plan
        .steps
        .iter()
        .filter(|step| {
            step.claims.iter().any(|write| match write {
                ClaimWrite::Update(update) => {
                    assert!(update.grows.as_ref().is_none_or(|growth| growth.from < growth.to));
                    update.grows.is_some()
                }
                _ => false,
            })
        })
        .map(|step| step.ordinal)
        .collect();
    let growing = world.claims.values().filter(|claim| {
        let status = claim.status.clone().unwrap_or_default();
        status.phase.is_some() && storage(status.capacity) < asked(claim)
    });
    let growing = growing.filter_map(|claim| ordinal::parse(claim.metadata.name.as_deref()?));
    let growing: BTreeSet<i32> = growing.map(|(_, ordinal)| ordinal).collect();
    let under_way = growing.union(&grown).filter(|ordinal| ordinals.contains(**ordinal)).count();
    assert!(grown.is_empty() || under_way == 1, "one replica's volumes grow at a time:\n{plan}");
}

/// Lets a fair world run until nothing moves, and checks that it has what the set says.
fn check_convergence(world: &mut World) {
    // Somebody clears the pods that would stop it for ever: broken ones, and those that are not the set's.
    for (name, pod) in world.pods.clone() {
        let labels = pod.metadata.labels.as_ref();
        let is_ours = labels.is_some_and(|labels| labels.get("app").is_some_and(|app| app == "web"));
        if !is_ours || !model::pod::is_ready(&pod) {
            world.delete_pod(&name);
        }
    }
    for _ in 0..TURNS_MAX {
        let plan = world.plan("web").expect("the set exists");
        let _ = world.carry_out(&plan);
        let moved = live(world);
        world.tick(20);
        if !moved && plan.is_quiet() && world.plan("web").expect("the set exists").is_quiet() {
            let set = world.sets.get("web").expect("the set exists");
            let ordinals = Ordinals::of(set, &world.extras.get("web").cloned().unwrap_or_default().reserved);
            let wanted: BTreeSet<String> =
                ordinals.iter().map(|number| ordinal::pod_name("web", number)).collect();
            let present: BTreeSet<String> = world.pods.keys().cloned().collect();
            assert_eq!(present, wanted);
            let status = set.status.as_ref().expect("has a status");
            assert_eq!(status.ready_replicas, Some(replicas(set)));
            assert_eq!(status.observed_generation, set.metadata.generation);
            return;
        }
    }
    panic!("it does not come to rest: {}", world.plan("web").expect("the set exists"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_plan_is_safe_and_a_fair_world_comes_to_rest(
        is_ordered in any::<bool>(),
        min_ready_seconds in prop_oneof![Just(0), Just(5)],
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut world = world(if is_ordered { "OrderedReady" } else { "Parallel" }, min_ready_seconds);
        for happening in &happenings {
            happen(&mut world, happening);
            let plan = world.plan("web").expect("the set exists");
            let by_looking_at_all = world.plan_by_looking_at_all("web").expect("the set exists");
            prop_assert_eq!(&plan, &by_looking_at_all);
            check_safety(&world, &plan, is_ordered);
        }
        check_convergence(&mut world);
    }

    #[test]
    fn a_plan_survives_being_written_down(happenings in prop::collection::vec(happening(), 0..20)) {
        let mut world = world("Parallel", 0);
        for happening in &happenings {
            happen(&mut world, happening);
        }
        let plan = world.plan("web").expect("the set exists");
        let text = serde_json::to_string(&plan).expect("encodes");
        let read: Plan = serde_json::from_str(&text).expect("decodes");
        prop_assert_eq!(read.to_string(), plan.to_string());
    }
}

#[test]
fn what_was_checked_of_a_pod_is_checked_again_when_its_claim_changes() {
    let mut world = world("OrderedReady", 0);
    check_convergence(&mut world);
    change_spec(&mut world, |spec| {
        spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = json!("Delete");
    });
    let plan = world.plan("web").expect("the set exists");
    assert_eq!(plan.steps.len(), 3, "all claims get an owner:\n{plan}");
    world.carry_out(&plan).expect("is not refused");
    let mut claim = world.claims.get("data-web-1").expect("exists").clone();
    claim.metadata.owner_references = None;
    world.put_claim(claim);
    let plan = world.plan("web").expect("the set exists");
    let ordinals: Vec<i32> = plan.steps.iter().map(|step| step.ordinal).collect();
    assert_eq!(ordinals, [1], "{plan}");
}

#[test]
fn a_claim_touches_its_set_where_both_names_have_hyphens() {
    let mut set = new_set("my-web");
    set["spec"]["volumeClaimTemplates"] = json!([{ "metadata": { "name": "a-b" }, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
        } }]);
    let mut world = World::new();
    world.put_set(serde_json::from_value(set).expect("is a set"));
    let touched = |name: &str, world: &mut World| {
        let claim = json!({ "metadata": { "name": name, "namespace": "default" } });
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("is a claim");
        world.view.apply(Event::Claims(Change::Apply(Arc::new(claim)))).len()
    };
    assert_eq!(touched("a-b-my-web-0", &mut world), 1);
    for other in ["b-my-web-0", "a-b-web-0", "a-b-my-web", "my-web-0"] {
        assert_eq!(touched(other, &mut world), 0, "{other}");
    }
}

#[test]
fn a_pod_that_was_copied_into_another_namespace_is_nobodys_there() {
    let mut world = world("OrderedReady", 0);
    check_convergence(&mut world);
    let mut copy = world.pods.get("web-0").expect("exists").clone();
    copy.metadata.namespace = Some("other".to_owned());
    copy.metadata.uid = Some("copy".to_owned());
    let quiet = |world: &World| world.plan("web").expect("the set exists").is_quiet();
    for change in [Change::Apply(Arc::new(copy.clone())), Change::Delete(Arc::new(copy))] {
        world.view.apply(Event::Pods(change));
        assert!(quiet(&world), "{}", world.plan("web").expect("the set exists"));
        label(&mut world, "web-1", "kick", "1");
        assert!(quiet(&world), "{}", world.plan("web").expect("the set exists"));
    }
}

#[test]
fn an_update_of_a_set_of_two_billion_looks_at_what_a_cluster_can_hold() {
    let mut world = world("OrderedReady", 0);
    check_convergence(&mut world);
    change_spec(&mut world, |spec| {
        spec["replicas"] = json!(i32::MAX);
        spec["template"]["spec"]["containers"][0]["image"] = json!("app:v9");
    });
    let plan = world.plan("web").expect("the set exists");
    assert!(plan.steps.len() <= 1_000, "{} steps", plan.steps.len());
}

/// Not a benchmark: it fails only if a plan for one change looks at everything anew many times over.
#[test]
fn a_set_of_five_thousand_is_planned_in_one_pass() {
    let mut world = world("Parallel", 0);
    change_spec(&mut world, |spec| spec["replicas"] = json!(5_000));
    let mut plans = 0;
    loop {
        let plan = world.plan("web").expect("the set exists");
        if !plan.has_actions() {
            break;
        }
        assert!(plan.steps.len() <= 1_000);
        world.carry_out(&plan).expect("is not refused");
        plans += 1;
    }
    assert_eq!(plans, 5);
    assert_eq!(world.pods.len(), 5_000);
    assert_eq!(world.claims.len(), 5_000);
}
