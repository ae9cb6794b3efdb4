//! Rests between decisions that take long, so that deciding never fills a core.
//!
//! A decision usually looks at what changed and is a matter of microseconds. While thousands of objects of
//! one owner change at once it has to look at all of them, for each few that changed; deciding a little later
//! sees more changes at once and costs no more. So a key rests after a decision in proportion to what the
//! decision took. What is quick never rests. Nothing here may sleep or read a clock.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Decisions that take less are followed by the next at once.
const QUICK_US_MAX: u64 = 200;
/// How many times as long as its decision took a key rests: deciding takes a tenth of a core at most.
const REST_PER_DECISION: u32 = 9;
/// No change waits longer than this for being looked at.
const REST_MS_MAX: u64 = 100;

/// Keys that rest. It holds only keys whose last decision was slow, each until it is asked about after its
/// rest.
#[derive(Debug)]
pub struct Rests<K>(HashMap<K, Instant>);

impl<K> Default for Rests<K> {
    fn default() -> Self {
        Rests(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Rests<K> {
    /// Takes note of what a decision about a key took.
    pub fn decided(&mut self, key: &K, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        if took > Duration::from_micros(QUICK_US_MAX) {
            let rest = (took * REST_PER_DECISION).min(Duration::from_millis(REST_MS_MAX));
            self.0.insert(key.clone(), ended + rest);
        }
    }

    /// Until when a key rests; `None` when it does not.
    pub fn until(&mut self, key: &K, now: Instant) -> Option<Instant> {
        let until = *self.0.get(key)?;
        if until <= now {
            self.0.remove(key);
            return None;
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_decision_is_followed_by_a_rest_and_a_quick_one_is_not() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        rests.decided(&"web", now, now + Duration::from_micros(150));
        assert_eq!(rests.until(&"web", now), None);
        let ended = now + Duration::from_millis(2);
        rests.decided(&"web", now, ended);
        let until = ended + Duration::from_millis(18);
        assert_eq!(rests.until(&"web", ended), Some(until));
        assert_eq!(rests.until(&"db", ended), None, "others go on");
        assert_eq!(rests.until(&"web", until), None);
        assert!(rests.0.is_empty(), "and nothing is kept");
    }

    #[test]
    fn no_rest_is_long() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        let ended = now + Duration::from_secs(3);
        rests.decided(&"web", now, ended);
        assert_eq!(rests.until(&"web", ended), Some(ended + Duration::from_millis(REST_MS_MAX)));
    }
}
