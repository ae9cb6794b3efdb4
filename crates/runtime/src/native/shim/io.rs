//! Small things around descriptors that the jobs share.
//!
//! Read next: `supervise.rs`, `exec.rs`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, Uid, fchown, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Makes reads and writes return at once.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Lets a descriptor through the next exec; returns its number there.
pub(crate) fn let_through_exec(fd: BorrowedFd<'_>) -> io::Result<i32> {
    let flags = fcntl_getfd(fd)?;
    fcntl_setfd(fd, flags - FdFlags::CLOEXEC)?;
    Ok(fd.as_raw_fd())
}

/// Gives a container's user the pipes that are his streams: by a name (`/dev/stdout`) only their owner can
/// open them. What is no pipe belongs to others too and stays as it is.
pub(crate) fn give_pipes(description: &Path, user: &str, streams: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(description)?)?;
    let uid = value.pointer(user).and_then(serde_json::Value::as_u64).and_then(|uid| u32::try_from(uid).ok());
    let Some(uid) = uid.filter(|uid| *uid != 0) else { return Ok(()) };
    for stream in streams {
        if FileType::from_raw_mode(fstat(stream)?.st_mode) == FileType::Fifo {
            fchown(stream, Some(Uid::from_raw(uid)), None)?;
        }
    }
    Ok(())
}

/// What one read gave.
pub(crate) enum Read {
    /// So many bytes.
    Some(usize),
    /// Nothing now.
    Later,
    /// Nothing any more.
    End,
}

/// Reads without waiting. A terminal whose other side is gone says EIO: that is its end.
pub(crate) fn read_now<Fd: AsFd>(fd: Fd, buffer: &mut [u8]) -> Read {
    match rustix::io::read(fd, buffer) {
        Ok(0) => Read::End,
        Ok(count) => Read::Some(count),
        Err(Errno::AGAIN | Errno::INTR) => Read::Later,
        Err(_) => Read::End,
    }
}

/// Writes all of it, waiting as long as it takes.
pub(crate) fn write_all<Fd: AsFd>(fd: Fd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for the terminal that libcontainer sends over a console socket.
pub(crate) fn receive_terminal<Fd: AsFd>(connection: Fd) -> io::Result<OwnedFd> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0u8; 256];
    let mut buffers = [io::IoSliceMut::new(&mut name)];
    recvmsg(connection, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(terminal) = descriptors.next()
        {
            return Ok(terminal);
        }
    }
    Err(io::Error::other("no terminal came over the console socket"))
}

/// Binds a socket whose path may be long: by its name in the directory, which becomes the current one.
pub(crate) fn listen_in(directory: &Path, name: &str) -> io::Result<std::os::unix::net::UnixListener> {
    std::env::set_current_dir(directory)?;
    let _ = std::fs::remove_file(name);
    std::os::unix::net::UnixListener::bind(name)
}

/// Reaps any child that is over, without waiting. libcontainer makes children that announce their end with
/// no signal, which an ordinary wait does not see: hence `__WALL`.
pub(crate) fn reap_any() -> rustix::io::Result<Option<(rustix::process::Pid, rustix::process::WaitStatus)>> {
    const WALL: u32 = 0x4000_0000;
    let options = rustix::process::WaitOptions::from_bits_retain(WALL) | rustix::process::WaitOptions::NOHANG;
    rustix::process::wait(options)
}

/// Lets go of the program text, constants and relocations that only starting needed; what is still used is
/// mapped again when touched. Only mappings that are never written, so nothing can be lost: executable ones,
/// and the read-only beginnings of files. What follows a file's text may have been relocated, and is left.
pub(crate) fn release_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let is_unwritten =
        |line: &&str| line.contains(" /") && (line.contains(" r-xp ") || line.contains(" r--p 00000000 "));
    for line in maps.lines().filter(is_unwritten) {
        let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-')) else {
            continue;
        };
        let bounds = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16));
        let (Ok(from), Ok(to)) = bounds else { continue };
        #[expect(unsafe_code, reason = "no safe wrapper gives back mapped files")]
        // SAFETY: the range is a private, never written mapping of a file; dropping its pages changes no
        // content, they are read from the file again when touched.
        unsafe {
            libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED);
        }
    }
}
