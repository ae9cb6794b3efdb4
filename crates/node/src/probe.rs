//! Asking a container how it is (exec, HTTP, TCP, gRPC), and running its hooks.
//!
//! What an answer means for the container is decided in [`verdict`]; failures count once a period, however
//! often is asked. Until its first success a container is asked more often than its period says, so that
//! it is found ready soon after it is.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use runtime::api::{ContainerId, RuntimeError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::events::Severity;
use crate::execute::Context;
use crate::view::{PodView, ProbeKind, ProbeView};

/// Most bytes read of an HTTP answer.
const ANSWER_BYTES_MAX: usize = 10 * 1024;
/// Pause after the first try that did not succeed, while there has been no success; it doubles.
const EAGER_PAUSE_MS_MIN: i64 = 50;
/// A hook over HTTP may take this long.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// The container of that name in the pod's spec.
pub fn container_of<'view>(view: &'view PodView, name: &str) -> Option<&'view Container> {
    let spec = view.spec()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
}

/// What a try changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that anybody has to be told.
    Unchanged,
    /// A failure that counts: worth an event.
    Failed,
    /// The failures have reached the threshold.
    GaveUp,
}

/// Takes a try's result into the probe's view and says when the next is due. Pure.
pub fn verdict(state: &mut ProbeView, probe: &Probe, passed: bool, now: Timestamp) -> Verdict {
    let at_least_one =
        |value: Option<i32>, default: i32| u32::try_from(value.unwrap_or(default).max(1)).unwrap_or(1);
    let period = SignedDuration::from_secs(i64::from(at_least_one(probe.period_seconds, 10)));
    state.tries = state.tries.saturating_add(1);
    if passed {
        state.successes = state.successes.saturating_add(1);
        state.failures = 0;
        if state.successes >= at_least_one(probe.success_threshold, 1) {
            state.passed = Some(true);
        }
        state.due = now + period;
        state.counted = state.due;
        return Verdict::Unchanged;
    }
    state.successes = 0;
    let counts = now >= state.counted;
    if counts {
        state.failures = state.failures.saturating_add(1);
        state.counted = now + period;
    }
    let pause_ms = EAGER_PAUSE_MS_MIN.saturating_mul(1 << state.tries.min(16));
    let eager = now + SignedDuration::from_millis(pause_ms);
    state.due = if state.passed.is_none() { eager.min(state.counted) } else { state.counted };
    if counts && state.failures >= at_least_one(probe.failure_threshold, 3) {
        state.passed = Some(false);
        return Verdict::GaveUp;
    }
    if counts { Verdict::Failed } else { Verdict::Unchanged }
}

impl Context {
    /// Probes once; the error is what the event says.
    pub(crate) async fn probe(
        &self,
        view: &PodView,
        name: &str,
        id: &ContainerId,
        kind: ProbeKind,
    ) -> Result<(), String> {
        let Some(container) = container_of(view, name) else {
            return Ok(());
        };
        let Some(probe) = kind.of(container) else {
            return Ok(());
        };
        let seconds = u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1);
        let timeout = Duration::from_secs(seconds);
        if let Some(exec) = &probe.exec {
            let command = exec.command.clone().unwrap_or_default();
            return self.run_command(id, command, timeout).await;
        }
        if !self.runtime.has_network() {
            return self.run_command(id, vec!["probe".to_owned()], timeout).await;
        }
        if let Some(get) = &probe.http_get {
            return http_get(get, container, &pod_host(view), timeout).await;
        }
        if let Some(socket) = &probe.tcp_socket {
            let host = socket.host.clone().filter(|host| !host.is_empty());
            let host = host.unwrap_or_else(|| pod_host(view));
            let port = port_of(&socket.port, container)?;
            return connect(&host, port, timeout).await.map(|_| ());
        }
        if let Some(grpc) = &probe.grpc {
            let host = pod_host(view);
            let port = u16::try_from(grpc.port).map_err(|_| format!("{} is not a port", grpc.port))?;
            let service = grpc.service.as_deref().unwrap_or_default();
            let ask = async {
                let stream = connect(&host, port, timeout).await?;
                crate::grpc::check(stream, &format!("{host}:{port}"), service).await
            };
            let late = || format!("timeout: health rpc did not complete within {}s", timeout.as_secs());
            return tokio::time::timeout(timeout, ask).await.unwrap_or_else(|_| Err(late()));
        }
        Err("missing probe handler".to_owned())
    }

    /// Runs the `postStart` hook.
    pub(crate) async fn post_start(
        &self,
        view: &PodView,
        name: &str,
        id: &ContainerId,
    ) -> Result<(), String> {
        let hook = container_of(view, name)
            .and_then(|container| container.lifecycle.as_ref())
            .and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else {
            return Ok(());
        };
        let result = self.run_hook(view, name, id, hook).await;
        if result.is_err() {
            self.note(view, name, Severity::Warning, "FailedPostStartHook", "PostStartHook failed");
        }
        result
    }

    /// Runs a hook to its end.
    pub(crate) async fn run_hook(
        &self,
        view: &PodView,
        name: &str,
        id: &ContainerId,
        hook: &LifecycleHandler,
    ) -> Result<(), String> {
        if let Some(exec) = &hook.exec {
            // The pod's grace bounds it where it matters.
            const HOOK_COMMAND_TIMEOUT: Duration = Duration::from_secs(3600);
            return self
                .run_command(id, exec.command.clone().unwrap_or_default(), HOOK_COMMAND_TIMEOUT)
                .await;
        }
        if let Some(sleep) = &hook.sleep {
            let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            return Ok(());
        }
        match (&hook.http_get, container_of(view, name)) {
            (Some(get), Some(container)) if self.runtime.has_network() => {
                http_get(get, container, &pod_host(view), HOOK_TIMEOUT).await
            }
            _ => Ok(()),
        }
    }

    async fn run_command(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<(), String> {
        let shown = command.join(" ");
        match self.runtime.exec_sync(id, command, timeout).await {
            Ok(output) if output.code == 0 => Ok(()),
            Ok(output) => {
                let mut text = output.stdout;
                text.extend_from_slice(&output.stderr);
                Err(String::from_utf8_lossy(&text).trim_end().to_owned())
            }
            Err(RuntimeError::TimedOut { timeout }) => {
                Err(format!("command timed out: {shown:?} timed out after {}s", timeout.as_secs()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn pod_host(view: &PodView) -> String {
    view.addresses.first().map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string)
}

fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("the container has no port {port:?}"))
}

async fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("dial tcp {shown}: connect: connection refused"))
        }
        Ok(Err(error)) => Err(format!("dial tcp {shown}: connect: {error}")),
        Err(_) => Err(format!("dial tcp {shown}: i/o timeout")),
    }
}

