//! A directory's content, or one file, as a tar archive. Nothing is held of it but the way down to the file that is read.

use std::ffi::CStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    fstat, openat, readlinkat, statat, AtFlags, Dir, FileType, Mode, OFlags, Stat, CWD,
};
use rustix::io::Errno;

use super::describe::PERMISSION_BITS;
use super::tar::{encode, padding_bytes, Header, Kind, BLOCK_BYTES};
use super::work::{is_dots, open_to_read, Work};
use crate::calls::pieces::Sink;
use crate::failure::{CallError, CallResult};
use crate::scratch;

/// Longest name within an archive, in bytes.
const MAX_NAME_BYTES: usize = 16 * 1024;

/// Writes one archive and counts.
#[derive(Debug)]
pub struct Archive<'a> {
    work: &'a Work,
    sink: &'a mut Sink,
    /// Entries that were written.
    pub entries: u64,
    /// What was left out.
    pub skipped: u64,
    device: u64,
}

/// A name in a directory, and its name in the archive.
struct Place<'a> {
    directory: BorrowedFd<'a>,
    name: &'a CStr,
    full: Vec<u8>,
}

impl<'a> Archive<'a> {
    /// Nothing yet.
    pub fn new(work: &'a Work, sink: &'a mut Sink) -> Self {
        Self {
            work,
            sink,
            entries: 0,
            skipped: 0,
            device: 0,
        }
    }

    /// Writes everything, and the end.
    pub fn write(&mut self) -> CallResult<()> {
        let path = self.work.path();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let root =
            openat(CWD, path, flags, Mode::empty()).map_err(|error| self.work.failed(error))?;
        let stat = fstat(&root).map_err(|error| self.work.failed(error))?;
        self.device = stat.st_dev;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(&root, &[], 1)?,
            FileType::RegularFile => {
                let name = path.file_name().map_or(&b"file"[..], OsStrExt::as_bytes);
                self.file(root, &stat, name.to_vec())?;
            }
            _ => {
                return Err(self
                    .work
                    .refused("a pipe, socket or device, expected a directory or a file"))
            }
        }
        self.sink.write(&[0; 2 * BLOCK_BYTES])
    }

    fn directory(&mut self, directory: &OwnedFd, prefix: &[u8], depth: usize) -> CallResult<()> {
        self.work.check_depth(depth)?;
        for entry in Dir::read_from(directory).map_err(|error| self.work.failed(error))? {
            self.work.go_on()?;
            let entry = entry.map_err(|error| self.work.failed(error))?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            let full = [prefix, name.to_bytes()].concat();
            if full.len() > MAX_NAME_BYTES {
                return Err(CallError::limit(format!(
                    "archive {}: a name of {} bytes, expected at most {MAX_NAME_BYTES}",
                    self.work.path().display(),
                    full.len()
                )));
            }
            let place = Place {
                directory: directory.as_fd(),
                name,
                full,
            };
            match self.entry(&place, depth) {
                // Gone, or something else by now.
                Err(Gone::Meanwhile) => self.skipped += 1,
                Err(Gone::Failed(error)) => return Err(error),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn entry(&mut self, place: &Place<'_>, depth: usize) -> Result<(), Gone> {
        let gone = |error: Errno| Gone::of(self.work, place.name, error);
        let stat = statat(place.directory, place.name, AtFlags::SYMLINK_NOFOLLOW).map_err(gone)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file =
                    openat(place.directory, place.name, flags, Mode::empty()).map_err(gone)?;
                let stat = fstat(&file).map_err(gone)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(Gone::Meanwhile);
                }
                Ok(self.file(file, &stat, place.full.clone())?)
            }
            FileType::Symlink => {
                let link = readlinkat(place.directory, place.name, Vec::new()).map_err(gone)?;
                let header = Header {
                    link: link.into_bytes(),
                    ..header(place.full.clone(), Kind::Symlink, &stat)
                };
                Ok(self.header(&header)?)
            }
            FileType::Directory => {
                let directory = open_to_read(place.directory, place.name).map_err(gone)?;
                let stat = fstat(&directory).map_err(gone)?;
                if stat.st_dev != self.device {
                    self.skipped += 1;
                    return Ok(());
                }
                let prefix = [&place.full[..], b"/"].concat();
                self.header(&header(prefix.clone(), Kind::Directory, &stat))?;
                Ok(self.directory(&directory, &prefix, depth + 1)?)
            }
            _ => {
                self.skipped += 1;
                Ok(())
            }
        }
    }

    fn header(&mut self, header: &Header) -> CallResult<()> {
        self.entries += 1;
        self.sink.write(&encode(header))
    }

    /// As many bytes as the header says, whatever happens to the file meanwhile.
    fn file(&mut self, file: OwnedFd, stat: &Stat, name: Vec<u8>) -> CallResult<()> {
        let header = Header {
            size: stat.st_size.unsigned_abs(),
            ..header(name, Kind::File, stat)
        };
        self.header(&header)?;
        let mut file = File::from(file);
        let mut rest = header.size;
        while rest > 0 {
            let count = scratch::with(|buffer| {
                let most = usize::try_from(rest)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                match file.read(&mut buffer[..most]) {
                    Ok(0) => {
                        buffer[..most].fill(0);
                        self.sink.write(&buffer[..most])?;
                        Ok(most)
                    }
                    Ok(count) => {
                        self.sink.write(&buffer[..count])?;
                        Ok(count)
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
                    Err(error) => Err(self.work.failed(error)),
                }
            })?;
            rest -= count as u64;
        }
        self.sink
            .write(&[0; BLOCK_BYTES][..padding_bytes(header.size)])
    }
}

fn header(name: Vec<u8>, kind: Kind, stat: &Stat) -> Header {
    Header {
        name,
        kind,
        mode: stat.st_mode & PERMISSION_BITS,
        uid: stat.st_uid.into(),
        gid: stat.st_gid.into(),
        size: 0,
        modified_s: stat.st_mtime,
        link: Vec::new(),
    }
}

/// Why an entry is not in the archive.
enum Gone {
    Meanwhile,
    Failed(CallError),
}

impl Gone {
    fn of(work: &Work, name: &CStr, error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR => Self::Meanwhile,
            error => Self::Failed(work.failed_at(name, error)),
        }
    }
}

impl From<CallError> for Gone {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}
