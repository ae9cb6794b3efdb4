//! The taints that say that a node is not ready or unreachable: pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::taint::{NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE};

use super::zones::Turn;

/// What a node's status says about its readiness, if anything.
pub fn readiness(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| &*condition.status)
}

/// What is wrong with a node, as a taint's key.
fn key(node: &Node) -> Option<&'static str> {
    match readiness(node)? {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

/// True when the node should have a taint that makes pods go, and has none.
pub fn wants_turn(node: &Node) -> bool {
    key(node).is_some_and(|key| !current(node).iter().any(|one| one.key == key && one.effect == NO_EXECUTE))
}

/// A node's taints as they should be; `None` when they are.
pub fn wanted(node: &Node, turn: Turn, now: Timestamp) -> Option<Vec<Taint>> {
    let current = current(node);
    let key = key(node);
    let is_ours = |taint: &Taint| {
        [NOT_READY, UNREACHABLE].contains(&&*taint.key) && [NO_SCHEDULE, NO_EXECUTE].contains(&&*taint.effect)
    };
    // One that makes pods go and only has the other name was in its turn already.
    let had_turn = current.iter().any(|taint| is_ours(taint) && taint.effect == NO_EXECUTE);
    let goes = match turn {
        Turn::Never => false,
        Turn::Now => true,
        Turn::After(_) | Turn::Wait => had_turn,
    };
    let stays = |taint: &&Taint| {
        !is_ours(taint) || (key == Some(&*taint.key) && (taint.effect == NO_SCHEDULE || turn != Turn::Never))
    };
    let mut wanted: Vec<Taint> = current.iter().filter(stays).cloned().collect();
    let effects = [(NO_SCHEDULE, true), (NO_EXECUTE, goes)];
    for effect in effects.iter().filter(|(_, is_wanted)| *is_wanted).map(|(effect, _)| *effect) {
        let Some(key) = key else { break };
        if !wanted.iter().any(|taint| taint.key == key && taint.effect == effect) {
            wanted.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(Time(now)),
                ..Taint::default()
            });
        }
    }
    (wanted != current).then_some(wanted)
}

fn current(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}
