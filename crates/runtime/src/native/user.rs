//! Who a container runs as: the image's `USER`, looked up in the image's own files.
//!
//! The files are opened so that no link in the image can lead outside it. This file must never read the
//! machine's own `/etc/passwd`.
//!
//! Read next: `plan.rs` (where the answer goes).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::api::Security;

/// Longest account file that is read; a thousand times an ordinary one.
const ACCOUNTS_BYTES_MAX: u64 = 1024 * 1024;

/// A process's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Reads an account file (`etc/passwd`, `etc/group`) of an image; empty when there is none.
pub(crate) fn read_accounts(root: &Path, inside: &str) -> String {
    let mut text = String::new();
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = openat(CWD, root, directory, Mode::empty()) else { return text };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(file) = openat2(&root, inside, flags, Mode::empty(), resolve) else { return text };
    let file = File::from(file);
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        let _ = file.take(ACCOUNTS_BYTES_MAX).read_to_string(&mut text);
    }
    text
}

/// Works out who runs. `image_user` is the image's `USER`: empty, `name`, `uid`, either with `:group`.
pub(crate) fn resolve(
    image_user: &str,
    security: &Security,
    passwd: &str,
    group: &str,
) -> Result<Identity, String> {
    let (user_part, group_part) = image_user.split_once(':').unwrap_or((image_user, ""));
    let mut identity = Identity::default();
    let mut name = None;
    match security.run_as_user {
        Some(uid) => {
            identity.uid = uid;
            if let Some(account) = accounts(passwd).find(|account| account.uid == uid) {
                identity.gid = account.gid;
                name = Some(account.name);
            }
        }
        None if user_part.is_empty() => {
            name = accounts(passwd).find(|account| account.uid == 0).map(|account| account.name);
        }
        None => {
            match (accounts(passwd).find(|account| account.name == user_part), user_part.parse::<u32>()) {
                (Some(account), _) => {
                    identity = Identity { uid: account.uid, gid: account.gid, groups: Vec::new() };
                    name = Some(account.name);
                }
                (None, Ok(uid)) => {
                    identity.uid = uid;
                    if let Some(account) = accounts(passwd).find(|account| account.uid == uid) {
                        identity.gid = account.gid;
                        name = Some(account.name);
                    }
                }
                (None, Err(_)) => {
                    return Err(format!(
                        "unable to find user {user_part}: no matching entries in passwd file"
                    ));
                }
            }
        }
    }
    if security.run_as_user.is_none() && !group_part.is_empty() {
        identity.gid = match (groups(group).find(|entry| entry.name == group_part), group_part.parse()) {
            (Some(entry), _) => entry.gid,
            (None, Ok(gid)) => gid,
            (None, Err(_)) => {
                return Err(format!("unable to find group {group_part}: no matching entries in group file"));
            }
        };
    }
    if let Some(gid) = security.run_as_group {
        identity.gid = gid;
    }
    if let Some(name) = name {
        let of_user = groups(group).filter(|entry| entry.members.split(',').any(|member| member == name));
        identity.groups.extend(of_user.map(|entry| entry.gid));
    }
    identity.groups.extend(&security.supplemental_groups);
    identity.groups.sort_unstable();
    identity.groups.dedup();
    if security.must_not_be_root && identity.uid == 0 {
        return Err(match security.run_as_user {
            Some(_) => "container's runAsUser breaks non-root policy".to_owned(),
            None => "container has runAsNonRoot and image will run as root".to_owned(),
        });
    }
    Ok(identity)
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Account { name, uid, gid: fields.next()?.parse().ok()? })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nredis:x:999:1000::/data:/bin/false\n";
    const GROUP: &str = "root:x:0:\nredis:x:1000:\nssl:x:101:redis,www\n";

    fn who(user: &str, security: &Security) -> Result<Identity, String> {
        resolve(user, security, PASSWD, GROUP)
    }

    #[test]
    fn a_user_by_name_has_the_ids_and_groups_of_the_image() {
        let found = who("redis", &Security::default()).unwrap();
        assert_eq!(found, Identity { uid: 999, gid: 1000, groups: vec![101] });
        assert_eq!(who("redis:ssl", &Security::default()).unwrap().gid, 101);
        assert_eq!(who("5:6", &Security::default()).unwrap(), Identity { uid: 5, gid: 6, groups: vec![] });
        assert!(who("nobody", &Security::default()).unwrap_err().contains("unable to find user nobody"));
    }

    #[test]
    fn the_pod_overrides_the_image() {
        let security = Security {
            run_as_user: Some(70),
            run_as_group: Some(71),
            supplemental_groups: vec![72],
            ..Security::default()
        };
        assert_eq!(who("redis", &security).unwrap(), Identity { uid: 70, gid: 71, groups: vec![72] });
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let security = Security { must_not_be_root: true, ..Security::default() };
        let refused = who("root", &security).unwrap_err();
        assert_eq!(refused, "container has runAsNonRoot and image will run as root");
        assert!(who("", &security).is_err());
        assert_eq!(who("redis", &security).unwrap().uid, 999);
    }
}
