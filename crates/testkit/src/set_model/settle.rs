//! What becomes of a state when the spec and the world hold still: it is run on fairly until nothing moves,
//! and then it must be what the spec says.
//!
//! Many states lead to the same few: what was found to come to rest once is not run again.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::SetModel;
use super::state::{BROKEN_VERSION, Life, ORDINALS, Owner, Picture, State};
use super::world::{self, Action};

/// Turns until rest: three pods replaced three times over, in each of which something starts, gets ready,
/// ends, is decided or written.
const TURNS_MAX: usize = 400;

/// Runs a state on until it rests; the error is what is wrong then.
pub fn settle(model: &SetModel, state: &State) -> Result<(), String> {
    // Once everything happens as soon as it can, once the world is as slow as it can be.
    [true, false].into_iter().try_for_each(|is_quick| settle_at(model, state, is_quick).map(drop))
}

/// What a state comes to rest as.
pub fn standing(model: &SetModel, state: &State) -> Picture {
    match settle_at(model, state, true) {
        Ok(Some(truth)) => truth,
        Ok(None) => panic!("nothing was run before"),
        Err(why) => panic!("{why}"),
    }
}

/// `None` where it meets what was run before.
fn settle_at(model: &SetModel, state: &State, is_quick: bool) -> Result<Option<Picture>, String> {
    let mut state = State { changes_left: 0, faults_left: 0, ..state.clone() };
    let mut passed = Vec::new();
    for _ in 0..TURNS_MAX {
        let mut moved = deliver_all(&mut state);
        let is_between = state.controllers.iter().all(|controller| controller.writes.is_empty());
        if is_between {
            let number = number_of(&state.truth, is_quick);
            if model.is_known_to_rest(number) {
                model.note_rest(&passed);
                return Ok(None);
            }
            passed.push(number);
        }
        for index in 0..state.controllers.len() {
            if state.controllers[index].writes.is_empty() {
                world::happen(model, &mut state, Action::Decide(index));
            }
        }
        for index in 0..state.controllers.len() {
            while !state.controllers[index].writes.is_empty() {
                world::happen(model, &mut state, Action::Write(index));
                moved = true;
            }
        }
        let mut natural = Vec::new();
        if is_quick || !moved {
            world::natural(&state, &mut natural);
        }
        for action in natural.into_iter().take(if is_quick { ORDINALS } else { 1 }) {
            let mut still_possible = Vec::new();
            world::natural(&state, &mut still_possible);
            if still_possible.contains(&action) {
                world::happen(model, &mut state, action);
                moved = true;
            }
        }
        if !moved {
            check(model, &state.truth).map_err(|why| format!("{why}: {:?}", state.truth))?;
            model.note_rest(&passed);
            return Ok(Some(state.truth));
        }
    }
    Err(format!("it does not come to rest: {state:?}"))
}

fn deliver_all(state: &mut State) -> bool {
    let mut has_moved = false;
    let truth = state.truth;
    for controller in &mut state.controllers {
        for kind in 0..controller.pending.len() {
            while !controller.pending[kind].is_empty() {
                controller.deliver(kind);
                has_moved = true;
            }
        }
        assert_eq!(controller.sees, truth, "who has seen everything sees what is");
    }
    has_moved
}

fn number_of(truth: &Picture, is_quick: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (truth, is_quick).hash(&mut hasher);
    hasher.finish()
}

/// What is not as the spec says, in a world that rests.
fn check(model: &SetModel, truth: &Picture) -> Result<(), &'static str> {
    let spec = truth.set.spec;
    let current = model.objects.current_version(truth.set.status);
    let is_kept_back = |ordinal: usize| !spec.is_on_delete && ordinal < usize::from(spec.partition);
    let of_broken_version = |ordinal: usize| {
        truth.pods[ordinal].is_some_and(|pod| pod.version == BROKEN_VERSION)
            || (is_kept_back(ordinal) && current == Some(BROKEN_VERSION))
    };
    // Where the spec itself asks for pods that never get ready, to rest is all that can be asked for.
    if spec.version == BROKEN_VERSION
        || truth
            .wanted()
            .any(|ordinal| (spec.is_on_delete || is_kept_back(ordinal)) && of_broken_version(ordinal))
    {
        return Ok(());
    }
    // Upstream's order, which is kept: of condemned pods that are not ready the lowest goes, and only when it
    // is its turn. Where two never get ready an ordered set stands still until somebody deletes one
    // (k/k #57865).
    let condemned = truth.pods[usize::from(spec.replicas)..].iter().flatten();
    if spec.is_ordered && condemned.filter(|pod| !pod.is_healthy()).count() > 1 {
        return Ok(());
    }
    for ordinal in truth.wanted() {
        let Some(pod) = truth.pods[ordinal] else { return Err("a wanted pod is missing") };
        if !pod.is_healthy() || pod.life != Life::Ready {
            return Err("a wanted pod is not ready");
        }
        if !spec.is_on_delete && !is_kept_back(ordinal) && pod.version != spec.version {
            return Err("a pod is not at the update revision");
        }
        match truth.claims[ordinal] {
            Some(claim) if claim.is_bound && !claim.is_terminating && claim.owner == Owner::Nobody => {}
            _ => return Err("a wanted pod's claim is missing, going, or would go with it"),
        }
    }
    if truth.pods[usize::from(spec.replicas)..].iter().any(Option::is_some) {
        return Err("a condemned pod is left");
    }
    let status = model.objects.status(truth.set.status).ok_or("there is no status")?;
    if status.ready_replicas != Some(i32::from(spec.replicas)) || status.replicas != i32::from(spec.replicas)
    {
        return Err("the status counts wrong");
    }
    if status.observed_generation != Some(i64::from(spec.generation)) {
        return Err("the status is of an older generation");
    }
    Ok(())
}
