//! Files that were made for a process that may not come to be.

use rustix::fs::{openat, unlinkat, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A VM's directory, and what was made in it. Dropped, it removes what was not kept.
pub struct MadeFiles {
    directory: OwnedFd,
    names: Vec<String>,
}

impl MadeFiles {
    /// Nothing yet.
    pub fn new(directory: OwnedFd) -> Self {
        Self {
            directory,
            names: Vec::new(),
        }
    }

    /// The directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// A new, empty file.
    pub fn create(&mut self, name: &str) -> Result<OwnedFd, Errno> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        self.note(name);
        Ok(file)
    }

    /// Something else made a file of that name.
    pub fn note(&mut self, name: &str) {
        self.names.push(name.into());
    }

    /// The process runs: its files stay.
    pub fn keep(&mut self) {
        self.names.clear();
    }
}

impl Drop for MadeFiles {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = unlinkat(&self.directory, name, AtFlags::empty());
        }
    }
}
