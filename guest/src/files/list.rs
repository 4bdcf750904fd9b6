//! One page of a directory, sorted. However many names there are, only those of the page are held.

use std::collections::BinaryHeap;

use rustix::fs::{openat, Dir, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::describe;
use super::owner::Names;
use super::work::{is_dots, Work};
use crate::failure::CallResult;
use crate::proto::FileEntry;

/// Most entries of a page.
pub const MAX_PAGE: usize = 1000;
/// A page also ends there: links may be long.
const PAGE_BYTES: usize = 256 * 1024;
const MAX_ATTEMPTS: usize = 8;

/// The first `limit` names after `after`, and whether there may be more.
pub fn page(work: &Work, after: &[u8], limit: usize) -> CallResult<(Vec<FileEntry>, bool)> {
    // A page of names that are all gone by now would look like the end.
    for _ in 1..MAX_ATTEMPTS {
        let (entries, has_more) = one_look(work, after, limit)?;
        if !(entries.is_empty() && has_more) {
            return Ok((entries, has_more));
        }
    }
    one_look(work, after, limit)
}

fn one_look(work: &Work, after: &[u8], limit: usize) -> CallResult<(Vec<FileEntry>, bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match openat(CWD, work.path(), flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOTDIR) if work.path().exists() => {
            return Err(work.refused("not a directory, expected one"))
        }
        Err(error) => return Err(work.failed(error)),
    };
    let (names, mut has_more) = first_names(work, &directory, after, limit)?;
    let owners = Names::load();
    let mut entries = Vec::with_capacity(names.len());
    let mut bytes = 0;
    for name in names {
        work.go_on()?;
        if bytes > PAGE_BYTES {
            has_more = true;
            break;
        }
        match describe::in_directory(&directory, &name, &owners) {
            Ok(entry) => {
                bytes += entry.name.len() + entry.link_target.len();
                entries.push(entry);
            }
            // Gone meanwhile.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(work.failed(error)),
        }
    }
    Ok((entries, has_more))
}

fn first_names(
    work: &Work,
    directory: &std::os::fd::OwnedFd,
    after: &[u8],
    limit: usize,
) -> CallResult<(Vec<Vec<u8>>, bool)> {
    let mut smallest: BinaryHeap<Vec<u8>> = BinaryHeap::with_capacity(limit + 1);
    let mut has_more = false;
    for entry in Dir::read_from(directory).map_err(|error| work.failed(error))? {
        work.go_on()?;
        let entry = entry.map_err(|error| work.failed(error))?;
        let name = entry.file_name();
        if is_dots(name) || name.to_bytes() <= after {
            continue;
        }
        if smallest.len() < limit {
            smallest.push(name.to_bytes().to_vec());
            continue;
        }
        has_more = true;
        if smallest
            .peek()
            .is_some_and(|greatest| name.to_bytes() < &greatest[..])
        {
            smallest.pop();
            smallest.push(name.to_bytes().to_vec());
        }
    }
    Ok((smallest.into_sorted_vec(), has_more))
}
