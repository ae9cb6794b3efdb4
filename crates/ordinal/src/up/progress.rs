//! The live view while StatefulSets become ready: one line a pod.
//!
//! On a terminal the lines change in place; elsewhere each change is a line of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use client::{Change, Client, Scope, reflect};
use futures::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use model::pod;
use serde_json::Value;

use crate::output;

/// Time between two turns of a spinner.
const TURN: Duration = Duration::from_millis(120);

type Key = (String, String);

/// Waits until every StatefulSet among `objects` has all its replicas ready.
pub(super) async fn wait(client: Client, objects: &[Value]) -> Result<()> {
    let mut missing: BTreeSet<Key> = objects
        .iter()
        .filter(|object| object["kind"] == "StatefulSet")
        .map(|object| {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            let namespace = text("namespace");
            (if namespace.is_empty() { "default".to_owned() } else { namespace }, text("name"))
        })
        .collect();
    let wanted = missing.clone();
    let mut lines = Lines::new();
    let mut sets = reflect::<StatefulSet>(client.clone(), Scope::default());
    let mut pods = reflect::<Pod>(client, Scope::default());
    while !missing.is_empty() {
        tokio::select! {
            Some(change) = sets.next() => {
                for set in objects_of(change) {
                    let key = key_of(&set.metadata);
                    if wanted.contains(&key) && is_ready(&set) {
                        missing.remove(&key);
                    }
                }
            }
            Some(change) = pods.next() => {
                for pod in objects_of(change) {
                    let owned = wanted.iter().any(|(namespace, set)| {
                        let name = pod.metadata.name.as_deref().and_then(model::ordinal::parse);
                        pod.metadata.namespace.as_ref() == Some(namespace)
                            && name.is_some_and(|(parent, _)| parent == set)
                    });
                    if owned {
                        lines.show(&key_of(&pod.metadata), &state(&pod), pod::is_ready(&pod));
                    }
                }
            }
        }
    }
    lines.finish();
    Ok(())
}

fn objects_of<K>(change: Change<K>) -> Vec<std::sync::Arc<K>> {
    match change {
        Change::Reset(objects, _) => objects,
        Change::Apply(object) => vec![object],
        Change::Delete(_) => Vec::new(),
    }
}

fn key_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Key {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn is_ready(set: &StatefulSet) -> bool {
    let wanted = set.spec.replicas.unwrap_or(1);
    set.status.as_ref().is_some_and(|status| {
        status.ready_replicas.unwrap_or(0) == wanted && status.observed_generation >= set.metadata.generation
    })
}

/// What the pod is doing, in a few words.
fn state(pod: &Pod) -> String {
    if pod::is_ready(pod) {
        return "ready".to_owned();
    }
    let waiting = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten())
        .filter_map(|status| status.state.as_ref()?.waiting.as_ref())
        .find_map(|waiting| waiting.reason.clone());
    let unschedulable = pod::condition(pod, "PodScheduled")
        .filter(|condition| condition.status == "False")
        .and_then(|condition| condition.message.clone());
    match (unschedulable, waiting) {
        (Some(message), _) => message,
        (None, Some(reason)) => reason,
        (None, None) => match pod::phase(pod) {
            "Running" => "running, not ready yet".to_owned(),
            phase => phase.to_ascii_lowercase(),
        },
    }
}

struct Lines {
    bars: Option<MultiProgress>,
    shown: BTreeMap<Key, (Option<ProgressBar>, String)>,
}

impl Lines {
    fn new() -> Lines {
        let bars = output::coloured(std::io::stdout().is_terminal()).then(MultiProgress::new);
        Lines { bars, shown: BTreeMap::new() }
    }

    fn show(&mut self, key: &Key, state: &str, ready: bool) {
        let bars = &self.bars;
        let (bar, before) = self.shown.entry(key.clone()).or_insert_with(|| {
            let bar = bars.as_ref().map(|bars| {
                let bar = bars.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("pod      {prefix}  {spinner} {msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.set_prefix(key.1.clone());
                bar.enable_steady_tick(TURN);
                bar
            });
            (bar, String::new())
        });
        if before == state {
            return;
        }
        state.clone_into(before);
        match bar {
            Some(bar) if ready => bar.finish_with_message("ready"),
            Some(bar) => bar.set_message(state.to_owned()),
            None => output::line(format_args!("pod      {}  {state}", key.1)),
        }
    }

    fn finish(&self) {
        for (bar, _) in self.shown.values() {
            if let Some(bar) = bar {
                bar.finish();
            }
        }
    }
}
