//! Which ordinals a set wants: so many as it has replicas, from its start ordinal, without the reserved ones.
//! Pure.
//!
//! The place of an ordinal among the wanted ones is its slot; partitions count slots. Questions are answered
//! from the ranges, so that they cost the same for three replicas and for five thousand.

use std::ops::RangeInclusive;

use k8s_openapi::api::apps::v1::StatefulSet;

use super::Reserved;

/// The wanted ordinals of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordinals {
    start: i32,
    /// The ordinal after the last wanted one.
    end: i64,
    reserved: Reserved,
}

impl Ordinals {
    /// Those of a set.
    pub fn of(set: &StatefulSet, reserved: &Reserved) -> Ordinals {
        let start = set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default().max(0);
        Ordinals::new(start, replicas(set), reserved.clone())
    }

    /// `count` of them from `start`.
    pub fn new(start: i32, count: i32, reserved: Reserved) -> Ordinals {
        let mut end = i64::from(start) + i64::from(count);
        for (first, last) in reserved.ranges() {
            let first = i64::from(start.max(*first));
            if first < end && *last >= start {
                end += i64::from(*last) - first + 1;
            }
        }
        // An ordinal is an i32: what would lie beyond is not wanted.
        Ordinals { start, end: end.min(i64::from(i32::MAX) + 1), reserved }
    }

    /// True when the ordinal is one of them.
    pub fn contains(&self, ordinal: i32) -> bool {
        ordinal >= self.start && i64::from(ordinal) < self.end && !self.is_reserved(ordinal)
    }

    /// The first ordinal and the last that can be one of them; `None` where none is wanted.
    pub fn span(&self) -> Option<RangeInclusive<i32>> {
        let last = i32::try_from(self.end - 1).ok()?;
        (last >= self.start).then(|| self.start..=last)
    }

    /// They, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i32> {
        (i64::from(self.start)..self.end)
            .filter_map(|ordinal| i32::try_from(ordinal).ok())
            .filter(|ordinal| !self.is_reserved(*ordinal))
    }

    /// The highest; `None` where none is wanted.
    pub fn last(&self) -> Option<i32> {
        self.iter().next_back()
    }

    /// How many wanted ordinals come before this one.
    pub fn slot(&self, ordinal: i32) -> i32 {
        let skipped: i64 = self
            .reserved
            .ranges()
            .iter()
            .map(|(first, last)| {
                let (first, last) =
                    (i64::from((*first).max(self.start)), i64::from((*last).min(ordinal - 1)));
                (last - first + 1).max(0)
            })
            .sum();
        i32::try_from(i64::from(ordinal) - i64::from(self.start) - skipped).unwrap_or(i32::MAX)
    }

    fn is_reserved(&self, ordinal: i32) -> bool {
        let ranges = self.reserved.ranges();
        let next = ranges.partition_point(|(_, last)| *last < ordinal);
        ranges.get(next).is_some_and(|(first, _)| *first <= ordinal)
    }
}

/// How many replicas a set wants.
pub fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn reserved(entries: &serde_json::Value) -> Reserved {
        Reserved::parse(entries.as_array().expect("is a list")).expect("is right")
    }

    #[test]
    fn reserved_ordinals_are_skipped_and_made_up_for() {
        let ordinals = Ordinals::new(1, 4, reserved(&json!([0, "2-3", 9])));
        assert_eq!(ordinals.iter().collect::<Vec<_>>(), [1, 4, 5, 6]);
        assert_eq!([1, 4, 6].map(|ordinal| ordinals.slot(ordinal)), [0, 1, 3]);
        assert!(!ordinals.contains(2) && !ordinals.contains(7) && !ordinals.contains(0));
    }

    #[test]
    fn ordinals_end_where_numbers_do() {
        let ordinals = Ordinals::new(i32::MAX - 1, 5, Reserved::default());
        assert_eq!(ordinals.iter().collect::<Vec<_>>(), [i32::MAX - 1, i32::MAX]);
    }

    proptest! {
        #[test]
        fn every_answer_agrees_with_counting(
            start in 0..6_i32,
            count in 0..8_i32,
            ranges in proptest::collection::vec((0..12_i32, 0..4_i32), 0..4),
        ) {
            let entries: Vec<_> = ranges.iter().map(|(from, more)| json!(format!("{from}-{}", from + more))).collect();
            let is_reserved = |ordinal: i32| ranges.iter().any(|(from, more)| (*from..=from + more).contains(&ordinal));
            let counted: Vec<i32> =
                (start..).filter(|ordinal| !is_reserved(*ordinal)).take(count as usize).collect();
            let ordinals = Ordinals::new(start, count, reserved(&json!(entries)));
            prop_assert_eq!(ordinals.iter().collect::<Vec<_>>(), counted.clone());
            for (slot, ordinal) in counted.iter().enumerate() {
                prop_assert!(ordinals.contains(*ordinal));
                prop_assert_eq!(ordinals.slot(*ordinal), slot as i32);
            }
        }
    }
}
