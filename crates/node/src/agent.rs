//! The agent's loop: one task that owns every pod's view and selects one input at a time.
//!
//! Inputs are changes of the API, events of the runtime, outcomes of actions and the earliest moment a pod
//! asked to be looked at. Each changes views synchronously and marks pods; marked pods are then planned.
//! An idle pod costs nothing: no timer, no poll.
//!
//! Read next: [`crate::adopt`] (finding what ran before), [`crate::plan`], [`crate::worker`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use client::node::NodeGateway;
use client::{Change, Client, Scope, reflect};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, PodStatus, Secret};
use model::clock::Clock;
use network::pod_network::PodNetwork;
use runtime::api::{ContainerState, Images, Runtime, RuntimeEvent};
use storage::driver::Driver;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::adopt::{self, Found};
use crate::config::AgentConfig;
use crate::directory::Directory;
use crate::events::{self, EventWriter, Severity};
use crate::execute::{Context, Outcome};
use crate::gateway::Gateway;
use crate::notices;
use crate::plan::{self, Action};
use crate::referred::{Reference, ReferredKind, has_downward_volume, references};
use crate::registration;
use crate::resources::{self, Usage};
use crate::view::{Key, PodView, Waiting};
use crate::volumes::Mounter;
use crate::worker::{Notice, Worker};

/// Outcomes taken in one go before pods are planned: bounds the time a pod waits for its plan.
const BATCH_MAX: usize = 64;

/// The agent of one node.
pub struct Agent {
    context: Arc<Context>,
    directory: Arc<Directory>,
    event_writer: Mutex<Option<EventWriter>>,
    images_came: Arc<Notify>,
}

impl Agent {
    /// An agent that does nothing yet: see [`Agent::run`].
    pub fn new(
        config: AgentConfig,
        client: Client,
        runtime: Arc<dyn Runtime>,
        images: Arc<dyn Images>,
        network: Arc<dyn PodNetwork>,
        drivers: Vec<Arc<dyn Driver>>,
        clock: Arc<dyn Clock>,
    ) -> Agent {
        let (events, writer) = events::channel(client.clone(), Arc::clone(&clock), &config.node_name);
        let data = config.root_dir.join("pod-data");
        let mounter = Mounter { data, drivers, client: client.clone(), machine: config.machine };
        let context = Context { config, client, runtime, images, network, mounter, clock, events };
        Agent {
            context: Arc::new(context),
            directory: Arc::default(),
            event_writer: Mutex::new(Some(writer)),
            images_came: Arc::default(),
        }
    }

    /// Logs, exec and attach of this node's containers.
    pub fn gateway(&self) -> Arc<dyn NodeGateway> {
        Arc::new(Gateway::new(Arc::clone(&self.context), Arc::clone(&self.directory)))
    }

    /// Says that images came to this node in another way than by a pull: whoever waits for one tries again at
    /// once instead of after its back-off.
    pub fn images_came(&self) {
        self.images_came.notify_one();
    }

    /// Runs until cancelled. Containers stay as they are; the next run finds them again.
    pub async fn run(&self, cancel: CancellationToken) -> std::io::Result<()> {
        let pod_data = self.context.mounter.data.clone();
        let pods = self.context.config.root_dir.join("pods");
        let make = move || std::fs::create_dir_all(pod_data).and_then(|()| std::fs::create_dir_all(pods));
        self.context.config.machine.run(make).await?;
        let mut beside = JoinSet::new();
        let writer = self.event_writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            beside.spawn(writer.run());
        }
        beside.spawn(registration::run(Arc::clone(&self.context)));
        let mut agent = Loop::new(Arc::clone(&self.context), Arc::clone(&self.directory));
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = agent.run(&self.images_came) => {}
        }
        Ok(())
    }
}

