//! Removing files and trees, without ever following a link.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{fstat, unlinkat, AtFlags, Dir};
use rustix::io::Errno;

use super::work::{is_dots, open_to_read, Work};
use crate::failure::{CallError, CallResult};

/// A program that fills a directory while it is emptied is not followed for ever.
const MAX_ROUNDS: usize = 16;

/// Counts what it removes.
#[derive(Debug)]
pub struct Removal<'a> {
    work: &'a Work,
    /// Files, directories and links so far.
    pub entries: u64,
}

impl<'a> Removal<'a> {
    /// Nothing yet.
    pub fn new(work: &'a Work) -> Self {
        Self { work, entries: 0 }
    }

    /// Removes one name, which is no directory or an empty one.
    pub fn single(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> CallResult<()> {
        let removed = match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => unlinkat(parent, name, AtFlags::REMOVEDIR),
            result => result,
        };
        removed.map_err(|error| self.work.failed(error))?;
        self.entries += 1;
        Ok(())
    }

    /// Removes one name and everything below it.
    pub fn tree(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> CallResult<()> {
        let root = open_to_read(parent, name);
        let device = match root {
            Ok(root) => fstat(root).map_err(|error| self.work.failed(error))?.st_dev,
            Err(_) => 0,
        };
        self.remove(parent, name, (device, 1))
    }

    fn remove(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        (device, depth): (u64, usize),
    ) -> CallResult<()> {
        self.work.go_on()?;
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) => {
                self.entries += 1;
                return Ok(());
            }
            Err(Errno::ISDIR) => {}
            // Gone by itself, which the root of the removal must not be.
            Err(Errno::NOENT) if depth > 1 => return Ok(()),
            Err(error) => return Err(self.work.failed_at(name, error)),
        }
        self.work.check_depth(depth)?;
        for _ in 0..MAX_ROUNDS {
            self.empty(parent, name, (device, depth))?;
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    self.entries += 1;
                    return Ok(());
                }
                // Something came while it was read.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(Errno::NOENT) if depth > 1 => return Ok(()),
                Err(error) => return Err(self.work.failed_at(name, error)),
            }
        }
        Err(self.work.failed_at(name, Errno::NOTEMPTY))
    }

    fn empty(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        (device, depth): (u64, usize),
    ) -> CallResult<()> {
        let fail = |work: &Work, error: Errno| work.failed_at(name, error);
        let directory = open_to_read(parent, name).map_err(|error| fail(self.work, error))?;
        let stat = fstat(&directory).map_err(|error| fail(self.work, error))?;
        if stat.st_dev != device {
            return Err(CallError::invalid(format!(
                "remove {}: another file system is mounted below it",
                self.work.path().display()
            )));
        }
        let entries = Dir::read_from(&directory).map_err(|error| fail(self.work, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| fail(self.work, error))?;
            if !is_dots(entry.file_name()) {
                self.remove(directory.as_fd(), entry.file_name(), (device, depth + 1))?;
            }
        }
        Ok(())
    }
}
