//! The simulated runtime, by the same trait as the native one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::clock::FixedClock;
use runtime::api::{
    ContainerConfig, ContainerId, ContainerState, ExecOutput, Exit, Images, Resources, Runtime, RuntimeError,
    RuntimeEvent, SandboxConfig, SandboxId, Security,
};
use runtime::simulated::{Script, SimulatedImages, SimulatedRuntime};

const DEADLINE: Duration = Duration::from_secs(60);

fn open() -> SimulatedRuntime {
    SimulatedRuntime::new(Arc::new(FixedClock(Timestamp::UNIX_EPOCH)))
}

async fn sandbox(runtime: &SimulatedRuntime, name: &str) -> SandboxId {
    let config = SandboxConfig {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        attempt: 0,
        hostname: name.to_owned(),
        network_namespace: None,
        host_pid: false,
        host_ipc: false,
        share_process_namespace: false,
        sysctls: BTreeMap::new(),
        resources: Resources::default(),
        labels: BTreeMap::new(),
    };
    runtime.run_sandbox(config).await.unwrap()
}

async fn config(image: &str) -> ContainerConfig {
    let image = SimulatedImages::new().pull(image, None).await.unwrap();
    ContainerConfig {
        name: "main".to_owned(),
        attempt: 0,
        image: image.id,
        command: Vec::new(),
        args: Vec::new(),
        working_dir: None,
        env: Vec::new(),
        mounts: Vec::new(),
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: Resources::default(),
        security: Security::default(),
        log_path: "/nowhere/0.log".into(),
        stop_signal: None,
        labels: BTreeMap::new(),
    }
}

async fn start(runtime: &SimulatedRuntime, pod: &str, image: &str) -> ContainerId {
    let sandbox = sandbox(runtime, pod).await;
    let id = runtime.create_container(&sandbox, config(image).await).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    id
}

async fn ended(runtime: &SimulatedRuntime, id: &ContainerId) -> Exit {
    let mut events = runtime.events();
    let wait = async {
        loop {
            if let ContainerState::Exited(exit) = runtime.container_status(id).await.unwrap().state {
                return exit;
            }
            events.recv().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the container ends")
}

#[tokio::test]
async fn a_crashing_image_ends_by_itself_with_an_event() {
    let runtime = open();
    let mut events = runtime.events();
    let id = start(&runtime, "pod-0", "sim/crash:10ms").await;
    assert!(
        matches!(events.recv().await.unwrap(), RuntimeEvent::Started { container, .. } if container == id)
    );
    assert_eq!(ended(&runtime, &id).await.code, 1);
    let RuntimeEvent::Exited { container, pod_uid, .. } = events.recv().await.unwrap() else { panic!() };
    assert_eq!((container, pod_uid.as_str()), (id, "uid-pod-0"));
}

#[tokio::test]
async fn stopping_obeys_or_kills_after_the_grace_period() {
    let runtime = open();
    let id = start(&runtime, "pod-0", "redis").await;
    runtime.stop_container(&id, DEADLINE).await.unwrap();
    assert_eq!(ended(&runtime, &id).await.code, 0);
    let id = start(&runtime, "pod-1", "sim/stubborn").await;
    runtime.stop_container(&id, Duration::from_millis(10)).await.unwrap();
    let exit = ended(&runtime, &id).await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    runtime.stop_container(&id, DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_script_overrides_the_image_and_probes_are_answered() {
    let runtime = open();
    runtime.script("pod-0", "main", Script { start_error: Some("no".to_owned()), ..Script::default() });
    let sandbox = sandbox(&runtime, "pod-0").await;
    let id = runtime.create_container(&sandbox, config("redis").await).await.unwrap();
    let refused = runtime.start_container(&id).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Start { reason } if reason == "no"));
    assert_eq!(ended(&runtime, &id).await.code, 128);

    let id = start(&runtime, "pod-1", "redis").await;
    assert_eq!(runtime.exec_sync(&id, vec!["ok".to_owned()], DEADLINE).await.unwrap().code, 0);
    runtime.answer_execs(|_, command| {
        Ok(ExecOutput { code: 1, stdout: command.concat().into_bytes(), stderr: Vec::new() })
    });
    let output = runtime.exec_sync(&id, vec!["no".to_owned()], DEADLINE).await.unwrap();
    assert_eq!((output.code, output.stdout), (1, b"no".to_vec()));
}

#[tokio::test]
async fn pulls_fail_as_often_as_told() {
    let images = SimulatedImages::new();
    images.fail_pulls("redis", "no route", 1);
    let failed = images.pull("redis", None).await.unwrap_err();
    assert_eq!(failed.to_string(), "pull docker.io/library/redis:latest: no route");
    assert!(images.image("redis").await.unwrap().is_none());
    images.pull("redis", None).await.unwrap();
    assert!(images.image("docker.io/library/redis:latest").await.unwrap().is_some());
}

#[tokio::test]
async fn five_thousand_containers_cost_no_task_each() {
    let runtime = open();
    let config = config("redis").await;
    let sandbox = sandbox(&runtime, "pod-0").await;
    for _ in 0..5_000 {
        let id = runtime.create_container(&sandbox, config.clone()).await.unwrap();
        runtime.start_container(&id).await.unwrap();
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
    runtime.stop_sandbox(&sandbox).await.unwrap();
    let over = |state: &ContainerState| matches!(state, ContainerState::Exited(_));
    assert!(runtime.list_containers().await.unwrap().iter().all(|status| over(&status.state)));
}
