//! The picture that a controller has of the cluster: its `View`, as the loop sees it.
//!
//! A picture is a plain value that changes with events and is read by decisions. It must never ask anybody
//! anything. What it has seen is told by its [`Horizon`], from which the loop learns when the picture is
//! complete and when it shows a write. Read next: [`crate::runner`].

use std::collections::BTreeSet;
use std::fmt::Display;
use std::hash::Hash;

use crate::barrier::{Barrier, Horizon, Removed};

/// What a controller knows.
pub trait Picture: Send + 'static {
    /// What is decided about.
    type Key: Clone + Eq + Hash + Ord + Display + Send + 'static;
    /// Everything that can happen to the picture: a closed enum.
    type Event: Send;

    /// Applies an event, notes it in the horizon, and says which keys it touches.
    fn apply(&mut self, event: Self::Event) -> BTreeSet<Self::Key>;

    /// Plural names of the kinds that it shows; nothing is decided before each has sent its first picture.
    fn kinds(&self) -> &[&'static str];

    /// How far it has seen.
    fn horizon(&self) -> &Horizon;

    /// True when a removed object has left the picture. A picture whose executions remove nothing needs none.
    fn is_gone(&self, _removed: &Removed) -> bool {
        true
    }

    /// How urgent a key is: of those that wait, those of the highest rank are decided about first.
    fn rank(&self, _key: &Self::Key) -> i64 {
        0
    }

    /// True when each kind has sent its first picture.
    fn is_synced(&self) -> bool {
        self.kinds().iter().all(|kind| self.horizon().knows(kind))
    }

    /// Drops from a barrier what has been seen; true when nothing is left.
    fn lift(&self, barrier: &mut Barrier) -> bool {
        barrier.lift(self.horizon(), |removed| self.is_gone(removed))
    }
}
