//! Random transactions, reads, watches, restarts and compactions against a model too simple to be wrong.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{TestClock, delete, put, text};
use futures::FutureExt;
use proptest::prelude::*;
use store::{
    Compare, Expected, HistoryLimits, MemoryDisk, MemoryStore, Range, ReadError, Revision, Store, Txn,
    Watcher,
};

const EVENTS_MAX: usize = 12;

#[derive(Debug, Clone)]
enum Step {
    Write { ops: Vec<(u8, Option<u8>)>, compare: Option<(u8, u8)> },
    Watch { prefix: u8, back: u8 },
    Read { prefix: u8, back: u8, limit: u8 },
    Compact,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let op = (0..9_u8, proptest::option::weighted(0.7, any::<u8>()));
    let write = (proptest::collection::vec(op, 1..4), proptest::option::of((0..9_u8, 0..4_u8)));
    prop_oneof![
        8 => write.prop_map(|(ops, compare)| Step::Write { ops, compare }),
        2 => (0..4_u8, 0..20_u8).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        4 => (0..4_u8, 0..20_u8, 0..4_u8).prop_map(|(prefix, back, limit)| Step::Read { prefix, back, limit }),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
    ]
}

fn key(number: u8) -> String {
    format!("/{}/{}", number % 3, number / 3)
}

fn prefix(number: u8) -> String {
    ["/", "/0/", "/1/1", "/2"][usize::from(number)].to_owned()
}

type Contents = BTreeMap<String, (u64, u64, String)>;

/// Every state the store ever had, by revision, and every event.
struct Model {
    states: Vec<Contents>,
    events: Vec<(u64, String, String)>,
}

