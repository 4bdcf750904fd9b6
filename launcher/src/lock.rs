//! One launcher per state directory: a lock file that is held for as long as the launcher lives.

use rustix::fs::{flock, fstat, stat, FlockOperation};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The held lock. A launcher that dies in any way gives it up.
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why the lock is not ours.
#[derive(Debug)]
pub enum LockFailure {
    /// The other's pid as it wrote it, for the message.
    Held(String),
    /// The file cannot be made, opened or written.
    Os(io::Error),
}

impl Lock {
    /// Takes the lock or says who holds it.
    pub fn take(path: &Path) -> Result<Self, LockFailure> {
        loop {
            let mut file = open(path).map_err(LockFailure::Os)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(LockFailure::Held(holder(&mut file))),
                Err(error) => return Err(LockFailure::Os(error.into())),
            }
            // A launcher that ended in between removed the file: then this lock guards a name that is gone.
            if is_same_file(&file, path) {
                return write_pid(&file)
                    .map(|()| Self {
                        file,
                        path: path.into(),
                    })
                    .map_err(LockFailure::Os);
            }
        }
    }

    /// Removes the file. The lock itself lasts until the process is gone.
    pub fn remove(&self) {
        if is_same_file(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.take(20).read_to_string(&mut pid) {
        Ok(_) => pid.trim().into(),
        Err(_) => String::new(),
    }
}

fn write_pid(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (fstat(file), stat(path)) {
        (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}
