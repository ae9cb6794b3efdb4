//! The recorder: what a component tells people about an object, as `v1` Events.
//!
//! Recording never waits and never fails for the caller. Three things keep a busy object from filling the
//! store, as people know them from upstream: what was said before is counted up in the event that said it;
//! many similar events become one that says "(combined from similar events)"; and an object has a budget of
//! new words, refilled slowly. What does not fit is dropped.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use client::{Client, PatchKind, Typed};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use model::clock::Clock;
use model::status::Status;
use serde_json::json;
use tokio::sync::mpsc;

/// Words waiting to be written. At a millisecond a write this is a second of delay; later ones are dropped.
const WAITING_MAX: usize = 1_024;
/// Remembered events and budgets, each. At about 300 bytes an entry this is 1.2 MB at most.
const REMEMBERED_MAX: usize = 4_096;
/// Different messages about one object with one reason within [`SIMILAR_SECONDS`] before they are combined.
const SIMILAR_MAX: u32 = 10;
/// How long events count as similar.
const SIMILAR_SECONDS: i64 = 600;
/// Words an object may cause at once ...
const BUDGET_BURST: f64 = 25.0;
/// ... and how fast that comes back: one in five minutes.
const BUDGET_PER_SECOND: f64 = 1.0 / 300.0;
/// Longest message that is kept; the API refuses more.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// `Event.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum EventKind {
    /// For information.
    Normal,
    /// Something may need attention.
    Warning,
}

impl EventKind {
    fn text(self) -> &'static str {
        match self {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        }
    }
}

/// Takes down what a component has to tell. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    words: mpsc::Sender<Word>,
}

struct Word {
    about: ObjectReference,
    kind: EventKind,
    reason: String,
    message: String,
}

impl Recorder {
    /// A recorder that speaks as `component`, and the task that writes. The task ends with the last recorder.
    pub fn new(client: Client, component: &'static str, clock: Arc<dyn Clock>) -> (Recorder, Writer) {
        let (words, incoming) = mpsc::channel(WAITING_MAX);
        let writer = Writer { client, incoming, correlator: Correlator::new(component), clock };
        (Recorder { words }, writer)
    }

    /// Tells something about an object.
    pub fn record(&self, about: ObjectReference, kind: EventKind, reason: &str, message: String) {
        let word = Word { about, kind, reason: reason.to_owned(), message };
        if let Err(error) = self.words.try_send(word) {
            tracing::debug!(reason, "an event was dropped: {error}");
        }
    }
}

/// A reference to an object, for events about it.
pub fn reference_to<K: Typed>(object: &K) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: None,
    }
}

/// Writes what recorders take down.
pub struct Writer {
    client: Client,
    incoming: mpsc::Receiver<Word>,
    correlator: Correlator,
    clock: Arc<dyn Clock>,
}

impl Writer {
    /// Writes until the last recorder is gone.
    pub async fn run(mut self) {
        while let Some(word) = self.incoming.recv().await {
            let Some(event) = self.correlator.correlate(word, self.clock.now()) else { continue };
            if let Err(status) = self.write(&event).await {
                let reason = event.reason.as_deref().unwrap_or_default();
                tracing::debug!(reason, "an event could not be written: {status}");
            }
        }
    }

    async fn write(&self, event: &Event) -> Result<(), Status> {
        if event.count.unwrap_or_default() > 1 {
            let (namespace, name) = (&event.metadata.namespace, &event.metadata.name);
            let patch = json!({
                "count": event.count,
                "lastTimestamp": event.last_timestamp,
                "message": event.message,
            });
            let patched = self
                .client
                .patch::<Event>(
                    namespace.as_deref().unwrap_or_default(),
                    name.as_deref().unwrap_or_default(),
                    "",
                    PatchKind::StrategicMerge,
                    patch,
                )
                .await;
            match patched {
                // It has expired meanwhile: it is told anew.
                Err(status) if status.is_not_found() => {}
                other => return other.map(|_| ()),
            }
        }
        self.client.create(event).await.map(|_| ())
    }
}

/// Who is spoken about: namespace, kind, name and uid.
type About = (String, String, String, String);

fn about(reference: &ObjectReference) -> About {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let ObjectReference { namespace, kind, name, uid, .. } = reference;
    (text(namespace), text(kind), text(name), text(uid))
}

/// Turns words into events: new ones, counted-up ones, or none.
struct Correlator {
    component: &'static str,
    budgets: Recent<About, Budget>,
    similar: Recent<(About, EventKind, String), Similar>,
    told: Recent<(About, EventKind, String, String), Event>,
    last_nanosecond: i128,
}

struct Budget {
    tokens: f64,
    refilled: Timestamp,
}

struct Similar {
    /// Hashes would do, but eleven messages are few.
    messages: Vec<String>,
    last: Timestamp,
}

impl Correlator {
    fn new(component: &'static str) -> Correlator {
        Correlator {
            component,
            budgets: Recent::default(),
            similar: Recent::default(),
            told: Recent::default(),
            last_nanosecond: 0,
        }
    }

    fn correlate(&mut self, word: Word, now: Timestamp) -> Option<Event> {
        let object = about(&word.about);
        let mut message = word.message;
        truncate(&mut message);
        let combined = self.is_one_of_many(&object, word.kind, &word.reason, &message, now);
        if !self.spend(&object, now) {
            return None;
        }
        // Combined words share one event, whatever their message.
        let text = if combined { String::new() } else { message.clone() };
        if combined {
            message = format!("(combined from similar events): {message}");
            truncate(&mut message);
        }
        let key = (object, word.kind, word.reason.clone(), text);
        if let Some(event) = self.told.get_mut(&key) {
            event.count = event.count.map(|count| count.saturating_add(1));
            event.last_timestamp = Some(Time(now));
            event.message = Some(message);
            return Some(event.clone());
        }
        let event = self.event(word.about, word.kind, word.reason, message, now);
        self.told.insert(key, event.clone());
        Some(event)
    }

