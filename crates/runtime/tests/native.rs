//! The native runtime on the real kernel, as root.

mod machine;

use std::time::Duration;

use machine::{DEADLINE, Machine, ended, traces, until};
use runtime::api::{
    ContainerState, Mount, Propagation, Runtime, RuntimeError, RuntimeEvent, Session, Streams,
};
use runtime::native::NativeRuntime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Reads until the text appears; gives all that was read.
async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    let read = async {
        while !seen.contains(text) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "the stream ended before {text:?}; it held {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| panic!("{text:?} comes"));
    seen
}

async fn end(session: Session) -> Result<i32, RuntimeError> {
    tokio::time::timeout(DEADLINE, session.ended).await.expect("the session ends")
}

#[tokio::test]
async fn output_is_logged_in_the_cri_format_and_the_exit_code_is_known() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut events = machine.runtime.events();
    let script = "echo hello; echo oops >&2; hostname; echo $FROM_IMAGE $HOSTNAME; pwd; printf end; exit 7";
    let mut config = machine.config("main", script);
    config.working_dir = Some("/some/where".to_owned());
    let exit = machine.run(&sandbox, config).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    assert!(exit.started_at.unwrap() <= exit.finished_at);
    let lines = machine.log("main");
    let of =
        |stream: &str| -> Vec<String> { lines.iter().filter(|l| l.starts_with(stream)).cloned().collect() };
    assert_eq!(
        of("stdout"),
        ["stdout F hello", "stdout F pod-0", "stdout F yes pod-0", "stdout F /some/where", "stdout P end"]
    );
    assert_eq!(of("stderr"), ["stderr F oops"]);
    assert!(matches!(events.recv().await.unwrap(), RuntimeEvent::Started { .. }));
    assert!(matches!(events.recv().await.unwrap(), RuntimeEvent::Exited { .. }));
}

#[tokio::test]
async fn a_signal_that_ends_a_container_is_reported() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut config = machine.config("main", "trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done");
    let id = machine.start(&sandbox, config.clone()).await;
    until("the trap is set", || machine.log("main").contains(&"stdout F up".to_owned())).await;
    machine.runtime.stop_container(&id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(ended(&machine.runtime, &id).await.code, 3);
    // Process 1 of a namespace ignores what it has not asked for, so only SIGKILL ends this one.
    config.command = ["sleep", "1000"].map(str::to_owned).to_vec();
    let id = machine.start(&sandbox, config).await;
    machine.runtime.stop_container(&id, Duration::from_millis(200)).await.unwrap();
    let exit = ended(&machine.runtime, &id).await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[tokio::test]
async fn a_command_that_cannot_start_says_why() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    for (command, reason) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let mut config = machine.config("main", "");
        config.command = vec![command.to_owned()];
        let id = machine.runtime.create_container(&sandbox, config).await.unwrap();
        let error = machine.runtime.start_container(&id).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::Start { reason: found } if found == reason), "{error}");
        let exit = ended(&machine.runtime, &id).await;
        assert_eq!((exit.code, exit.message.as_str()), (128, reason));
    }
}

#[tokio::test]
async fn a_container_runs_as_whom_it_is_told_and_may_do_no_more() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut config = machine.config("main", "id; touch /x || echo readonly; cat /proc/self/status");
    config.security.run_as_user = Some(999);
    config.security.supplemental_groups = vec![77];
    config.security.readonly_root = true;
    config.security.no_new_privileges = true;
    config.security.capabilities_drop = vec!["ALL".to_owned()];
    assert_eq!(machine.run(&sandbox, config.clone()).await.code, 0);
    let log = machine.log("main").join("\n");
    assert!(log.contains("uid=999(redis) gid=1000(redis) groups=77,101(extra)"), "{log}");
    assert!(log.contains("readonly"), "{log}");
    assert!(log.contains("CapBnd:\t0000000000000000") && log.contains("NoNewPrivs:\t1"), "{log}");
    config.security.run_as_user = None;
    config.security.must_not_be_root = true;
    let refused = machine.runtime.create_container(&sandbox, config).await.unwrap_err();
    assert_eq!(refused.to_string(), "container has runAsNonRoot and image will run as root");
}

