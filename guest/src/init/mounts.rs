//! The kernel's file systems.

use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{mount, mount_remount, MountFlags};

use super::{BootError, Step};
use crate::log;

struct Mount {
    kind: &'static str,
    at: &'static str,
    flags: MountFlags,
    data: &'static CStr,
}

const NO_SUID: MountFlags = MountFlags::NOSUID;
const CLOSED: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// In this order.
const SYSTEM: &[Mount] = &[
    Mount {
        kind: "proc",
        at: "/proc",
        flags: CLOSED,
        data: c"",
    },
    Mount {
        kind: "sysfs",
        at: "/sys",
        flags: CLOSED,
        data: c"",
    },
    Mount {
        kind: "cgroup2",
        at: "/sys/fs/cgroup",
        flags: CLOSED,
        data: c"",
    },
    Mount {
        kind: "devtmpfs",
        at: "/dev",
        flags: NO_SUID,
        data: c"mode=0755",
    },
    Mount {
        kind: "devpts",
        at: "/dev/pts",
        flags: NO_SUID.union(MountFlags::NOEXEC),
        data: c"mode=0620,gid=5,ptmxmode=0666",
    },
    Mount {
        kind: "tmpfs",
        at: "/dev/shm",
        flags: NO_SUID.union(MountFlags::NODEV),
        data: c"mode=1777",
    },
    Mount {
        kind: "tmpfs",
        at: "/run",
        flags: NO_SUID.union(MountFlags::NODEV),
        data: c"mode=0755,size=20%",
    },
];

const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// What is needed before there is a root: devices.
pub fn early() -> Result<(), BootError> {
    fs::create_dir_all("/dev").step("make /dev")?;
    match mount("devtmpfs", "/dev", "devtmpfs", NO_SUID, c"mode=0755") {
        // The kernel may have mounted it.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(error).step("mount devtmpfs on /dev"),
    }
}

/// What programs expect to find.
pub fn system() -> Result<(), BootError> {
    for Mount {
        kind,
        at,
        flags,
        data,
    } in SYSTEM
    {
        fs::create_dir_all(at).step(format_args!("make {at}"))?;
        mount(*kind, *at, *kind, *flags, *data).step(format_args!("mount {kind} on {at}"))?;
    }
    // devtmpfs takes a size only now. Files in /dev that fill the memory are nobody's to end.
    if let Err(error) = mount_remount("/dev", NO_SUID, c"mode=0755,size=1m,nr_inodes=4096") {
        log::warn(format_args!("limit the size of /dev: {error}"));
    }
    for (target, link) in LINKS {
        if Path::new(link).symlink_metadata().is_ok() {
            // devtmpfs outlives the RAM disk, and a kernel brings its own /dev/ptmx.
            let _ = fs::remove_file(link);
        }
        if let Err(error) = symlink(target, link) {
            log::warn(format_args!("link {link} to {target}: {error}"));
        }
    }
    Ok(())
}
