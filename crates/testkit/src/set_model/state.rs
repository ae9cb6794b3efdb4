//! The abstract state: what the store holds, what each controller has seen of it, and what is under way.
//!
//! Everything is small, compared by value and hashed millions of times. Uids are numbers that only tell two
//! pods of one ordinal apart, resource versions are the contents themselves: an object that came back to what
//! it was passes for unchanged, which lets through more writes than a real API would, never fewer.

/// Ordinals that a set may have.
pub const ORDINALS: usize = 3;
/// Versions of the template.
pub const VERSIONS: usize = 3;
/// The version whose pods never become ready.
pub const BROKEN_VERSION: u8 = 2;
/// Kinds of objects, each with a watch of its own: sets, pods, claims, revisions.
pub const KINDS: usize = 4;

/// What the set says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Counts the changes.
    pub generation: u8,
    /// `replicas`.
    pub replicas: u8,
    /// The template: 1, 2 or 3.
    pub version: u8,
    /// `rollingUpdate.partition`.
    pub partition: u8,
    /// `rollingUpdate.maxUnavailable`.
    pub max_unavailable: u8,
    /// `podManagementPolicy: OrderedReady`, or else `Parallel`.
    pub is_ordered: bool,
    /// `updateStrategy.type: OnDelete`, or else `RollingUpdate`.
    pub is_on_delete: bool,
    /// `persistentVolumeClaimRetentionPolicy.whenScaled: Delete`, or else `Retain`.
    pub deletes_scaled: bool,
}

/// The set: what it says, and the number of the status it bears; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetCell {
    /// What it says.
    pub spec: Spec,
    /// Its status.
    pub status: u64,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// Made.
    Pending,
    /// Its containers run, it is not ready.
    Running,
    /// It is ready.
    Ready,
    /// Its containers have ended for good.
    Failed,
}

/// A pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PodCell {
    /// Which one of its ordinal.
    pub uid: u8,
    /// The version it was made from.
    pub version: u8,
    /// How far it is.
    pub life: Life,
    /// Its deletion was asked for.
    pub is_terminating: bool,
    /// It is or was ready.
    pub was_ready: bool,
}

impl PodCell {
    /// True when it is ready and stays.
    pub fn is_healthy(&self) -> bool {
        self.life == Life::Ready && !self.is_terminating
    }
}

/// Who owns a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Nobody: it stays.
    Nobody,
    /// The pod of its ordinal with this uid: it goes with that one.
    Pod(u8),
}

/// A claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimCell {
    /// Its volume is there.
    pub is_bound: bool,
    /// It is being deleted.
    pub is_terminating: bool,
    /// Who owns it.
    pub owner: Owner,
}

/// All objects: as the store has them, or as a controller has seen them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Picture {
    /// The set.
    pub set: SetCell,
    /// Its pods by ordinal.
    pub pods: [Option<PodCell>; ORDINALS],
    /// Its claims by ordinal.
    pub claims: [Option<ClaimCell>; ORDINALS],
    /// The numbers of its revisions by version, from version 1; 0 for none.
    pub revisions: [u8; VERSIONS],
}

/// A change of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Of the set.
    Set(SetCell),
    /// Of a pod.
    Pod(usize, Option<PodCell>),
    /// Of a claim.
    Claim(usize, Option<ClaimCell>),
    /// Of a revision: its number.
    Revision(usize, u8),
}

impl Event {
    /// By which watch it comes.
    pub fn kind(&self) -> usize {
        match self {
            Event::Set(_) => 0,
            Event::Pod(..) => 1,
            Event::Claim(..) => 2,
            Event::Revision(..) => 3,
        }
    }
}

impl Picture {
    /// Takes a change in.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Set(set) => self.set = set,
            Event::Pod(ordinal, pod) => self.pods[ordinal] = pod,
            Event::Claim(ordinal, claim) => self.claims[ordinal] = claim,
            Event::Revision(index, number) => self.revisions[index] = number,
        }
    }

    /// The ordinals that the set wants.
    pub fn wanted(&self) -> std::ops::Range<usize> {
        0..usize::from(self.set.spec.replicas)
    }

    /// True when the pod of an ordinal is there, ready and stays.
    pub fn is_healthy(&self, ordinal: usize) -> bool {
        self.pods[ordinal].is_some_and(|pod| pod.is_healthy())
    }
}

/// Why a plan deletes a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It has ended.
    Ended,
    /// It is one too many.
    ScaledDown,
    /// It is of another version.
    Outdated,
    /// It is of another version and was never ready.
    Broken,
}

