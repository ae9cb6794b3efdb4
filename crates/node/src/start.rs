//! Starting one container: image, configuration, mounts, creation, start.
//!
//! Read next: [`crate::env`], [`crate::volumes::subpath`].

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, VolumeMount};
use runtime::api::{
    ContainerConfig, ContainerId, ContainerState, Image, ImageError, Mount, Propagation, RuntimeError,
    Security,
};
use tokio_util::sync::CancellationToken;

use crate::env;
use crate::events::Severity;
use crate::execute::{Context, LABEL_MESSAGE_FILE, LABEL_MESSAGE_POLICY, pod_labels, terminated};
use crate::files;
use crate::probe::container_of;
use crate::resources;
use crate::sources::{self, References};
use crate::view::{InstanceState, PodView, Waiting};
use crate::volumes::{fs_group, subpath};

/// A container that was started.
#[derive(Debug)]
pub struct Started {
    /// The runtime's name for it.
    pub id: ContainerId,
    /// Running, or over already.
    pub state: InstanceState,
    /// The image's id, as the status shows it.
    pub image_id: String,
}

/// Why a container could not be started.
#[derive(Debug)]
pub struct StartFailure {
    /// What the status shows.
    pub waiting: Waiting,
    /// The image could not be had: the pause grows with each failure.
    pub image: bool,
    /// It was created but would not start: this is how the instance ended.
    pub instance: Option<(ContainerId, ContainerStateTerminated)>,
}

fn failure(reason: &str, message: impl Into<String>) -> StartFailure {
    let waiting = Waiting { reason: reason.to_owned(), message: message.into() };
    StartFailure { waiting, image: false, instance: None }
}

impl Context {
    /// Starts a container; `None` when the pod had to go while it waited for the image.
    pub(crate) async fn start(
        &self,
        view: &PodView,
        name: &str,
        attempt: u32,
        ending: &CancellationToken,
    ) -> Option<Result<Started, StartFailure>> {
        let Some(container) = container_of(view, name) else {
            return Some(Err(failure("CreateContainerConfigError", "no such container")));
        };
        // A pull may take minutes; nothing of it belongs to the pod, so the pod does not wait for it.
        let image = ending.run_until_cancelled(self.image(view, container)).await?;
        Some(match image {
            Ok(image) => self.start_with(view, container, attempt, image).await,
            Err(waiting) => {
                self.note(view, name, Severity::Warning, "Failed", format!("Error: {}", waiting.reason));
                Err(StartFailure { waiting, image: true, instance: None })
            }
        })
    }

    async fn start_with(
        &self,
        view: &PodView,
        container: &Container,
        attempt: u32,
        image: Image,
    ) -> Result<Started, StartFailure> {
        let name = container.name.as_str();
        let config =
            self.container_config(view, container, attempt, &image).await.inspect_err(|failure| {
                self.note(
                    view,
                    name,
                    Severity::Warning,
                    "Failed",
                    format!("Error: {}", failure.waiting.message),
                );
            })?;
        self.retire(view, name, attempt).await;
        let sandbox = view.sandbox.as_ref().ok_or_else(|| failure("CreateContainerError", "no sandbox"))?;
        let created = self.runtime.create_container(sandbox, config).await.map_err(|error| {
            self.note(view, name, Severity::Warning, "Failed", format!("Error: {error}"));
            let reason = match error {
                RuntimeError::BadConfig { .. } => "CreateContainerConfigError",
                _ => "CreateContainerError",
            };
            failure(reason, error.to_string())
        })?;
        self.note(view, name, Severity::Normal, "Created", format!("Created container: {name}"));
        if let Err(error) = self.runtime.start_container(&created).await {
            self.note(view, name, Severity::Warning, "Failed", format!("Error: {error}"));
            let now = self.clock.now();
            let ended = start_error(&created, &error, now);
            let mut failed = failure("RunContainerError", error.to_string());
            failed.instance = Some((created, ended));
            return Err(failed);
        }
        self.note(view, name, Severity::Normal, "Started", format!("Started container {name}"));
        let state = match self.runtime.container_status(&created).await.map(|status| status.state) {
            Ok(ContainerState::Running { started_at }) => InstanceState::Running(started_at),
            Ok(ContainerState::Exited(exit)) => InstanceState::Exited(terminated(&created, &exit)),
            _ => InstanceState::Running(self.clock.now()),
        };
        let image_id = image.digests.first().cloned().unwrap_or_else(|| image.id.0.clone());
        Ok(Started { id: created, state, image_id })
    }

    /// Removes the instance before the last one, with its log.
    async fn retire(&self, view: &PodView, name: &str, attempt: u32) {
        let Some(previous) = &view.container(name).previous else {
            return;
        };
        if let Err(error) = self.runtime.remove_container(previous).await {
            tracing::warn!(container = name, "an old container was not removed: {error}");
        }
        if let Some(old) = attempt.checked_sub(2) {
            let log = self.log_directory(view).join(name).join(format!("{old}.log"));
            let _ = self.config.machine.run(move || std::fs::remove_file(log)).await;
        }
    }

