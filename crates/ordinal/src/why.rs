//! `ordinal why`: the chain of reasons from a set down to the cause.
//!
//! For a set the controller's own plan is made anew from what the API shows, so that what is said here is
//! what the controller waits for. For a pod it is what its scheduler, node and claims say. Nothing is
//! written.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use client::{Change, Client, ListOptions, Scope};
use controllers::statefulset::conditions::PROGRESSING;
use controllers::statefulset::plan::{Plan, plan};
use controllers::statefulset::review::surroundings;
use controllers::statefulset::view::{Event, View};
use controllers::statefulset::waiting::WaitingOn;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Event as CoreEvent, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::clock::Clock;
use model::encoded::Revision;
use model::stateful_set::{ExtendedStatefulSet, replicas};
use model::{duration, meta};
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;

use crate::cli::WhyArguments;
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::output;
use crate::remote::Remote;

/// Warnings about a pod that are shown: the newest.
const WARNINGS_SHOWN_MAX: usize = 3;

/// Carries the command out.
pub(crate) async fn run(arguments: &WhyArguments) -> Result<()> {
    let data_dir = DataDir::find(&arguments.data_dir)?;
    let remote = Arc::new(Remote::connect(&data_dir)?);
    let now = SystemClock::default().now();
    let namespace = &arguments.namespace;
    let text = match arguments.what.rsplit_once('/') {
        Some(("sts" | "statefulset" | "statefulsets" | "statefulset.apps" | "statefulsets.apps", name)) => {
            of_set(&remote, namespace, name, now).await?
        }
        Some(("pod" | "pods" | "po", name)) => {
            let pod = client(&remote).get::<Pod>(namespace, name).await?;
            of_pod(&client(&remote), &pod, now).await?
        }
        _ => bail!("name a set as sts/NAME, or a pod as pod/NAME"),
    };
    output::line(text.trim_end());
    Ok(())
}

async fn of_set(remote: &Arc<Remote>, namespace: &str, name: &str, now: Timestamp) -> Result<String> {
    let client = client(remote);
    let set = client.get::<ExtendedStatefulSet>(namespace, name).await?;
    let (pods, claims, revisions, classes) = surroundings(&client, namespace).await?;
    let scope = Scope { namespace: namespace.to_owned(), ..Scope::default() };
    let (services, _) = client.list::<Service>(&scope).await?;
    let (wanted, status) = (replicas(&set.set), set.set.status.clone().unwrap_or_default());
    let mut view = View::default();
    view.apply(Event::Sets(Change::Reset(vec![Arc::clone(&set)], Revision(1))));
    view.apply(Event::Pods(Change::Reset(pods.clone(), Revision(1))));
    view.apply(Event::Claims(Change::Reset(claims, Revision(1))));
    view.apply(Event::Revisions(Change::Reset(revisions, Revision(1))));
    view.apply(Event::Services(Change::Reset(services, Revision(1))));
    view.apply(Event::Classes(Change::Reset(classes, Revision(1))));
    let decided = view.set(&ObjectKey::new(namespace, name)).map(|view| plan(&view, now)).unwrap_or_default();
    let mut text = format!(
        "{namespace}/{name}: {} of {wanted} ready, {} available\n",
        status.ready_replicas.unwrap_or_default(),
        status.available_replicas.unwrap_or_default(),
    );
    let remembered = remembered(&set.set);
    if let Some(message) = remembered {
        let _ = writeln!(text, "└ {message}");
    }
    for waiting in &decided.waiting_on {
        if remembered.is_none() {
            let _ = writeln!(text, "└ waiting for {waiting}");
        }
        if let Some(name) = pod_of(waiting)
            && let Some(pod) = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))
        {
            for line in of_pod(&client, pod, now).await?.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    // What keeps nothing from going on, and should be known all the same.
    for notice in &decided.notices {
        let _ = writeln!(text, "note: {}", notice.message);
    }
    if remembered.is_some() {
        text.push_str("next: goes on at that moment, or when something changes\n");
        return Ok(text);
    }
    text.push_str(&next(&decided));
    Ok(text)
}

/// What the controller said last, where it waits for a moment that only it remembers: a plan made anew would
/// name another one.
fn remembered(set: &StatefulSet) -> Option<&str> {
    let status =
        set.status.as_ref().filter(|status| status.observed_generation == set.metadata.generation)?;
    let mut conditions = status.conditions.iter().flatten();
    let condition = conditions.find(|condition| condition.type_.as_deref() == Some(PROGRESSING))?;
    let is_remembered = matches!(condition.reason.as_deref(), Some("BackOff" | "WaitingForPrimary"));
    condition.message.as_deref().filter(|_| is_remembered)
}

