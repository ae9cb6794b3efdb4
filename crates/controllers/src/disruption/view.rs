//! What the controller knows: budgets, pods, and who owns the pods.
//!
//! A pod's budgets are found through one pair of labels that their selectors ask for, and each budget's pods
//! are counted as they come and go ([`Tally`]): a change costs the same however many pods and budgets there
//! are. Only a new selector looks at all pods of its namespace. The view decides nothing; that is
//! for [`super::plan`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::selector::{Operator, Selector};
use reconcile::barrier::Horizon;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use super::scale::{Owners, Scaled};
use super::tally::{self, Tally};

/// The kinds that this view shows: budgets, pods, and every kind that owns pods and says how many.
const KINDS: &[&str] = &[
    PodDisruptionBudget::URL_PATH_SEGMENT,
    Pod::URL_PATH_SEGMENT,
    StatefulSet::URL_PATH_SEGMENT,
    ReplicaSet::URL_PATH_SEGMENT,
    Deployment::URL_PATH_SEGMENT,
];

type Labels = BTreeMap<String, String>;
type Touched = BTreeSet<ObjectKey>;
type Names = BTreeSet<String>;

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To budgets.
    Budgets(Change<PodDisruptionBudget>),
    /// To pods.
    Pods(Change<Pod>),
    /// To StatefulSets.
    StatefulSets(Change<StatefulSet>),
    /// To ReplicaSets.
    ReplicaSets(Change<ReplicaSet>),
    /// To Deployments.
    Deployments(Change<Deployment>),
}

/// A budget and what its pods come to.
#[derive(Debug)]
pub struct BudgetEntry {
    /// The budget.
    pub budget: Arc<PodDisruptionBudget>,
    /// Which pods it is about.
    pub selector: Selector,
    /// What they come to.
    pub tally: Tally,
}

/// One budget with what a decision about it may ask.
#[derive(Debug, Clone, Copy)]
pub struct BudgetView<'a> {
    /// The budget.
    pub entry: &'a BudgetEntry,
    /// Who owns pods in its namespace.
    pub owners: &'a Owners,
    pods: &'a BTreeMap<String, Arc<Pod>>,
}

impl<'a> BudgetView<'a> {
    /// The pod of this name, if the budget is about it.
    pub fn pod(&self, name: &str) -> Option<&'a Arc<Pod>> {
        let pod = self.pods.get(name)?;
        self.entry.selector.matches_optional(pod.metadata.labels.as_ref()).then_some(pod)
    }
}