    async fn image(&self, view: &PodView, container: &Container) -> Result<Image, Waiting> {
        let name = container.name.as_str();
        let reference = container.image.clone().unwrap_or_default();
        let policy = container.image_pull_policy.as_deref().unwrap_or_else(|| default_policy(&reference));
        let shown = format!("{reference:?}");
        let fail = |error: ImageError| match error {
            ImageError::BadReference { .. } => {
                let message = format!("Failed to apply default image tag {shown}: {error}");
                self.note(view, name, Severity::Warning, "InspectFailed", message.clone());
                Waiting { reason: "InvalidImageName".to_owned(), message }
            }
            _ => {
                let message = format!("Failed to pull image {shown}: {error}");
                self.note(view, name, Severity::Warning, "Failed", message.clone());
                Waiting { reason: "ErrImagePull".to_owned(), message: error.to_string() }
            }
        };
        // What was imported by hand stands for what the registry would give, also where `Always` asks it
        // anew: whoever imports an image under a name wants that one, and often has no registry to ask.
        if let Some(image) = self.images.image(&reference).await.map_err(fail)?
            && (policy != "Always" || image.imported)
        {
            let message = format!("Container image {shown} already present on machine");
            self.note(view, name, Severity::Normal, "Pulled", message);
            return Ok(image);
        }
        if policy == "Never" {
            let message = format!("Container image {shown} is not present with pull policy of Never");
            self.note(view, name, Severity::Warning, "ErrImageNeverPull", message.clone());
            return Err(Waiting { reason: "ErrImageNeverPull".to_owned(), message });
        }
        self.note(view, name, Severity::Normal, "Pulling", format!("Pulling image {shown}"));
        let began = tokio::time::Instant::now();
        let auth = crate::pull_secret::find(&self.client, view, &reference).await;
        let image = self.images.pull(&reference, auth).await.map_err(fail)?;
        let took = rounded(began.elapsed());
        let message = format!(
            "Successfully pulled image {shown} in {took} ({took} including waiting). Image size: {} bytes.",
            image.size_bytes
        );
        self.note(view, name, Severity::Normal, "Pulled", message);
        Ok(image)
    }

    async fn container_config(
        &self,
        view: &PodView,
        container: &Container,
        attempt: u32,
        image: &Image,
    ) -> Result<ContainerConfig, StartFailure> {
        let bad = |message: String| failure("CreateContainerConfigError", message);
        let spec = view.spec().ok_or_else(|| bad("the pod has no spec".to_owned()))?;
        let mut references = References::default();
        references.add_environment(container);
        let namespace = view.namespace();
        let mut sources =
            references.fetch(&self.client, namespace).await.map_err(|status| bad(status.to_string()))?;
        sources.services =
            sources::services(&self.client, namespace, spec.enable_service_links != Some(false))
                .await
                .map_err(|status| bad(status.to_string()))?;
        let mut env = env::build(&view.pod, container, &sources, &self.facts(view))
            .map_err(|error| bad(error.to_string()))?;
        let lookup = |name: &str| {
            env.iter().rev().find(|(variable, _)| variable == name).map(|(_, value)| value.clone())
        };
        let expand = |words: &Option<Vec<String>>| {
            words.iter().flatten().map(|word| env::expand(word, lookup)).collect::<Vec<_>>()
        };
        let (command, args) = (expand(&container.command), expand(&container.args));
        let (mounts, message_file) = self.mounts(view, container, attempt, &lookup).await.map_err(bad)?;
        if !env.iter().any(|(name, _)| name == "HOSTNAME") && spec.host_network != Some(true) {
            let (hostname, _) = files::hostname(&view.pod, &self.config.cluster_domain);
            env.insert(0, ("HOSTNAME".to_owned(), hostname));
        }
        let log_directory = self.log_directory(view).join(&container.name);
        if self.runtime.has_files() {
            let directory = log_directory.clone();
            let made = self.config.machine.run(move || std::fs::create_dir_all(directory)).await;
            made.map_err(|error| {
                failure("CreateContainerError", format!("make the log directory: {error}"))
            })?;
        }
        let mut labels = pod_labels(view);
        labels.insert("io.kubernetes.container.name".to_owned(), container.name.clone());
        labels.insert(LABEL_MESSAGE_FILE.to_owned(), message_file);
        let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned());
        labels.insert(LABEL_MESSAGE_POLICY.to_owned(), policy);
        Ok(ContainerConfig {
            name: container.name.clone(),
            attempt,
            image: image.id.clone(),
            command,
            args,
            working_dir: container.working_dir.clone().filter(|directory| !directory.is_empty()),
            env,
            mounts,
            stdin: container.stdin == Some(true),
            stdin_once: container.stdin_once == Some(true),
            tty: container.tty == Some(true),
            resources: resources::of_container(container, spec, self.config.capacity.memory_bytes),
            security: security(view, container),
            log_path: log_directory.join(format!("{attempt}.log")),
            stop_signal: container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
            labels,
        })
    }

    /// The container's mounts and the path of its termination message.
    async fn mounts(
        &self,
        view: &PodView,
        container: &Container,
        attempt: u32,
        lookup: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<(Vec<Mount>, String), String> {
        let directory = self.mounter.pod_directory(&view.uid);
        let mut mounts = Vec::new();
        let volumes = view.volumes.mounted.clone().unwrap_or_default();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let volume = volumes
                .get(&mount.name)
                .ok_or_else(|| format!("the volume {:?} is not mounted", mount.name))?;
            let readonly = mount.read_only == Some(true) || volume.readonly;
            let host_path = match sub_path(mount, lookup) {
                None => volume.path.clone(),
                Some(sub_path) => {
                    let target = directory.join("subpaths").join(&container.name).join(index.to_string());
                    let (root, target_path) = (volume.path.clone(), target.clone());
                    let content_is_ours = volume.readonly;
                    let bind = move || subpath::mount(&root, &sub_path, &target_path, content_is_ours);
                    self.config.machine.run(bind).await.map_err(|error| {
                        format!(
                            "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                            mount.name, container.name
                        )
                    })?;
                    target
                }
            };
            mounts.push(Mount {
                container_path: absolute(&mount.mount_path),
                host_path,
                readonly,
                propagation: match mount.mount_propagation.as_deref() {
                    Some("HostToContainer") => Propagation::HostToContainer,
                    Some("Bidirectional") => Propagation::Bidirectional,
                    _ => Propagation::Private,
                },
            });
        }
        let message_directory = directory.join("containers").join(&container.name).join(attempt.to_string());
        let message_file = message_directory.join("termination-log");
        if self.runtime.has_files() {
            let file = message_file.clone();
            let make = move || {
                std::fs::create_dir_all(message_directory)?;
                std::fs::write(&file, b"")?;
                // Whoever the container runs as writes its last words here.
                std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            };
            let made = self.config.machine.run(make).await;
            made.map_err(|error| format!("make the termination message: {error}"))?;
        }
        let message_path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        let managed = [
            ("/etc/hosts", directory.join("hosts")),
            ("/etc/resolv.conf", directory.join("resolv.conf")),
            (message_path, message_file.clone()),
        ];
        for (container_path, host_path) in managed {
            let taken =
                mounts.iter().any(|mount| Path::new(&mount.container_path) == Path::new(container_path));
            if !taken {
                mounts.push(Mount {
                    container_path: container_path.to_owned(),
                    host_path,
                    readonly: false,
                    propagation: Propagation::Private,
                });
            }
        }
        // A parent sorts before what lies in it.
        mounts.sort_by(|left, right| Path::new(&left.container_path).cmp(Path::new(&right.container_path)));
        Ok((mounts, message_file.to_string_lossy().into_owned()))
    }
}

