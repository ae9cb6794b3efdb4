//! Makes what a pod's containers share.
//!
//! Namespaces live on through bind mounts of their files, without a process; only a shared process
//! namespace needs one, its process 1 (the job `__pause`), and is made by a job of its own (`__sandbox`):
//! who unshares process ids is followed by all that it starts later. The others are made on a thread of
//! the agent's that ends with it: starting a process for it took a quarter of a sandbox's time.
//!
//! Read next: `../plan.rs` (how containers join), `../sandboxes.rs` (who calls this).

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::mount_bind;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::PAUSE;
use crate::api::SandboxConfig;
use crate::native::layout::{RECORD, SandboxRecord, read_record};

/// Name of the file with the process id of `__pause`.
pub(crate) const PAUSE_PID: &str = "pause.pid";

/// Makes the namespaces of the sandbox in a directory, on a thread of its own.
pub(crate) fn on_own_thread(directory: &Path, config: SandboxConfig) -> io::Result<()> {
    assert!(!config.share_process_namespace, "a thread cannot unshare process ids for others");
    let directory = directory.to_owned();
    let thread = std::thread::Builder::new().name("sandbox".to_owned());
    let made = thread.spawn(move || make(&directory, &config))?.join();
    made.map_err(|_| io::Error::other("the thread that makes the namespaces panicked"))?
}

/// The job: makes the namespaces of the sandbox in a directory.
pub(crate) fn run(directory: &Path) -> io::Result<()> {
    let record: Option<SandboxRecord> = read_record(directory, RECORD)?;
    make(directory, &record.ok_or_else(|| io::Error::other("the sandbox has no record"))?.config)
}

/// To be called on a thread that ends afterwards.
fn make(directory: &Path, config: &SandboxConfig) -> io::Result<()> {
    let mut flags = UnshareFlags::NEWUTS;
    if !config.host_ipc {
        flags |= UnshareFlags::NEWIPC;
    }
    if config.share_process_namespace {
        flags |= UnshareFlags::NEWPID;
    }
    #[expect(unsafe_code, reason = "unsharing is marked unsafe for the file descriptor table's sake")]
    // SAFETY: the file descriptor table is not unshared, and nothing else runs on this thread.
    unsafe {
        rustix::thread::unshare_unsafe(flags)?;
    }
    rustix::system::sethostname(config.hostname.as_bytes())?;
    if let Some(path) = &config.network_namespace {
        let namespace = File::open(path)?;
        use std::os::fd::AsFd;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    for (name, value) in &config.sysctls {
        set(name, value).map_err(|error| io::Error::other(format!("sysctl {name}={value}: {error}")))?;
    }
    let held = directory.join("ns");
    fs::create_dir_all(&held)?;
    hold("/proc/thread-self/ns/uts", &held.join("uts"))?;
    if !config.host_ipc {
        hold("/proc/thread-self/ns/ipc", &held.join("ipc"))?;
    }
    if config.share_process_namespace {
        let mut command = Command::new("/proc/self/exe");
        command.arg(PAUSE).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let first = command.spawn()?;
        fs::write(directory.join(PAUSE_PID), first.id().to_string())?;
        hold(&format!("/proc/{}/ns/pid", first.id()), &held.join("pid"))?;
    }
    Ok(())
}

fn hold(namespace: &str, file: &Path) -> io::Result<()> {
    File::create(file)?;
    Ok(mount_bind(namespace, file)?)
}

fn set(name: &str, value: &str) -> io::Result<()> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-/".contains(letter);
    if !name.chars().all(allowed) || name.contains("..") || name.starts_with('/') {
        return Err(io::Error::other("the name is not valid"));
    }
    fs::write(Path::new("/proc/sys").join(name.replace('.', "/")), value)
}

/// Is process 1 of a shared process namespace until it is killed.
pub(crate) fn pause() -> io::Result<()> {
    let _ = rustix::process::setsid();
    #[expect(unsafe_code, reason = "no safe wrapper ignores a signal")]
    // SAFETY: ignoring SIGCHLD installs no handler; the kernel then reaps orphans by itself.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    loop {
        #[expect(unsafe_code, reason = "no safe wrapper waits for any signal")]
        // SAFETY: pause(2) has no arguments and no effect on memory.
        unsafe {
            libc::pause();
        }
    }
}
