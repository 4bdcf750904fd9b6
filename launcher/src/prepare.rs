//! What a start does before its process exists: copies made, files opened. Can take long; runs on a worker.

use crate::clone_file::clone_file;
use crate::refusal::Refusal;
use crate::roots::Roots;
use crate::validate::StartPlan;
use rustix::fs::{fstat, ftruncate, openat, unlinkat, AtFlags, Mode, OFlags};
use rustix::io::{fcntl_dupfd_cloexec, Errno};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where a VM process's stdout and stderr go, in its directory.
pub const LOG_NAME: &str = "vm.log";
/// A guest that can make its VM process talk must not fill the disk.
const LOG_LIMIT_BYTES: i64 = 1024 * 1024;

/// A start that only lacks its process. Dropped, it removes the copies that it made.
pub struct Prepared {
    /// As it was asked for.
    pub plan: StartPlan,
    /// The VM's directory.
    pub directory: OwnedFd,
    /// Number in the VM process and the open file, whose own number here is above 63.
    pub inherited: Vec<(i32, OwnedFd)>,
    /// For stdout and stderr.
    pub log: OwnedFd,
    copies: Vec<String>,
}

impl Prepared {
    /// Makes the copies and opens the files of a plan; on failure nothing is left behind.
    pub fn make(plan: StartPlan, roots: &Roots) -> Result<Self, Refusal> {
        let directory = roots.open_vm_directory(&plan.vm_id)?;
        let log = open_log(directory.as_fd(), OFlags::CREATE)
            .map_err(|error| Refusal::os(LOG_NAME, error))?;
        let mut prepared = Self {
            plan,
            directory,
            inherited: Vec::new(),
            log,
            copies: Vec::new(),
        };
        for (from, to_name) in std::mem::take(&mut prepared.plan.clones) {
            let source = roots.open_file(&from, false)?;
            prepared.copy(&source, to_name)?;
        }
        for file in &prepared.plan.inherited {
            let opened = roots.open_file(&file.path, file.writable)?;
            let above = fcntl_dupfd_cloexec(&opened, crate::spawn::FIRST_OWN_FD)
                .map_err(|error| Refusal::os(&file.path, error))?;
            prepared.inherited.push((file.fd, above));
        }
        Ok(prepared)
    }

    /// The process runs: its files stay.
    pub fn keep_copies(&mut self) {
        self.copies.clear();
    }

    fn copy(&mut self, source: &OwnedFd, to_name: String) -> Result<(), Refusal> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let refusal = |error| Refusal::os(&to_name, error);
        let target =
            openat(&self.directory, &to_name, flags, Mode::RUSR | Mode::WUSR).map_err(refusal)?;
        self.copies.push(to_name.clone());
        clone_file(source.as_fd(), target.as_fd()).map_err(refusal)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for name in &self.copies {
            let _ = unlinkat(&self.directory, name, AtFlags::empty());
        }
    }
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
