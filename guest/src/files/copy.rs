//! Copying a tree with its modes, owners and times: what a move from one file system to another is made of.

use std::ffi::CStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    chownat, fchmod, fstat, futimens, mkdirat, openat, readlinkat, statat, symlinkat, AtFlags, Dir,
    FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use super::work::{is_dots, open_to_read, Work};
use crate::failure::{CallError, CallResult};
use crate::scratch;

/// A name in a directory.
pub type Place<'a> = (BorrowedFd<'a>, &'a CStr);

/// Copies what is at one place to another, where nothing is.
pub fn tree(work: &Work, from: Place<'_>, to: Place<'_>) -> CallResult<()> {
    copy(work, from, (to, 1))
}

fn copy(work: &Work, from: Place<'_>, (to, depth): (Place<'_>, usize)) -> CallResult<()> {
    work.go_on()?;
    let fail = |error: Errno| work.failed_at(from.1, error);
    let stat = statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => file(work, from, to),
        FileType::Symlink => {
            let target = readlinkat(from.0, from.1, Vec::new()).map_err(fail)?;
            symlinkat(&target, to.0, to.1).map_err(fail)?;
            let (uid, gid) = owner(&stat);
            chownat(to.0, to.1, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)
        }
        FileType::Directory => {
            work.check_depth(depth)?;
            let source = open_to_read(from.0, from.1).map_err(fail)?;
            mkdirat(to.0, to.1, Mode::RWXU).map_err(fail)?;
            let copied = open_to_read(to.0, to.1).map_err(fail)?;
            for entry in Dir::read_from(&source).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let name = entry.file_name();
                if !is_dots(name) {
                    let to = ((copied.as_fd(), name), depth + 1);
                    copy(work, (source.as_fd(), name), to)?;
                }
            }
            adorn(&copied, &stat).map_err(fail)
        }
        _ => Err(CallError::invalid(format!(
            "move {}: a pipe, socket or device below it cannot go to another file system",
            work.path().display()
        ))),
    }
}

fn file(work: &Work, from: Place<'_>, to: Place<'_>) -> CallResult<()> {
    let fail = |error: Errno| work.failed_at(from.1, error);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut source = File::from(openat(from.0, from.1, flags, Mode::empty()).map_err(fail)?);
    let stat = fstat(&source).map_err(fail)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut copied = File::from(openat(to.0, to.1, flags, Mode::RUSR | Mode::WUSR).map_err(fail)?);
    loop {
        work.go_on()?;
        let count = scratch::with(|buffer| {
            let count = source.read(buffer)?;
            copied.write_all(&buffer[..count])?;
            Ok::<_, std::io::Error>(count)
        });
        match count {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(work.failed_at(from.1, error)),
        }
    }
    adorn(&copied, &stat).map_err(fail)
}

/// Owner, mode and times. The owner goes first: it takes the set-user bits away.
fn adorn(file: impl AsFd, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(&file, uid, gid)?;
    fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(&file, &times)
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )
}
