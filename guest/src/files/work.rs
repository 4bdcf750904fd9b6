//! One piece of work on files, on a thread that may block: where it starts, when it stops, what it says when it fails.

use std::ffi::{CStr, CString, OsStr};
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{openat, Mode, OFlags, CWD};
use rustix::io::Errno;
use tokio::task::spawn_blocking;

use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::link::stream::Call;

/// Directories inside each other that are walked through.
pub const MAX_DEPTH: usize = 512;
const MAX_PATH_BYTES: usize = 4095;

/// The absolute path of a request.
pub fn resolve(agent: &Agent, path: &[u8]) -> CallResult<PathBuf> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES || path.contains(&0) {
        return Err(CallError::invalid(format!(
            "a path of {} bytes, expected 1 to {MAX_PATH_BYTES} bytes and no NUL byte among them",
            path.len()
        )));
    }
    Ok(Path::new(&agent.image.workdir).join(OsStr::from_bytes(path)))
}

/// Does `work` on a thread that may block.
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> CallResult<T> + Send + 'static,
) -> CallResult<T> {
    spawn_blocking(work)
        .await
        .map_err(|error| CallError::internal(format!("work on files: {error}")))?
}

/// What the steps of one call have in common.
#[derive(Clone, Debug)]
pub struct Work {
    call: Arc<Call>,
    verb: &'static str,
    path: PathBuf,
}

impl Work {
    /// Work on `path`; `verb` is for messages.
    pub fn new(call: &Arc<Call>, verb: &'static str, path: PathBuf) -> Self {
        Self {
            call: call.clone(),
            verb,
            path,
        }
    }

    /// The path of the request.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails when the host has cancelled the call.
    pub fn go_on(&self) -> CallResult<()> {
        if self.call.cancelled().is_set() {
            return Err(CallError::cancelled());
        }
        Ok(())
    }

    /// An error of the system about the path itself.
    pub fn failed(&self, error: impl Into<std::io::Error>) -> CallError {
        CallError::system(format_args!("{} {}", self.verb, self.path.display()), error)
    }

    /// An error of the system about something below the path.
    pub fn failed_at(&self, name: &CStr, error: impl Into<std::io::Error>) -> CallError {
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        let (path, name) = (self.path.display(), name.display());
        CallError::system(format_args!("{} {path}: {name}", self.verb), error)
    }

    /// A refusal.
    pub fn refused(&self, why: impl Display) -> CallError {
        CallError::invalid(format!("{} {}: {why}", self.verb, self.path.display()))
    }

    /// Fails when directories are too deep inside each other.
    pub fn check_depth(&self, depth: usize) -> CallResult<()> {
        if depth > MAX_DEPTH {
            return Err(CallError::limit(format!(
                "{} {}: more than {MAX_DEPTH} directories inside each other",
                self.verb,
                self.path.display()
            )));
        }
        Ok(())
    }
}

/// The directory that holds what a path names, and its name in there. Links on the way are followed, the last is not.
pub fn parent_of(path: &Path) -> Result<(OwnedFd, CString), Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok((open_directory(CWD, parent)?, name))
}

/// A directory, to find things in.
pub fn open_directory(
    at: impl std::os::fd::AsFd,
    path: impl rustix::path::Arg,
) -> Result<OwnedFd, Errno> {
    openat(
        at,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// A directory that is no link, to be read.
pub fn open_to_read(at: impl std::os::fd::AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(
        at,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Whether it is the directory itself or the one above.
pub fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
