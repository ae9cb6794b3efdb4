//! The way of a part to the API server, with everything that can go wrong on it.
//!
//! A call may be late, fail before it took effect, fail after it did, and be the last thing that its part
//! ever does. A watch may be late, break off, and fall silent until its reader has to list anew. No reply is
//! made up: a conflict is told only of a write that did not happen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::transport::{
    Body, Call, ListOptions, Reply, Target, Transport, Verb, Watch, WatchEvent, WatchEventKind,
};
use futures::StreamExt;
use futures::stream::unfold;
use model::encoded::{Encoded, Revision};
use model::status::{Reason, Status};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::record::Record;
use crate::safety::Safety;
use crate::server::Server;

/// A part's own way to the server.
pub(crate) struct Faulty {
    pub(crate) part: &'static str,
    pub(crate) server: Arc<Server>,
    pub(crate) dice: Arc<Dice>,
    pub(crate) record: Arc<Record>,
    pub(crate) safety: Arc<Safety>,
    /// Ends the part.
    pub(crate) crash: Arc<Notify>,
    /// Lies, to prove that the checkers see what comes of it.
    pub(crate) lie: Option<Lie>,
}

/// What a broken part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Every pod is told to be ready.
    AllReady,
    /// Deletions lose the uid that they were meant for, and come late.
    NoPreconditions,
}

impl Faulty {
    /// Ends the part here: it never hears an answer.
    async fn die(&self, when: &str, call: &str) -> ! {
        self.record.note(&format!("fault: {} crashes {when} {call}", self.part));
        self.crash.notify_one();
        std::future::pending().await
    }

    async fn late(&self) {
        if self.dice.fault(8) {
            let pause = if self.dice.one_in(20) { self.dice.pause(8_000) } else { self.dice.pause(60) };
            tokio::time::sleep(pause).await;
        }
    }

    fn refusal(&self, call: &Call) -> Option<Status> {
        if !self.dice.fault(30) {
            return None;
        }
        let is_update = matches!(call.verb, Verb::Update | Verb::Patch | Verb::Delete);
        Some(match self.dice.below(5) {
            0 if is_update => Status::conflict(&call.target.resource, &call.target.name, "simulated"),
            1 => Status::new(Reason::TooManyRequests, "simulated: too many requests"),
            2 => Status::new(Reason::Timeout, "simulated: the request did not arrive"),
            3 => Status::new(Reason::ServiceUnavailable, "simulated: nobody listens"),
            _ => Status::internal("simulated: the request was lost"),
        })
    }
}

#[async_trait]
impl Transport for Faulty {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        let is_write = !matches!(call.verb, Verb::Get | Verb::List);
        let object = object_of(&call);
        let name = format!("{:?} {} {object}", call.verb, call.target.resource.resource);
        if self.record.is_endless(self.part, &name) {
            std::future::pending::<()>().await;
        }
        let is_pod_write = is_write && call.target.resource.resource == "pods" && self.part == "statefulset";
        let is_set_write =
            is_write && call.target.resource.resource == "statefulsets" && self.part == "statefulset";
        if is_set_write {
            self.safety.plan_ends(&object);
        }
        self.late().await;
        if self.lie == Some(Lie::NoPreconditions) && call.verb == Verb::Delete {
            tokio::time::sleep(self.dice.pause(10_000)).await;
        }
        if is_write && self.dice.fault(200) {
            self.die("before", &name).await;
        }
        if let Some(status) = self.refusal(&call) {
            self.record.note(&format!("fault: {} hears {:?} of {name}", self.part, status.reason));
            return Err(status);
        }
        let reply = self.server.call(honest(call, self.lie)).await;
        let revision = self.safety.revision();
        if is_write && self.dice.fault(200) {
            self.die("after", &name).await;
        }
        if is_write && self.dice.fault(40) {
            self.record.note(&format!("fault: {} hears no answer to {name}", self.part));
            let reason = self.dice.pick(&[Reason::Timeout, Reason::InternalError]);
            return Err(Status::new(reason, "simulated: the answer was lost"));
        }
        self.late().await;
        if is_pod_write && reply.is_ok() {
            self.safety.acknowledged(&object, revision);
        }
        if is_set_write && reply.is_ok() {
            self.safety.set_acknowledged(&object, revision);
        }
        reply
    }

    async fn watch(
        &self,
        target: Target,
        options: ListOptions,
        after: Revision,
        caller: &'static str,
    ) -> Result<Watch, Status> {
        self.late().await;
        if self.dice.fault(20) {
            let too_old = Status::expired("simulated: too old resource version");
            return Err(self.dice.pick(&[too_old, Status::internal("simulated: the watch was lost")]));
        }
        let inner = self.server.watch(target.clone(), options, after, caller).await?;
        let lies = self.lie == Some(Lie::AllReady) && target.resource.resource == "pods";
        let stream = Unsteady { inner, dice: Arc::clone(&self.dice), silent_until: None, over: false };
        let stream = unfold(stream, |mut stream| async move {
            let item = stream.next().await?;
            Some((item, stream))
        });
        let told =
            move |item: Result<WatchEvent, Status>| item.map(|event| if lies { ready(event) } else { event });
        Ok(stream.map(told).boxed())
    }
}

/// The name of the object that a call is about.
fn object_of(call: &Call) -> String {
    match &call.body {
        Body::Object(object) if call.target.name.is_empty() => {
            object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
        }
        _ => call.target.name.clone(),
    }
}

/// The call as its part meant it, unless it lies.
fn honest(mut call: Call, lie: Option<Lie>) -> Call {
    if lie == Some(Lie::NoPreconditions)
        && let Body::Delete(options) = &mut call.body
    {
        options.precondition = client::Precondition::default();
    }
    call
}

/// The same event of a pod that is ready.
fn ready(event: WatchEvent) -> WatchEvent {
    if event.kind == WatchEventKind::Bookmark {
        return event;
    }
    let mut pod: serde_json::Value = serde_json::from_slice(event.object.bytes()).expect("is JSON");
    pod["status"]["phase"] = json!("Running");
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
    let object = Encoded::new(pod.to_string().into(), event.object.revision());
    WatchEvent { kind: event.kind, object: Arc::new(object) }
}

/// A watch that is not to be relied on.
struct Unsteady {
    inner: Watch,
    dice: Arc<Dice>,
    /// What happens before then is never told, and the reader has to list anew.
    silent_until: Option<Instant>,
    over: bool,
}

impl Unsteady {
    async fn next(&mut self) -> Option<Result<WatchEvent, Status>> {
        if self.over {
            return None;
        }
        loop {
            if let Some(until) = self.silent_until {
                match tokio::time::timeout_at(until, self.inner.next()).await {
                    Ok(Some(_)) => continue,
                    Ok(None) | Err(_) => {
                        self.over = true;
                        return Some(Err(Status::expired("simulated: too old resource version")));
                    }
                }
            }
            let event = self.inner.next().await?;
            if self.dice.fault(25) {
                let pause = if self.dice.one_in(4) { self.dice.pause(4_000) } else { self.dice.pause(200) };
                tokio::time::sleep(pause).await;
            }
            if self.dice.fault(120) {
                return None;
            }
            if self.dice.fault(120) {
                self.over = true;
                return Some(Err(Status::internal("simulated: the watch broke off")));
            }
            if self.dice.fault(150) {
                self.silent_until = Some(Instant::now() + self.dice.pause(3_000) + Duration::from_millis(1));
                continue;
            }
            return Some(event);
        }
    }
}
