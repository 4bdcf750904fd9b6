//! What a start does before its process exists: copies and sockets made, files opened. Can take long; runs on a worker.

use crate::clone_file::clone_file;
use crate::listen::{listen_in, FORK_SOCKET_NAME};
use crate::made_files::MadeFiles;
use crate::refusal::Refusal;
use crate::roots::Roots;
use crate::validate::{ListenerPlan, StartPlan, FORK_FD};
use rustix::fs::{fstat, ftruncate, openat, Mode, OFlags};
use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::net::SocketType;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where a VM process's stdout and stderr go, in its directory.
pub const LOG_NAME: &str = "vm.log";
/// A guest that can make its VM process talk must not fill the disk.
const LOG_LIMIT_BYTES: i64 = 1024 * 1024;

/// A start that only lacks its process. Dropped, it removes the files that it made.
pub struct Prepared {
    /// As it was asked for.
    pub plan: StartPlan,
    /// The VM's directory, and what was made there.
    pub made: MadeFiles,
    /// Number in the VM process and the open file, whose own number here is above 63.
    pub inherited: Vec<(i32, OwnedFd)>,
    /// For stdout and stderr.
    pub log: OwnedFd,
}

impl Prepared {
    /// Makes the copies and opens the files of a plan; on failure nothing is left behind.
    pub fn make(plan: StartPlan, roots: &Roots) -> Result<Self, Refusal> {
        let directory = roots.open_vm_directory(&plan.vm_id)?;
        let log = open_new_log(directory.as_fd())?;
        let mut prepared = Self {
            plan,
            made: MadeFiles::new(directory),
            inherited: Vec::new(),
            log,
        };
        for (from, to_name) in std::mem::take(&mut prepared.plan.clones) {
            let source = roots.open_file(&from, false)?;
            prepared.copy(&source, &to_name)?;
        }
        for file in &prepared.plan.inherited {
            let opened = roots.open_file(&file.path, file.writable)?;
            let above = fcntl_dupfd_cloexec(&opened, crate::spawn::FIRST_OWN_FD)
                .map_err(|error| Refusal::os(&file.path, error))?;
            prepared.inherited.push((file.fd, above));
        }
        for ListenerPlan { fd, name } in std::mem::take(&mut prepared.plan.listeners) {
            prepared.listen(fd, &name, SocketType::STREAM)?;
        }
        if prepared.plan.forkable {
            prepared.listen(FORK_FD, FORK_SOCKET_NAME, SocketType::SEQPACKET)?;
        }
        Ok(prepared)
    }

    fn copy(&mut self, source: &OwnedFd, to_name: &str) -> Result<(), Refusal> {
        let refusal = |error| Refusal::os(to_name, error);
        let target = self.made.create(to_name).map_err(refusal)?;
        clone_file(source.as_fd(), target.as_fd()).map_err(refusal)
    }

    fn listen(&mut self, fd: i32, name: &str, kind: SocketType) -> Result<(), Refusal> {
        let socket = listen_in(self.made.directory(), name, kind)?;
        self.made.note(name);
        self.inherited.push((fd, socket));
        Ok(())
    }
}

/// The log of a VM that is about to start.
pub fn open_new_log(directory: BorrowedFd<'_>) -> Result<OwnedFd, Refusal> {
    open_log(directory, OFlags::CREATE).map_err(|error| Refusal::os(LOG_NAME, error))
}

fn open_log(directory: BorrowedFd<'_>, how: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC
        | how;
    openat(directory, LOG_NAME, flags, Mode::RUSR | Mode::WUSR)
}

/// Empties a VM's log that grew too long; its writer appends, so it goes on from the start.
pub fn bound_log(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let log = open_log(directory, OFlags::empty())?;
    if fstat(&log)?.st_size > LOG_LIMIT_BYTES {
        ftruncate(&log, 0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;

    #[test]
    fn a_log_that_grew_too_long_is_emptied_and_its_writer_goes_on_from_the_start() {
        let path =
            std::env::temp_dir().join(format!("instavm-launcher-vm-log-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let directory = File::open(&path).unwrap();
        let mut writer = File::from(open_log(directory.as_fd(), OFlags::CREATE).unwrap());
        writer.write_all(&[b'x'; 2 << 20]).unwrap();
        bound_log(directory.as_fd()).unwrap();
        writer.write_all(b"next").unwrap();
        bound_log(directory.as_fd()).unwrap();
        let text = fs::read_to_string(path.join(LOG_NAME)).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(text, "next");
    }
}
