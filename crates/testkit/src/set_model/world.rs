//! What can happen in a state, and what comes of it: nodes, people, the garbage collector, lagging watches,
//! and controllers that decide, write one thing at a time and die in between.

use super::SetModel;
use super::state::{
    BROKEN_VERSION, ClaimCell, Controller, Event, Harm, KINDS, Life, ORDINALS, Owner, PodCell, Spec, State,
    VERSIONS, Why, Write,
};

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A pod's containers start.
    Start(usize),
    /// A pod becomes ready.
    BecomeReady(usize),
    /// A terminating pod is gone.
    End(usize),
    /// A claim gets its volume.
    Bind(usize),
    /// The garbage collector deletes a claim whose owner is gone.
    Collect(usize),
    /// A claim that is being deleted is gone.
    EndClaim(usize),
    /// A ready pod is ready no more.
    Falter(usize),
    /// A pod's containers end for good.
    Fail(usize),
    /// Somebody deletes a pod.
    Delete(usize),
    /// A pod vanishes with its node.
    Vanish(usize),
    /// A controller dies in the middle of what it does, and another takes its place.
    Restart(usize),
    /// Somebody changes the spec.
    Change(Spec),
    /// A controller sees the next change of a kind.
    Deliver(usize, usize),
    /// A controller decides.
    Decide(usize),
    /// A controller carries out the next write of its plan.
    Write(usize),
}

impl Action {
    /// True for what goes on by itself as long as nodes and controllers work.
    fn is_natural(self) -> bool {
        use Action::{BecomeReady, Bind, Collect, End, EndClaim, Start};
        matches!(self, Start(_) | BecomeReady(_) | End(_) | Bind(_) | Collect(_) | EndClaim(_))
    }
}

/// What nodes, volumes and the garbage collector do next.
pub fn natural(state: &State, actions: &mut Vec<Action>) {
    for ordinal in 0..ORDINALS {
        let (pod, claim) = (state.truth.pods[ordinal], state.truth.claims[ordinal]);
        let has_volume = claim.is_some_and(|claim| claim.is_bound && !claim.is_terminating);
        match pod {
            Some(pod) if pod.is_terminating => actions.push(Action::End(ordinal)),
            Some(PodCell { life: Life::Pending, .. }) if has_volume => actions.push(Action::Start(ordinal)),
            Some(PodCell { life: Life::Running, version, .. }) if version != BROKEN_VERSION => {
                actions.push(Action::BecomeReady(ordinal));
            }
            _ => {}
        }
        let Some(claim) = claim else { continue };
        // A claim stays while a pod uses it; one that waits for a node does not use it yet.
        let is_used = pod.is_some_and(|pod| pod.life != Life::Pending);
        if claim.is_terminating {
            if !is_used {
                actions.push(Action::EndClaim(ordinal));
            }
            continue;
        }
        if !claim.is_bound {
            actions.push(Action::Bind(ordinal));
        }
        if matches!(claim.owner, Owner::Pod(uid) if pod.is_none_or(|pod| pod.uid != uid)) {
            actions.push(Action::Collect(ordinal));
        }
    }
}

/// Everything that can happen.
pub fn possible(model: &SetModel, state: &State, actions: &mut Vec<Action>) {
    natural(state, actions);
    for (index, controller) in state.controllers.iter().enumerate() {
        let waiting = (0..KINDS).filter(|kind| !controller.pending[*kind].is_empty());
        actions.extend(waiting.map(|kind| Action::Deliver(index, kind)));
        if !controller.writes.is_empty() {
            actions.push(Action::Write(index));
        } else if controller.is_idle() && !model.decision(&controller.sees).writes.is_empty() {
            actions.push(Action::Decide(index));
        }
        if state.faults_left > 0 && !controller.writes.is_empty() {
            actions.push(Action::Restart(index));
        }
    }
    if state.faults_left > 0 {
        for ordinal in 0..ORDINALS {
            let Some(pod) = state.truth.pods[ordinal] else { continue };
            actions.push(Action::Vanish(ordinal));
            if pod.is_terminating {
                continue;
            }
            actions.push(Action::Delete(ordinal));
            if pod.life == Life::Ready {
                actions.push(Action::Falter(ordinal));
            }
            if matches!(pod.life, Life::Running | Life::Ready) {
                actions.push(Action::Fail(ordinal));
            }
        }
    }
    if state.changes_left > 0 {
        actions.extend(changes(state.truth.set.spec).into_iter().map(Action::Change));
    }
}