/// Everything of one namespace.
#[derive(Debug, Default)]
struct Namespace {
    budgets: BTreeMap<String, BudgetEntry>,
    /// Budgets by a pair of labels that each of their pods has (one of several, for `In`).
    by_pair: HashMap<(String, String), Names>,
    /// Budgets that no pair leads to.
    without_pair: Names,
    pods: BTreeMap<String, Arc<Pod>>,
    owners: Owners,
    /// Budgets by the owners of their pods.
    by_owner: HashMap<String, Names>,
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.budgets.is_empty() && self.pods.is_empty() && self.owners.is_empty()
    }

    /// The budgets that are about a pod with these labels.
    fn selecting(&self, pod: Option<&Pod>) -> Names {
        let Some(pod) = pod else { return Names::new() };
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let paired = labels.iter().filter_map(|(key, value)| self.by_pair.get(&(key.clone(), value.clone())));
        let candidates = paired.flatten().chain(&self.without_pair);
        let selects =
            |name: &&String| self.budgets.get(*name).is_some_and(|one| one.selector.matches(labels));
        candidates.filter(selects).cloned().collect()
    }

    /// Takes a pod in, or out with `None`; the budgets for which that makes a difference.
    fn put_pod(&mut self, name: &str, pod: Option<Arc<Pod>>) -> Names {
        let before = self.pods.remove(name);
        let left = self.selecting(before.as_deref());
        let joined = self.selecting(pod.as_deref());
        let is_same =
            before.as_deref().zip(pod.as_deref()).is_some_and(|(old, new)| tally::counts_the_same(old, new));
        let touched: Names = if is_same {
            left.symmetric_difference(&joined).cloned().collect()
        } else {
            left.union(&joined).cloned().collect()
        };
        for budget in &touched {
            let Some(entry) = self.budgets.get_mut(budget) else { continue };
            if let Some(before) = before.as_deref().filter(|_| left.contains(budget)) {
                entry.tally.remove(before);
                if let Some(owner) = tally::owner_of(before)
                    && !entry.tally.by_owner.contains_key(owner)
                {
                    drop_name(&mut self.by_owner, owner, budget);
                }
            }
            if let Some(pod) = pod.as_deref().filter(|_| joined.contains(budget)) {
                entry.tally.add(pod);
                if let Some(owner) = tally::owner_of(pod) {
                    self.by_owner.entry(owner.to_owned()).or_default().insert(budget.clone());
                }
            }
        }
        if let Some(pod) = pod {
            self.pods.insert(name.to_owned(), pod);
        }
        touched
    }

    fn put_budget(&mut self, name: &str, budget: Arc<PodDisruptionBudget>) {
        let selector = selector_of(&budget);
        if let Some(entry) = self.budgets.get_mut(name)
            && entry.selector == selector
        {
            entry.budget = budget;
            return;
        }
        self.remove_budget(name);
        let mut tally = Tally::default();
        for pod in self.pods.values() {
            if selector.matches_optional(pod.metadata.labels.as_ref()) {
                tally.add(pod);
            }
        }
        for owner in tally.by_owner.keys() {
            self.by_owner.entry(owner.clone()).or_default().insert(name.to_owned());
        }
        match pairs(&selector) {
            Some(pairs) => {
                for pair in pairs {
                    self.by_pair.entry(pair).or_default().insert(name.to_owned());
                }
            }
            None if selector.is_nothing() => {}
            None => {
                self.without_pair.insert(name.to_owned());
            }
        }
        self.budgets.insert(name.to_owned(), BudgetEntry { budget, selector, tally });
    }

    fn remove_budget(&mut self, name: &str) {
        let Some(entry) = self.budgets.remove(name) else { return };
        for owner in entry.tally.by_owner.keys() {
            drop_name(&mut self.by_owner, owner, name);
        }
        for pair in pairs(&entry.selector).into_iter().flatten() {
            drop_name(&mut self.by_pair, &pair, name);
        }
        self.without_pair.remove(name);
    }

    /// The budgets of the pods of these owners.
    fn of_owners(&self, uids: &Names) -> Names {
        uids.iter().filter_map(|uid| self.by_owner.get(uid)).flatten().cloned().collect()
    }
}

/// The pairs of labels of which each selected pod has one; `None` where the selector asks for no such thing.
fn pairs(selector: &Selector) -> Option<Vec<(String, String)>> {
    let is_positive = |operator| matches!(operator, Operator::In | Operator::Equals | Operator::DoubleEquals);
    let requirement = selector.requirements().iter().find(|one| is_positive(one.operator()))?;
    let key = requirement.key();
    Some(requirement.values().iter().map(|value| (key.to_owned(), value.clone())).collect())
}

/// The selector of a budget. One that is missing or that cannot be understood selects nothing.
fn selector_of(budget: &PodDisruptionBudget) -> Selector {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let parsed = selector.and_then(|selector| Selector::from_label_selector(selector).ok());
    parsed.unwrap_or_else(Selector::nothing)
}

fn drop_name<K, Q>(index: &mut HashMap<K, Names>, key: &Q, name: &str)
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug, Default)]
pub struct View {
    namespaces: HashMap<String, Namespace>,
    horizon: Horizon,
}

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> Touched {
        match event {
            Event::Budgets(change) => self.apply_budgets(change),
            Event::Pods(change) => self.apply_pods(change),
            Event::StatefulSets(change) => self.apply_owners(change),
            Event::ReplicaSets(change) => self.apply_owners(change),
            Event::Deployments(change) => self.apply_owners(change),
        }
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }
}

