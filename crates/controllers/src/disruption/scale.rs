//! How many pods the owner of a pod wants: the whole that percentages are of.
//!
//! An owner is known by its uid, whatever its kind, and says its replicas. A ReplicaSet of a Deployment
//! speaks for the Deployment, whose pods may be spread over two of them. Nothing here knows a budget.

use std::collections::{BTreeSet, HashMap};

use client::Typed;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use model::meta;

/// A kind that has pods and says how many.
pub trait Scaled: Typed {
    /// How many pods the object wants.
    fn replicas(&self) -> Option<i32>;
}

impl Scaled for StatefulSet {
    fn replicas(&self) -> Option<i32> {
        self.spec.replicas
    }
}

impl Scaled for ReplicaSet {
    fn replicas(&self) -> Option<i32> {
        self.spec.replicas
    }
}

impl Scaled for Deployment {
    fn replicas(&self) -> Option<i32> {
        self.spec.replicas
    }
}

/// The name in the API of an owner's kind, with its group, if it is one that has pods and says no replicas.
pub fn without_scale(owner: &OwnerReference) -> Option<String> {
    fn name<K: Resource>(owner: &OwnerReference) -> Option<String> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let is_of_kind = owner.kind == K::KIND && group == K::GROUP;
        let dotted = if K::GROUP.is_empty() { String::new() } else { format!(".{}", K::GROUP) };
        is_of_kind.then(|| format!("{}{dotted}", K::URL_PATH_SEGMENT))
    }
    name::<Job>(owner)
        .or_else(|| name::<DaemonSet>(owner))
        .or_else(|| name::<CronJob>(owner))
        .or_else(|| name::<Node>(owner))
}

/// An owner of pods, or of owners of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    kind: &'static str,
    replicas: i32,
    /// The uid of the one that manages it, where that one's replicas count.
    above: Option<String>,
}

/// The owners of one namespace.
#[derive(Debug, Default)]
pub struct Owners {
    by_uid: HashMap<String, Owner>,
    /// Those below an owner.
    below: HashMap<String, BTreeSet<String>>,
}

impl Owners {
    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }

    /// Takes an owner in; the uids for whose pods that makes a difference.
    pub fn put<K: Scaled>(&mut self, object: &K) -> BTreeSet<String> {
        let metadata = object.metadata();
        let Some(uid) = metadata.uid.clone() else { return BTreeSet::new() };
        let above = meta::controller_of(metadata)
            .filter(|above| K::KIND == ReplicaSet::KIND && above.kind == Deployment::KIND)
            .map(|above| above.uid.clone());
        // What the API fills in where it is left out.
        let owner = Owner { kind: K::KIND, replicas: object.replicas().unwrap_or(1), above };
        if self.by_uid.get(&uid) == Some(&owner) {
            return BTreeSet::new();
        }
        self.forget(&uid);
        if let Some(above) = &owner.above {
            self.below.entry(above.clone()).or_default().insert(uid.clone());
        }
        self.by_uid.insert(uid.clone(), owner);
        self.with_those_below(uid)
    }

    /// Lets an owner go; the uids for whose pods that makes a difference.
    pub fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        if !self.by_uid.contains_key(uid) {
            return BTreeSet::new();
        }
        self.forget(uid);
        self.with_those_below(uid.to_owned())
    }

    /// The uids of the owners of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a String> {
        self.by_uid.iter().filter(move |(_, owner)| owner.kind == kind).map(|(uid, _)| uid)
    }

    /// Whose replicas count for the pods of an owner, and how many they are; `None` where nobody knows.
    pub fn scale(&self, uid: &str) -> Option<(&str, i32)> {
        let (uid, owner) = self.by_uid.get_key_value(uid)?;
        match &owner.above {
            Some(above) => {
                let (above, owner) = self.by_uid.get_key_value(above)?;
                Some((above, owner.replicas))
            }
            None => Some((uid, owner.replicas)),
        }
    }

    fn forget(&mut self, uid: &str) {
        let Some(above) = self.by_uid.remove(uid).and_then(|owner| owner.above) else { return };
        if let Some(siblings) = self.below.get_mut(&above) {
            siblings.remove(uid);
            if siblings.is_empty() {
                self.below.remove(&above);
            }
        }
    }

    fn with_those_below(&self, uid: String) -> BTreeSet<String> {
        let mut touched = self.below.get(&uid).cloned().unwrap_or_default();
        touched.insert(uid);
        touched
    }
}
