//! Which pods of a set need no look: they are as the set wants them, and stay so until something happens to
//! them.
//!
//! A decision looks at the others alone. With 5,000 replicas and one event that is one pod, and the rest is
//! a range. It must never hold a pod that some step or count of a plan could treat in another way than as
//! "wanted, of the update revision, available, nothing to repair".

use std::collections::BTreeSet;

use model::stateful_set::Ordinals;
use rangemap::RangeInclusiveSet;

/// The members of a set, in two heaps.
#[derive(Debug, Default)]
pub struct Settled {
    /// The revision that the settled ones are at.
    update: String,
    settled: RangeInclusiveSet<i32>,
    count: i32,
    unsettled: BTreeSet<i32>,
}

impl Settled {
    /// A pod came or changed: nothing is known of it.
    pub fn unsettle(&mut self, ordinal: i32) {
        self.forget(ordinal);
        self.unsettled.insert(ordinal);
    }

    /// The pod of an ordinal is gone.
    pub fn forget(&mut self, ordinal: i32) {
        self.unsettled.remove(&ordinal);
        if self.settled.contains(&ordinal) {
            self.settled.remove(ordinal..=ordinal);
            self.count -= 1;
        }
    }

    /// What was known of all pods is void.
    pub fn unsettle_all(&mut self) {
        let settled = std::mem::take(&mut self.settled);
        self.unsettled.extend(settled.iter().flat_map(|range| range.clone()));
        self.count = 0;
    }

    /// Looks at the pods of which nothing is known, and settles those that are as they should be at this
    /// revision.
    pub fn settle(&mut self, update: &str, is_settled: impl Fn(i32) -> bool) {
        if self.update != update {
            self.unsettle_all();
            update.clone_into(&mut self.update);
        }
        let (settled, count) = (&mut self.settled, &mut self.count);
        self.unsettled.retain(|ordinal| {
            let settles = is_settled(*ordinal);
            if settles {
                settled.insert(*ordinal..=*ordinal);
                *count += 1;
            }
            !settles
        });
    }

    /// How many are settled.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Ordinals of the pods that are not, from the lowest.
    pub fn unsettled(&self) -> impl Iterator<Item = i32> {
        self.unsettled.iter().copied()
    }

    /// The wanted ordinals that are not settled, from the lowest: those without pod are among them. There may
    /// be a billion of them.
    pub fn open<'a>(&self, ordinals: &'a Ordinals) -> impl DoubleEndedIterator<Item = i32> + use<'a> {
        let gaps: Vec<_> = ordinals.span().map(|span| self.settled.gaps(&span).collect()).unwrap_or_default();
        gaps.into_iter().flatten().filter(|ordinal| ordinals.contains(*ordinal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::stateful_set::Reserved;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Change {
        Unsettle(i32),
        Forget(i32),
        UnsettleAll,
        /// Settles those that this divides.
        Settle(i32),
    }

    fn change() -> impl Strategy<Value = Change> {
        let ordinal = 0..12_i32;
        prop_oneof![
            4 => ordinal.clone().prop_map(Change::Unsettle),
            2 => ordinal.prop_map(Change::Forget),
            1 => Just(Change::UnsettleAll),
            3 => (1..4_i32).prop_map(Change::Settle),
        ]
    }

    proptest! {
        #[test]
        fn each_member_is_in_one_heap_and_what_is_open_is_all_but_the_settled(
            changes in proptest::collection::vec(change(), 0..40),
            start in 0..4_i32,
            replicas in 0..12_i32,
        ) {
            let mut settled = Settled::default();
            let (mut known, mut unknown) = (BTreeSet::new(), BTreeSet::new());
            for change in changes {
                match change {
                    Change::Unsettle(ordinal) => {
                        settled.unsettle(ordinal);
                        known.remove(&ordinal);
                        unknown.insert(ordinal);
                    }
                    Change::Forget(ordinal) => {
                        settled.forget(ordinal);
                        known.remove(&ordinal);
                        unknown.remove(&ordinal);
                    }
                    Change::UnsettleAll => {
                        settled.unsettle_all();
                        unknown.append(&mut known);
                    }
                    Change::Settle(divisor) => {
                        settled.settle("", |ordinal| ordinal % divisor == 0);
                        known.extend(unknown.iter().filter(|ordinal| *ordinal % divisor == 0));
                        unknown.retain(|ordinal| ordinal % divisor != 0);
                    }
                }
            }
            prop_assert_eq!(settled.count(), i32::try_from(known.len()).expect("few"));
            prop_assert_eq!(settled.unsettled().collect::<BTreeSet<_>>(), unknown);
            let ordinals = Ordinals::new(start, replicas, Reserved::default());
            let open: Vec<i32> = ordinals.iter().filter(|ordinal| !known.contains(ordinal)).collect();
            prop_assert_eq!(settled.open(&ordinals).collect::<Vec<_>>(), open);
        }
    }

    #[test]
    fn another_revision_unsettles_all() {
        let mut settled = Settled::default();
        settled.unsettle(3);
        settled.settle("a", |_| true);
        assert_eq!((settled.count(), settled.unsettled().count()), (1, 0));
        settled.settle("b", |_| false);
        assert_eq!((settled.count(), settled.unsettled().count()), (0, 1));
    }
}
