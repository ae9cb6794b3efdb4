//! A model of StatefulSets: the controller's real plan in an abstract world, every state of which is looked
//! at within given bounds.
//!
//! Pods start, get ready, fail, end slowly, vanish with their node; claims appear late; the spec changes at
//! any moment; one or two controllers see each kind of object late and apart from the others, and carry
//! their plans out one write at a time. The world must never do what the API would refuse, and never spare
//! the plan anything that could happen.
//!
//! Read next: [`state`], [`world`] (what happens), [`rules`] (what must hold), [`settle`] (what must become
//! of it), [`objects`] (from here to the real plan).

pub mod objects;
pub mod rules;
pub mod settle;
pub mod state;
pub mod world;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};

use stateright::{Checker, HasDiscoveries, Model, Property};

pub use self::objects::Planner;

use self::objects::Objects;
use self::state::{
    BROKEN_VERSION, Controller, KINDS, ORDINALS, Picture, SetCell, Spec, State, VERSIONS, Write,
};
use self::world::Action;

/// How far a check goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// `OrderedReady`, or else `Parallel`.
    pub is_ordered: bool,
    /// Controllers at once.
    pub controllers: usize,
    /// Changes of the spec.
    pub changes: u8,
    /// Faults: of pods, of nodes, of controllers.
    pub faults: u8,
    /// Events of one kind that a controller may lag behind.
    pub lag: usize,
}

/// What a plan comes to.
#[derive(Debug)]
pub struct Decision {
    /// What it writes.
    pub writes: Vec<Write>,
    /// What is wrong with it.
    pub fault: Option<&'static str>,
}

/// Locks among which what is remembered is spread.
const SHARDS: usize = 64;

/// The model.
pub struct SetModel {
    bounds: Bounds,
    planner: Planner,
    objects: Objects,
    /// A plan follows from the picture alone, and is made once for each.
    decisions: Vec<Mutex<HashMap<Picture, Arc<Decision>>>>,
    resting: Vec<Mutex<HashSet<u64>>>,
    beginnings: OnceLock<[Picture; 3]>,
    notes: Mutex<Option<String>>,
}

/// What a check found.
#[derive(Debug)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Steps to the farthest of them.
    pub depth: usize,
    /// Distinct pictures that were planned for.
    pub plans: usize,
    /// Rules that do not hold, each with the shortest way there that was found.
    pub broken: Vec<(&'static str, String)>,
}

impl SetModel {
    /// A model of the real plan or of another.
    pub fn new(bounds: Bounds, planner: Planner) -> SetModel {
        SetModel {
            bounds,
            planner,
            objects: Objects::new(),
            decisions: (0..SHARDS).map(|_| Mutex::default()).collect(),
            resting: (0..SHARDS).map(|_| Mutex::default()).collect(),
            beginnings: OnceLock::new(),
            notes: Mutex::new(None),
        }
    }

    /// What is planned for a picture.
    pub fn decision(&self, picture: &Picture) -> Arc<Decision> {
        let mut hasher = DefaultHasher::new();
        picture.hash(&mut hasher);
        let shard = &self.decisions[usize::try_from(hasher.finish() % SHARDS as u64).expect("is small")];
        if let Some(known) = shard.lock().expect("nobody panics with it").get(picture) {
            return Arc::clone(known);
        }
        let plan = self.objects.plan(picture, self.planner);
        let writes = self.objects.writes(picture, &plan);
        let current = self.objects.current_version(picture.set.status);
        let current = current.filter(|version| picture.revisions[usize::from(*version) - 1] > 0);
        let fault = rules::fault_of_plan(picture, current, &writes);
        let decision = Arc::new(Decision { writes, fault });
        let mut shard = shard.lock().expect("nobody panics with it");
        Arc::clone(shard.entry(*picture).or_insert(decision))
    }

    fn resting(&self, number: u64) -> &Mutex<HashSet<u64>> {
        &self.resting[usize::try_from(number % SHARDS as u64).expect("is small")]
    }

    fn is_known_to_rest(&self, number: u64) -> bool {
        self.resting(number).lock().expect("nobody panics with it").contains(&number)
    }

