//! Who is near whom: counts of placed pods, kept as pods and nodes come and go.
//!
//! A decision must not walk all pods. So each question that a waiting pod asks ([`Demands::questions`]) is
//! counted from when the pod begins to wait, and pods of one set share their questions; and the terms that
//! placed pods hold against others are kept with the number of pods that hold them, by domain. A pod that
//! comes or goes costs the questions that name one of its labels ([`by_label`]).
//!
//! Nothing here decides. Read next: [`tally`], then [`crate::affinity`].

mod by_label;
mod tally;

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Pod;

use self::by_label::ByLabel;
pub(crate) use self::tally::Tally;
use crate::terms::{self, Demands, Labels, Namespaces, Query, Role, Term};

/// Questions that are kept although no pod waits with them: the next pod of a set that is made one by one
/// asks again what the one before asked, and answering anew costs a look at all pods of the namespace. As
/// many as sets may be on their way at once.
const IDLE_MAX: usize = 4_096;
/// Nodes that those have counts for, together: at some 100 bytes each, 50 MB at most. A set of fifty pods has
/// fifty.
const IDLE_NODES_MAX: usize = 500_000;

/// A pod that has a place, as far as others have to mind it.
pub(crate) struct Placed<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its node.
    pub node: &'a str,
    /// The node's labels, if the node is known.
    pub labels: Option<&'a Labels>,
}

struct Question {
    query: Query,
    tally: Tally,
    /// How many waiting pods ask it.
    asked_by: usize,
    /// Its place among those that nobody asks.
    idle_since: Option<u64>,
}

struct Holding {
    role: Role,
    term: Term,
    tally: Tally,
    held_by: usize,
}

/// The counts.
#[derive(Default)]
pub(crate) struct Neighbours {
    questions: HashMap<u64, Question>,
    question_ids: HashMap<Query, u64>,
    questions_by_label: ByLabel,
    /// By when they became so: which, and of how many nodes.
    idle: BTreeMap<u64, (u64, usize)>,
    idle_nodes: usize,
    holdings: HashMap<u64, Holding>,
    holding_ids: HashMap<(Role, Term), u64>,
    holdings_by_label: ByLabel,
    namespaces: Namespaces,
    last_id: u64,
}

impl Neighbours {
    /// Labels of namespaces.
    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// A namespace's labels are these; `None` when it is gone. Answers the questions that ask for labels of
    /// namespaces anew.
    pub(crate) fn set_namespace<'a, Places: Iterator<Item = Placed<'a>>>(
        &mut self,
        name: &str,
        labels: Option<Labels>,
        places: impl Fn() -> Places,
    ) -> bool {
        if self.namespaces.get(name) == labels.as_ref() {
            return false;
        }
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        let Neighbours { questions, namespaces, .. } = self;
        let mut changed = false;
        for question in questions.values_mut().filter(|question| question.query.asks_namespaces()) {
            question.tally.empty();
            for place in places() {
                question.count(&place, namespaces, 1);
            }
            changed = true;
        }
        changed
    }

    /// A pod begins to wait: its questions are counted from now on. `places` are all pods with a place in
    /// one namespace, or in all of them.
    pub(crate) fn ask<'a, Places: Iterator<Item = Placed<'a>>>(
        &mut self,
        demands: &Demands,
        places: impl Fn(Option<&str>) -> Places,
        labels: impl Fn(&str) -> Option<&'a Labels>,
    ) {
        for (query, topology) in demands.questions() {
            let id = match self.question_ids.get(query) {
                Some(id) => *id,
                None => self.begin(query, &places),
            };
            let question = self.questions.get_mut(&id).expect("an id stands for a question");
            question.asked_by += 1;
            question.tally.add_topology(topology, &labels);
            if let Some(since) = question.idle_since.take()
                && let Some((_, nodes)) = self.idle.remove(&since)
            {
                self.idle_nodes -= nodes;
            }
        }
    }

    fn begin<'a, Places: Iterator<Item = Placed<'a>>>(
        &mut self,
        query: &Query,
        places: &impl Fn(Option<&str>) -> Places,
    ) -> u64 {
        let id = self.new_id();
        let query = query.clone();
        let mut question = Question { query, tally: Tally::default(), asked_by: 0, idle_since: None };
        match question.query.namespaces().cloned() {
            Some(names) => {
                for name in &names {
                    places(Some(name)).for_each(|place| question.count(&place, &self.namespaces, 1));
                }
            }
            None => places(None).for_each(|place| question.count(&place, &self.namespaces, 1)),
        }
        self.questions_by_label.put(id, &question.query);
        self.question_ids.insert(question.query.clone(), id);
        self.questions.insert(id, question);
        id
    }