#[tokio::test]
async fn mounts_are_bound_and_may_be_readonly() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let volume = machine.directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(machine.directory.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
    let mut config =
        machine.config("main", "echo data > /data/file; cat /etc/hosts; echo x > /etc/hosts || echo refused");
    let mount = |inside: &str, host: &std::path::Path, readonly| Mount {
        container_path: inside.to_owned(),
        host_path: host.to_owned(),
        readonly,
        propagation: Propagation::Private,
    };
    config.mounts = vec![
        mount("/data", &volume, false),
        mount("/etc/hosts", &machine.directory.path().join("hosts"), true),
    ];
    assert_eq!(machine.run(&sandbox, config).await.code, 0);
    assert_eq!(std::fs::read_to_string(volume.join("file")).unwrap(), "data\n");
    let log = machine.log("main");
    assert!(log.contains(&"stdout F 127.0.0.1 localhost".to_owned()), "{log:?}");
    assert!(log.contains(&"stdout F refused".to_owned()), "{log:?}");
}

#[tokio::test]
async fn exec_gives_output_and_code_and_is_cut_off_in_time() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, machine.config("main", "sleep 1000")).await;
    let run = |script: &str, timeout| {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        machine.runtime.exec_sync(&id, command, timeout)
    };
    let output = run("echo out; echo err >&2; exit 5", DEADLINE).await.unwrap();
    assert_eq!((output.code, output.stdout, output.stderr), (5, b"out\n".to_vec(), b"err\n".to_vec()));
    let error = run("echo $$ > /tmp/pid; exec sleep 999", Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, RuntimeError::TimedOut { .. }), "{error}");
    let mut gone = false;
    while !gone {
        let check = run("kill -0 $(cat /tmp/pid) 2>/dev/null || echo gone", DEADLINE).await.unwrap();
        gone = check.stdout == b"gone\n";
    }
    let missing = machine.runtime.exec_sync(&id, vec!["nope".to_owned()], DEADLINE).await.unwrap_err();
    assert_eq!(missing.to_string(), "exec: \"nope\": executable file not found in $PATH");
}

#[tokio::test]
async fn sixteen_execs_run_at_once() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, machine.config("main", "sleep 1000")).await;
    // Each waits until all sixteen are there, so they pass only if they truly run at the same time.
    let script =
        "mkdir -p /tmp/all; touch /tmp/all/$0; while [ $(ls /tmp/all | wc -l) -lt 16 ]; do sleep 0.02; done";
    let script = script.replace("mkdir", "/bin/busybox mkdir").replace("wc", "/bin/busybox wc");
    let runs = (0..16).map(|number| {
        let command = vec!["sh".to_owned(), "-c".to_owned(), script.clone(), number.to_string()];
        machine.runtime.exec_sync(&id, command, DEADLINE)
    });
    for output in futures::future::join_all(runs).await {
        let output = output.unwrap();
        assert_eq!(output.code, 0, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn exec_on_a_terminal_can_be_typed_into_and_resized() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, machine.config("main", "sleep 1000")).await;
    let streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };
    let mut session = machine.runtime.exec(&id, vec!["sh".to_owned()], streams).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let mut stdout = session.stdout.take().unwrap();
    session.resize.as_ref().unwrap().send((123, 45)).await.unwrap();
    stdin
        .write_all(b"tty; while ! stty size | cat | head -1; do true; done; echo a$((1+1))b\n")
        .await
        .unwrap();
    let seen = read_until(&mut stdout, "a2b").await;
    assert!(seen.contains("/dev/pts/"), "{seen}");
    stdin.write_all(b"stty size; exit 4\n").await.unwrap();
    read_until(&mut stdout, "45 123").await;
    assert_eq!(end(session).await.unwrap(), 4);
}

