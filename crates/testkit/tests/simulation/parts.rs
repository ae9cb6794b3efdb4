//! The parts of a simulated cluster: each runs in a task, may be ended between any two of its steps, and is
//! started anew.
//!
//! Ending a part drops it and everything that it had under way, at whatever it waits for just then. What
//! outlives it is outside of it: the store, and the containers of a node.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::record::Record;

/// Pause before a part that was ended is started again: long enough for the others to go on without it.
const DOWN_MS_MAX: u32 = 4_000;

/// The parts.
pub(crate) struct Parts {
    tasks: JoinSet<()>,
    running: Vec<(&'static str, Arc<Notify>)>,
    dice: Arc<Dice>,
    record: Arc<Record>,
}

impl Parts {
    pub(crate) fn new(dice: Arc<Dice>, record: Arc<Record>) -> Parts {
        Parts { tasks: JoinSet::new(), running: Vec::new(), dice, record }
    }

    /// Keeps a part running; `crash` ends it.
    pub(crate) fn keep(
        &mut self,
        name: &'static str,
        crash: Arc<Notify>,
        start: impl Fn() -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        self.running.push((name, Arc::clone(&crash)));
        let (dice, record) = (Arc::clone(&self.dice), Arc::clone(&self.record));
        self.tasks.spawn(async move {
            loop {
                let mut part = start();
                tokio::select! {
                    biased;
                    () = crash.notified() => {}
                    () = &mut part => record.broke(&format!("{name} ended by itself")),
                }
                drop(part);
                let pause = if dice.are_faults_on() { dice.pause(DOWN_MS_MAX) } else { Duration::ZERO };
                tokio::time::sleep(pause + Duration::from_millis(1)).await;
                record.note(&format!("{name} starts again"));
            }
        });
    }

    /// Runs something beside the parts that is never ended.
    pub(crate) fn beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Names of the parts.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.running.iter().map(|(name, _)| *name).collect()
    }

    /// Ends a part, which then starts anew.
    pub(crate) fn crash(&self, name: &str) {
        let named = self.running.iter().find(|(part, _)| *part == name);
        named.expect("there is such a part").1.notify_one();
    }
}