fn client(remote: &Arc<Remote>) -> Client {
    Client::new(Arc::clone(remote) as Arc<dyn client::transport::Transport>, "ordinal")
}

fn pod_of(waiting: &WaitingOn) -> Option<&str> {
    match waiting {
        WaitingOn::PodNotReady { pod, .. }
        | WaitingOn::PodNotAvailable { pod, .. }
        | WaitingOn::PodTerminating { pod, .. }
        | WaitingOn::BackOff { pod, .. }
        | WaitingOn::Primary { pod, .. } => Some(pod),
        _ => None,
    }
}

/// What the controller does next, as far as it can be told.
fn next(plan: &Plan) -> String {
    let mut text = String::new();
    for step in plan.steps.iter().take(WARNINGS_SHOWN_MAX) {
        let _ = writeln!(text, "next: {step}");
    }
    if plan.steps.is_empty() && plan.waiting_on.is_empty() {
        text.push_str("nothing is waited for: all is as the set says\n");
    } else if let Some(pause) = plan.requeue_after {
        let _ = writeln!(
            text,
            "next: looked at again in {} s, or when something changes",
            pause.as_secs().max(1)
        );
    } else if plan.steps.is_empty() && !plan.waiting_on.is_empty() {
        text.push_str("next: goes on as soon as that changes\n");
    }
    text
}

async fn of_pod(client: &Client, pod: &Pod, now: Timestamp) -> Result<String> {
    let metadata = &pod.metadata;
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    let phase = if meta::is_terminating(metadata) { "Terminating" } else { model::pod::phase(pod) };
    let age = metadata.creation_timestamp.as_ref().map(|made| since(made.0, now)).unwrap_or_default();
    let node = model::pod::node_name(pod).map_or("no node".to_owned(), |node| format!("node {node}"));
    let mut text = format!("└ pod {name} is {phase} on {node}, made {age} ago\n");
    for condition in pod.status.iter().flat_map(|status| status.conditions.iter().flatten()) {
        if condition.status != "True" {
            let turned = condition.last_transition_time.as_ref().map(|time| since(time.0, now));
            let turned = turned.map(|age| format!(" for {age}")).unwrap_or_default();
            let detail = detail(condition.reason.as_deref(), condition.message.as_deref());
            let _ = writeln!(text, "  └ {} is not true{turned}{detail}", condition.type_);
        }
    }
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    for container in first.iter().chain(main) {
        text.push_str(&of_container(container, now));
    }
    for claim in claims_of(pod) {
        text.push_str(&of_claim(client, namespace, &claim, now).await?);
    }
    text.push_str(&warnings(client, metadata, now).await?);
    Ok(text)
}

/// The newest warnings about an object, a line each.
async fn warnings(client: &Client, metadata: &ObjectMeta, now: Timestamp) -> Result<String> {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let field_selector = format!("involvedObject.uid={uid}");
    let options = ListOptions { field_selector, ..ListOptions::default() };
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let (events, _) = client.list::<CoreEvent>(&Scope { namespace, options }).await.context("list Events")?;
    let mut warnings: Vec<&CoreEvent> = events
        .iter()
        .map(|event| &**event)
        .filter(|event| event.type_.as_deref() == Some("Warning"))
        .filter(|event| event.involved_object.uid.as_deref() == Some(uid))
        .collect();
    warnings.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
    let mut text = String::new();
    for event in warnings.into_iter().take(WARNINGS_SHOWN_MAX) {
        let age = last_seen(event).map(|at| format!("{} ago", since(at, now))).unwrap_or_default();
        let detail = detail(event.reason.as_deref(), event.message.as_deref());
        let _ = writeln!(text, "  └ event {age}{detail}");
    }
    Ok(text)
}

fn of_container(container: &ContainerStatus, now: Timestamp) -> String {
    let Some(state) = container.state.as_ref().filter(|_| !container.ready) else { return String::new() };
    let name = &container.name;
    let restarts = match container.restart_count {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        times => format!(", restarted {times} times"),
    };
    if let Some(waiting) = &state.waiting {
        let detail = detail(waiting.reason.as_deref(), waiting.message.as_deref());
        let next = restarts_in(container, now).map(|wait| format!("    next: started again in {wait}\n"));
        return format!("  └ container {name} waits{restarts}{detail}\n{}", next.unwrap_or_default());
    }
    if let Some(ended) = &state.terminated {
        if ended.exit_code == 0 {
            return String::new();
        }
        let detail = detail(ended.reason.as_deref(), ended.message.as_deref());
        return format!("  └ container {name} ended with code {}{restarts}{detail}\n", ended.exit_code);
    }
    let started = state.running.as_ref().and_then(|running| running.started_at.as_ref());
    let started = started.map(|at| format!(" for {}", since(at.0, now))).unwrap_or_default();
    format!("  └ container {name} runs{started} and is not ready{restarts}\n")
}

