//! Things that are made beside their destination and moved there when they are whole.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{openat, renameat_with, unlinkat, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// A name in a directory, unlinked unless it is moved to its destination.
#[derive(Debug)]
pub struct Draft<'a> {
    directory: BorrowedFd<'a>,
    name: CString,
    is_moved: bool,
}

const PREFIX: &str = ".instavm-draft-";

/// Whether a name is one that drafts have.
pub fn is_draft(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

impl<'a> Draft<'a> {
    /// Makes something under a name that nobody has; `make` answers `EXIST` for one that somebody has.
    pub fn make<T>(
        directory: BorrowedFd<'a>,
        make: impl Fn(&CStr) -> Result<T, Errno>,
    ) -> Result<(Self, T), Errno> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{}-{number}", std::process::id());
            let name = CString::new(name).map_err(|_| Errno::INVAL)?;
            match make(&name) {
                Ok(made) => {
                    let draft = Self {
                        directory,
                        name,
                        is_moved: false,
                    };
                    return Ok((draft, made));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// An empty file that only its owner may read.
    pub fn file(directory: &'a impl AsFd) -> Result<(Self, OwnedFd), Errno> {
        let directory = directory.as_fd();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Self::make(directory, |name| {
            openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
        })
    }

    /// Its name for now.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// Moves it to its name in the same directory.
    pub fn move_to(mut self, name: &CStr, flags: RenameFlags) -> Result<(), Errno> {
        renameat_with(self.directory, &self.name, self.directory, name, flags)?;
        self.is_moved = true;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.is_moved {
            // Nothing to be done when it cannot be removed.
            let _ = unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}