/// The specs that are one change away.
fn changes(spec: Spec) -> Vec<Spec> {
    let spec = Spec { generation: spec.generation + 1, ..spec };
    let mut all = Vec::new();
    let counts = |most: usize| 0..=u8::try_from(most).expect("is small");
    all.extend(counts(ORDINALS).map(|replicas| Spec { replicas, ..spec }));
    all.extend(counts(VERSIONS).skip(1).map(|version| Spec { version, ..spec }));
    all.extend(counts(ORDINALS - 1).map(|partition| Spec { partition, ..spec }));
    all.extend((1..=2).map(|max_unavailable| Spec { max_unavailable, ..spec }));
    all.retain(|changed| *changed != spec);
    all.push(Spec { deletes_scaled: !spec.deletes_scaled, ..spec });
    all.push(Spec { is_on_delete: !spec.is_on_delete, ..spec });
    all
}

/// Lets something happen.
pub fn happen(model: &SetModel, state: &mut State, action: Action) {
    let pod_of = |state: &State, ordinal: usize| state.truth.pods[ordinal].expect("the pod is there");
    let claim_of = |state: &State, ordinal: usize| state.truth.claims[ordinal].expect("the claim is there");
    if !action.is_natural() && !matches!(action, Action::Deliver(..) | Action::Decide(_) | Action::Write(_)) {
        if let Action::Change(_) = action {
            state.changes_left -= 1;
        } else {
            state.faults_left -= 1;
            state.is_disturbed = true;
        }
    }
    match action {
        Action::Start(ordinal) => {
            let pod = PodCell { life: Life::Running, ..pod_of(state, ordinal) };
            state.put(Event::Pod(ordinal, Some(pod)));
        }
        Action::BecomeReady(ordinal) => {
            let pod = PodCell { life: Life::Ready, was_ready: true, ..pod_of(state, ordinal) };
            state.put(Event::Pod(ordinal, Some(pod)));
            state.taken[ordinal] = 0;
        }
        Action::End(ordinal) | Action::Vanish(ordinal) => state.put(Event::Pod(ordinal, None)),
        Action::Bind(ordinal) => {
            let claim = ClaimCell { is_bound: true, ..claim_of(state, ordinal) };
            state.put(Event::Claim(ordinal, Some(claim)));
        }
        Action::Collect(ordinal) => {
            if !state.may_be_lost[ordinal] {
                state.harm = state.harm.or(Some(Harm::LostClaim(ordinal)));
            }
            let claim = ClaimCell { is_terminating: true, ..claim_of(state, ordinal) };
            state.put(Event::Claim(ordinal, Some(claim)));
        }
        Action::EndClaim(ordinal) => state.put(Event::Claim(ordinal, None)),
        Action::Falter(ordinal) => {
            let pod = PodCell { life: Life::Running, ..pod_of(state, ordinal) };
            state.put(Event::Pod(ordinal, Some(pod)));
        }
        Action::Fail(ordinal) => {
            let pod = PodCell { life: Life::Failed, ..pod_of(state, ordinal) };
            state.put(Event::Pod(ordinal, Some(pod)));
        }
        Action::Delete(ordinal) => delete(state, ordinal),
        Action::Restart(index) => state.controllers[index] = Controller::fresh(state.truth),
        Action::Change(spec) => {
            let mut set = state.truth.set;
            set.spec = spec;
            state.put(Event::Set(set));
            state.budget = state.budget.max(spec.max_unavailable);
            for ordinal in usize::from(spec.replicas)..ORDINALS {
                state.taken[ordinal] = 0;
                state.may_be_lost[ordinal] |= spec.deletes_scaled;
            }
        }
        Action::Deliver(index, kind) => state.controllers[index].deliver(kind),
        Action::Decide(index) => {
            let writes = model.decision(&state.controllers[index].sees).writes.clone();
            state.controllers[index].writes = writes;
        }
        Action::Write(index) => next_write(state, index),
    }
}

