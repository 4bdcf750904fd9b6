//! A file as the host is told of it.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{lstat, readlinkat, stat, AtFlags, FileType as Kind, Stat, CWD};
use rustix::io::Errno;

use super::owner::Names;
use crate::proto::{FileEntry, FileType};

/// Permission bits.
pub const PERMISSION_BITS: u32 = 0o7777;
const NANOSECONDS: i64 = 1_000_000_000;

/// What a path names; of a link itself unless `follow`.
pub fn at_path(path: &Path, follow: bool, names: &Names) -> Result<FileEntry, Errno> {
    let stat = if follow { stat(path)? } else { lstat(path)? };
    let link = if is_link(&stat) {
        readlinkat(CWD, path, Vec::new())?.into_bytes()
    } else {
        Vec::new()
    };
    let name = path.file_name().map_or(&b"/"[..], OsStrExt::as_bytes);
    Ok(entry(name, &stat, link, names))
}

/// A name in a directory; a link itself.
pub fn in_directory(
    directory: impl AsFd + Copy,
    name: &[u8],
    names: &Names,
) -> Result<FileEntry, Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let link = if is_link(&stat) {
        readlinkat(directory, name, Vec::new())?.into_bytes()
    } else {
        Vec::new()
    };
    Ok(entry(name, &stat, link, names))
}

/// An open file.
pub fn entry(name: &[u8], stat: &Stat, link_target: Vec<u8>, names: &Names) -> FileEntry {
    let kind = match Kind::from_raw_mode(stat.st_mode) {
        Kind::RegularFile => FileType::File,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        _ => FileType::Other,
    };
    FileEntry {
        name: name.to_vec(),
        r#type: kind.into(),
        size: stat.st_size.unsigned_abs(),
        mode: stat.st_mode & PERMISSION_BITS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: names.user(stat.st_uid),
        group: names.group(stat.st_gid),
        modified_ns: modified_ns(stat),
        link_target,
    }
}

fn modified_ns(stat: &Stat) -> i64 {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    stat.st_mtime
        .saturating_mul(NANOSECONDS)
        .saturating_add(nanoseconds)
}

/// Whether it is a symbolic link.
pub fn is_link(stat: &Stat) -> bool {
    Kind::from_raw_mode(stat.st_mode) == Kind::Symlink
}

/// Whether it is a directory.
pub fn is_directory(stat: &Stat) -> bool {
    Kind::from_raw_mode(stat.st_mode) == Kind::Directory
}
