//! The work queue: which keys are to be decided about, and when.
//!
//! A key waits at most once, and is never given out while it is still being worked on: what is added
//! meanwhile comes back after [`WorkQueue::done`]. Of those that wait the one with the highest rank is given
//! out first, of equal ones that which was added first. Failures push a key back by a growing pause of its
//! own. The queue is a plain value that belongs to one loop: it never sleeps, it only says when it next has
//! something ([`WorkQueue::next_due`]). Read next: [`crate::runner`], the loop.
//!
//! Its size is bounded by what feeds it: a key stands for an object of the cluster, and takes at most one
//! place in each of `ready`, `delayed`, `working` and `failures`; a key that is dealt with takes none.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Pause after the first failure of a key; it doubles with each further one.
pub const BACKOFF_MS_MIN: u64 = 5;
/// Longest pause of a key. Fourteen failures in a row reach it: 5 ms · 2^14 > 60 s. Upstream goes on to
/// 1000 s, which nobody in front of a terminal understands.
pub const BACKOFF_MS_MAX: u64 = 60_000;

/// Keys to be worked on, each once.
#[derive(Debug)]
pub struct WorkQueue<K> {
    /// By rank and by how many were added before.
    ready: BTreeMap<(Reverse<i64>, u64), K>,
    added: u64,
    /// With their ranks.
    waiting: HashMap<K, i64>,
    working: HashSet<K>,
    due: BTreeSet<(Instant, K)>,
    /// When, and with which rank.
    delayed: HashMap<K, (Instant, i64)>,
    failures: HashMap<K, u32>,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        WorkQueue {
            ready: BTreeMap::new(),
            added: 0,
            waiting: HashMap::new(),
            working: HashSet::new(),
            due: BTreeSet::new(),
            delayed: HashMap::new(),
            failures: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> WorkQueue<K> {
    /// Asks for work on a key, as soon as there is a worker.
    pub fn add(&mut self, key: K, rank: i64) {
        if self.waiting.contains_key(&key) {
            return;
        }
        self.waiting.insert(key.clone(), rank);
        if !self.working.contains(&key) {
            self.line_up(key, rank);
        }
    }

    fn line_up(&mut self, key: K, rank: i64) {
        self.added += 1;
        self.ready.insert((Reverse(rank), self.added), key);
    }

    /// Asks for work on a key at a later moment; of several such wishes the earliest counts.
    pub fn add_at(&mut self, key: K, rank: i64, at: Instant) {
        if let Some(&(planned, _)) = self.delayed.get(&key) {
            if planned <= at {
                return;
            }
            self.due.remove(&(planned, key.clone()));
        }
        self.delayed.insert(key.clone(), (at, rank));
        self.due.insert((at, key));
    }

    /// Asks for work on a key after its back-off, which grows with each call until [`WorkQueue::forget`].
    /// Returns the pause.
    pub fn add_after_failure(&mut self, key: K, rank: i64, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = backoff(*failures);
        *failures = failures.saturating_add(1);
        self.add_at(key, rank, now + pause);
        pause
    }

    /// Ends a key's back-off: it succeeded, or it is no more.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// How many times in a row a key has failed.
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or_default()
    }

    /// The next key to work on. It counts as being worked on until [`WorkQueue::done`].
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        while let Some((at, _)) = self.due.first()
            && *at <= now
            && let Some((_, key)) = self.due.pop_first()
        {
            let rank = self.delayed.remove(&key).map_or(0, |(_, rank)| rank);
            self.add(key, rank);
        }
        let (_, key) = self.ready.pop_first()?;
        self.waiting.remove(&key);
        assert!(self.working.insert(key.clone()), "a key is worked on once at a time");
        Some(key)
    }

    /// The work on a key has ended, well or not. What was added meanwhile is ready now.
    pub fn done(&mut self, key: &K) {
        assert!(self.working.remove(key), "only a key that was given out can be done");
        if let Some(rank) = self.waiting.get(key).copied() {
            self.line_up(key.clone(), rank);
        }
    }

    /// True when [`WorkQueue::pop`] gives a key without waiting.
    pub fn is_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.next_due().is_some_and(|at| at <= now)
    }

    /// When the next delayed key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// True when nothing is waiting, delayed or being worked on.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.due.is_empty() && self.working.is_empty()
    }
}

fn backoff(failures: u32) -> Duration {
    let pause_ms = BACKOFF_MS_MIN.saturating_mul(1_u64 << failures.min(32)).min(BACKOFF_MS_MAX);
    Duration::from_millis(pause_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_key_added_many_times_is_given_out_once() {
        let (mut queue, now) = (WorkQueue::default(), Instant::now());
        for _ in 0..3 {
            queue.add("a", 0);
        }
        assert_eq!(queue.pop(now), Some("a"));
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn a_key_is_never_given_out_while_it_is_worked_on() {
        let (mut queue, now) = (WorkQueue::default(), Instant::now());
        queue.add("a", 0);
        assert_eq!(queue.pop(now), Some("a"));
        queue.add("a", 0);
        queue.add_at("a", 0, now);
        assert_eq!(queue.pop(now), None);
        queue.done(&"a");
        assert_eq!(queue.pop(now), Some("a"));
        queue.done(&"a");
        assert!(queue.is_idle());
    }

    #[test]
    fn the_earliest_of_several_delays_counts() {
        let (mut queue, start) = (WorkQueue::default(), Instant::now());
        queue.add_at("a", 0, at(start, 50));
        queue.add_at("a", 0, at(start, 20));
        queue.add_at("a", 0, at(start, 90));
        assert_eq!(queue.next_due(), Some(at(start, 20)));
        assert_eq!(queue.pop(at(start, 19)), None);
        assert_eq!(queue.pop(at(start, 20)), Some("a"));
        queue.done(&"a");
        assert!(queue.is_idle());
    }

    #[test]
    fn back_off_doubles_up_to_its_cap_and_is_forgotten_on_success() {
        let (mut queue, now) = (WorkQueue::default(), Instant::now());
        let pauses: Vec<u64> = (0..16)
            .map(|_| queue.add_after_failure("a", 0, now).as_millis().try_into().expect("is small"))
            .collect();
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[15], BACKOFF_MS_MAX);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
        assert_eq!(queue.add_after_failure("a", 0, now), Duration::from_millis(BACKOFF_MS_MIN));
    }

    #[test]
    fn keys_are_given_out_in_the_order_they_were_added() {
        let (mut queue, now) = (WorkQueue::default(), Instant::now());
        queue.add("b", 0);
        queue.add("a", 0);
        queue.add("b", 0);
        assert_eq!((queue.pop(now), queue.pop(now)), (Some("b"), Some("a")));
    }

    #[test]
    fn the_key_of_the_highest_rank_is_given_out_first_whenever_it_was_added() {
        let (mut queue, now) = (WorkQueue::default(), Instant::now());
        queue.add("low", -5);
        queue.add("b", 0);
        queue.add("a", 0);
        queue.add("high", 7);
        queue.add_at("later", 9, now);
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(order, ["later", "high", "b", "a", "low"]);
        queue.add("b", 3);
        queue.add("low", 2);
        queue.done(&"low");
        queue.done(&"b");
        assert_eq!((queue.pop(now), queue.pop(now)), (Some("b"), Some("low")));
    }
}