    fn is_one_of_many(
        &mut self,
        object: &About,
        kind: EventKind,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> bool {
        let key = (object.clone(), kind, reason.to_owned());
        let Some(similar) = self.similar.get_mut(&key) else {
            self.similar.insert(key, Similar { messages: vec![message.to_owned()], last: now });
            return false;
        };
        if now.duration_since(similar.last).as_secs() > SIMILAR_SECONDS {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.iter().any(|known| known == message) {
            return similar.messages.len() > SIMILAR_MAX as usize;
        }
        if similar.messages.len() <= SIMILAR_MAX as usize {
            similar.messages.push(message.to_owned());
        }
        similar.messages.len() > SIMILAR_MAX as usize
    }

    fn spend(&mut self, object: &About, now: Timestamp) -> bool {
        if self.budgets.get_mut(object).is_none() {
            self.budgets.insert(object.clone(), Budget { tokens: BUDGET_BURST, refilled: now });
        }
        let budget = self.budgets.get_mut(object).expect("it was put there above");
        let seconds = now.duration_since(budget.refilled).as_secs_f64().max(0.0);
        budget.tokens = (budget.tokens + seconds * BUDGET_PER_SECOND).min(BUDGET_BURST);
        budget.refilled = now;
        if budget.tokens < 1.0 {
            return false;
        }
        budget.tokens -= 1.0;
        true
    }

    fn event(
        &mut self,
        involved_object: ObjectReference,
        kind: EventKind,
        reason: String,
        message: String,
        now: Timestamp,
    ) -> Event {
        // Two events of one moment still get two names.
        self.last_nanosecond = now.as_nanosecond().max(self.last_nanosecond + 1);
        let namespace = match involved_object.namespace.as_deref() {
            None | Some("") => "default".to_owned(),
            Some(namespace) => namespace.to_owned(),
        };
        let object = involved_object.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:x}", self.last_nanosecond)),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object,
            type_: Some(kind.text().to_owned()),
            reason: Some(reason),
            message: Some(message),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: None }),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(String::new()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        }
    }
}

fn truncate(message: &mut String) {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
}

/// A map that forgets what was not used for longest when it is full.
struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
    uses: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.uses += 1;
        if let Some(key) = self.by_use.remove(used) {
            self.by_use.insert(self.uses, key);
        }
        *used = self.uses;
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        self.uses += 1;
        if let Some((used, _)) = self.entries.insert(key.clone(), (self.uses, value)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, key);
        if self.entries.len() > REMEMBERED_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(reason: &str, message: &str) -> Word {
        Word {
            about: ObjectReference {
                kind: Some("StatefulSet".to_owned()),
                namespace: Some("default".to_owned()),
                name: Some("web".to_owned()),
                ..ObjectReference::default()
            },
            kind: EventKind::Normal,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("is a time")
    }

    #[test]
    fn a_repeated_word_is_counted_up_in_its_event() {
        let mut correlator = Correlator::new("statefulset-controller");
        let first = correlator.correlate(word("FailedCreate", "no"), second(0)).expect("is told");
        let again = correlator.correlate(word("FailedCreate", "no"), second(5)).expect("is told");
        assert_eq!(first.count, Some(1));
        assert_eq!(again.count, Some(2));
        assert_eq!(again.metadata.name, first.metadata.name);
        assert_eq!(again.first_timestamp, Some(Time(second(0))));
        assert_eq!(again.last_timestamp, Some(Time(second(5))));
    }

    #[test]
    fn two_words_of_one_moment_have_two_names() {
        let mut correlator = Correlator::new("statefulset-controller");
        let first = correlator.correlate(word("SuccessfulCreate", "a"), second(0)).expect("is told");
        let other = correlator.correlate(word("SuccessfulCreate", "b"), second(0)).expect("is told");
        assert_ne!(first.metadata.name, other.metadata.name);
        assert!(first.metadata.name.expect("has a name").starts_with("web."));
    }

    #[test]
    fn many_similar_words_become_one_event() {
        let mut correlator = Correlator::new("statefulset-controller");
        let mut names = std::collections::BTreeSet::new();
        let mut last = None;
        for number in 0..20 {
            let told = correlator.correlate(word("SuccessfulCreate", &number.to_string()), second(0));
            last = told.inspect(|event| {
                names.insert(event.metadata.name.clone());
            });
        }
        assert_eq!(names.len(), SIMILAR_MAX as usize + 1);
        let message = last.expect("is told").message.expect("has words");
        assert_eq!(message, "(combined from similar events): 19");
    }

    #[test]
    fn an_object_that_says_too_much_is_not_heard_until_its_budget_is_back() {
        let mut correlator = Correlator::new("statefulset-controller");
        let heard = (0..100)
            .filter(|_| correlator.correlate(word("FailedCreate", "no"), second(0)).is_some())
            .count();
        assert_eq!(heard, 25);
        assert!(correlator.correlate(word("FailedCreate", "no"), second(299)).is_none());
        assert!(correlator.correlate(word("FailedCreate", "no"), second(301)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..2 * REMEMBERED_MAX {
            recent.insert(number, ());
            recent.get_mut(&0);
        }
        assert_eq!(recent.entries.len(), REMEMBERED_MAX);
        assert_eq!(recent.by_use.len(), REMEMBERED_MAX);
        assert!(recent.get_mut(&0).is_some(), "what is used stays");
    }
}
