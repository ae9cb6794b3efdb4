//! An agent process is killed with SIGKILL while its containers run: they run on, what ended meanwhile is
//! found, and what was half made is seen as what it is. As root.
//!
//! This binary is both: without arguments of its own the test, with [`AGENT`] the process that gets killed.
//! It has no harness, so that nothing but the runtime is in that process.

mod machine;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use machine::{DEADLINE, Machine, container_config, ended, layers, open, sandbox_config, traces, until};
use runtime::api::{ContainerId, ContainerState, Runtime, SandboxId};
use runtime::native::NativeRuntime;
use tokio::io::{AsyncBufReadExt, BufReader};

/// First argument of the process that gets killed.
const AGENT: &str = "agent";
const NAME: &str = "containers_outlive_an_agent_that_is_killed";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if args.first().is_some_and(|arg| arg == AGENT) {
        runtime.block_on(agent(Path::new(&args[1]), &args[2]));
    } else {
        // What a harness would print, for whoever counts.
        let wanted = filters.is_empty() || filters.iter().any(|filter| NAME.contains(filter.as_str()));
        if wanted {
            runtime.block_on(containers_outlive_an_agent_that_is_killed());
            println!("test {NAME} ... ok");
        }
        let (passed, filtered) = (u8::from(wanted), u8::from(!wanted));
        println!(
            "test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {filtered} filtered out"
        );
    }
    ExitCode::SUCCESS
}

/// Starts containers, says so and waits to be killed.
async fn agent(directory: &Path, cluster: &str) {
    let runtime = open(&directory.join("r"), cluster, layers(&directory.join("layer")));
    let sandbox = runtime.run_sandbox(sandbox_config()).await.unwrap();
    let mut ids = vec![sandbox.0.clone()];
    for (name, script, starts) in [
        ("long", "while true; do echo tick; sleep 0.05; done", true),
        ("short", "while ! [ -e /dev/shm/go ]; do sleep 0.02; done; exit 5", true),
        ("unstarted", "echo no", false),
    ] {
        let log = directory.join("logs").join(format!("{name}.log"));
        let id = runtime.create_container(&sandbox, container_config(name, script, log)).await.unwrap();
        if starts {
            runtime.start_container(&id).await.unwrap();
        }
        ids.push(id.0);
    }
    println!("{}", ids.join(" "));
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}

async fn containers_outlive_an_agent_that_is_killed() {
    let machine = Machine::new();
    let mut command = tokio::process::Command::from(Command::new(std::env::current_exe().unwrap()));
    command.arg(AGENT).arg(machine.directory.path()).arg(&machine.cluster);
    let mut agent = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(agent.stdout.take().unwrap());
    tokio::time::timeout(DEADLINE, said.read_line(&mut line)).await.unwrap().unwrap();
    let ids: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let [sandbox, long, short, unstarted] = ids.try_into().unwrap_or_else(|_| panic!("it said {line:?}"));
    let (long, short, unstarted) = (ContainerId(long), ContainerId(short), ContainerId(unstarted));

    agent.start_kill().unwrap();
    let status = agent.wait().await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));

    // Nobody looks after them now but their shims.
    let lines = machine.log("long").len();
    until("the log grows on", || machine.log("long").len() > lines + 3).await;
    let place = machine.root().join("sandboxes").join(&sandbox);
    std::fs::write(place.join("shm/go"), "").unwrap();
    let exit: PathBuf = machine.root().join("containers").join(&short.0).join("exit.json");
    until("the end is recorded", || exit.exists()).await;

    let again = machine.reopen();
    assert_eq!(ended(&again, &short).await.code, 5);
    let found = again.container_status(&long).await.unwrap();
    assert!(matches!(found.state, ContainerState::Running { .. }), "{found:?}");
    let pid = found.pid.unwrap();
    let sandboxes = again.list_sandboxes().await.unwrap();
    assert_eq!((sandboxes[0].id.clone(), sandboxes[0].ready), (SandboxId(sandbox), true));
    let command = ["echo", "here"].map(str::to_owned).to_vec();
    assert_eq!(again.exec_sync(&long, command, DEADLINE).await.unwrap().stdout, b"here\n");

    // A shim that the dead agent had only just started, and that comes late, finds its container taken.
    assert_eq!(again.container_status(&unstarted).await.unwrap().state, ContainerState::Created);
    let late = Command::new(env!("CARGO_BIN_EXE_shim"))
        .arg("__shim")
        .arg(machine.root().canonicalize().unwrap().join("containers").join(&unstarted.0))
        .output()
        .unwrap();
    assert!(!late.status.success() && late.stdout.is_empty(), "{late:?}");
    again.start_container(&unstarted).await.unwrap();
    assert_eq!(ended(&again, &unstarted).await.code, 0);
    assert_eq!(machine.log("unstarted"), ["stdout F no"]);

    again.stop_container(&long, Duration::ZERO).await.unwrap();
    assert_eq!(ended(&again, &long).await.code, 137);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    NativeRuntime::purge(&machine.root(), &machine.cluster).unwrap();
    assert_eq!(traces(machine.directory.path(), &machine.cluster), Vec::<String>::new());
}
