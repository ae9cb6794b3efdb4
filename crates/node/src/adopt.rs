//! Finding what ran before the agent did, and taking it up again without restarting anything.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use runtime::api::{ContainerState, ContainerStatus, SandboxStatus};

use crate::execute::{Context, Outcome, terminated, unknown_end};
use crate::view::{Instance, InstanceState, PodView, ProbeKind};
use crate::worker::retry;

/// What the machine has of one pod.
#[derive(Debug, Default)]
pub struct Found {
    /// Its sandboxes, the newest last.
    pub sandboxes: Vec<SandboxStatus>,
    /// Its containers with how they ended, each list by attempt.
    pub containers: BTreeMap<String, Vec<(ContainerStatus, Option<ContainerStateTerminated>)>>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Lists everything, again and again until it works: nothing may start before.
pub async fn find(context: &Context) -> BTreeMap<String, Found> {
    let mut last = None;
    loop {
        match try_find(context).await {
            Ok(found) => return found,
            Err(error) => {
                let next = retry(last.as_ref(), error, Timestamp::UNIX_EPOCH);
                tracing::error!("cannot list what runs on this node: {}", next.message);
                let pause = next.not_before.duration_since(Timestamp::UNIX_EPOCH);
                tokio::time::sleep(std::time::Duration::try_from(pause).unwrap_or_default()).await;
                last = Some(next);
            }
        }
    }
}

async fn try_find(context: &Context) -> Result<BTreeMap<String, Found>, String> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut pods = HashMap::new();
    let mut sandboxes = context.runtime.list_sandboxes().await.map_err(|error| error.to_string())?;
    sandboxes.sort_by_key(|sandbox| (sandbox.config.attempt, sandbox.created_at));
    for sandbox in sandboxes {
        let uid = sandbox.config.uid.clone();
        pods.insert(sandbox.id.clone(), uid.clone());
        found.entry(uid).or_default().sandboxes.push(sandbox);
    }
    let mut containers = context.runtime.list_containers().await.map_err(|error| error.to_string())?;
    containers.sort_by_key(|container| (container.config.attempt, container.created_at));
    for container in containers {
        // Made but never started, by an agent that ended in between: nothing of it is worth keeping, and the
        // next try has the same number.
        if container.state == ContainerState::Created {
            context.runtime.remove_container(&container.id).await.map_err(|error| error.to_string())?;
            continue;
        }
        let Some(uid) = pods.get(&container.sandbox) else {
            continue;
        };
        let ended = match &container.state {
            ContainerState::Exited(exit) => match context.exited(container.id.clone(), exit.clone()).await {
                Outcome::Exited { terminated, .. } => Some(terminated),
                _ => Some(terminated(&container.id, exit)),
            },
            ContainerState::Unknown => Some(unknown_end(context.clock.now())),
            ContainerState::Created | ContainerState::Running { .. } => None,
        };
        let of_pod = found.entry(uid.clone()).or_default();
        of_pod.containers.entry(container.config.name.clone()).or_default().push((container, ended));
    }
    for attachment in context.network.list().await.map_err(|error| error.to_string())? {
        found.entry(attachment.pod_uid).or_default().addresses = attachment.addresses;
    }
    // Directories without a sandbox: taken down half, or made by an agent that ended in between.
    let data = context.mounter.data.clone();
    let list = move || std::fs::read_dir(data)?.map(|entry| Ok(entry?.file_name())).collect();
    let names: Vec<std::ffi::OsString> =
        context.config.machine.run(list).await.map_err(|error| error.to_string())?;
    for name in names {
        found.entry(name.to_string_lossy().into_owned()).or_default();
    }
    Ok(found)
}

/// A pod known only from what it left behind.
pub fn ghost(uid: &str, found: &Found) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = Some(uid.to_owned());
    if let Some(sandbox) = found.sandboxes.last() {
        pod.metadata.namespace = Some(sandbox.config.namespace.clone());
        pod.metadata.name = Some(sandbox.config.name.clone());
    }
    pod
}

