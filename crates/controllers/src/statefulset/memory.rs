//! What is remembered about a set between decisions because no object tells it. Pure.
//!
//! A restart forgets it, which may only make the controller quicker once: nothing that keeps a set safe may
//! stand here.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Pause before the second replacement of a pod that ended; it doubles with each that follows.
const BACKOFF_FIRST_MS: u64 = 1_000;
/// Longest pause, as the one between restarts of a container.
const BACKOFF_MAX_MS: u64 = 300_000;
/// A pod that ends later than this after the last one did begins anew: twice the longest pause.
const FORGET_AFTER: SignedDuration = SignedDuration::from_secs(600);
/// How long an update or a removal of the primary waits for another pod to take its label. What moves the
/// label (an operator, a sidecar) reacts within seconds or not at all.
pub const PRIMARY_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// What is remembered about a set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Pods that ended and were replaced, by their ordinal; at most one for each.
    failures: BTreeMap<i32, Failures>,
    /// The uid of the primary that is to go, and since when it is waited for.
    primary: Option<(String, Timestamp)>,
}

/// How often in a row an ordinal's pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many pods.
    pub count: u32,
    /// When the last of them was deleted.
    pub last: Timestamp,
}

impl Memory {
    /// When the pod of an ordinal that has ended may be replaced, and after how many others; `None` when at
    /// once.
    pub fn replaced_from(&self, ordinal: i32, now: Timestamp) -> Option<(Timestamp, u32)> {
        let Failures { count, last } = *self.failures.get(&ordinal)?;
        let from = last.checked_add(pause(count)).unwrap_or(Timestamp::MAX);
        (from > now).then_some((from, count))
    }

    /// Notes that the pod of an ordinal is replaced because it ended.
    pub fn ended(&mut self, ordinal: i32, now: Timestamp) {
        let failures = self.failures.entry(ordinal).or_insert(Failures { count: 0, last: now });
        if now.duration_since(failures.last) > FORGET_AFTER {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }

    /// Forgets what lies too far back.
    pub fn tidy(&mut self, now: Timestamp) {
        self.failures.retain(|_, failures| now.duration_since(failures.last) <= FORGET_AFTER);
    }

    /// Until when this primary is waited for; counted from the first time it is asked about.
    pub fn primary_until(&mut self, uid: &str, now: Timestamp) -> Timestamp {
        let since = match &self.primary {
            Some((known, since)) if known == uid => *since,
            _ => now,
        };
        self.primary = Some((uid.to_owned(), since));
        since.checked_add(PRIMARY_WAIT).unwrap_or(Timestamp::MAX)
    }

    /// Notes that no primary is waited for.
    pub fn no_primary(&mut self) {
        self.primary = None;
    }
}

/// The pause after so many pods in a row.
fn pause(count: u32) -> Duration {
    let doublings = count.saturating_sub(1).min(20);
    Duration::from_millis((BACKOFF_FIRST_MS << doublings).min(BACKOFF_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("is a time")
    }

    #[test]
    fn the_first_replacement_is_at_once_and_the_next_wait_twice_as_long_each() {
        let mut memory = Memory::default();
        let mut now = 0;
        for pause in [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let from = memory.replaced_from(0, at(now)).map_or(at(now), |(from, _)| from);
            assert_eq!(from, at(now + pause));
            now += pause;
            memory.ended(0, at(now));
        }
        assert_eq!(memory.replaced_from(1, at(now)), None, "ordinals do not wait for each other");
    }

    #[test]
    fn an_ordinal_that_lasted_begins_anew() {
        let mut memory = Memory::default();
        for _ in 0..5 {
            memory.ended(0, at(0));
        }
        memory.ended(0, at(601));
        assert_eq!(memory.replaced_from(0, at(601)), Some((at(602), 1)));
        memory.tidy(at(1300));
        assert_eq!(memory, Memory::default());
    }

    #[test]
    fn a_primary_is_waited_for_once() {
        let mut memory = Memory::default();
        assert_eq!(memory.primary_until("a", at(0)), at(30));
        assert_eq!(memory.primary_until("a", at(20)), at(30));
        assert_eq!(memory.primary_until("b", at(20)), at(50));
    }
}
