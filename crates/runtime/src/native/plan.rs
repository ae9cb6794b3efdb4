//! A container's OCI configuration, as a pure function of what was asked for and what the image says.
//!
//! Nothing here touches the machine: what must be looked up (the user, the allowed capabilities, whether
//! the out-of-memory preference may be lowered) is handed in.
//!
//! Read next: `user.rs`, `containers.rs` (who writes the result as `config.json`), `shim/create.rs` (who runs
//! it).

use std::path::Path;

use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};

use super::capabilities;
use super::devices::Device;
use super::user::Identity;
use crate::api::{ContainerConfig, Propagation, Resources, SandboxConfig};

/// What a container's configuration is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) container: &'a ContainerConfig,
    pub(crate) image: &'a ImageConfiguration,
    pub(crate) sandbox: &'a SandboxConfig,
    pub(crate) sandbox_directory: &'a Path,
    pub(crate) identity: &'a Identity,
    pub(crate) cgroup: &'a str,
    /// Bits of the capabilities this machine lets us give.
    pub(crate) bounding: u64,
    /// The machine's own devices, for those who may use all of them.
    pub(crate) devices: &'a [Device],
    /// The preference the runtime itself has, below which it may not go; `None` if it may.
    pub(crate) oom_floor: Option<i32>,
}

/// `PATH` where neither image nor pod gives one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Paths that would show or change the machine; the list of containerd and CRI-O.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that may be read only.
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The command line: the pod's, over the image's.
pub(crate) fn command_line(container: &ContainerConfig, image: &ImageConfiguration) -> Vec<String> {
    let of_image = image.config().as_ref();
    let mut line = container.command.clone();
    let mut args = container.args.clone();
    if line.is_empty() {
        line = of_image.and_then(|config| config.entrypoint().clone()).unwrap_or_default();
        if args.is_empty() {
            args = of_image.and_then(|config| config.cmd().clone()).unwrap_or_default();
        }
    }
    line.append(&mut args);
    line
}

/// The working directory.
pub(crate) fn working_directory(container: &ContainerConfig, image: &ImageConfiguration) -> String {
    let of_image = || image.config().as_ref().and_then(|config| config.working_dir().clone());
    let given = container.working_dir.clone().filter(|directory| !directory.is_empty());
    given.or_else(of_image).filter(|directory| directory.starts_with('/')).unwrap_or_else(|| "/".to_owned())
}

/// The environment: the image's, then the pod's over it, with what every container has.
pub(crate) fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        variables.retain(|(present, _)| present != name);
        variables.push((name.to_owned(), value.to_owned()));
    };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", &inputs.sandbox.hostname);
    if inputs.container.tty {
        set("TERM", "xterm");
    }
    let of_image = inputs.image.config().as_ref().and_then(|config| config.env().clone());
    for entry in of_image.unwrap_or_default() {
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        set(name, value);
    }
    for (name, value) in &inputs.container.env {
        set(name, value);
    }
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The number of the signal that stops a container.
pub(crate) fn stop_signal(container: &ContainerConfig, image: &ImageConfiguration) -> Result<i32, String> {
    let of_image = || image.config().as_ref().and_then(|config| config.stop_signal().clone());
    let Some(name) = container.stop_signal.clone().or_else(of_image).filter(|name| !name.is_empty()) else {
        return Ok(15);
    };
    signal_number(&name).ok_or_else(|| format!("the stop signal {name:?} is not known"))
}

fn signal_number(name: &str) -> Option<i32> {
    const NAMES: &[&str] = &[
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? };
        return (34..=64).contains(&(34 + offset)).then_some(34 + offset);
    }
    let index = NAMES.iter().position(|known| *known == bare)?;
    i32::try_from(index + 1).ok()
}

/// The `config.json` of a container.
pub(crate) fn configuration(inputs: &Inputs<'_>) -> Result<Value, String> {
    let args = command_line(inputs.container, inputs.image);
    if args.is_empty() {
        return Err("no command specified".to_owned());
    }
    let security = &inputs.container.security;
    let capabilities = capabilities::names(
        inputs.bounding,
        security.privileged,
        &security.capabilities_add,
        &security.capabilities_drop,
    )?;
    let mut process = json!({
        "terminal": inputs.container.tty,
        "user": {"uid": inputs.identity.uid, "gid": inputs.identity.gid,
                 "additionalGids": inputs.identity.groups},
        "args": args,
        "env": environment(inputs),
        "cwd": working_directory(inputs.container, inputs.image),
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        "noNewPrivileges": security.no_new_privileges,
    });
    if let Some(wanted) = inputs.container.resources.oom_score_adj {
        process["oomScoreAdj"] = json!(inputs.oom_floor.map_or(wanted, |floor| wanted.max(floor)));
    }
    let (masked, readonly): (&[&str], &[&str]) =
        if security.privileged { (&[], &[]) } else { (MASKED, READONLY) };
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": "rootfs", "readonly": security.readonly_root},
        "hostname": inputs.sandbox.hostname,
        "mounts": mounts(inputs),
        "linux": {
            "namespaces": namespaces(inputs.sandbox, inputs.sandbox_directory),
            "devices": if security.privileged { devices(inputs.devices) } else { json!([]) },
            "resources": resources(&inputs.container.resources, security.privileged),
            "cgroupsPath": inputs.cgroup,
            "maskedPaths": masked,
            "readonlyPaths": readonly,
        },
    }))
}

