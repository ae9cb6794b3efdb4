//! The graph: every object, by uid, and who depends on whom.
//!
//! An object takes a few hundred bytes here: names, owners and three marks. An owner that was never seen has
//! no object of its own, only a place in the list of those that others name: it may be late, or it may be
//! gone. The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use client::transport::Target;
use jiff::Timestamp;
use model::encoded::Revision;
use model::meta::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use model::resource::GroupVersionKind;

use super::source::{Event, Metadata};
use crate::api_resource::ApiResource;
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

/// An object's uid, shared by all that refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub Arc<str>);

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The resources that the graph is made of, each with a number.
#[derive(Debug)]
pub struct Resources {
    all: Vec<(ApiResource, &'static str)>,
    by_kind: HashMap<(String, String), usize>,
}

impl Resources {
    /// Numbers the resources.
    pub fn new(resources: Vec<ApiResource>) -> Resources {
        let by_kind = resources
            .iter()
            .enumerate()
            .map(|(index, one)| ((one.kind.group.to_string(), one.kind.kind.to_string()), index));
        let by_kind = by_kind.collect();
        // Barriers are keyed by names that live as long as the program: some twenty bytes for each kind,
        // once for each collector.
        let all = resources.into_iter().map(|one| {
            let name: &'static str = String::leak(one.resource.qualified());
            (one, name)
        });
        Resources { all: all.collect(), by_kind }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The resource with this number.
    pub fn get(&self, index: usize) -> &ApiResource {
        &self.all[index].0
    }

    /// Its name in barriers.
    pub fn name(&self, index: usize) -> &'static str {
        self.all[index].1
    }

    /// The resource that a reference means, whatever its version; `None` for one that is not served.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<usize> {
        let kind = GroupVersionKind::parse(api_version, kind)?;
        self.by_kind.get(&(kind.group.into_owned(), kind.kind.into_owned())).copied()
    }

    /// A collection, as a target of calls; all namespaces where `namespace` is empty.
    pub fn collection(&self, index: usize, namespace: &str) -> Target {
        Target {
            resource: self.get(index).resource.clone(),
            namespace: namespace.to_owned(),
            name: String::new(),
            subresource: "",
        }
    }
}

/// One owner of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its uid.
    pub uid: Uid,
    /// Its resource; `None` when no such kind is known.
    pub resource: Option<usize>,
    /// Its name.
    pub name: Box<str>,
    /// True when its foreground deletion waits for this dependent.
    pub blocks: bool,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its resource.
    pub resource: usize,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// Who owns it.
    pub owners: Box<[Owner]>,
    /// True when its deletion was asked for.
    pub is_deleting: bool,
    /// True when it waits for its dependents.
    pub is_foreground: bool,
    /// True when it waits to be forgotten by its dependents.
    pub is_orphaning: bool,
}

/// An object as executions name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its place among the resources.
    pub resource: usize,
    /// Where it is.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.key, self.uid)
    }
}

/// What is known of an owner through those that name it.
#[derive(Debug, Default)]
struct Named {
    dependents: BTreeSet<Uid>,
    /// It was here, and was seen to go.
    was_seen_to_go: bool,
    /// Since when somebody has looked for it in vain.
    unknown_since: Option<Timestamp>,
}

/// The graph.
#[derive(Debug)]
pub struct View {
    resources: Arc<Resources>,
    nodes: HashMap<Uid, Node>,
    named: HashMap<Uid, Named>,
    /// Uids by resource, to find what a new picture no longer shows.
    members: Vec<HashSet<Uid>>,
    namespaces: HashSet<Arc<str>>,
    kinds: Vec<&'static str>,
    horizon: Horizon,
}

impl View {
    /// An empty graph.
    pub fn new(resources: Arc<Resources>) -> View {
        let members = vec![HashSet::new(); resources.len()];
        let kinds = (0..resources.len()).map(|index| resources.name(index)).collect();
        View {
            resources,
            nodes: HashMap::new(),
            named: HashMap::new(),
            members,
            namespaces: HashSet::new(),
            kinds,
            horizon: Horizon::default(),
        }
    }
}

impl Picture for View {
    type Key = Uid;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<Uid> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Reset(index, objects, revision) => {
                self.observe(index, revision);
                let mut gone = self.members[index].clone();
                for object in objects {
                    gone.remove(&Uid(object.uid.as_str().into()));
                    self.put(index, &object, &mut touched);
                }
                for uid in gone {
                    self.remove(&uid, &mut touched);
                }
            }
            Event::Apply(index, object, revision) => {
                self.observe(index, revision);
                self.put(index, &object, &mut touched);
            }
            Event::Delete(index, object, revision) => {
                self.observe(index, revision);
                self.remove(&Uid(object.uid.as_str().into()), &mut touched);
            }
        }
        touched
    }

    fn kinds(&self) -> &[&'static str] {
        &self.kinds
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    fn is_gone(&self, removed: &Removed) -> bool {
        let node = self.nodes.get(&Uid(removed.uid.as_str().into()));
        node.is_none_or(|node| node.is_deleting)
    }
}