impl View {
    /// A budget; `None` when it is gone.
    pub fn budget(&self, key: &ObjectKey) -> Option<BudgetView<'_>> {
        let all = self.namespaces.get(&key.namespace)?;
        let entry = all.budgets.get(&key.name)?;
        Some(BudgetView { entry, owners: &all.owners, pods: &all.pods })
    }

    fn apply_budgets(&mut self, change: Change<PodDisruptionBudget>) -> Touched {
        self.horizon.observe(&change);
        let (gone, there) = match change {
            Change::Reset(budgets, _) => (self.keys(|all| all.budgets.keys()), budgets),
            Change::Apply(budget) => (Touched::new(), vec![budget]),
            Change::Delete(budget) => (Touched::from([ObjectKey::of(&*budget)]), Vec::new()),
        };
        let mut touched = Touched::new();
        for budget in there {
            let key = ObjectKey::of(&*budget);
            self.in_namespace(&key.namespace, |all| all.put_budget(&key.name, budget));
            touched.insert(key);
        }
        for key in gone.difference(&touched) {
            self.in_namespace(&key.namespace, |all| all.remove_budget(&key.name));
        }
        touched
    }

    fn apply_pods(&mut self, change: Change<Pod>) -> Touched {
        self.horizon.observe(&change);
        let (mut gone, there) = match change {
            Change::Reset(pods, _) => (self.keys(|all| all.pods.keys()), pods),
            Change::Apply(pod) => (Touched::new(), vec![pod]),
            Change::Delete(pod) => (Touched::from([ObjectKey::of(&*pod)]), Vec::new()),
        };
        let mut touched = Touched::new();
        let mut put = |view: &mut View, key: &ObjectKey, pod: Option<Arc<Pod>>| {
            let names = view.in_namespace(&key.namespace, |all| all.put_pod(&key.name, pod));
            touched.extend(names.into_iter().map(|name| ObjectKey::new(&key.namespace, name)));
        };
        for pod in there {
            let key = ObjectKey::of(&*pod);
            gone.remove(&key);
            put(self, &key, Some(pod));
        }
        for key in gone {
            put(self, &key, None);
        }
        touched
    }

    fn apply_owners<K: Scaled>(&mut self, change: Change<K>) -> Touched {
        self.horizon.observe(&change);
        // Owners by their namespace and uid.
        let key = |object: &K| {
            let metadata = object.metadata();
            let namespace = metadata.namespace.clone().unwrap_or_default();
            ObjectKey::new(namespace, metadata.uid.clone().unwrap_or_default())
        };
        let (mut gone, there) = match change {
            Change::Reset(objects, _) => (self.keys(|all| all.owners.of_kind(K::KIND)), objects),
            Change::Apply(object) => (Touched::new(), vec![object]),
            Change::Delete(object) => (Touched::from([key(&object)]), Vec::new()),
        };
        let mut touched = Touched::new();
        let mut note = |namespace: &str, budgets: Names| {
            touched.extend(budgets.into_iter().map(|name| ObjectKey::new(namespace, name)));
        };
        for object in there {
            let key = key(&object);
            gone.remove(&key);
            let budgets = self.in_namespace(&key.namespace, |all| {
                let uids = all.owners.put(&*object);
                all.of_owners(&uids)
            });
            note(&key.namespace, budgets);
        }
        for key in gone {
            let budgets = self.in_namespace(&key.namespace, |all| {
                let uids = all.owners.remove(&key.name);
                all.of_owners(&uids)
            });
            note(&key.namespace, budgets);
        }
        touched
    }

    /// Changes a namespace, which is made where it is missing and dropped when nothing is left in it.
    fn in_namespace<T>(&mut self, namespace: &str, change: impl FnOnce(&mut Namespace) -> T) -> T {
        if !self.namespaces.contains_key(namespace) {
            self.namespaces.insert(namespace.to_owned(), Namespace::default());
        }
        let all = self.namespaces.get_mut(namespace).expect("was there or was just made");
        let result = change(all);
        if all.is_empty() {
            self.namespaces.remove(namespace);
        }
        result
    }

    fn keys<'a, I: Iterator<Item = &'a String>>(&'a self, of: impl Fn(&'a Namespace) -> I) -> Touched {
        let each = self.namespaces.iter();
        each.flat_map(|(namespace, all)| of(all).map(move |name| ObjectKey::new(namespace, name))).collect()
    }
}
