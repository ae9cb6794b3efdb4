//! Sets of small numbers as intervals: `0-3,5`, the form in which a Job says which indexes are done.
//!
//! A Job of a hundred thousand indexes has few intervals, however many are done. Pure; what is said of a
//! malformed text is upstream's.

use std::collections::BTreeSet;
use std::fmt;

/// A set of numbers from zero up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals(Vec<(u32, u32)>);

impl Intervals {
    /// Reads what is below `end`, and passes over what cannot be read: a text that the API has stored.
    pub fn read(text: &str, end: u32) -> Intervals {
        let mut all = Intervals::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else { continue };
            if first < end && first <= last {
                all.push((first, last.min(end - 1)));
            }
        }
        all
    }

    /// Reads a text that has to be right: intervals in order, all below `end`.
    pub fn parse(text: &str, end: u32) -> Result<Intervals, String> {
        let mut all = Intervals::default();
        if text.is_empty() {
            return Ok(all);
        }
        let mut previous = None;
        for part in text.split(',') {
            let (first, last) = interval(part, end)?;
            if let Some(previous) = previous.filter(|previous| *previous >= first) {
                return Err(not_increasing(previous, first));
            }
            previous = Some(last);
            all.push((first, last));
        }
        Ok(all)
    }

    /// Adds an interval that begins at or behind the beginning of the last.
    fn push(&mut self, (first, last): (u32, u32)) {
        match self.0.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    /// How many numbers there are.
    pub fn count(&self) -> u32 {
        self.0.iter().fold(0, |count, (first, last)| count.saturating_add(last - first + 1))
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when this number is among them.
    pub fn has(&self, number: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// These and those.
    #[must_use]
    pub fn with(&self, others: &Intervals) -> Intervals {
        let mut all = Intervals::default();
        let (mut ours, mut theirs) = (self.0.iter().peekable(), others.0.iter().peekable());
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some(one), Some(other)) if one.0 <= other.0 => ours.next(),
                (_, Some(_)) => theirs.next(),
                (_, None) => ours.next(),
            };
            let Some(next) = next else { return all };
            all.push(*next);
        }
    }

    /// The first of them that is in both.
    pub fn overlap(&self, others: &Intervals) -> Option<u32> {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), others.0.iter().peekable());
        while let (Some(one), Some(other)) = (ours.peek(), theirs.peek()) {
            let from = one.0.max(other.0);
            if from <= one.1.min(other.1) {
                return Some(from);
            }
            if one.1 < other.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        None
    }

    /// How many numbers are in both.
    pub fn count_in(&self, others: &Intervals) -> u32 {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), others.0.iter().peekable());
        let mut count = 0_u32;
        while let (Some(one), Some(other)) = (ours.peek(), theirs.peek()) {
            let (from, to) = (one.0.max(other.0), one.1.min(other.1));
            if from <= to {
                count = count.saturating_add(to - from + 1);
            }
            if one.1 < other.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        count
    }

    /// The first `count` numbers below `end` that are not among them.
    pub fn first_missing(&self, count: usize, end: u32) -> Vec<u32> {
        let mut missing = Vec::new();
        let mut candidate = 0;
        let ends = self.0.iter().copied().chain([(end, end)]);
        for (first, last) in ends {
            let room = count - missing.len();
            missing.extend((candidate..first.min(end)).take(room));
            candidate = candidate.max(last.saturating_add(1));
        }
        missing
    }
}

impl From<&BTreeSet<u32>> for Intervals {
    fn from(numbers: &BTreeSet<u32>) -> Intervals {
        let mut all = Intervals::default();
        for number in numbers {
            all.push((*number, *number));
        }
        all
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{first}")?;
            match last - first {
                0 => {}
                1 => write!(formatter, ",{last}")?,
                _ => write!(formatter, "-{last}")?,
            }
        }
        Ok(())
    }
}

fn interval(part: &str, end: u32) -> Result<(u32, u32), String> {
    let limits: Vec<&str> = part.split('-').collect();
    let number = |text: &str| match text.parse::<u64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(number) => match u32::try_from(number) {
            Ok(number) if number < end => Ok(number),
            _ => Err(format!("too large index: {text:?}")),
        },
    };
    match limits.as_slice() {
        [only] => number(only).map(|number| (number, number)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last { Err(not_increasing(first, last)) } else { Ok((first, last)) }
        }
        _ => Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two \
             parts separated by '-'"
        )),
    }
}

fn not_increasing(previous: u32, current: u32) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn intervals_are_written_as_short_as_they_can_be() {
        for text in ["", "0", "0,1", "0-2", "0-2,4,5,7-9"] {
            assert_eq!(Intervals::parse(text, 100).expect("is right").to_string(), text);
        }
        assert_eq!(Intervals::read("0,1,2,x,9-7,4-400", 6).to_string(), "0-2,4,5");
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        let table = [
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most \
                       two parts separated by '-'",
            ),
            ("a", "cannot convert string to integer for index: \"a\""),
            ("5", "too large index: \"5\""),
            ("1-9", "too large index: \"9\""),
            ("3-2", "non-increasing order, previous: 3, current: 2"),
            ("0-3,2", "non-increasing order, previous: 3, current: 2"),
        ];
        for (text, expected) in table {
            assert_eq!(Intervals::parse(text, 5).expect_err("is wrong"), expected, "{text}");
        }
    }

    fn set() -> impl Strategy<Value = BTreeSet<u32>> {
        proptest::collection::btree_set(0_u32..40, 0..30)
    }

    proptest! {
        #[test]
        fn every_answer_agrees_with_a_set(ones in set(), others in set(), count in 0_usize..20) {
            let (one, other) = (Intervals::from(&ones), Intervals::from(&others));
            let union: BTreeSet<u32> = ones.union(&others).copied().collect();
            prop_assert_eq!(one.with(&other), Intervals::from(&union));
            prop_assert_eq!(one.overlap(&other), ones.intersection(&others).next().copied());
            prop_assert_eq!(one.count_in(&other) as usize, ones.intersection(&others).count());
            prop_assert_eq!(one.count() as usize, ones.len());
            prop_assert_eq!(Intervals::parse(&one.to_string(), 40), Ok(one.clone()));
            let missing: Vec<u32> = (0..35).filter(|number| !ones.contains(number)).take(count).collect();
            prop_assert_eq!(one.first_missing(count, 35), missing);
            prop_assert!((0..40).all(|number| one.has(number) == ones.contains(&number)));
        }
    }
}
