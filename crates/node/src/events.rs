//! Telling people what happens to pods: events of the API, counted when they repeat.
//!
//! Best effort: the queue is bounded and an event that does not fit is dropped. It must never hold up a pod.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use client::{Client, PatchKind};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::clock::Clock;
use serde_json::json;
use tokio::sync::mpsc;

/// Events waiting to be written: three for each of a thousand pods that start at once.
const QUEUE_EVENTS_MAX: usize = 4096;
/// Events remembered for counting.
const REMEMBERED_EVENTS_MAX: usize = 4096;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// One event.
#[derive(Debug, Clone)]
struct Note {
    about: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Takes events; cheap to clone.
#[derive(Clone)]
pub struct EventSink {
    queue: mpsc::Sender<Note>,
    clock: Arc<dyn Clock>,
}

/// Writes what the sink took.
pub struct EventWriter {
    queue: mpsc::Receiver<Note>,
    client: Client,
    node: String,
    sequence: u64,
}

/// A sink and the writer behind it.
pub fn channel(client: Client, clock: Arc<dyn Clock>, node: &str) -> (EventSink, EventWriter) {
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS_MAX);
    let writer = EventWriter { queue: receiver, client, node: node.to_owned(), sequence: 0 };
    (EventSink { queue: sender, clock }, writer)
}

impl EventSink {
    /// Notes an event about a pod, or about one of its containers.
    pub fn note(
        &self,
        pod: &Pod,
        container: Option<(&str, bool)>,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let field_path = container.map(|(name, init)| {
            let list = if init { "initContainers" } else { "containers" };
            format!("spec.{list}{{{name}}}")
        });
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path,
        };
        let note = Note { about, severity, reason, message: message.into(), at: self.clock.now() };
        if self.queue.try_send(note).is_err() {
            tracing::debug!(reason, "an event was dropped: the queue is full");
        }
    }
}

impl EventWriter {
    /// Writes until every sink is gone.
    pub async fn run(mut self) {
        let mut seen: HashMap<(String, String, String), (String, i32)> = HashMap::new();
        let mut order = VecDeque::new();
        while let Some(note) = self.queue.recv().await {
            let about = format!(
                "{}{}",
                note.about.uid.as_deref().unwrap_or_default(),
                note.about.field_path.as_deref().unwrap_or_default()
            );
            let key = (about, note.reason.to_owned(), note.message.clone());
            if let Some((name, count)) = seen.get_mut(&key)
                && self.repeat(&note, name, *count + 1).await
            {
                *count += 1;
                continue;
            }
            if let Some(name) = self.create(&note).await {
                if order.len() >= REMEMBERED_EVENTS_MAX
                    && let Some(oldest) = order.pop_front()
                {
                    seen.remove(&oldest);
                }
                order.push_back(key.clone());
                seen.insert(key, (name, 1));
            }
        }
    }

    async fn repeat(&self, note: &Note, name: &str, count: i32) -> bool {
        let namespace = note.about.namespace.as_deref().unwrap_or_default();
        let patch = json!({ "count": count, "lastTimestamp": Time(note.at) });
        self.client.patch::<Event>(namespace, name, "", PatchKind::Merge, patch).await.is_ok()
    }

    async fn create(&mut self, note: &Note) -> Option<String> {
        self.sequence += 1;
        let pod = note.about.name.as_deref().unwrap_or_default();
        // Unique over restarts by the time, within one by the sequence.
        let stamp = note.at.as_nanosecond() + i128::from(self.sequence);
        let name = format!("{pod}.{stamp:x}");
        let mut event = Event {
            involved_object: note.about.clone(),
            reason: Some(note.reason.to_owned()),
            message: Some(note.message.clone()),
            type_: Some(format!("{:?}", note.severity)),
            count: Some(1),
            first_timestamp: Some(Time(note.at)),
            last_timestamp: Some(Time(note.at)),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        };
        event.metadata.name = Some(name.clone());
        event.metadata.namespace.clone_from(&note.about.namespace);
        match self.client.create(&event).await {
            Ok(_) => Some(name),
            Err(status) => {
                tracing::debug!(reason = note.reason, "an event was not written: {status}");
                None
            }
        }
    }
}