#[tokio::test]
async fn attach_reaches_the_containers_own_streams() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut config = machine.config("main", "while read line; do echo got $line; done; echo over; exit 6");
    config.stdin = true;
    config.stdin_once = true;
    let id = machine.start(&sandbox, config).await;
    let watching = Streams { stdin: false, stdout: true, stderr: true, tty: false };
    let mut watcher = machine.runtime.attach(&id, watching).await.unwrap();
    let mut session = machine.runtime.attach(&id, Streams { stdin: true, ..watching }).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let mut stdout = session.stdout.take().unwrap();
    stdin.write_all(b"one\n").await.unwrap();
    read_until(&mut stdout, "got one").await;
    stdin.shutdown().await.unwrap();
    read_until(&mut stdout, "over").await;
    assert_eq!(end(session).await.unwrap(), 6);
    read_until(watcher.stdout.as_mut().unwrap(), "over").await;
    assert_eq!(end(watcher).await.unwrap(), 6);
}

#[tokio::test]
async fn the_first_to_speak_sees_what_was_said_before_and_nobody_else() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut config =
        machine.config("main", "echo hello; printf 'name? '; read name; echo you are $name; read end");
    config.stdin = true;
    let id = machine.start(&sandbox, config).await;
    until("it speaks", || !machine.log("main").is_empty()).await;
    let watching = Streams { stdin: false, stdout: true, stderr: true, tty: false };
    let mut watcher = machine.runtime.attach(&id, watching).await.unwrap();
    let mut first = machine.runtime.attach(&id, Streams { stdin: true, ..watching }).await.unwrap();
    read_until(first.stdout.as_mut().unwrap(), "hello\nname? ").await;
    let mut second = machine.runtime.attach(&id, Streams { stdin: true, ..watching }).await.unwrap();
    second.stdin.as_mut().unwrap().write_all(b"somebody\n").await.unwrap();
    read_until(first.stdout.as_mut().unwrap(), "you are somebody\n").await;
    second.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
    for session in [&mut watcher, &mut second] {
        let mut text = String::new();
        session.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
        assert!(!text.contains("hello") && text.contains("you are somebody"), "{text:?}");
    }
    assert_eq!(end(first).await.unwrap(), 0);
}

#[tokio::test]
async fn a_container_on_a_terminal_is_attached_and_resized() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut config = machine.config("main", "read go; stty size; read code; exit $code");
    config.stdin = true;
    config.tty = true;
    let id = machine.start(&sandbox, config).await;
    let streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };
    let mut session = machine.runtime.attach(&id, streams).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let mut stdout = session.stdout.take().unwrap();
    session.resize.as_ref().unwrap().send((81, 25)).await.unwrap();
    // The size is told on the same connection as the line, but by another channel; ask until it is there.
    stdin.write_all(b"go\n").await.unwrap();
    read_until(&mut stdout, "25 81").await;
    stdin.write_all(b"9\n").await.unwrap();
    assert_eq!(end(session).await.unwrap(), 9);
}

#[tokio::test]
async fn a_container_that_takes_too_much_memory_is_killed_and_says_so() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let mut config = machine.config("main", "dd if=/dev/zero of=/dev/null bs=200M count=1; exit 9");
    config.resources.memory_limit_bytes = Some(32 * 1024 * 1024);
    config.command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"].map(str::to_owned).to_vec();
    let exit = machine.run(&sandbox, config).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

#[tokio::test]
async fn a_new_agent_finds_running_containers_and_the_exits_that_happened_meanwhile() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let long = machine.start(&sandbox, machine.config("long", "echo up; sleep 1000")).await;
    let short = machine
        .start(&sandbox, machine.config("short", "while ! [ -e /dev/shm/go ]; do sleep 0.02; done; exit 5"))
        .await;
    let before = machine.runtime.container_status(&long).await.unwrap();
    // A second runtime on the same directory is what a new agent process is to the shims.
    let command = ["touch", "/dev/shm/go"].map(str::to_owned).to_vec();
    assert_eq!(machine.runtime.exec_sync(&long, command, DEADLINE).await.unwrap().code, 0);
    let exit = machine.root().join("containers").join(&short.0).join("exit.json");
    until("the exit is recorded", || exit.exists()).await;
    let again = machine.reopen();
    assert_eq!(ended(&again, &short).await.code, 5);
    let after = again.container_status(&long).await.unwrap();
    assert_eq!((after.pid, &after.state), (before.pid, &before.state));
    assert_eq!(again.list_sandboxes().await.unwrap()[0].id, sandbox);
    assert_eq!(machine.log("long"), ["stdout F up"], "it was not started again");
    again.stop_container(&long, Duration::ZERO).await.unwrap();
    assert_eq!(ended(&again, &long).await.code, 137);
}

