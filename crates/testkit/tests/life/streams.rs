//! exec, attach, run and logs.

use crate::space::{IDLE, Space};

#[test]
fn exec_passes_streams_terminal_and_exit_code() {
    let Some(space) = Space::new() else { return };
    space.pod("p", IDLE, "", "");
    space.wait_pod("p");
    let (printed, code) =
        space.with_input(&["exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], "");
    assert_eq!((printed.stdout.as_str(), code), ("out\n", 7));
    assert!(printed.stderr.starts_with("err\n"), "{}", printed.stderr);
    let long = "a line of text\n".repeat(20_000);
    let (printed, code) = space.with_input(&["exec", "-i", "p", "--", "cat"], &long);
    assert!(printed.stdout == long && code == 0, "{} bytes came back", printed.stdout.len());
    let (shown, code) = space.on_a_terminal("exec -it p -- sh -c 'tty; echo $TERM; exit 5'");
    assert!(shown.contains("/dev/pts/") && shown.contains("xterm"), "{shown}");
    assert_eq!(code, 5);
    let refused = space.kubectl(&["exec", "p", "--", "no-such-program"]);
    assert!(!refused.success && refused.stderr.contains("no-such-program"), "{}", refused.stderr);
}

#[test]
fn logs_follow_a_container_to_its_end() {
    let Some(space) = Space::new() else { return };
    let script =
        r#"["sh", "-c", "echo one; until [ -e /tmp/go ]; do sleep 0.1; done; echo two; echo three"]"#;
    space.pod("p", script, "", "restartPolicy: Never,");
    space.wait_pod("p");
    let logs = space.follow(&["logs", "-f", "p"]);
    assert_eq!(logs.line(), "one");
    space.exec("p", "touch /tmp/go");
    assert_eq!((logs.line(), logs.line()), ("two".to_owned(), "three".to_owned()));
    assert!(logs.finish());
    space.wait_value("pod/p", "{.status.phase}", "Succeeded");
    assert_eq!(space.run(&["logs", "p", "--tail=2"]), "two\nthree");
    let stamped = space.run(&["logs", "p", "--timestamps", "--tail=1"]);
    assert!(stamped.ends_with("Z three"), "{stamped}");
}

#[test]
fn logs_tell_containers_and_their_former_lives_apart() {
    let Some(space) = Space::new() else { return };
    // Nothing on the standard error: in which order the two streams of one moment are logged is open.
    let script = "n=$(cat /v/n 2> /dev/null || echo 0); echo $((n + 1)) > /v/n; echo run $n; \
                  [ $n = 0 ] && exit 3; sleep 1000";
    space.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{terminationGracePeriodSeconds: 0, \
         volumes: [{{name: v, emptyDir: {{}}}}], containers: [{{name: a, image: busybox, \
         command: [sh, -c, \"{script}\"], volumeMounts: [{{name: v, mountPath: /v}}]}}, \
         {{name: b, image: busybox, command: [sh, -c, \"echo I am b; sleep 1000\"]}}]}}}}"
    ));
    space.wait_value("pod/p", "{.status.containerStatuses[?(@.name=='a')].restartCount}", "1");
    space.wait_pod("p");
    space
        .wait("the second life speaks", || space.kubectl(&["logs", "p", "-c", "a"]).stdout.contains("run 1"));
    assert_eq!(space.run(&["logs", "p", "-c", "a", "--previous"]), "run 0");
    // A container is ready once it runs, which may be before it has said anything.
    space.wait("b speaks", || space.run(&["logs", "p", "-c", "b"]) == "I am b");
    let ended = "{.status.containerStatuses[?(@.name=='a')].lastState.terminated.exitCode}";
    assert_eq!(space.value("pod/p", ended), "3");
}

#[test]
fn what_a_container_said_before_it_crashed_can_be_read_while_it_waits() {
    let Some(space) = Space::new() else { return };
    space.pod("p", r#"["sh", "-c", "echo my last words; exit 3"]"#, "", "");
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    space.wait_value("pod/p", waiting, "CrashLoopBackOff");
    assert_eq!(space.run(&["logs", "p", "--previous"]), "my last words");
    assert_eq!(space.run(&["logs", "p"]), "my last words");
}

#[test]
fn run_shows_what_a_pod_says_and_removes_it() {
    let Some(space) = Space::new() else { return };
    let name = "kubernetes.default.svc.cluster.local";
    let arguments = ["run", "q", "--rm", "-i", "--restart=Never", "--image=busybox", "--", "nslookup", name];
    let (printed, code) = space.with_input(&arguments, "");
    assert_eq!(code, 0, "{}", printed.stderr);
    assert!(printed.stdout.contains(&format!("Name:\t{name}")), "{} {}", printed.stdout, printed.stderr);
    space.wait_gone("pod/q");
    let (shown, code) =
        space.on_a_terminal(&format!("run t --rm -it --restart=Never --image=busybox -- nslookup {name}"));
    assert!(code == 0 && shown.contains(&format!("Name:\t{name}")), "{shown}");
    space.wait_gone("pod/t");
}

#[test]
fn run_shows_all_that_a_quick_container_said_once_and_ends_as_it_did() {
    let Some(space) = Space::new() else { return };
    for name in (0..10).map(|number| format!("quick-{number}")) {
        let script = "echo a line; echo an error >&2; exit 3";
        let run =
            ["run", &name, "--rm", "-i", "--restart=Never", "--image=busybox", "--", "sh", "-c", script];
        let (printed, code) = space.with_input(&run, "");
        let times = |text: &str, line: &str| text.lines().filter(|one| *one == line).count();
        let all = format!("{}{}", printed.stdout, printed.stderr);
        assert_eq!((times(&all, "a line"), times(&all, "an error"), code), (1, 1, 3), "{all}");
    }
}

#[test]
fn attach_speaks_with_the_container_itself() {
    let Some(space) = Space::new() else { return };
    space.pod(
        "p",
        r#"["sh", "-c", "read line; echo heard $line"]"#,
        "stdin: true, stdinOnce: true,",
        "restartPolicy: Never,",
    );
    space.wait_pod("p");
    let (printed, _) = space.with_input(&["attach", "-i", "p"], "something\n");
    space.wait_value("pod/p", "{.status.phase}", "Succeeded");
    assert!(printed.stdout.contains("heard something"), "{} {}", printed.stdout, printed.stderr);
    assert_eq!(space.run(&["logs", "p"]), "heard something");
}