/// One write of a plan, with what the API is told to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields are those of what is written")]
pub enum Write {
    /// Make a revision.
    CreateRevision { index: usize, number: u8 },
    /// Give a revision another number, if it still has this one.
    RaiseRevision { index: usize, was: u8, number: u8 },
    /// Delete a revision; its content never changes, so that its uid is its name.
    DeleteRevision { index: usize },
    /// Make a claim.
    MakeClaim { ordinal: usize, owner: Owner },
    /// Change a claim's owners, if it still is as it was.
    OwnClaim { ordinal: usize, was: Option<ClaimCell>, owner: Owner },
    /// Make a pod.
    CreatePod { ordinal: usize, version: u8 },
    /// Delete a pod, if it is still this one; with `was`, only if it is still as it was.
    DeletePod { ordinal: usize, uid: u8, was: Option<PodCell>, why: Why },
    /// Write the status, if the set is still as it was.
    Status { was: SetCell, status: u64 },
    /// Something that no state of this model gives a reason for.
    Strange,
}

impl Write {
    /// True for what is done even after something before it was refused.
    pub fn is_done_anyway(&self) -> bool {
        matches!(self, Write::Status { .. } | Write::DeleteRevision { .. })
    }
}

/// One instance of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Controller {
    /// What it has seen.
    pub sees: Picture,
    /// What it has not seen yet, by kind, oldest first.
    pub pending: [Vec<Event>; KINDS],
    /// How many of those it must see before it decides again: up to its own last write of the kind.
    pub barrier: [u8; KINDS],
    /// The rest of the plan that it carries out.
    pub writes: Vec<Write>,
}

impl Controller {
    /// One that has just read everything.
    pub fn fresh(truth: Picture) -> Controller {
        Controller { sees: truth, pending: Default::default(), barrier: [0; KINDS], writes: Vec::new() }
    }

    /// True when it may decide.
    pub fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.barrier == [0; KINDS]
    }

    /// Sees the next event of a kind.
    pub fn deliver(&mut self, kind: usize) {
        let event = self.pending[kind].remove(0);
        self.barrier[kind] = self.barrier[kind].saturating_sub(1);
        self.sees.apply(event);
    }
}

/// What must never happen; it is noted where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Harm {
    /// A claim was collected though no policy ever said so.
    LostClaim(usize),
    /// A pod of an ordered set was made while one below it was not ready.
    MadeOutOfOrder(usize),
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// What the store holds.
    pub truth: Picture,
    /// Who watches it.
    pub controllers: Vec<Controller>,
    /// How often the spec may still change.
    pub changes_left: u8,
    /// How much may still go wrong.
    pub faults_left: u8,
    /// Whether something went wrong.
    pub is_disturbed: bool,
    /// Ordinals whose claim some policy in force allowed to delete, since it was made.
    pub may_be_lost: [bool; ORDINALS],
    /// Which controller took an ordinal's ready pod for an update, from 1, until one is ready again; 0 for
    /// none.
    pub taken: [u8; ORDINALS],
    /// The largest `maxUnavailable` so far.
    pub budget: u8,
    /// What should not have happened.
    pub harm: Option<Harm>,
}

impl State {
    /// Changes an object in the store; every controller will see it.
    pub fn put(&mut self, event: Event) {
        self.truth.apply(event);
        for controller in &mut self.controllers {
            controller.pending[event.kind()].push(event);
        }
    }

    /// The smallest number that no pod of this ordinal bears or is remembered by anywhere.
    pub fn fresh_uid(&self, ordinal: usize) -> u8 {
        let mut used = 0_u32;
        let mut note = |uid: u8| used |= 1 << uid;
        let mut look = |picture: &Picture| {
            picture.pods[ordinal].iter().for_each(|pod| note(pod.uid));
            if let Some(ClaimCell { owner: Owner::Pod(uid), .. }) = picture.claims[ordinal] {
                note(uid);
            }
        };
        look(&self.truth);
        for controller in &self.controllers {
            look(&controller.sees);
            for event in controller.pending.iter().flatten() {
                let mut seen = controller.sees;
                seen.apply(*event);
                look(&seen);
            }
        }
        for write in self.controllers.iter().flat_map(|controller| &controller.writes) {
            match write {
                Write::DeletePod { ordinal: of, uid, .. } if *of == ordinal => used |= 1 << uid,
                Write::OwnClaim { ordinal: of, owner: Owner::Pod(uid), .. } if *of == ordinal => {
                    used |= 1 << uid;
                }
                _ => {}
            }
        }
        u8::try_from(used.trailing_ones()).expect("is at most 32")
    }
}