impl View {
    fn observe(&mut self, index: usize, revision: Revision) {
        self.horizon.observe_at(self.resources.name(index), revision);
    }

    fn put(&mut self, index: usize, object: &Metadata, touched: &mut BTreeSet<Uid>) {
        let uid = self.uid(&object.uid);
        let node = self.node(index, object);
        if self.nodes.get(&uid) == Some(&node) {
            return;
        }
        if let Some(before) = self.nodes.remove(&uid) {
            self.unname(&uid, &before, touched);
        }
        for owner in &node.owners {
            self.named.entry(owner.uid.clone()).or_default().dependents.insert(uid.clone());
            // It may have stopped blocking.
            touched.insert(owner.uid.clone());
        }
        if let Some(named) = self.named.get_mut(&uid) {
            (named.was_seen_to_go, named.unknown_since) = (false, None);
            if node.is_deleting {
                touched.extend(named.dependents.iter().cloned());
            }
        }
        self.members[index].insert(uid.clone());
        self.nodes.insert(uid.clone(), node);
        touched.insert(uid);
    }

    fn remove(&mut self, uid: &Uid, touched: &mut BTreeSet<Uid>) {
        let Some(node) = self.nodes.remove(uid) else { return };
        self.members[node.resource].remove(uid);
        if let Some(named) = self.named.get_mut(uid) {
            named.was_seen_to_go = true;
            touched.extend(named.dependents.iter().cloned());
        }
        self.unname(uid, &node, touched);
    }

    fn unname(&mut self, uid: &Uid, node: &Node, touched: &mut BTreeSet<Uid>) {
        for owner in &node.owners {
            touched.insert(owner.uid.clone());
            let Some(named) = self.named.get_mut(&owner.uid) else { continue };
            named.dependents.remove(uid);
            if named.dependents.is_empty() {
                self.named.remove(&owner.uid);
            }
        }
    }

    fn node(&mut self, index: usize, object: &Metadata) -> Node {
        let has = |finalizer: &str| object.finalizers.iter().any(|one| one == finalizer);
        let owners = object.owner_references.iter().map(|reference| Owner {
            uid: self.uid(&reference.uid),
            resource: self.resources.of_kind(&reference.api_version, &reference.kind),
            name: reference.name.as_str().into(),
            blocks: reference.block_owner_deletion,
        });
        let owners = owners.collect();
        let is_deleting = object.deletion_timestamp.is_some();
        Node {
            resource: index,
            namespace: self.namespace(&object.namespace),
            name: object.name.as_str().into(),
            owners,
            is_deleting,
            is_foreground: is_deleting && has(FINALIZER_FOREGROUND),
            is_orphaning: is_deleting && has(FINALIZER_ORPHAN),
        }
    }

    /// The shared form of a uid.
    fn uid(&self, text: &str) -> Uid {
        let uid = Uid(text.into());
        if let Some((known, _)) = self.nodes.get_key_value(&uid) {
            return known.clone();
        }
        self.named.get_key_value(&uid).map_or(uid, |(known, _)| known.clone())
    }

    fn namespace(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.namespaces.insert(Arc::clone(&shared));
        shared
    }

    /// Notes since when owners of an object are looked for in vain.
    pub fn notice_unknown_owners(&mut self, uid: &Uid, now: Timestamp) {
        let Some(node) = self.nodes.get(uid) else { return };
        for owner in &node.owners {
            if !self.nodes.contains_key(&owner.uid)
                && let Some(named) = self.named.get_mut(&owner.uid)
            {
                named.unknown_since.get_or_insert(now);
            }
        }
    }

    /// The resources of the graph.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// An object.
    pub fn get(&self, uid: &Uid) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The objects that name this one as their owner.
    pub fn dependents(&self, uid: &Uid) -> impl Iterator<Item = &Node> {
        let dependents = self.named.get(uid).into_iter().flat_map(|named| &named.dependents);
        dependents.filter_map(|dependent| self.nodes.get(dependent))
    }

    /// True when an owner was here and was seen to go.
    pub fn was_seen_to_go(&self, uid: &Uid) -> bool {
        self.named.get(uid).is_some_and(|named| named.was_seen_to_go)
    }

    /// Since when an owner has been looked for in vain.
    pub fn unknown_since(&self, uid: &Uid) -> Option<Timestamp> {
        self.named.get(uid)?.unknown_since
    }

    /// An object as executions name it.
    pub fn object(&self, uid: &Uid) -> Option<Object> {
        let node = self.nodes.get(uid)?;
        let key = ObjectKey::new(&*node.namespace, &*node.name);
        Some(Object { resource: node.resource, key, uid: uid.to_string() })
    }
}