struct Loop {
    context: Arc<Context>,
    directory: Arc<Directory>,
    workers: HashMap<String, Worker>,
    /// Uids by namespace and name, in the order in which they came.
    names: HashMap<(String, String), Vec<String>>,
    /// Who has to be told when an object changes.
    references: HashMap<Reference, BTreeSet<String>>,
    timers: BTreeSet<(Timestamp, String)>,
    tasks: JoinSet<(String, Option<Key>, Outcome)>,
    /// What each task does, for those that panic.
    running: HashMap<Id, (String, Option<Key>)>,
    usage: Usage,
    allocatable: BTreeMap<String, i64>,
    labels: BTreeMap<String, String>,
    /// What the runtime had before the first pods were seen.
    found: BTreeMap<String, Found>,
    marked: BTreeSet<String>,
}

impl Loop {
    fn new(context: Arc<Context>, directory: Arc<Directory>) -> Loop {
        Loop {
            allocatable: context.config.capacity.milli(),
            labels: registration::labels(&context.config),
            context,
            directory,
            workers: HashMap::new(),
            names: HashMap::new(),
            references: HashMap::new(),
            timers: BTreeSet::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            usage: Usage::default(),
            found: BTreeMap::new(),
            marked: BTreeSet::new(),
        }
    }

    async fn run(&mut self, images_came: &Notify) {
        // Subscribed before listing: what ends in between is then in both, never in neither.
        let mut runtime_events = self.context.runtime.events();
        self.found = adopt::find(&self.context).await;
        let client = self.context.client.clone();
        let mut scope = Scope::default();
        scope.options.field_selector = format!("spec.nodeName={}", self.context.config.node_name);
        let mut pods = reflect::<Pod>(client.clone(), scope);
        let mut maps = reflect::<ConfigMap>(client.clone(), Scope::default());
        let mut secrets = reflect::<Secret>(client.clone(), Scope::default());
        let mut claims = reflect::<PersistentVolumeClaim>(client, Scope::default());
        loop {
            let next = self.timers.first().map(|(at, _)| *at);
            let sleep = self.until(next);
            // In order, so that the same run is the same every time. What is rare comes first, so that what
            // is frequent holds nothing up; timers need no turn, they are looked at after each.
            tokio::select! {
                biased;
                () = images_came.notified() => self.pull_again(),
                Some(change) = claims.next() => self.referred(ReferredKind::Claim, change),
                Some(change) = secrets.next() => self.referred(ReferredKind::Secret, change),
                Some(change) = maps.next() => self.referred(ReferredKind::ConfigMap, change),
                Some(change) = pods.next() => self.pod_changed(change),
                event = runtime_events.recv() => self.runtime_said(event),
                Some(done) = self.tasks.join_next_with_id() => {
                    self.task_done(done);
                    for _ in 0..BATCH_MAX {
                        let Some(done) = self.tasks.try_join_next_with_id() else { break };
                        self.task_done(done);
                    }
                }
                () = sleep => {}
            }
            self.ring();
            while let Some(uid) = self.marked.pop_first() {
                self.drive(&uid);
            }
        }
    }