    fn note_rest(&self, numbers: &[u64]) {
        for number in numbers {
            self.resting(*number).lock().expect("nobody panics with it").insert(*number);
        }
    }

    fn note(&self, why: String) {
        self.notes.lock().expect("nobody panics with it").get_or_insert(why);
    }

    fn spec(&self) -> Spec {
        Spec {
            generation: 1,
            replicas: u8::try_from(ORDINALS).expect("is small"),
            version: 1,
            partition: 0,
            max_unavailable: 1,
            is_ordered: self.bounds.is_ordered,
            is_on_delete: false,
            deletes_scaled: false,
        }
    }

    fn start(&self, truth: Picture) -> State {
        State {
            truth,
            controllers: vec![Controller::fresh(truth); self.bounds.controllers],
            changes_left: self.bounds.changes,
            faults_left: self.bounds.faults,
            is_disturbed: false,
            may_be_lost: [false; ORDINALS],
            taken: [0; ORDINALS],
            budget: 1,
            harm: None,
        }
    }

    /// Looks at every state within the bounds, or ends after about so many steps from one to another; ends at
    /// the first rule that does not hold.
    pub fn check(self, steps_max: Option<usize>) -> Report {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut checker = self.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
        if let Some(steps_max) = steps_max {
            checker = checker.target_state_count(steps_max);
        }
        let checker = checker.spawn_bfs().join();
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        for (rule, path) in checker.discoveries() {
            let model = checker.model();
            let mut text = String::new();
            let (last, actions) = (path.last_state().clone(), path.into_actions());
            for action in actions {
                let _ = writeln!(text, "  {action:?}");
            }
            for controller in &last.controllers {
                let decision = model.decision(&controller.sees);
                let _ = writeln!(text, "  sees {:?}\n  would write {decision:?}", controller.sees);
                let _ = writeln!(text, "{}", model.objects.plan(&controller.sees, model.planner));
            }
            let _ = writeln!(text, "  {last:?}");
            if let Some(note) = model.notes.lock().expect("nobody panics with it").as_ref() {
                let _ = writeln!(text, "  {note}");
            }
            broken.push((rule, text));
        }
        broken.sort();
        let decisions = &checker.model().decisions;
        let plans = decisions.iter().map(|shard| shard.lock().expect("nobody panics with it").len()).sum();
        Report { states: checker.unique_state_count(), depth: checker.max_depth(), plans, broken }
    }
}

impl Model for SetModel {
    type State = State;
    type Action = Action;

    /// A set that was just applied, one that stands, and one whose update got stuck.
    fn init_states(&self) -> Vec<State> {
        let beginnings = self.beginnings.get_or_init(|| {
            let empty = Picture {
                set: SetCell { spec: self.spec(), status: 0 },
                pods: [None; ORDINALS],
                claims: [None; ORDINALS],
                revisions: [0; VERSIONS],
            };
            let standing = settle::standing(self, &self.start(empty));
            let mut broken = standing;
            broken.set.spec.generation += 1;
            broken.set.spec.version = BROKEN_VERSION;
            [empty, standing, settle::standing(self, &self.start(broken))]
        });
        beginnings.iter().map(|truth| self.start(*truth)).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        world::possible(self, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        world::happen(self, &mut state, action);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<SetModel>> {
        vec![
            Property::always("plans are right for what was seen", rules::plans_are_right),
            Property::always("no claim is lost", rules::no_claim_is_lost),
            Property::always("wanted claims are safe at rest", rules::wanted_claims_are_safe_at_rest),
            Property::always("nothing is made out of order", rules::nothing_is_made_out_of_order),
            Property::always("updates keep to their budget", rules::updates_keep_to_their_budget),
            Property::always("all comes to rest", rules::all_comes_to_rest),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        let lags = state.controllers.iter().flat_map(|controller| &controller.pending);
        lags.map(Vec::len).all(|lag| lag <= self.bounds.lag)
    }
}

const _: () = assert!(KINDS == 4, "each kind has a watch");
