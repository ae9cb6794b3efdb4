//! What to do about one object: pure.
//!
//! The graph may be late. What it says is a reason to look, and [`super::execute`] looks before it writes:
//! a step names what must still be true.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::view::{Node, Owner, Uid, View};

/// How long an owner that was never seen may be late: its kind's watch is another than its dependent's. One
/// that was seen to go is not waited for.
pub const LATE_MAX: Duration = Duration::from_secs(2);

/// An owner as a step names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Its resource.
    pub resource: usize,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What to do to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Delete it, if each of these owners is gone or waits for its dependents.
    Delete {
        /// All its owners.
        owners: Vec<Suspect>,
        /// True when its own dependents go first.
        foreground: bool,
        /// True when it waits in a ring with one of its dependents, so that it must not block its owners.
        unblock: bool,
    },
    /// Take these references off it, if their owners are gone or wait for their dependents; others remain.
    Forget {
        /// The owners.
        owners: Vec<Suspect>,
    },
    /// Let it go: no dependent that it waits for is left.
    FinishForeground,
    /// Take the references to it off its dependents, then let it go.
    Orphan,
}

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Leave,
    /// Nothing yet: an owner may be late.
    LookAgain(Duration),
    /// This.
    Do(Step),
}

/// What the graph says about one owner.
enum Standing {
    /// It is there, or nobody can tell.
    Solid,
    /// It is there and waits for its dependents.
    Waiting(Suspect),
    /// It is not there.
    Gone(Suspect),
    /// It may be late.
    Unknown(Duration),
}

/// Decides about one object.
pub fn plan(view: &View, uid: &Uid, now: Timestamp) -> Action {
    let Some(node) = view.get(uid) else { return Action::Leave };
    if node.is_orphaning {
        return Action::Do(Step::Orphan);
    }
    if node.is_foreground {
        let blocks =
            |dependent: &Node| dependent.owners.iter().any(|owner| owner.uid == *uid && owner.blocks);
        let is_blocked = view.dependents(uid).any(blocks);
        return if is_blocked { Action::Leave } else { Action::Do(Step::FinishForeground) };
    }
    if node.is_deleting || node.owners.is_empty() {
        return Action::Leave;
    }
    let (mut solid, mut waiting, mut gone) = (0, Vec::new(), Vec::new());
    for owner in &node.owners {
        match standing(view, node, owner, now) {
            Standing::Solid => solid += 1,
            Standing::Waiting(owner) => waiting.push(owner),
            Standing::Gone(owner) => gone.push(owner),
            Standing::Unknown(left) => return Action::LookAgain(left),
        }
    }
    let is_waited_for = !waiting.is_empty();
    let owners = [waiting, gone].concat();
    if owners.is_empty() {
        return Action::Leave;
    }
    if solid > 0 {
        return Action::Do(Step::Forget { owners });
    }
    let mut dependents = view.dependents(uid).peekable();
    let foreground = is_waited_for && dependents.peek().is_some();
    let unblock = foreground && dependents.any(|dependent| dependent.is_foreground);
    Action::Do(Step::Delete { owners, foreground, unblock })
}

fn standing(view: &View, node: &Node, owner: &Owner, now: Timestamp) -> Standing {
    let resources = view.resources();
    let Some(resource) = owner.resource else { return Standing::Solid };
    let owner_namespaced = resources.get(resource).namespaced;
    if owner_namespaced && !resources.get(node.resource).namespaced {
        // Such a reference names no namespace, so nobody can look.
        return Standing::Solid;
    }
    let namespace = if owner_namespaced { &*node.namespace } else { "" };
    let suspect = Suspect {
        resource,
        namespace: namespace.to_owned(),
        name: owner.name.to_string(),
        uid: owner.uid.to_string(),
    };
    match view.get(&owner.uid) {
        Some(known) if known.resource == resource && &*known.namespace == namespace => {
            if known.is_foreground { Standing::Waiting(suspect) } else { Standing::Solid }
        }
        // The uid is another object's, or is out of reach in another namespace.
        Some(_) => Standing::Gone(suspect),
        None if view.was_seen_to_go(&owner.uid) => Standing::Gone(suspect),
        None => {
            let since = view.unknown_since(&owner.uid).unwrap_or(now);
            let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            match LATE_MAX.checked_sub(passed) {
                Some(left) if !left.is_zero() => Standing::Unknown(left),
                _ => Standing::Gone(suspect),
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |owners: &[Suspect]| {
            let names: Vec<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
            names.join(", ")
        };
        match self {
            Step::Delete { owners, foreground: true, .. } => {
                write!(formatter, "delete after its dependents: its owners go ({})", list(owners))
            }
            Step::Delete { owners, .. } => {
                write!(formatter, "delete: its owners are gone ({})", list(owners))
            }
            Step::Forget { owners } => write!(formatter, "forget owners that are gone ({})", list(owners)),
            Step::FinishForeground => formatter.write_str("let go: no dependent is left"),
            Step::Orphan => formatter.write_str("orphan its dependents and let go"),
        }
    }
}
