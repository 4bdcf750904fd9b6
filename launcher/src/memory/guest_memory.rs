//! The memory of a VM process: where it is, which pages are its own, and their bytes.

use super::PAGE_BYTES;
use crate::process_file::ProcessName;
use crate::refusal::Refusal;
use crate::roots::Roots;
use rustix::fs::fstat;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// More than a QEMU's list of mappings ever is.
const MAPS_BYTES: u64 = 4 * 1024 * 1024;
const ENTRY_BYTES: usize = 8;
/// A page is in memory, and in swap, as a bit of its pagemap entry; and that it is a file's or shared.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// Pages that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Counted from the start of the guest's memory.
    pub first: usize,
    /// At least one.
    pub count: usize,
}

/// A piece of the guest's memory in the process's address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    address: u64,
    /// In the guest's memory.
    offset: u64,
    bytes: u64,
}

/// The guest memory of one process, mapped from one file.
pub struct GuestMemory {
    base: File,
    memory: File,
    pagemap: File,
    pieces: Vec<Piece>,
    bytes: u64,
}

impl GuestMemory {
    /// Refuses a process that has not the whole file mapped, privately and for writing.
    pub fn open(name: ProcessName, roots: &Roots, base_path: &str) -> Result<Self, Refusal> {
        let base = File::from(roots.open_file(base_path, false)?);
        let failed = |error| Refusal::os(&format!("the memory of process {}", name.pid), error);
        let status = fstat(&base).map_err(|error| failed(error.into()))?;
        let bytes = u64::try_from(status.st_size).unwrap_or(0);
        // As the kernel shows it in the list of mappings, whatever the caller calls it.
        let path = fs::read_link(format!("/proc/self/fd/{}", base.as_raw_fd())).map_err(failed)?;
        let proc = format!("/proc/{}", name.pid);
        let memory = (File::options().read(true).write(true))
            .open(format!("{proc}/mem"))
            .map_err(failed)?;
        let pagemap = File::open(format!("{proc}/pagemap")).map_err(failed)?;
        let maps = read_text(&format!("{proc}/maps")).map_err(failed)?;
        // All three are of the process that was meant: a pid that changed hands has another start time now.
        if ProcessName::of(name.pid).map_err(failed)? != name {
            return Err(failed(io::Error::from_raw_os_error(libc::ESRCH)));
        }
        let pieces = pieces_of(&maps, &path.to_string_lossy(), status.st_ino);
        if bytes == 0 || !covers(&pieces, bytes) {
            return Err(Refusal::invalid(format!(
                "process {} has not all of {base_path:?} mapped as memory of its own; expected the file that it was started with",
                name.pid
            )));
        }
        Ok(Self {
            base,
            memory,
            pagemap,
            pieces,
            bytes,
        })
    }

    /// Of the guest's memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Pages that are the process's own, in their order, in runs of at most `limit`.
    pub fn own_pages(&self, limit: usize) -> io::Result<Vec<Run>> {
        let mut runs = Vec::new();
        let mut entries = vec![0; 64 * 1024 * ENTRY_BYTES];
        for piece in &self.pieces {
            let (first, count) = (pages(piece.offset), pages(piece.bytes));
            let mut done = 0;
            while done < count {
                let wanted = (count - done).min(entries.len() / ENTRY_BYTES);
                let block = &mut entries[..wanted * ENTRY_BYTES];
                let at = (pages(piece.address) + done) * ENTRY_BYTES;
                self.pagemap.read_exact_at(block, at as u64)?;
                for (index, entry) in block.chunks_exact(ENTRY_BYTES).enumerate() {
                    let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                    if is_own(entry) {
                        append(&mut runs, first + done + index, limit);
                    }
                }
                done += wanted;
            }
        }
        Ok(runs)
    }

    /// The bytes of pages as the guest has them.
    pub fn read(&self, first: usize, into: &mut [u8]) -> io::Result<()> {
        self.each_part(first, into.len(), |address, part| {
            self.memory.read_exact_at(&mut into[part], address)
        })
    }

    /// The bytes of the same pages in the file.
    pub fn read_base(&self, first: usize, into: &mut [u8]) -> io::Result<()> {
        self.base.read_exact_at(into, (first * PAGE_BYTES) as u64)
    }

    /// Gives pages other bytes.
    pub fn write(&self, first: usize, from: &[u8]) -> io::Result<()> {
        self.each_part(first, from.len(), |address, part| {
            self.memory.write_all_at(&from[part], address)
        })
    }