fn devices(devices: &[Device]) -> Value {
    let describe = |device: &Device| {
        json!({"path": device.path, "type": if device.is_block { "b" } else { "c" },
               "major": device.major, "minor": device.minor, "fileMode": device.mode,
               "uid": device.uid, "gid": device.gid})
    };
    devices.iter().map(describe).collect()
}

fn namespaces(sandbox: &SandboxConfig, directory: &Path) -> Value {
    let held = |name: &str| directory.join("ns").join(name);
    let mut list = vec![json!({"type": "mount"}), json!({"type": "uts", "path": held("uts")})];
    if !sandbox.host_ipc {
        list.push(json!({"type": "ipc", "path": held("ipc")}));
    }
    if let Some(path) = &sandbox.network_namespace {
        list.push(json!({"type": "network", "path": path}));
    }
    if sandbox.share_process_namespace {
        list.push(json!({"type": "pid", "path": held("pid")}));
    } else if !sandbox.host_pid {
        list.push(json!({"type": "pid"}));
    }
    Value::Array(list)
}

fn mounts(inputs: &Inputs<'_>) -> Value {
    let sys = if inputs.container.security.privileged { "rw" } else { "ro" };
    let shm = inputs.sandbox_directory.join("shm");
    let standard = [
        json!({"destination": "/proc", "type": "proc", "source": "proc",
               "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
               "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
               "options": ["nosuid", "noexec", "nodev", sys]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
               "options": ["nosuid", "noexec", "nodev", "relatime", sys]}),
        json!({"destination": "/dev/shm", "type": "bind", "source": shm, "options": ["rbind", "rw"]}),
    ];
    let asked = &inputs.container.mounts;
    let taken =
        |mount: &Value| asked.iter().any(|given| mount["destination"] == given.container_path.as_str());
    let mut list: Vec<Value> = standard.into_iter().filter(|mount| !taken(mount)).collect();
    list.extend(asked.iter().map(|mount| {
        let access = if mount.readonly { "ro" } else { "rw" };
        let propagation = match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        json!({"destination": mount.container_path, "type": "bind", "source": mount.host_path,
               "options": ["rbind", propagation, access]})
    }));
    Value::Array(list)
}

fn resources(resources: &Resources, privileged: bool) -> Value {
    let mut value = json!({});
    if let Some(bytes) = resources.memory_limit_bytes {
        value["memory"] = json!({"limit": bytes});
    }
    let mut cpu = serde_json::Map::new();
    if let Some(shares) = resources.cpu_shares {
        cpu.insert("shares".to_owned(), json!(shares));
    }
    if let Some(quota) = resources.cpu_quota_us {
        cpu.insert("quota".to_owned(), json!(quota));
        cpu.insert("period".to_owned(), json!(resources.cpu_period_us.unwrap_or(100_000)));
    }
    if !cpu.is_empty() {
        value["cpu"] = Value::Object(cpu);
    }
    if let Some(limit) = resources.pids_limit {
        value["pids"] = json!({"limit": limit});
    }
    if privileged {
        value["devices"] = json!([{"allow": true, "access": "rwm"}]);
    } else {
        value["devices"] = json!([{"allow": false, "access": "rwm"}]);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_image_are_dropped_when_the_pod_gives_a_command() {
        let image: ImageConfiguration = serde_json::from_value(json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Entrypoint": ["entry"], "Cmd": ["arg"], "WorkingDir": "/data"}, "history": [],
        }))
        .unwrap();
        let mut container = super::super::testing::container();
        assert_eq!(command_line(&container, &image), ["entry", "arg"]);
        container.args = vec!["mine".to_owned()];
        assert_eq!(command_line(&container, &image), ["entry", "mine"]);
        container.command = vec!["own".to_owned()];
        container.args.clear();
        assert_eq!(command_line(&container, &image), ["own"]);
        assert_eq!(working_directory(&container, &image), "/data");
    }

    #[test]
    fn signals_are_known_by_name_and_number() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("int"), Some(2));
        assert_eq!(signal_number("SIGRTMIN+3"), Some(37));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("SIGNOTHING"), None);
    }
}