async fn http_get(
    get: &HTTPGetAction,
    container: &Container,
    pod_host: &str,
    timeout: Duration,
) -> Result<(), String> {
    let host = get.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| pod_host.to_owned());
    let port = port_of(&get.port, container)?;
    let path = get.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let secure = get.scheme.as_deref() == Some("HTTPS");
    let scheme = if secure { "https" } else { "http" };
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let url = format!("{scheme}://{authority}{path}");
    let ask = async {
        let stream = connect(&host, port, timeout).await?;
        if secure {
            let stream = crate::tls::connect_unverified(stream, &host).await?;
            request(stream, get, &authority, &path).await
        } else {
            request(stream, get, &authority, &path).await
        }
    };
    let code = match tokio::time::timeout(timeout, ask).await {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => return Err(format!("Get {url:?}: {error}")),
        Err(_) => {
            let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
            return Err(format!("Get {url:?}: {why}"));
        }
    };
    if (200..400).contains(&code) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {code}"))
}

async fn request<S>(stream: S, get: &HTTPGetAction, authority: &str, path: &str) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let mut builder = http::Request::get(path);
    let headers: Vec<(&str, &str)> = get
        .http_headers
        .iter()
        .flatten()
        .map(|header| (header.name.as_str(), header.value.as_str()))
        .collect();
    let has = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
    if !has("host") {
        builder = builder.header("Host", authority);
    }
    if !has("user-agent") {
        builder = builder.header("User-Agent", "kube-probe/1.37");
    }
    if !has("accept") {
        builder = builder.header("Accept", "*/*");
    }
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    let request = builder.body(Empty::<bytes::Bytes>::new()).map_err(|error| text(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let code = response.status().as_u16();
        // Read, so that the other side sees its answer taken; a longer one is cut off.
        let _ = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(code)
    };
    tokio::select! {
        result = answer => result,
        // The connection lives only as long as this probe.
        closed = async { let _ = connection.await; std::future::pending::<()>().await } => {
            let () = closed;
            Err("the connection was closed".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(now: Timestamp) -> ProbeView {
        ProbeView { due: now, counted: now, tries: 0, successes: 0, failures: 0, passed: None }
    }

    #[test]
    fn early_failures_are_asked_again_soon_but_count_once_a_period() {
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("valid");
        let began = now;
        let probe = Probe { period_seconds: Some(2), failure_threshold: Some(2), ..Probe::default() };
        let mut state = state(now);
        assert_eq!(verdict(&mut state, &probe, false, now), Verdict::Failed);
        let mut tries = 1;
        loop {
            now = state.due;
            let said = verdict(&mut state, &probe, false, now);
            tries += 1;
            if said == Verdict::GaveUp {
                break;
            }
            assert_eq!(said, Verdict::Unchanged);
            assert!(tries < 50, "never gave up");
        }
        assert_eq!(now.duration_since(began).as_secs(), 2, "the second failure counts after a period");
        assert!(tries > 4, "it was asked {tries} times");
    }

    #[test]
    fn after_the_first_success_the_period_is_kept() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("valid");
        let probe = Probe { period_seconds: Some(5), ..Probe::default() };
        let mut state = state(now);
        assert_eq!(verdict(&mut state, &probe, true, now), Verdict::Unchanged);
        assert_eq!(state.passed, Some(true));
        assert_eq!(state.due.duration_since(now).as_secs(), 5);
        let due = state.due;
        assert_eq!(verdict(&mut state, &probe, false, due), Verdict::Failed);
        assert_eq!(state.passed, Some(true), "one failure is below the threshold of three");
        assert_eq!(state.due.duration_since(due).as_secs(), 5);
    }
}
