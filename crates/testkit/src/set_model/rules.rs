//! What must hold: of each plan for what its controller has seen, and of each state.
//!
//! The rules are stated here again from the design, not taken from the plan. What they say of a plan holds
//! for any picture, however old and however its kinds are ahead of each other.

use super::SetModel;
use super::state::{Life, ORDINALS, Owner, Picture, State, Why, Write};

/// What is wrong with a plan for a picture, if anything.
pub fn fault_of_plan(sees: &Picture, current: Option<u8>, writes: &[Write]) -> Option<&'static str> {
    let spec = sees.set.spec;
    let wanted = sees.wanted();
    let is_kept_back = |ordinal: usize| !spec.is_on_delete && ordinal < usize::from(spec.partition);
    let target = |ordinal: usize| match current {
        Some(current) if is_kept_back(ordinal) => current,
        _ => spec.version,
    };
    let unavailable = wanted.clone().filter(|ordinal| !sees.is_healthy(*ordinal)).count();
    let mut has_write = [false; ORDINALS];
    let mut has_claim: [bool; ORDINALS] = std::array::from_fn(|ordinal| sees.claims[ordinal].is_some());
    let (mut made, mut removed, mut taken) = (0, 0, Vec::new());
    for write in writes {
        match *write {
            Write::MakeClaim { ordinal, owner } => {
                has_claim[ordinal] = true;
                if owner != Owner::Nobody {
                    return Some("a new claim belongs to no pod");
                }
            }
            Write::OwnClaim { ordinal, owner: Owner::Pod(_), .. }
                if wanted.contains(&ordinal) || !spec.deletes_scaled =>
            {
                return Some("a claim goes with its pod only by whenScaled, and only beyond the replicas");
            }
            Write::CreatePod { ordinal, version } => {
                made += 1;
                if std::mem::replace(&mut has_write[ordinal], true) {
                    return Some("an ordinal has one write of its pod");
                }
                if !wanted.contains(&ordinal) || sees.pods[ordinal].is_some() {
                    return Some("a pod is made only where it is wanted and its name is free");
                }
                if version != target(ordinal) {
                    return Some("a pod is made at the revision of its side of the partition");
                }
                if !has_claim[ordinal] {
                    return Some("a pod is made after its claims");
                }
                if spec.is_ordered && !(0..ordinal).all(|lower| sees.is_healthy(lower)) {
                    return Some("an ordered set makes a pod when all below it are ready");
                }
            }
            Write::DeletePod { ordinal, why, .. } => {
                let Some(pod) = sees.pods[ordinal] else { return Some("a pod that is not there is deleted") };
                if std::mem::replace(&mut has_write[ordinal], true) {
                    return Some("an ordinal has one write of its pod");
                }
                if pod.is_terminating {
                    return Some("a pod is deleted once");
                }
                let is_outdated = pod.version != target(ordinal);
                match why {
                    Why::Ended if pod.life != Life::Failed => return Some("it has not ended"),
                    Why::Ended => removed += 1,
                    Why::ScaledDown => {
                        removed += 1;
                        if wanted.contains(&ordinal) {
                            return Some("a wanted pod is not scaled down");
                        }
                        let is_highest = (ordinal + 1..ORDINALS).all(|higher| sees.pods[higher].is_none());
                        if spec.is_ordered && (unavailable > 0 || !is_highest) {
                            return Some("an ordered set scales down when all are ready, from the highest");
                        }
                    }
                    Why::Outdated | Why::Broken if spec.is_on_delete => {
                        return Some("OnDelete leaves pods alone");
                    }
                    Why::Broken if !is_outdated || pod.was_ready => {
                        return Some("only what is outdated and never was ready goes as broken");
                    }
                    Why::Broken => removed += 1,
                    Why::Outdated if !is_outdated || is_kept_back(ordinal) => {
                        return Some("an update takes only what is outdated, above the partition");
                    }
                    Why::Outdated if pod.is_healthy() => taken.push(ordinal),
                    Why::Outdated => {}
                }
            }
            Write::Strange => return Some("nothing gave a reason for this write"),
            _ => {}
        }
    }
    if !taken.is_empty() && taken.len() + unavailable > usize::from(spec.max_unavailable) {
        return Some("an update makes no more than maxUnavailable unavailable");
    }
    let lowest_taken = taken.iter().min().copied().unwrap_or(ORDINALS);
    let is_next = |ordinal: usize| {
        let outdated = sees.pods[ordinal].is_some_and(|pod| pod.is_healthy() && pod.version != spec.version);
        outdated && wanted.contains(&ordinal) && !taken.contains(&ordinal)
    };
    if (lowest_taken..ORDINALS).any(is_next) {
        return Some("an update goes from the highest ordinal down");
    }
    if spec.is_ordered && made + removed + usize::from(!taken.is_empty()) > 1 {
        return Some("an ordered set makes one move at a time");
    }
    None
}

/// No controller decides against the rules, whatever it has seen.
pub fn plans_are_right(model: &SetModel, state: &State) -> bool {
    state.controllers.iter().filter(|controller| controller.is_idle()).all(|controller| {
        let decision = model.decision(&controller.sees);
        decision.fault.is_none()
    })
}

/// Rule 5: no claim goes but by a declared policy.
pub fn no_claim_is_lost(_: &SetModel, state: &State) -> bool {
    !matches!(state.harm, Some(super::state::Harm::LostClaim(_)))
}

/// Rule 4, of what becomes of the plans: order.
pub fn nothing_is_made_out_of_order(_: &SetModel, state: &State) -> bool {
    !matches!(state.harm, Some(super::state::Harm::MadeOutOfOrder(_)))
}

/// Rules 4 and 6, of what becomes of the plans: no controller has more ready pods away for updates than
/// `maxUnavailable` ever allowed, however late its writes arrive.
pub fn updates_keep_to_their_budget(_: &SetModel, state: &State) -> bool {
    (1..=state.controllers.len()).all(|controller| {
        let mine = state.taken.iter().filter(|taker| usize::from(**taker) == controller).count();
        mine <= usize::from(state.budget)
    })
}

/// Rule 5, before anything happens: when a controller that has seen everything has nothing left to do, no
/// claim of a wanted ordinal would go with its pod, whatever became of the pod.
pub fn wanted_claims_are_safe_at_rest(model: &SetModel, state: &State) -> bool {
    state.controllers.iter().all(|controller| {
        let has_seen_all = controller.pending.iter().all(Vec::is_empty);
        let is_at_rest =
            has_seen_all && controller.is_idle() && model.decision(&controller.sees).writes.is_empty();
        let is_safe = |ordinal: usize| {
            let owner = state.truth.claims[ordinal].map_or(Owner::Nobody, |claim| claim.owner);
            owner == Owner::Nobody || state.truth.pods[ordinal].is_none_or(|pod| owner != Owner::Pod(pod.uid))
        };
        !is_at_rest || state.truth.wanted().all(is_safe)
    })
}

/// Rule 7: once the spec and the world hold still, the set becomes what the spec says and rests.
pub fn all_comes_to_rest(model: &SetModel, state: &State) -> bool {
    match super::settle::settle(model, state) {
        Ok(()) => true,
        Err(why) => {
            model.note(why);
            false
        }
    }
}