/// Puts what was found into a new view. Without anything found, restart counts go on from the API's status:
/// the machine was restarted.
pub fn restore(view: &mut PodView, found: Option<Found>, node_ip: IpAddr, now: Timestamp) {
    let mut found = found.unwrap_or_default();
    view.addresses = std::mem::take(&mut found.addresses);
    if view.addresses.is_empty() && view.spec().is_some_and(|spec| spec.host_network == Some(true)) {
        view.addresses = vec![node_ip];
    }
    let ready = found.sandboxes.iter().rposition(|sandbox| sandbox.ready);
    for (index, sandbox) in found.sandboxes.into_iter().enumerate() {
        view.sandbox_attempt = view.sandbox_attempt.max(sandbox.config.attempt + 1);
        if Some(index) == ready {
            view.sandbox = Some(sandbox.id);
        } else {
            view.broken_sandboxes.push(sandbox.id);
        }
    }
    for (name, instances) in found.containers {
        restore_container(view, &name, instances, now);
    }
    if view.sandbox.is_none() {
        count_on(view);
    }
}

fn restore_container(
    view: &mut PodView,
    name: &str,
    mut instances: Vec<(ContainerStatus, Option<ContainerStateTerminated>)>,
    now: Timestamp,
) {
    let spec = crate::probe::container_of(view, name).cloned();
    let shown = shown_status(view, name);
    let state = view.containers.entry(name.to_owned()).or_default();
    let Some((newest, ended)) = instances.pop() else {
        return;
    };
    state.restart_count = newest.config.attempt;
    if let Some((before, before_ended)) = instances.pop() {
        state.previous = Some(before.id);
        state.last = before_ended;
    }
    let instance_state = match (&newest.state, ended) {
        (ContainerState::Running { started_at }, _) => InstanceState::Running(*started_at),
        (_, Some(ended)) => InstanceState::Exited(ended),
        // Those that were never started were removed when they were found.
        _ => return,
    };
    let running = matches!(instance_state, InstanceState::Running(_));
    let id = crate::status::container_id(&newest.id.0);
    let shown = shown.filter(|shown| shown.container_id.as_ref() == Some(&id));
    let instance = Instance {
        id: newest.id,
        state: instance_state,
        post_started: true,
        image_id: shown.as_ref().map(|shown| shown.image_id.clone()).unwrap_or_default(),
    };
    match spec {
        Some(container) if running => {
            state.begin(&container, instance, now);
            // What the API was told holds until a probe says otherwise: a restart of the agent must not
            // make pods unready.
            let shown = shown.as_ref();
            let passed = |kind: ProbeKind| match kind {
                ProbeKind::Startup => shown.is_some_and(|shown| shown.started == Some(true)),
                ProbeKind::Readiness | ProbeKind::Liveness => shown.is_some_and(|shown| shown.ready),
            };
            for (kind, probe) in &mut state.probes {
                probe.passed = passed(*kind).then_some(true);
            }
        }
        _ => state.current = Some(instance),
    }
}

fn shown_status(view: &PodView, name: &str) -> Option<k8s_openapi::api::core::v1::ContainerStatus> {
    let lists = [&view.written.init_container_statuses, &view.written.container_statuses];
    lists.into_iter().flat_map(|list| list.iter().flatten()).find(|shown| shown.name == name).cloned()
}

fn count_on(view: &mut PodView) {
    let names: Vec<String> = view.containers.keys().cloned().collect();
    for name in names {
        let Some(shown) = shown_status(view, &name).filter(|shown| shown.container_id.is_some()) else {
            continue;
        };
        let ended = shown.state.as_ref().and_then(|state| state.terminated.clone());
        let last = ended.unwrap_or_else(|| {
            let mut unknown = unknown_end(view.start_time);
            unknown.container_id.clone_from(&shown.container_id);
            unknown
        });
        let state = view.containers.entry(name).or_default();
        state.current = None;
        state.last = Some(last);
        state.restart_count = u32::try_from(shown.restart_count).unwrap_or(0) + 1;
    }
}