    /// A range of the guest's memory can lie in several pieces of the address space.
    fn each_part(
        &self,
        first: usize,
        length: usize,
        mut act: impl FnMut(u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let start = (first * PAGE_BYTES) as u64;
        let end = start + length as u64;
        for piece in &self.pieces {
            let (from, to) = (start.max(piece.offset), end.min(piece.offset + piece.bytes));
            if from < to {
                let part = size(from - start)..size(to - start);
                act(piece.address + (from - piece.offset), part)?;
            }
        }
        Ok(())
    }
}

fn is_own(entry: u64) -> bool {
    entry & SWAPPED != 0 || (entry & PRESENT != 0 && entry & OF_FILE == 0)
}

/// Adds a page to runs that are in order.
pub fn append(runs: &mut Vec<Run>, page: usize, limit: usize) {
    match runs.last_mut() {
        Some(run) if run.first + run.count == page && run.count < limit => run.count += 1,
        _ => runs.push(Run {
            first: page,
            count: 1,
        }),
    }
}

/// Private, writable mappings of the file, by their offset.
fn pieces_of(maps: &str, path: &str, inode: u64) -> Vec<Piece> {
    let mut pieces: Vec<_> = maps
        .lines()
        .filter_map(|line| piece_of(line, path, inode))
        .collect();
    pieces.sort_by_key(|piece| piece.offset);
    pieces
}

/// `7f0000000000-7f0020000000 rw-p 00000000 fe:00 1234      /var/cache/…/mem`, as in proc_pid_maps(5).
fn piece_of(line: &str, path: &str, inode: u64) -> Option<Piece> {
    let (range, rest) = line.split_once(' ')?;
    let (mode, rest) = rest.split_once(' ')?;
    let (offset, rest) = rest.split_once(' ')?;
    let (_device, rest) = rest.split_once(' ')?;
    let (number, name) = rest.split_once(' ')?;
    if mode != "rw-p" || number.parse() != Ok(inode) || name.trim_start() != path {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let address = u64::from_str_radix(start, 16).ok()?;
    Some(Piece {
        address,
        offset: u64::from_str_radix(offset, 16).ok()?,
        bytes: u64::from_str_radix(end, 16).ok()?.checked_sub(address)?,
    })
}

/// Whether the pieces are all of the memory, each byte once.
fn covers(pieces: &[Piece], bytes: u64) -> bool {
    let end = pieces.iter().try_fold(0, |end, piece| {
        (piece.offset == end).then_some(end + piece.bytes)
    });
    end == Some(bytes)
}

fn read_text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAPS_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn pages(bytes: u64) -> usize {
    size(bytes / PAGE_BYTES as u64)
}

/// Addresses and sizes fit on the 64-bit hosts that this is for.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0-55e0 r-xp 00000000 fe:00 77 /usr/bin/qemu
10000-30000 rw-p 00010000 fe:00 42                       /cache/a b/mem
00000-10000 rw-p 00000000 fe:00 42                       /cache/a b/mem
50000-60000 rw-s 00030000 fe:00 42                       /cache/a b/mem
60000-70000 rw-p 00030000 fe:00 43                       /cache/a b/mem
70000-80000 rw-p 00030000 fe:00 42                       /cache/a b/mem (deleted)
80000-90000 rw-p 00000000 00:00 0
";

    #[test]
    fn the_private_mappings_of_the_file_are_found_in_its_order() {
        let piece = |address, offset, bytes| Piece {
            address,
            offset,
            bytes,
        };
        let found = pieces_of(MAPS, "/cache/a b/mem", 42);
        assert_eq!(
            found,
            [piece(0, 0, 0x10000), piece(0x10000, 0x10000, 0x20000)]
        );
        assert!(covers(&found, 0x30000));
    }

    #[test]
    fn a_gap_an_overlap_and_a_rest_are_no_cover() {
        let found = pieces_of(MAPS, "/cache/a b/mem", 42);
        assert!(!covers(&found, 0x40000) && !covers(&found, 0x20000));
        assert!(!covers(&found[1..], 0x30000) && !covers(&[], 0x1000));
        assert!(!covers(&[found[0], found[0]], 0x20000));
    }

    #[test]
    fn a_page_is_own_when_it_is_private_in_memory_or_in_swap() {
        assert!(is_own(PRESENT) && is_own(SWAPPED));
        assert!(!is_own(0) && !is_own(PRESENT | OF_FILE));
    }

    #[test]
    fn pages_that_follow_each_other_are_one_run_up_to_the_limit() {
        let mut runs = Vec::new();
        for page in [3, 4, 5, 9, 10] {
            append(&mut runs, page, 2);
        }
        let run = |first, count| Run { first, count };
        assert_eq!(runs, [run(3, 2), run(5, 1), run(9, 2)]);
    }
}