/// How long it takes until a container that crashed is started again: its node counts the back-off that the
/// message names from the moment it ended.
fn restarts_in(container: &ContainerStatus, now: Timestamp) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let rest = waiting.message.as_deref()?.strip_prefix("back-off ")?;
    let back_off: SignedDuration = rest.split_once(" restarting ")?.0.parse().ok()?;
    let ended = container.last_state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?;
    let wait = ended.0.checked_add(back_off).ok()?.duration_since(now).as_secs();
    Some(if wait > 0 { duration::human(wait) } else { "a moment".to_owned() })
}

async fn of_claim(client: &Client, namespace: &str, name: &str, now: Timestamp) -> Result<String> {
    let claim = match client.get::<PersistentVolumeClaim>(namespace, name).await {
        Ok(claim) => claim,
        Err(status) if status.is_not_found() => return Ok(format!("  └ claim {name} does not exist\n")),
        Err(status) => return Err(status.into()),
    };
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if phase == "Bound" && !meta::is_terminating(&claim.metadata) {
        return Ok(String::new());
    }
    let phase = if phase == "Bound" { "being deleted" } else { phase };
    let warnings = warnings(client, &claim.metadata, now).await?;
    let age = claim.metadata.creation_timestamp.as_ref().map(|made| since(made.0, now)).unwrap_or_default();
    let mut text = format!("  └ claim {name} is {phase}, made {age} ago\n");
    for line in warnings.lines() {
        let _ = writeln!(text, "  {line}");
    }
    Ok(text)
}

fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let sources = volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    sources.map(|source| source.claim_name.clone()).collect()
}

fn last_seen(event: &CoreEvent) -> Option<Timestamp> {
    let seen = event.last_timestamp.as_ref().map(|time| time.0);
    seen.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

fn since(moment: Timestamp, now: Timestamp) -> String {
    duration::human(duration::seconds_between(moment, now))
}

fn detail(reason: Option<&str>, message: Option<&str>) -> String {
    let parts = [reason, message].into_iter().flatten().filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(": ");
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(state: serde_json::Value, restarts: i32) -> ContainerStatus {
        let status = json!({
            "name": "app", "image": "", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state,
        });
        serde_json::from_value(status).expect("is a status")
    }

    #[test]
    fn a_container_says_why_it_is_not_ready() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("is a time");
        let waits =
            container(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } }), 0);
        assert_eq!(of_container(&waits, now), "  └ container app waits: ImagePullBackOff: no such image\n");
        let message = "back-off 1m20s restarting failed container=app pod=web-0_default(1)";
        let mut crashed =
            container(json!({ "waiting": { "reason": "CrashLoopBackOff", "message": message } }), 4);
        crashed.last_state = serde_json::from_value(json!({
            "terminated": { "exitCode": 1, "finishedAt": "2026-01-01T00:00:10Z" },
        }))
        .expect("is a state");
        assert!(of_container(&crashed, now).ends_with("    next: started again in 30s\n"));
        let ended = container(json!({ "terminated": { "exitCode": 3, "reason": "Error" } }), 2);
        assert_eq!(
            of_container(&ended, now),
            "  └ container app ended with code 3, restarted 2 times: Error\n"
        );
        let runs = container(json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }), 1);
        assert_eq!(
            of_container(&runs, now),
            "  └ container app runs for 60s and is not ready, restarted once\n"
        );
    }

    #[test]
    fn a_moment_that_only_the_controller_knows_is_told_in_its_words() {
        let mut set: StatefulSet = serde_json::from_value(json!({
            "metadata": { "generation": 2 },
            "spec": { "selector": {}, "template": {} },
            "status": {
                "replicas": 1, "observedGeneration": 2,
                "conditions": [{
                    "type": "Progressing", "status": "True",
                    "reason": "WaitingForPrimary", "message": "until noon",
                }],
            },
        }))
        .expect("is a set");
        assert_eq!(remembered(&set), Some("until noon"));
        set.metadata.generation = Some(3);
        assert_eq!(remembered(&set), None, "the controller has not seen this set yet");
    }

    #[test]
    fn what_comes_next_is_always_said() {
        assert!(next(&Plan::default()).contains("nothing is waited for"));
        let waiting_on = vec![WaitingOn::Paused];
        assert!(next(&Plan { waiting_on, ..Plan::default() }).contains("as soon as that changes"));
    }
}
