//! Sockets that the launcher makes for VM processes, in their directories.

use crate::refusal::Refusal;
use rustix::fs::{unlinkat, AtFlags};
use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::net::{
    bind, listen, socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where the fork library of a VM process listens, in its directory.
pub const FORK_SOCKET_NAME: &str = "fork.sock";

/// Hosts connect one at a time; a launcher's workers wait for their turn to fork.
const BACKLOG: i32 = 16;

/// A socket of that name that listens. Its number is above those that VM processes inherit.
pub fn listen_in(
    directory: BorrowedFd<'_>,
    name: &str,
    kind: SocketType,
) -> Result<OwnedFd, Refusal> {
    let make = || {
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &address(directory, name)?)?;
        if let Err(error) = listen(&socket, BACKLOG) {
            let _ = unlinkat(directory, name, AtFlags::empty());
            return Err(error);
        }
        fcntl_dupfd_cloexec(&socket, crate::spawn::FIRST_OWN_FD)
    };
    make().map_err(|error: Errno| Refusal::os(name, error))
}

/// A name in an open directory, however long the directory's path is.
pub fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/{name}",
        directory.as_fd().as_raw_fd()
    ))
}
