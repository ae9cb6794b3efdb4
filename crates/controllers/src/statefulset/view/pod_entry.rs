//! A pod as decisions see it: what they ask of it, read once from its object.
//!
//! It must never change after it was made, but for what is worked out about it later.

use std::cell::OnceCell;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use model::stateful_set::SPECIFIED_DELETE_LABEL;
use model::{meta, ordinal};

use super::REVISION_LABEL;
use crate::statefulset::repair::Checked;

/// `status.phase` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Phase {
    /// None yet, or one that nobody knows.
    Unknown,
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// A pod and what decisions ask of it.
#[derive(Debug)]
pub struct PodEntry {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The number at the end of its name; -1 where there is none.
    pub ordinal: i32,
    /// Its phase.
    pub phase: Phase,
    /// True when it has a phase at all: the API gives one to each pod it takes in.
    pub is_created: bool,
    /// True when it runs and its condition `Ready` is `True`.
    pub is_ready: bool,
    /// Since when, where its status says so.
    pub ready_since: Option<Timestamp>,
    /// True when it is ready or was since it was made, as far as is known; in doubt it was.
    pub has_been_ready: bool,
    /// True when its deletion was asked for.
    pub is_terminating: bool,
    pub(super) checked: OnceCell<Checked>,
}

impl PodEntry {
    pub(super) fn new(pod: Arc<Pod>, has_been_ready: bool) -> PodEntry {
        let phase = match model::pod::phase(&pod) {
            "Pending" => Phase::Pending,
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            _ => Phase::Unknown,
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        PodEntry {
            ordinal: ordinal::parse(name).map_or(-1, |(_, ordinal)| ordinal),
            phase,
            is_created: !model::pod::phase(&pod).is_empty(),
            is_ready: phase == Phase::Running && model::pod::is_ready(&pod),
            ready_since: model::pod::ready_since(&pod),
            has_been_ready: has_been_ready || model::pod::has_been_ready(&pod),
            is_terminating: meta::is_terminating(&pod.metadata),
            checked: OnceCell::new(),
            pod,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The name of the revision it was made at; empty where it says none.
    pub fn revision(&self) -> &str {
        let labels = self.pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(REVISION_LABEL)).map_or("", String::as_str)
    }

    /// True when its label asks for it to be the next to go.
    pub fn is_specified_for_deletion(&self) -> bool {
        let labels = self.pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(SPECIFIED_DELETE_LABEL)).is_some_and(|value| value == "true")
    }

    /// The moment from which it counts as available; `None` while it is not ready.
    pub fn available_from(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        if !self.is_ready {
            return None;
        }
        model::pod::available_from(&self.pod, min_ready_seconds)
    }

    /// True when it has been ready for long enough.
    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        if min_ready_seconds == 0 {
            return self.is_ready;
        }
        self.available_from(min_ready_seconds).is_some_and(|from| from <= now)
    }

    /// True when it is available and stays.
    pub fn is_healthy(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        !self.is_terminating && self.is_available(min_ready_seconds, now)
    }
}