impl Model {
    fn newest(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn contents(&self) -> &Contents {
        self.states.last().expect("there is a first state")
    }

    fn expected(&self, what: u8) -> Expected {
        match what {
            0 => Expected::Absent,
            1 => Expected::Present,
            back => Expected::At(Revision(self.newest().saturating_sub(u64::from(back) - 2))),
        }
    }

    fn holds(&self, (number, what): (u8, u8)) -> bool {
        let found = self.contents().get(&key(number));
        match self.expected(what) {
            Expected::Absent => found.is_none(),
            Expected::Present => found.is_some(),
            Expected::At(revision) => found.is_some_and(|(_, written, _)| *written == revision.0),
        }
    }

    fn write(&mut self, ops: &BTreeMap<u8, Option<u8>>) {
        let mut contents = self.contents().clone();
        let revision = self.newest() + 1;
        let before = self.events.len();
        for (number, value) in ops {
            let key = key(*number);
            let line = match (value, contents.get(&key).cloned()) {
                (None, None) => continue,
                (Some(value), found) => {
                    let created = found.as_ref().map_or(revision, |(created, ..)| *created);
                    contents.insert(key.clone(), (created, revision, value.to_string()));
                    format!("{}{key}@{revision}={value}", if found.is_some() { '~' } else { '+' })
                }
                (None, Some((_, _, last))) => {
                    contents.remove(&key);
                    format!("-{key}@{revision}={last}")
                }
            };
            self.events.push((revision, key, line));
        }
        if self.events.len() > before {
            self.states.push(contents);
        }
    }

    /// The oldest revision whose successors are all among the last [`EVENTS_MAX`] events.
    fn oldest(&self) -> u64 {
        let beyond = self.events.len().saturating_sub(EVENTS_MAX);
        beyond.checked_sub(1).map_or(0, |last| self.events[last].0)
    }

    fn after(&self, prefix: &str, after: u64) -> Vec<String> {
        let wanted =
            self.events.iter().filter(|(revision, key, _)| *revision > after && key.starts_with(prefix));
        wanted.map(|(_, _, line)| line.clone()).collect()
    }
}

struct Watch {
    watcher: Watcher,
    prefix: String,
    after: u64,
}

/// Everything that waits in the queue is what the model says, once and in order.
fn check_watch(mut watch: Watch, model: &Model) {
    let mut seen = Vec::new();
    while let Some(Ok(event)) = watch.watcher.next().now_or_never() {
        seen.push(text(&event));
    }
    assert_eq!(seen, model.after(&watch.prefix, watch.after));
}

fn check_read(store: &MemoryStore, model: &Model, range: &Range) {
    let at = range.at.expect("is set").0;
    let page = match store.range(range) {
        Ok(page) => page,
        Err(ReadError::Compacted { oldest, .. }) => {
            assert!(oldest.0 == model.oldest() && at < oldest.0);
            return;
        }
        Err(other) => panic!("{other}"),
    };
    assert!(at >= model.oldest());
    let wanted = model.states[at as usize].iter().filter(|(key, _)| key.starts_with(&range.prefix));
    let wanted: Vec<_> = wanted.map(|(key, found)| (key.clone(), found.clone())).collect();
    let shown = if range.limit == 0 { wanted.len() } else { range.limit.min(wanted.len()) };
    assert_eq!(page.remaining, wanted.len() - shown);
    let got = page.entries.iter().map(|entry| {
        let value = String::from_utf8(entry.object.bytes().to_vec()).expect("text");
        (entry.key.to_string(), (entry.created.0, entry.object.revision().0, value))
    });
    assert_eq!(got.collect::<Vec<_>>(), wanted[..shown]);
    let live = model.contents().keys().filter(|key| key.starts_with(&range.prefix)).count();
    assert_eq!(store.count(&range.prefix), live);
}

fn open(disk: &MemoryDisk) -> MemoryStore {
    let limits = HistoryLimits { events_max: EVENTS_MAX, ..HistoryLimits::default() };
    MemoryStore::open(disk, Arc::new(TestClock::default()), limits).expect("what was written is whole")
}

fn write(store: &MemoryStore, model: &mut Model, ops: Vec<(u8, Option<u8>)>, compare: Option<(u8, u8)>) {
    let ops: BTreeMap<_, _> = ops.into_iter().collect();
    let compares = compare.map(|(number, what)| Compare { key: key(number), expected: model.expected(what) });
    let writes = ops.iter().map(|(number, value)| match value {
        Some(value) => put(&key(*number), &value.to_string()),
        None => delete(&key(*number)),
    });
    let txn = Txn { compares: compares.into_iter().collect(), ops: writes.collect() };
    let outcome = store.commit(txn).now_or_never().expect("at once");
    let holds = compare.is_none_or(|compare| model.holds(compare));
    assert_eq!(outcome.is_ok(), holds);
    if holds {
        model.write(&ops);
    }
}

fn run(steps: Vec<Step>) {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let mut model = Model { states: vec![Contents::new()], events: Vec::new() };
    let mut watches = Vec::new();
    for step in steps {
        match step {
            Step::Write { ops, compare } => write(&store, &mut model, ops, compare),
            Step::Watch { prefix: number, back } => {
                let (prefix, after) = (prefix(number), model.newest().saturating_sub(u64::from(back)));
                match store.watch(&prefix, Revision(after)) {
                    Ok(watcher) => {
                        assert!(after >= model.oldest());
                        watches.push(Watch { watcher, prefix, after });
                    }
                    Err(error) => assert!(after < model.oldest(), "{error}"),
                }
            }
            Step::Read { prefix: number, back, limit } => {
                let at = Some(Revision(model.newest().saturating_sub(u64::from(back))));
                check_read(
                    &store,
                    &model,
                    &Range { prefix: prefix(number), after: None, limit: limit.into(), at },
                );
            }
            Step::Compact => store.compact(),
            Step::Restart => {
                watches.drain(..).for_each(|watch| check_watch(watch, &model));
                drop(store);
                store = open(&disk);
            }
        }
        assert_eq!(store.revision().0, model.newest());
    }
    watches.into_iter().for_each(|watch| check_watch(watch, &model));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_simple_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps);
    }
}
