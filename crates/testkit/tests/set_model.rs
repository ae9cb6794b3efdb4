//! The StatefulSet plan in every state of a small world, as far as an ordinary run goes, and plans that are
//! wrong on purpose, each of which must be found out. `cargo xtask bench model` goes much further.

use controllers::statefulset::decision::{DeleteReason, Plan, PodWrite};
use controllers::statefulset::plan::plan;
use controllers::statefulset::view::SetView;
use jiff::Timestamp;
use testkit::set_model::state::Picture;
use testkit::set_model::{Bounds, Planner, Report, SetModel};

/// Steps between states in each check: some ten seconds of an unoptimised build, all in all.
const STEPS_MAX: usize = 60_000;

const ORDERED: Bounds = Bounds { is_ordered: true, controllers: 1, changes: 1, faults: 1, lag: 1 };
const PARALLEL: Bounds = Bounds { is_ordered: false, ..ORDERED };

fn check(bounds: Bounds, planner: Planner) -> Report {
    SetModel::new(bounds, planner).check(Some(STEPS_MAX))
}

#[test]
fn no_plan_breaks_a_rule_in_any_state_within_the_bounds() {
    let mut states = 0;
    for controllers in [1, 2] {
        for bounds in [ORDERED, PARALLEL] {
            let bounds = Bounds { controllers, ..bounds };
            let report = check(bounds, Planner::REAL);
            assert!(report.broken.is_empty(), "{bounds:?}: {}: {}", report.broken[0].0, report.broken[0].1);
            states += report.states;
            println!("{bounds:?}: {} states, depth {}", report.states, report.depth);
        }
    }
    println!("{states} distinct states");
    assert!(states > STEPS_MAX, "the model has lost most of its states: {states}");
}

#[track_caller]
fn breaks(rule: &str, bounds: Bounds, planner: Planner) {
    let report = check(bounds, planner);
    let found: Vec<&str> = report.broken.iter().map(|(rule, _)| *rule).collect();
    assert!(found.contains(&rule), "{rule:?} holds in {} states; broken are {found:?}", report.states);
}

fn misreading(reads: fn(Picture) -> Picture) -> Planner {
    Planner { reads, ..Planner::REAL }
}

#[test]
fn a_plan_that_does_not_wait_for_lower_ordinals_is_found_out() {
    fn reads(mut picture: Picture) -> Picture {
        picture.set.spec.is_ordered = false;
        picture
    }
    breaks("plans are right for what was seen", ORDERED, misreading(reads));
}

#[test]
fn a_plan_that_takes_one_pod_too_many_is_found_out() {
    fn reads(mut picture: Picture) -> Picture {
        picture.set.spec.max_unavailable += 1;
        picture
    }
    breaks("plans are right for what was seen", PARALLEL, misreading(reads));
}

#[test]
fn a_plan_that_lets_claims_go_without_a_policy_is_found_out() {
    fn reads(mut picture: Picture) -> Picture {
        picture.set.spec.deletes_scaled = true;
        picture
    }
    breaks("plans are right for what was seen", PARALLEL, misreading(reads));
}

/// As upstream does it: k/k #67250.
#[test]
fn a_plan_that_leaves_a_broken_rollout_alone_is_found_out() {
    fn reads(mut picture: Picture) -> Picture {
        picture.pods.iter_mut().flatten().for_each(|pod| pod.was_ready = true);
        picture
    }
    breaks("all comes to rest", Bounds { faults: 0, ..ORDERED }, misreading(reads));
}

#[test]
fn a_plan_that_keeps_condemned_pods_is_found_out() {
    fn plans(view: &SetView<'_>, now: Timestamp) -> Plan {
        let mut plan = plan(view, now);
        let is_kept =
            |write: &PodWrite| matches!(write, PodWrite::Delete { why: DeleteReason::ScaledDown, .. });
        plan.steps.retain(|step| !is_kept(&step.write));
        plan
    }
    breaks("all comes to rest", PARALLEL, Planner { plans, ..Planner::REAL });
}

/// As it was before the model found it: what was unready when it was looked at went, whatever it was when
/// the write arrived.
#[test]
fn a_plan_that_takes_pods_for_what_they_were_is_found_out() {
    fn plans(view: &SetView<'_>, now: Timestamp) -> Plan {
        let mut plan = plan(view, now);
        for step in &mut plan.steps {
            if let PodWrite::Delete { resource_version, .. } = &mut step.write {
                *resource_version = None;
            }
        }
        plan
    }
    let bounds = Bounds { lag: 2, ..PARALLEL };
    let report = SetModel::new(bounds, Planner { plans, ..Planner::REAL }).check(None);
    assert!(report.broken.iter().any(|(rule, _)| *rule == "updates keep to their budget"), "{report:?}");
}