    /// Sleeps until a moment of the clock; for ever without one.
    fn until(&self, at: Option<Timestamp>) -> impl Future<Output = ()> + use<> {
        let now = self.context.clock.now();
        async move {
            match at {
                Some(at) => {
                    let left = std::time::Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    tokio::time::sleep(left).await;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Marks the pods whose moment has come.
    fn ring(&mut self) {
        let now = self.context.clock.now();
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.remove(&(at, uid.clone()));
            if let Some(worker) = self.workers.get_mut(&uid) {
                worker.wake_at = None;
            }
            self.marked.insert(uid);
        }
    }

    fn pod_changed(&mut self, change: Change<Pod>) {
        match change {
            Change::Apply(pod) => self.pod_applied(pod),
            Change::Delete(pod) => {
                self.pod_gone(pod.metadata.uid.as_deref().unwrap_or_default());
            }
            Change::Reset(pods, _) => {
                let present: BTreeSet<String> =
                    pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
                let missing: Vec<String> =
                    self.workers.keys().filter(|uid| !present.contains(*uid)).cloned().collect();
                for uid in missing {
                    self.pod_gone(&uid);
                }
                // Orphans first: a new pod of the same name then waits for them.
                let orphans: Vec<String> =
                    self.found.keys().filter(|uid| !present.contains(*uid)).cloned().collect();
                for uid in orphans {
                    if let Some(found) = self.found.remove(&uid) {
                        tracing::info!(uid, "found what a pod left behind that is gone");
                        let pod = adopt::ghost(&uid, &found);
                        let mut worker = self.worker_of(Arc::new(pod), Some(found));
                        worker.view.gone = true;
                        self.insert(worker);
                    }
                }
                for pod in pods {
                    self.pod_applied(pod);
                }
            }
        }
    }

    fn pod_gone(&mut self, uid: &str) {
        if let Some(worker) = self.workers.get_mut(uid) {
            worker.view.gone = true;
            // The scheduler gives its place away from now on: what comes for it must not be refused.
            if worker.counted
                && let Some(spec) = worker.view.spec()
            {
                self.usage.remove(spec, &self.allocatable);
                worker.counted = false;
            }
            self.marked.insert(uid.to_owned());
        }
    }

    fn pod_applied(&mut self, pod: Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        if let Some(worker) = self.workers.get_mut(&uid) {
            let view = &mut worker.view;
            let metadata = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
            if metadata(&view.pod) != metadata(&pod) && view.volumes.mounted.is_some() {
                view.volumes.stale |= has_downward_volume(&pod);
            }
            view.see(pod);
            self.marked.insert(uid);
            return;
        }
        let found = self.found.remove(&uid);
        let is_new = found.is_none();
        let mut worker = self.worker_of(pod, found);
        let view = &mut worker.view;
        let wanted = !view.over_at_start && view.pod.metadata.deletion_timestamp.is_none();
        if wanted
            && is_new
            && let Err(rejection) = resources::admit(&view.pod, &self.usage, &self.allocatable, &self.labels)
        {
            let text = &rejection.message;
            self.context.events.note(
                &view.pod,
                None,
                Severity::Warning,
                event_reason(&rejection.reason),
                text,
            );
            view.rejected = Some(rejection);
        }
        if wanted
            && view.rejected.is_none()
            && let Some(spec) = view.spec()
        {
            self.usage.add(spec, &self.allocatable);
            worker.counted = true;
        }
        self.insert(worker);
    }

    fn worker_of(&self, pod: Arc<Pod>, found: Option<Found>) -> Worker {
        let host_ip = self.context.config.node_ip.to_string();
        let now = self.context.clock.now();
        let mut view = PodView::new(pod, &host_ip, now);
        adopt::restore(&mut view, found, self.context.config.node_ip, now);
        Worker::new(view)
    }

    fn insert(&mut self, worker: Worker) {
        let view = &worker.view;
        let uid = view.uid.clone();
        for reference in references(view) {
            self.references.entry(reference).or_default().insert(uid.clone());
        }
        let name = (view.namespace().to_owned(), view.name().to_owned());
        self.names.entry(name).or_default().push(uid.clone());
        self.directory.set(&uid, worker.entries());
        self.workers.insert(uid.clone(), worker);
        self.marked.insert(uid);
    }

    fn remove(&mut self, uid: &str) {
        let Some(worker) = self.workers.remove(uid) else {
            return;
        };
        if let Some(at) = worker.wake_at {
            self.timers.remove(&(at, uid.to_owned()));
        }
        let view = &worker.view;
        for reference in references(view) {
            if let Some(uids) = self.references.get_mut(&reference) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.references.remove(&reference);
                }
            }
        }
        let name = (view.namespace().to_owned(), view.name().to_owned());
        if let Some(uids) = self.names.get_mut(&name) {
            uids.retain(|other| other != uid);
            self.marked.extend(uids.iter().cloned());
            if uids.is_empty() {
                self.names.remove(&name);
            }
        }
        self.directory.remove(uid);
    }

    /// An object that pods refer to has changed: their volumes are refreshed, and what waited for it tries
    /// again at once.
    fn referred<K: client::Typed>(&mut self, kind: ReferredKind, change: Change<K>) {
        let objects = match change {
            Change::Apply(object) => vec![object],
            Change::Reset(objects, _) => objects,
            Change::Delete(_) => return,
        };
        for object in objects {
            let metadata = object.metadata();
            let namespace = metadata.namespace.clone().unwrap_or_default();
            let name = metadata.name.clone().unwrap_or_default();
            let Some(uids) = self.references.get(&(kind, namespace, name)) else {
                continue;
            };
            for uid in uids {
                let Some(worker) = self.workers.get_mut(uid) else {
                    continue;
                };
                let volumes = &mut worker.view.volumes;
                volumes.stale |= volumes.mounted.is_some() && kind != ReferredKind::Claim;
                if let Some(retry) = &mut volumes.retry {
                    retry.not_before = Timestamp::MIN;
                }
                for state in worker.view.containers.values_mut() {
                    let reason = state.waiting.as_ref().map(|waiting: &Waiting| waiting.reason.as_str());
                    if reason == Some("CreateContainerConfigError") {
                        state.not_before = None;
                    }
                }
                self.marked.insert(uid.clone());
            }
        }
    }

    /// Lets every container that waits for its image try again.
    fn pull_again(&mut self) {
        for (uid, worker) in &mut self.workers {
            if worker.pull_again() {
                self.marked.insert(uid.clone());
            }
        }
    }

    fn runtime_said(&mut self, event: Result<RuntimeEvent, RecvError>) {
        match event {
            Ok(RuntimeEvent::Exited { container, pod_uid, exit }) => {
                if self.workers.contains_key(&pod_uid) {
                    let context = Arc::clone(&self.context);
                    self.spawn(pod_uid, None, async move { context.exited(container, exit).await });
                }
            }
            Ok(RuntimeEvent::Started { .. }) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "fell behind the runtime's events; looking at every container");
                self.look_at_all();
            }
            // The runtime is gone; the composition root ends the process.
            Err(RecvError::Closed) => tracing::error!("the runtime sends no more events"),
        }
    }

    fn look_at_all(&mut self) {
        let mut running: Vec<_> = self
            .workers
            .iter()
            .flat_map(|(uid, worker)| {
                worker.view.containers.iter().filter(|(_, state)| state.running_since().is_some()).filter_map(
                    |(name, state)| Some((uid.clone(), name.clone(), state.current.as_ref()?.id.clone())),
                )
            })
            .collect();
        running.sort();
        for (uid, name, id) in running {
            let context = Arc::clone(&self.context);
            self.spawn(uid, None, async move {
                let status = context.runtime.container_status(&id).await;
                match status.map(|status| status.state) {
                    Ok(ContainerState::Running { .. } | ContainerState::Created) => Outcome::Killed,
                    _ => context.look_up_exit(name, id).await,
                }
            });
        }
    }

    fn spawn(&mut self, uid: String, key: Option<Key>, work: impl Future<Output = Outcome> + Send + 'static) {
        let task = (uid.clone(), key.clone());
        let handle = self.tasks.spawn(async move { (uid, key, work.await) });
        self.running.insert(handle.id(), task);
    }

    fn task_done(&mut self, done: Result<(Id, (String, Option<Key>, Outcome)), JoinError>) {
        let (uid, key, outcome) = match done {
            Ok((id, (uid, key, outcome))) => {
                self.running.remove(&id);
                (uid, key, Some(outcome))
            }
            Err(error) => {
                tracing::error!("an action ended badly: {error}");
                let Some((uid, key)) = self.running.remove(&error.id()) else {
                    return;
                };
                (uid, key, None)
            }
        };
        let now = self.context.clock.now();
        let Some(worker) = self.workers.get_mut(&uid) else {
            return;
        };
        if let Some(key) = &key {
            tracing::debug!(pod = worker.view.name(), ?key, "done");
        }
        let notices = outcome.map(|outcome| worker.apply(outcome, now)).unwrap_or_default();
        if let Some(key) = key {
            worker.view.in_flight.remove(&key);
        }
        let is_down = worker.view.torn_down;
        if is_down && worker.counted {
            worker.counted = false;
            if let Some(spec) = worker.view.spec() {
                self.usage.remove(spec, &self.allocatable);
            }
        }
        for notice in notices {
            note(&self.context, &self.workers[&uid].view, notice);
        }
        let worker = &self.workers[&uid];
        self.directory.set(&uid, worker.entries());
        if is_down {
            let name = (worker.view.namespace().to_owned(), worker.view.name().to_owned());
            self.marked.extend(self.names.get(&name).into_iter().flatten().cloned());
        }
        if worker.forgotten {
            self.remove(&uid);
        } else {
            self.marked.insert(uid);
        }
    }

    /// An earlier pod of the same name that is not down yet.
    fn predecessor(&self, view: &PodView) -> Option<String> {
        let uids = self.names.get(&(view.namespace().to_owned(), view.name().to_owned()))?;
        uids.iter()
            .take_while(|uid| **uid != view.uid)
            .find(|uid| self.workers.get(*uid).is_some_and(|earlier| !earlier.view.torn_down))
            .cloned()
    }

    /// Plans one pod and sets going what the plan says.
    fn drive(&mut self, uid: &str) {
        let now = self.context.clock.now();
        let Some(view) = self.workers.get(uid).map(|worker| &worker.view) else {
            return;
        };
        let predecessor = self.predecessor(view);
        let Some(worker) = self.workers.get_mut(uid) else {
            return;
        };
        worker.view.predecessor = predecessor;
        if worker.view.terminating_since.is_none() && plan::must_end(&worker.view, now) {
            worker.view.terminating_since = Some(now);
            worker.ending.cancel();
        }
        let planned = plan::plan(&worker.view, now);
        let mut wake_at = planned.wake_at;
        let mut started: Vec<(Key, Action)> = Vec::new();
        for action in planned.actions {
            let key = action.key();
            match &action {
                Action::MountVolumes => worker.view.volumes.stale = false,
                Action::Stop { container, grace, .. } | Action::Kill { container, grace, .. } => {
                    let grace = SignedDuration::try_from(*grace).unwrap_or(SignedDuration::MAX);
                    let state = worker.view.containers.entry(container.clone()).or_default();
                    state.stop_deadline = now.checked_add(grace).ok();
                }
                _ => {}
            }
            worker.view.in_flight.insert(key.clone());
            started.push((key, action));
        }
        let differs = planned.status != worker.view.written;
        let mut to_write: Option<PodStatus> = None;
        if differs && !worker.view.gone && !worker.view.in_flight.contains(&Key::Status) {
            let retry_at = worker.view.status_retry.as_ref().map(|retry| retry.not_before);
            match worker.hold(&planned.status, now).max(retry_at) {
                Some(at) if at > now => wake_at = Some(wake_at.map_or(at, |other| other.min(at))),
                _ => {
                    worker.held_until = None;
                    worker.view.in_flight.insert(Key::Status);
                    to_write = Some(planned.status);
                }
            }
        }
        if worker.wake_at != wake_at {
            if let Some(at) = worker.wake_at {
                self.timers.remove(&(at, uid.to_owned()));
            }
            if let Some(at) = wake_at {
                self.timers.insert((at, uid.to_owned()));
            }
            worker.wake_at = wake_at;
        }
        if started.is_empty() && to_write.is_none() {
            return;
        }
        let (view, ending) = (worker.view.clone(), worker.ending.clone());
        if let Some(status) = to_write {
            for notice in notices::of_crashes(&view, &status) {
                note(&self.context, &view, notice);
            }
            let (context, view) = (Arc::clone(&self.context), view.clone());
            self.spawn(uid.to_owned(), Some(Key::Status), async move {
                context.write_status(&view, status).await
            });
        }
        for (key, action) in started {
            tracing::debug!(pod = view.name(), ?key, "begun");
            let (context, view, ending) = (Arc::clone(&self.context), view.clone(), ending.clone());
            self.spawn(uid.to_owned(), Some(key), async move { context.execute(action, view, ending).await });
        }
    }
}

fn note(context: &Context, view: &PodView, notice: Notice) {
    let severity = if notice.warning { Severity::Warning } else { Severity::Normal };
    context.note(view, &notice.container, severity, notice.reason, notice.message);
}

fn event_reason(reason: &str) -> &'static str {
    match reason {
        "NodePorts" => "NodePorts",
        "NodeAffinity" => "NodeAffinity",
        "OutOfcpu" => "OutOfcpu",
        "OutOfmemory" => "OutOfmemory",
        "OutOfpods" => "OutOfpods",
        _ => "OutOfephemeral-storage",
    }
}