fn sub_path(mount: &VolumeMount, lookup: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let plain = mount.sub_path.clone().filter(|path| !path.is_empty());
    let expression = mount.sub_path_expr.as_deref().filter(|path| !path.is_empty());
    plain.or_else(|| expression.map(|path| env::expand(path, lookup)))
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Images without a tag, or with `latest`, are pulled each time.
fn default_policy(reference: &str) -> &'static str {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains('@') {
        return "IfNotPresent";
    }
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn start_error(id: &ContainerId, error: &RuntimeError, now: Timestamp) -> ContainerStateTerminated {
    let exit = runtime::api::Exit {
        code: 128,
        signal: None,
        oom_killed: false,
        started_at: None,
        finished_at: now,
        message: error.to_string(),
    };
    terminated(id, &exit)
}

fn security(view: &PodView, container: &Container) -> Security {
    let pod = view.spec().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let id = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let mut groups: Vec<u32> =
        pod.supplemental_groups.iter().flatten().filter_map(|group| id(Some(*group))).collect();
    groups.extend(fs_group(&view.pod));
    let capabilities = own.capabilities.unwrap_or_default();
    Security {
        privileged: own.privileged == Some(true),
        run_as_user: id(own.run_as_user.or(pod.run_as_user)),
        run_as_group: id(own.run_as_group.or(pod.run_as_group)),
        supplemental_groups: groups,
        must_not_be_root: own.run_as_non_root.or(pod.run_as_non_root) == Some(true),
        readonly_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        capabilities_add: capabilities.add.unwrap_or_default(),
        capabilities_drop: capabilities.drop.unwrap_or_default(),
    }
}

/// As Go prints a duration that was rounded to milliseconds.
fn rounded(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untagged_and_latest_images_are_pulled_each_time() {
        assert_eq!(default_policy("busybox"), "Always");
        assert_eq!(default_policy("localhost:5000/busybox:latest"), "Always");
        assert_eq!(default_policy("localhost:5000/busybox:1"), "IfNotPresent");
        assert_eq!(default_policy("busybox@sha256:00"), "IfNotPresent");
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        assert_eq!(rounded(Duration::from_millis(12)), "12ms");
        assert_eq!(rounded(Duration::from_millis(1500)), "1.5s");
        assert_eq!(rounded(Duration::from_millis(2000)), "2s");
    }
}
