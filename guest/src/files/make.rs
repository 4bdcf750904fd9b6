//! Making directories.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::owner::Owner;

const PARENT_MODE: u32 = 0o755;

/// Makes one directory with a mode and an owner.
pub fn directory(path: &Path, mode: u32, owner: Owner) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode & 0o777).create(path)?;
    let directory = File::open(path)?;
    owner.take(&directory)?;
    directory.set_permissions(fs::Permissions::from_mode(mode))
}

/// Makes a directory and those above it that are missing. One that is there already stays as it is.
pub fn with_parents(path: &Path, mode: u32, owner: Owner) -> io::Result<()> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        match fs::metadata(ancestor) {
            Ok(metadata) if metadata.is_dir() => break,
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
            Err(error) => return Err(error),
        }
    }
    let mut modes = std::iter::repeat_n(PARENT_MODE, missing.len().saturating_sub(1)).chain([mode]);
    for ancestor in missing.into_iter().rev() {
        match directory(ancestor, modes.next().unwrap_or(mode), owner) {
            // Somebody else made it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && ancestor.is_dir() => {}
            result => result?,
        }
    }
    Ok(())
}

/// Makes the directories above a file that are missing.
pub fn parents_of(path: &Path, owner: Owner) -> io::Result<()> {
    match path.parent() {
        Some(parent) => with_parents(parent, PARENT_MODE, owner),
        None => Ok(()),
    }
}
