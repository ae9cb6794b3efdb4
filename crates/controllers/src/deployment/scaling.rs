//! Who gets how many replicas when the number changes in the middle of a rollout, or in a pause. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;

use super::arithmetic::{is_rolling, most, replicas, told};
use super::revisions::{MAX_REPLICAS, number_in};
use super::rollout::{Set, by_age, sum};

/// The new number of replicas of each set, by its name.
pub type Sizes = BTreeMap<String, i32>;

/// Spreads the wanted replicas over the sets: all to the one that lives, or in proportion to what each has.
/// `new` is the one with the present template. A set is named also where only its annotations may be out of
/// date.
pub fn spread(deployment: &Deployment, new: Option<&Set<'_>>, old: &[Set<'_>]) -> Sizes {
    let wanted = replicas(deployment);
    let one = |set: &Set<'_>, size: i32| Sizes::from([(set.name().to_owned(), size)]);
    let all = || old.iter().chain(new);
    let active: Vec<Set<'_>> = all().filter(|set| set.size > 0).copied().collect();
    let newest_old = old.iter().max_by(|a, b| by_age(a, b));
    match (active.as_slice(), new.or(newest_old)) {
        ([], None) => return Sizes::new(),
        ([], Some(latest)) => return one(latest, wanted),
        ([only], _) => return one(only, wanted),
        _ => {}
    }
    if new.is_some_and(|new| is_saturated(deployment, new)) {
        let superfluous = old.iter().filter(|set| set.size > 0);
        return superfluous.map(|set| (set.name().to_owned(), 0)).collect();
    }
    if is_rolling(deployment) { proportional(deployment, active) } else { Sizes::new() }
}

/// True when the new set has all the replicas, as of the number wanted now, and all are available.
fn is_saturated(deployment: &Deployment, new: &Set<'_>) -> bool {
    let wanted = replicas(deployment);
    new.size == wanted
        && number_in(&new.set.metadata, super::revisions::DESIRED_REPLICAS) == Some(wanted)
        && new.available() == wanted
}

fn proportional(deployment: &Deployment, mut active: Vec<Set<'_>>) -> Sizes {
    let wanted = replicas(deployment);
    let allowed = if wanted > 0 { most(deployment) } else { 0 };
    let to_add = allowed - sum(&active, |set| set.size);
    // The largest come first, since what does not divide goes to the first: to a newer one when there are
    // more to have, to an older one when there are fewer.
    active.sort_by(|a, b| {
        let ages = if to_add > 0 { by_age(b, a) } else { by_age(a, b) };
        b.size.cmp(&a.size).then(ages)
    });
    let mut sizes = BTreeMap::new();
    let mut added = 0;
    for set in &active {
        let share = share(deployment, set, to_add, added);
        added += share;
        sizes.insert(set.name().to_owned(), i64::from(set.size) + share);
    }
    if let Some(first) = active.first().and_then(|set| sizes.get_mut(set.name())) {
        *first = (*first + to_add - added).max(0);
    }
    sizes.into_iter().map(|(name, size)| (name, told(size))).collect()
}

/// How many of the replicas to add (or, below zero, to take) fall to a set.
fn share(deployment: &Deployment, set: &Set<'_>, to_add: i64, added: i64) -> i64 {
    if set.size == 0 || to_add == added {
        return 0;
    }
    let (fraction, left) = (fraction(deployment, set), to_add - added);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// By how much a set would change if all changed alike.
fn fraction(deployment: &Deployment, set: &Set<'_>) -> i64 {
    let wanted = replicas(deployment);
    if wanted == 0 {
        return -i64::from(set.size);
    }
    let known = number_in(&set.set.metadata, MAX_REPLICAS).filter(|known| *known > 0);
    let before = known.or_else(|| deployment.status.as_ref()?.replicas).unwrap_or_default();
    if before == 0 {
        return 0;
    }
    let (scaled, before) = (i128::from(set.size) * i128::from(most(deployment)), i128::from(before));
    // To the nearest whole one, halves up.
    let size = (2 * scaled + before) / (2 * before);
    i64::try_from(size).unwrap_or(i64::MAX).min(i32::MAX.into()) - i64::from(set.size)
}
