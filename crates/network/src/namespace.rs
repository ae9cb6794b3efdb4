//! Network namespaces: make one, enter one, remove one.
//!
//! A namespace is kept alive by a bind mount on a file, as `ip netns` does. Entering happens on a thread of
//! its own that ends afterwards: it must never happen on a thread that others use.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Makes a namespace at `path`, or leaves the one that is there.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    if is_namespace(path) {
        return Ok(());
    }
    File::create(path)?;
    let path = path.to_owned();
    on_own_thread(move || {
        // SAFETY: this thread was made for this call and ends after it. It shares no file table with anybody
        // who could see a half-changed one, since only the network namespace is unshared.
        #[expect(unsafe_code, reason = "unshare has no safe form")]
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        mount_bind("/proc/thread-self/ns/net", &path)?;
        Ok(())
    })
}

/// Removes the namespace at `path`; none there is no error. It ends when its last process does.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // A killed run may have mounted twice.
    while is_namespace(path) {
        unmount(path, UnmountFlags::DETACH)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Runs `work` inside the namespace at `path`, on a thread of its own.
pub(crate) fn inside<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let namespace = File::open(path)?;
    on_own_thread(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    })
}

/// True when `path` is a mounted namespace and not just the file that one was or will be mounted on.
pub(crate) fn is_namespace(path: &Path) -> bool {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(NSFS_MAGIC))
}

fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(work)?;
    thread.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))?
}
