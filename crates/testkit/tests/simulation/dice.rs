//! Chance from a seed: whatever a simulation leaves to chance is drawn here, in one order.
//!
//! It must never be asked by anything that runs outside the simulation's one thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The one generator of a simulation.
pub(crate) struct Dice {
    generator: Mutex<StdRng>,
    are_faults_on: AtomicBool,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        let generator = Mutex::new(StdRng::seed_from_u64(seed));
        Dice { generator, are_faults_on: AtomicBool::new(true) }
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u32) -> u32 {
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        generator.random_range(0..end)
    }

    pub(crate) fn one_in(&self, count: u32) -> bool {
        self.below(count) == 0
    }

    /// True once in `count` times while faults are on.
    pub(crate) fn fault(&self, count: u32) -> bool {
        self.are_faults_on() && self.one_in(count)
    }

    pub(crate) fn pick<T: Clone>(&self, of: &[T]) -> T {
        let index = self.below(u32::try_from(of.len()).expect("a short list"));
        of[index as usize].clone()
    }

    /// A pause of at most so many milliseconds.
    pub(crate) fn pause(&self, at_most_ms: u32) -> Duration {
        Duration::from_millis(u64::from(self.below(at_most_ms + 1)))
    }

    pub(crate) fn are_faults_on(&self) -> bool {
        self.are_faults_on.load(Ordering::Relaxed)
    }

    pub(crate) fn end_faults(&self) {
        self.are_faults_on.store(false, Ordering::Relaxed);
    }
}
