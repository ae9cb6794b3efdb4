//! Linux capabilities by name: the default set, and what this machine lets us give.
//!
//! Read next: `plan.rs` (who asks), capabilities(7).

use std::fs;

/// Every capability, at the place of its number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has if nothing else is said; containerd's set.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The number of `SYS_RESOURCE`, which lowering the out-of-memory preference needs.
const SYS_RESOURCE: u32 = 24;

/// What this process may do and give.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// The bounding set: no child can have more.
    pub(crate) bounding: u64,
    /// It may lower the out-of-memory preference.
    pub(crate) sys_resource: bool,
}

/// Reads what this process may do.
pub(crate) fn own() -> std::io::Result<Own> {
    let status = fs::read_to_string("/proc/self/status")?;
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok()).unwrap_or(0)
    };
    Ok(Own { bounding: set("CapBnd:"), sys_resource: set("CapEff:") & (1 << SYS_RESOURCE) != 0 })
}

/// The set of a container, as `CAP_…` names.
pub(crate) fn names(
    bounding: u64,
    privileged: bool,
    add: &[String],
    drop: &[String],
) -> Result<Vec<String>, String> {
    let add = numbers(add)?;
    let drop = numbers(drop)?;
    let all = (1u64 << NAMES.len()) - 1;
    let default = DEFAULT.iter().filter_map(|name| number(name)).fold(0, |set, bit| set | 1u64 << bit);
    // As containerd does: ALL is added or dropped first, then single names.
    let set = if privileged { all } else { ((default & !drop) | add) & !(drop & !all_mark(drop)) };
    let set = set & bounding;
    let chosen = NAMES.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
    Ok(chosen.map(|(_, name)| format!("CAP_{name}")).collect())
}

/// All bits when the set is ALL, so that what is added by name survives `drop: [ALL]`.
fn all_mark(set: u64) -> u64 {
    let all = (1u64 << NAMES.len()) - 1;
    if set == all { all } else { 0 }
}

fn numbers(names: &[String]) -> Result<u64, String> {
    let mut set = 0;
    for name in names {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            return Ok((1u64 << NAMES.len()) - 1);
        }
        let bit = number(upper.strip_prefix("CAP_").unwrap_or(&upper));
        set |= 1u64 << bit.ok_or_else(|| format!("unknown capability {name:?}"))?;
    }
    Ok(set)
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Vec<String> {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        names(u64::MAX, false, &owned(add), &owned(drop)).unwrap()
    }

    #[test]
    fn what_is_added_by_name_survives_dropping_all() {
        assert_eq!(set(&["NET_ADMIN"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert!(set(&[], &["ALL"]).is_empty());
        assert_eq!(set(&[], &[]).len(), 14);
        assert!(!set(&[], &["CAP_MKNOD"]).contains(&"CAP_MKNOD".to_owned()));
        assert_eq!(set(&["ALL"], &["MKNOD"]).len(), 40);
    }

    #[test]
    fn nothing_is_given_that_the_machine_does_not_allow() {
        assert_eq!(names(1, true, &[], &[]).unwrap(), ["CAP_CHOWN"]);
        assert!(names(u64::MAX, false, &["NONSENSE".to_owned()], &[]).is_err());
    }
}