/// Asks for a pod's deletion; one that never got to a node is gone at once.
fn delete(state: &mut State, ordinal: usize) {
    let Some(pod) = state.truth.pods[ordinal] else { return };
    let is_placed = state.truth.claims[ordinal].is_some_and(|claim| claim.is_bound);
    let left = (pod.life != Life::Pending || is_placed).then_some(PodCell { is_terminating: true, ..pod });
    state.put(Event::Pod(ordinal, left));
}

/// Carries out one write of a plan; one that is refused ends the plan but for its status and its history.
fn next_write(state: &mut State, index: usize) {
    let write = state.controllers[index].writes.remove(0);
    let seen: [usize; KINDS] = lengths(&state.controllers[index]);
    let is_done = carry_out(state, index, write);
    let controller = &mut state.controllers[index];
    if !is_done {
        controller.writes.retain(Write::is_done_anyway);
    }
    for kind in 0..KINDS {
        let length = controller.pending[kind].len();
        if length > seen[kind] {
            controller.barrier[kind] = u8::try_from(length).expect("the lag is bounded");
        }
    }
}

fn lengths(controller: &Controller) -> [usize; KINDS] {
    std::array::from_fn(|kind| controller.pending[kind].len())
}

/// What the API makes of a write; false when it refuses it.
fn carry_out(state: &mut State, index: usize, write: Write) -> bool {
    let truth = state.truth;
    match write {
        Write::CreateRevision { index, number } => {
            let is_free = truth.revisions[index] == 0;
            if is_free {
                state.put(Event::Revision(index, number));
            }
            is_free
        }
        Write::RaiseRevision { index, was, number } => {
            let is_same = truth.revisions[index] == was && was > 0;
            if is_same {
                state.put(Event::Revision(index, number));
            }
            is_same
        }
        Write::DeleteRevision { index } => {
            if truth.revisions[index] > 0 {
                state.put(Event::Revision(index, 0));
            }
            true
        }
        Write::MakeClaim { ordinal, owner } => {
            // One that is there is taken as it is.
            if truth.claims[ordinal].is_none() {
                let claim = ClaimCell { is_bound: false, is_terminating: false, owner };
                state.put(Event::Claim(ordinal, Some(claim)));
                let spec = truth.set.spec;
                let is_condemned = ordinal >= usize::from(spec.replicas);
                // Another controller may still go by an older spec, and see this claim already.
                let is_alone = state.controllers.len() == 1;
                let may_be_lost = is_condemned && spec.deletes_scaled;
                state.may_be_lost[ordinal] = may_be_lost || (!is_alone && state.may_be_lost[ordinal]);
            }
            true
        }
        Write::OwnClaim { ordinal, was, owner } => {
            let same = truth.claims[ordinal].filter(|claim| Some(*claim) == was);
            if let Some(claim) = same {
                state.put(Event::Claim(ordinal, Some(ClaimCell { owner, ..claim })));
            }
            same.is_some()
        }
        Write::CreatePod { ordinal, version } => {
            if truth.pods[ordinal].is_some() {
                return false;
            }
            let is_in_order = (0..ordinal).all(|lower| truth.is_healthy(lower));
            let is_alone = state.controllers.len() == 1 && !state.is_disturbed;
            if truth.set.spec.is_ordered && is_alone && !is_in_order {
                state.harm = state.harm.or(Some(Harm::MadeOutOfOrder(ordinal)));
            }
            let pod = PodCell {
                uid: state.fresh_uid(ordinal),
                version,
                life: Life::Pending,
                is_terminating: false,
                was_ready: false,
            };
            state.put(Event::Pod(ordinal, Some(pod)));
            true
        }
        Write::DeletePod { ordinal, uid, was, why } => {
            let Some(pod) = truth.pods[ordinal] else { return matches!(why, Why::Outdated | Why::Broken) };
            if pod.uid != uid || was.is_some_and(|was| was != pod) {
                return false;
            }
            if pod.is_terminating {
                return true;
            }
            let is_wanted = ordinal < usize::from(truth.set.spec.replicas);
            if pod.life == Life::Ready && is_wanted && matches!(why, Why::Outdated | Why::Broken) {
                state.taken[ordinal] = u8::try_from(index + 1).expect("there are few");
            }
            delete(state, ordinal);
            true
        }
        Write::Status { was, status } => {
            let is_same = truth.set == was;
            if is_same {
                state.put(Event::Set(super::state::SetCell { status, ..was }));
            }
            is_same
        }
        Write::Strange => true,
    }
}
