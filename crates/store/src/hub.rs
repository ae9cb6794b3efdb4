//! Who is told of a change.
//!
//! Watchers are found by the prefix they asked for, so a commit costs what its interested watchers cost, not
//! what all do. A watcher that does not keep up is cut off with [`WatchError::Lagged`]; nothing here ever
//! waits.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::Revision;
use crate::api::{Event, WatchError, Watcher};

/// How far a watcher may fall behind: 8,192 events of 64 bytes are 512 KiB, and the values they point to are
/// shared with the history. A rollout of 1,000 replicas makes about as many changes in all.
pub(crate) const WATCH_QUEUE_EVENTS: usize = 8192;

/// Watchers whose reader went away are looked for when their number has doubled, but not below this.
const SWEEP_FLOOR: usize = 64;

#[derive(Debug)]
struct Subscriber {
    sender: mpsc::Sender<Result<Event, WatchError>>,
    /// The replay covered everything up to here.
    after: Revision,
}

#[derive(Debug, Default)]
pub(crate) struct Hub {
    by_prefix: HashMap<Box<[u8]>, Vec<Subscriber>>,
    /// How many prefixes of each length there are: the lengths at which a key is worth looking up.
    lengths: BTreeMap<usize, usize>,
    watchers: usize,
    sweep_at: usize,
    closed: bool,
}

impl Hub {
    pub(crate) fn watchers(&self) -> usize {
        self.watchers
    }

    /// Begins a watch with what has happened already; events up to `after` are not sent again.
    pub(crate) fn subscribe(&mut self, prefix: &str, replay: Vec<Event>, after: Revision) -> Watcher {
        // One place more than events: the last word, `Lagged` or `Closed`, always fits.
        let (sender, receiver) = mpsc::channel(replay.len() + WATCH_QUEUE_EVENTS + 1);
        for event in replay {
            let sent = sender.try_send(Ok(event));
            assert!(sent.is_ok(), "the queue has room for the replay");
        }
        if self.closed {
            let _ = sender.try_send(Err(WatchError::Closed));
            return Watcher::new(receiver);
        }
        if self.watchers >= self.sweep_at.max(SWEEP_FLOOR) {
            self.sweep();
            self.sweep_at = self.watchers * 2;
        }
        let list = self.by_prefix.entry(prefix.as_bytes().into()).or_insert_with(|| {
            *self.lengths.entry(prefix.len()).or_default() += 1;
            Vec::new()
        });
        list.push(Subscriber { sender, after });
        self.watchers += 1;
        Watcher::new(receiver)
    }

    /// Tells those who watch a prefix of the event's key.
    pub(crate) fn publish(&mut self, event: &Event) {
        let key = event.entry.key.as_bytes();
        let mut emptied = Vec::new();
        for &length in self.lengths.range(..=key.len()).map(|(length, _)| length) {
            let Some(list) = self.by_prefix.get_mut(&key[..length]) else {
                continue;
            };
            let before = list.len();
            list.retain(|subscriber| subscriber.offer(event));
            self.watchers -= before - list.len();
            if list.is_empty() {
                emptied.push(length);
            }
        }
        for length in emptied {
            self.remove_prefix(&key[..length]);
        }
    }

    /// Ends every watch.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        // In order, so that the same run is the same every time.
        let mut prefixes: Vec<_> = self.by_prefix.iter().collect();
        prefixes.sort_unstable_by_key(|(prefix, _)| *prefix);
        for subscriber in prefixes.into_iter().flat_map(|(_, list)| list) {
            let _ = subscriber.sender.try_send(Err(WatchError::Closed));
        }
        self.by_prefix.clear();
        self.lengths.clear();
        self.watchers = 0;
    }

    fn sweep(&mut self) {
        for list in self.by_prefix.values_mut() {
            list.retain(|subscriber| !subscriber.sender.is_closed());
        }
        let empty: Vec<Box<[u8]>> = self
            .by_prefix
            .iter()
            .filter(|(_, list)| list.is_empty())
            .map(|(prefix, _)| prefix.clone())
            .collect();
        for prefix in empty {
            self.remove_prefix(&prefix);
        }
        self.watchers = self.by_prefix.values().map(Vec::len).sum();
    }

    fn remove_prefix(&mut self, prefix: &[u8]) {
        self.by_prefix.remove(prefix);
        let count = self.lengths.get_mut(&prefix.len()).expect("a prefix's length is counted");
        *count -= 1;
        if *count == 0 {
            self.lengths.remove(&prefix.len());
        }
    }
}

impl Subscriber {
    /// Whether the watcher goes on.
    fn offer(&self, event: &Event) -> bool {
        if event.revision() <= self.after {
            return true;
        }
        if self.sender.capacity() <= 1 {
            let _ = self.sender.try_send(Err(WatchError::Lagged));
            return false;
        }
        match self.sender.try_send(Ok(event.clone())) {
            Ok(()) => true,
            Err(TrySendError::Closed(_) | TrySendError::Full(_)) => false,
        }
    }
}