    /// A pod does not wait any more.
    pub(crate) fn unask(&mut self, demands: &Demands) {
        for (query, _) in demands.questions() {
            let id = self.question_ids.get(query).copied().expect("it was asked");
            let since = self.new_id();
            let question = self.questions.get_mut(&id).expect("an id stands for a question");
            question.asked_by -= 1;
            if question.asked_by == 0 {
                let nodes = question.tally.nodes();
                question.idle_since = Some(since);
                self.idle.insert(since, (id, nodes));
                self.idle_nodes += nodes;
            }
        }
        while (self.idle.len() > IDLE_MAX || self.idle_nodes > IDLE_NODES_MAX)
            && let Some((_, (id, nodes))) = self.idle.pop_first()
        {
            self.idle_nodes -= nodes;
            let question = self.questions.remove(&id).expect("an id stands for a question");
            self.questions_by_label.take_out(id, &question.query);
            self.question_ids.remove(&question.query);
        }
    }

    /// A pod has a place. Gives what it holds against others, for [`Neighbours::leave`].
    pub(crate) fn come(&mut self, place: &Placed<'_>) -> Vec<u64> {
        self.recount(place, 1);
        let mut holds = Vec::new();
        for (role, term) in terms::held_by(place.pod) {
            let key = (role, term);
            let id = match self.holding_ids.get(&key) {
                Some(id) => *id,
                None => self.hold(key),
            };
            let holding = self.holdings.get_mut(&id).expect("an id stands for a holding");
            holding.held_by += 1;
            holding.tally.change(place.node, place.labels, 1);
            holds.push(id);
        }
        holds
    }

    fn hold(&mut self, (role, term): (Role, Term)) -> u64 {
        let id = self.new_id();
        let mut tally = Tally::default();
        tally.add_topology(&term.topology, |_| None);
        self.holdings_by_label.put(id, &term.pods);
        self.holding_ids.insert((role, term.clone()), id);
        self.holdings.insert(id, Holding { role, term, tally, held_by: 0 });
        id
    }

    /// A pod, as it was when it came, has its place no more.
    pub(crate) fn leave(&mut self, place: &Placed<'_>, holds: &[u64]) {
        self.recount(place, -1);
        for id in holds {
            let holding = self.holdings.get_mut(id).expect("an id stands for a holding");
            holding.held_by -= 1;
            holding.tally.change(place.node, place.labels, -1);
            if holding.held_by == 0 {
                let Holding { role, term, .. } = self.holdings.remove(id).expect("was there just now");
                self.holdings_by_label.take_out(*id, &term.pods);
                self.holding_ids.remove(&(role, term));
            }
        }
    }

    fn recount(&mut self, place: &Placed<'_>, by: i64) {
        let Neighbours { questions, questions_by_label, namespaces, .. } = self;
        for id in questions_by_label.candidates(terms::labels(place.pod)) {
            let question = questions.get_mut(&id).expect("an id stands for a question");
            question.count(place, namespaces, by);
        }
    }

    /// A node came, went, or has other labels.
    pub(crate) fn relabel(&mut self, node: &str, old: Option<&Labels>, new: Option<&Labels>) {
        if old == new {
            return;
        }
        let questions = self.questions.values_mut().map(|question| &mut question.tally);
        let holdings = self.holdings.values_mut().map(|holding| &mut holding.tally);
        questions.chain(holdings).for_each(|tally| tally.relabel(node, old, new));
    }

    /// The answer to a question that a waiting pod asks.
    pub(crate) fn answer(&self, query: &Query) -> &Tally {
        let id = self.question_ids.get(query).expect("its pod asked when it began to wait");
        &self.questions[id].tally
    }

    /// What placed pods hold against (or for) a pod.
    pub(crate) fn about<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = (Role, &'a Term, &'a Tally)> {
        let candidates = self.holdings_by_label.candidates(terms::labels(pod));
        let holdings = candidates.map(|id| &self.holdings[&id]);
        let meaning = holdings.filter(|holding| holding.term.pods.holds(pod, &self.namespaces));
        meaning.map(|holding| (holding.role, &holding.term, &holding.tally))
    }

    /// Forgets every pod; questions stay asked.
    pub(crate) fn clear_places(&mut self) {
        self.questions.values_mut().for_each(|question| question.tally.empty());
        self.holdings.clear();
        self.holding_ids.clear();
        self.holdings_by_label = ByLabel::default();
    }

    /// How many questions are counted.
    #[cfg(test)]
    pub(crate) fn questions(&self) -> usize {
        self.questions.len()
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Question {
    fn count(&mut self, place: &Placed<'_>, namespaces: &Namespaces, by: i64) {
        if self.query.holds(place.pod, namespaces) {
            self.tally.change(place.node, place.labels, by);
        }
    }
}