#[tokio::test]
async fn when_a_shim_is_killed_its_container_is_too() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, machine.config("main", "sleep 1000")).await;
    let pid = machine.runtime.container_status(&id).await.unwrap().pid.unwrap();
    let shim = NativeRuntime::leftovers(&machine.root()).unwrap().processes;
    let shim = rustix::process::Pid::from_raw(shim[0].cast_signed()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let exit = ended(&machine.runtime, &id).await;
    assert_eq!(exit.code, 137);
    assert!(exit.message.contains("shim was lost"), "{}", exit.message);
    until("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
}

#[tokio::test]
async fn a_shared_process_namespace_shows_the_other_containers() {
    let machine = Machine::new();
    let mut config = machine.sandbox_config();
    config.share_process_namespace = true;
    let sandbox = machine.runtime.run_sandbox(config).await.unwrap();
    machine.start(&sandbox, machine.config("one", "exec sleep 12345")).await;
    let exit = machine.run(&sandbox, machine.config("two", "cat /proc/[0-9]*/cmdline; echo pid $$")).await;
    assert_eq!(exit.code, 0);
    let log = machine.log("two").join("\n");
    assert!(log.contains("12345") && log.contains("__pause") && !log.contains("pid 1\n"), "{log:?}");
}

#[tokio::test]
async fn removal_leaves_no_mount_cgroup_or_process() {
    let machine = Machine::new();
    let mut config = machine.sandbox_config();
    config.share_process_namespace = true;
    let sandbox = machine.runtime.run_sandbox(config).await.unwrap();
    let one = machine.start(&sandbox, machine.config("one", "sleep 1000")).await;
    let two = machine.start(&sandbox, machine.config("two", "exit 1")).await;
    ended(&machine.runtime, &two).await;
    assert!(traces(machine.directory.path(), &machine.cluster).len() > 5);
    machine.runtime.remove_container(&one).await.unwrap();
    machine.runtime.remove_container(&one).await.unwrap();
    machine.runtime.remove_sandbox(&sandbox).await.unwrap();
    machine.runtime.remove_sandbox(&sandbox).await.unwrap();
    assert!(machine.runtime.list_containers().await.unwrap().is_empty());
    NativeRuntime::purge(&machine.root(), &machine.cluster).unwrap();
    assert_eq!(traces(machine.directory.path(), &machine.cluster), Vec::<String>::new());
}

#[tokio::test]
async fn purge_removes_what_still_runs() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, machine.config("main", "sleep 1000")).await;
    let pid = machine.runtime.container_status(&id).await.unwrap().pid.unwrap();
    NativeRuntime::purge(&machine.root(), &machine.cluster).unwrap();
    until("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    until("no trace is left", || traces(machine.directory.path(), &machine.cluster).is_empty()).await;
}

#[tokio::test]
async fn a_container_that_was_never_started_can_be_stopped_and_removed() {
    let machine = Machine::new();
    let sandbox = machine.sandbox().await;
    let id = machine.runtime.create_container(&sandbox, machine.config("main", "true")).await.unwrap();
    assert_eq!(machine.runtime.container_status(&id).await.unwrap().state, ContainerState::Created);
    machine.runtime.stop_container(&id, DEADLINE).await.unwrap();
    assert_eq!(ended(&machine.runtime, &id).await.code, 137);
    machine.runtime.remove_container(&id).await.unwrap();
    assert!(matches!(
        machine.runtime.container_status(&id).await.unwrap_err(),
        RuntimeError::NotFound { .. }
    ));
}
