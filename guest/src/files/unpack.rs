//! A tar archive, unpacked below a directory and nowhere else: the kernel itself refuses a way that leaves it
//! (`RESOLVE_BENEATH`), whatever links a program makes meanwhile.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    chownat, fchmod, futimens, linkat, mkdirat, openat2, renameat, symlinkat, unlinkat, AtFlags,
    Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps,
};
use rustix::io::Errno;

use super::draft::Draft;
use super::owner::Owner;
use super::tar::{Bytes, Header, Kind, Reader};
use super::work::{open_to_read, Work};
use crate::failure::{CallError, CallResult};
use crate::proto::TreeWritten;

const PARENT_MODE: u32 = 0o755;
const MAX_NAME_BYTES: usize = 4095;
/// How often a way is looked up again that changed while it was.
const MAX_LOOKS: usize = 32;

/// What is to be made of an archive.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Cancels, and names the directory.
    pub work: &'a Work,
    /// The directory.
    pub root: OwnedFd,
    /// Of everything, unless the archive's numbers are taken.
    pub owner: Owner,
    /// The archive's numbers are taken.
    pub keep_owners: bool,
    /// Of all content; 0 = none.
    pub limit_bytes: u64,
}

/// Unpacks and counts.
#[derive(Debug)]
pub struct Unpacking<'a> {
    plan: Plan<'a>,
    done: TreeWritten,
    /// The directory of the last entry: the next one is often in it, too.
    last_parent: Option<(Vec<u8>, OwnedFd)>,
}

/// Where an entry goes.
struct Place {
    parent: Vec<u8>,
    name: CString,
}

impl<'a> Unpacking<'a> {
    /// Nothing yet.
    pub fn new(plan: Plan<'a>) -> Self {
        Self {
            plan,
            done: TreeWritten::default(),
            last_parent: None,
        }
    }

    /// Unpacks everything.
    pub fn run<B: Bytes>(mut self, source: B) -> CallResult<TreeWritten> {
        let mut reader = Reader::new(source);
        while let Some(header) = reader.next_entry()? {
            self.plan.work.go_on()?;
            self.entry(&header, &mut reader)?;
        }
        Ok(self.done)
    }

    fn entry<B: Bytes>(&mut self, header: &Header, reader: &mut Reader<B>) -> CallResult<()> {
        if header.kind == Kind::Other {
            self.done.skipped += 1;
            return Ok(());
        }
        let Some(place) = self.place(&header.name)? else {
            // The directory itself, which is there.
            if header.kind == Kind::Directory {
                return Ok(());
            }
            return Err(self.refused(&header.name, "it has no name"));
        };
        let owner = self.owner(header)?;
        let parent = self.parent(&place.parent, owner)?;
        let made = match header.kind {
            Kind::File => self.file((&parent, &place.name), (header, owner), reader),
            Kind::Directory => self.directory((&parent, &place), (header, owner)),
            Kind::Symlink => self.symlink((&parent, &place.name), (header, owner)),
            Kind::HardLink | Kind::Other => self.hard_link((&parent, &place.name), header),
        };
        self.last_parent = Some((place.parent, parent));
        made?;
        self.done.entries += 1;
        Ok(())
    }

    fn owner(&self, header: &Header) -> CallResult<Owner> {
        if !self.plan.keep_owners {
            return Ok(self.plan.owner);
        }
        let id = |number: u64| {
            let id = u32::try_from(number).ok().filter(|&id| id != u32::MAX);
            id.ok_or_else(|| self.refused(&header.name, "its owner is no user's number"))
        };
        Ok(Owner {
            uid: Some(id(header.uid)?),
            gid: Some(id(header.gid)?),
        })
    }

    /// Checks a name of the archive; `None` for the directory itself.
    fn place(&self, name: &[u8]) -> CallResult<Option<Place>> {
        if name.len() > MAX_NAME_BYTES || name.contains(&0) {
            return Err(self.refused(name, "it is too long, or holds a NUL byte"));
        }
        if name.starts_with(b"/") {
            return Err(self.refused(name, "it is absolute, and would leave the directory"));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(self.refused(name, "it would leave the directory by \"..\"")),
                part => parts.push(part),
            }
        }
        let Some(last) = parts.pop() else {
            return Ok(None);
        };
        let last = CString::new(last).map_err(|_| self.refused(name, "it holds a NUL byte"))?;
        Ok(Some(Place {
            parent: parts.join(&b'/'),
            name: last,
        }))
    }

    fn refused(&self, name: &[u8], why: &str) -> CallError {
        let name = Path::new(OsStr::from_bytes(name)).display().to_string();
        let name = crate::failure::shortened(name, 1024);
        self.plan
            .work
            .refused(format_args!("the entry {name:?} is refused: {why}"))
    }

    fn failed(&self, name: &CStr, error: Errno) -> CallError {
        match error {
            Errno::ISDIR | Errno::NOTDIR | Errno::EXIST | Errno::NOTEMPTY => {
                let name = Path::new(OsStr::from_bytes(name.to_bytes()));
                CallError::conflict(format!(
                    "unpack {}: something else is where {} goes",
                    self.plan.work.path().display(),
                    name.display()
                ))
            }
            error => self.plan.work.failed_at(name, error),
        }
    }

    /// Opens a directory below the root; no link leads out.
    fn beneath(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MAX_LOOKS {
            match openat2(&self.plan.root, path, flags, Mode::empty(), resolve) {
                // The kernel could not be sure, because something was moved meanwhile.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The directory of an entry, made where it is missing.
    fn parent(&mut self, path: &[u8], owner: Owner) -> CallResult<OwnedFd> {
        if let Some((last, directory)) = self.last_parent.take() {
            if last == path {
                return Ok(directory);
            }
        }
        match self.beneath(path) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(|error| self.no_parent(path, error)),
        }
        let mut directory = self
            .beneath(b"")
            .map_err(|error| self.no_parent(path, error))?;
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, &byte)| byte == b'/')
            .map(|(at, _)| at);
        let mut start = 0;
        for end in ends.chain([path.len()]) {
            directory = match self.beneath(&path[..end]) {
                Err(Errno::NOENT) => {
                    let name = CString::new(&path[start..end])
                        .map_err(|_| self.no_parent(path, Errno::INVAL))?;
                    self.new_directory(&directory, &name, (PARENT_MODE, owner))
                        .map_err(|error| self.no_parent(path, error))?
                }
                result => result.map_err(|error| self.no_parent(path, error))?,
            };
            start = end + 1;
        }
        Ok(directory)
    }

    fn no_parent(&self, path: &[u8], error: Errno) -> CallError {
        match error {
            Errno::XDEV | Errno::LOOP => {
                self.refused(path, "it would leave the directory over a link")
            }
            Errno::NOTDIR => CallError::conflict(format!(
                "unpack {}: {} is no directory",
                self.plan.work.path().display(),
                Path::new(OsStr::from_bytes(path)).display()
            )),
            error => self.plan.work.failed(error),
        }
    }

    fn new_directory(
        &self,
        parent: &OwnedFd,
        name: &CStr,
        (mode, owner): (u32, Owner),
    ) -> Result<OwnedFd, Errno> {
        mkdirat(parent, name, Mode::RWXU)?;
        let directory = open_to_read(parent, name)?;
        owner.take(&directory)?;
        fchmod(&directory, Mode::from_raw_mode(mode))?;
        Ok(directory)
    }

    /// One that is there already stays as it is.
    fn directory(
        &self,
        (parent, place): (&OwnedFd, &Place),
        (header, owner): (&Header, Owner),
    ) -> CallResult<()> {
        match self.new_directory(parent, &place.name, (header.mode, owner)) {
            Err(Errno::EXIST) => {
                let separator: &[u8] = if place.parent.is_empty() { b"" } else { b"/" };
                let path = [&place.parent[..], separator, place.name.to_bytes()].concat();
                self.beneath(&path)
                    .map(drop)
                    .map_err(|error| self.no_parent(&path, error))
            }
            made => made
                .map(drop)
                .map_err(|error| self.failed(&place.name, error)),
        }
    }

    fn file<B: Bytes>(
        &mut self,
        (parent, name): (&OwnedFd, &CStr),
        (header, owner): (&Header, Owner),
        reader: &mut Reader<B>,
    ) -> CallResult<()> {
        self.done.bytes = self.done.bytes.saturating_add(header.size);
        if self.plan.limit_bytes > 0 && self.done.bytes > self.plan.limit_bytes {
            return Err(CallError::limit(format!(
                "the files of the archive are larger than the limit of {} bytes",
                self.plan.limit_bytes
            )));
        }
        let (draft, file) = Draft::file(parent).map_err(|error| self.failed(name, error))?;
        let mut file = File::from(file);
        loop {
            let piece = reader.content()?;
            if piece.is_empty() {
                break;
            }
            file.write_all(piece)
                .map_err(|error| self.plan.work.failed_at(name, error))?;
        }
        let adorned = owner
            .take(file.as_fd())
            .and_then(|()| fchmod(&file, Mode::from_raw_mode(header.mode)))
            .and_then(|()| futimens(&file, &times(header)));
        adorned.map_err(|error| self.failed(name, error))?;
        draft
            .move_to(name, RenameFlags::empty())
            .map_err(|error| self.failed(name, error))
    }

    fn symlink(
        &self,
        (parent, name): (&OwnedFd, &CStr),
        (header, owner): (&Header, Owner),
    ) -> CallResult<()> {
        let made = Draft::make(parent.as_fd(), |draft| {
            symlinkat(&header.link[..], parent, draft)
        });
        let (draft, ()) = made.map_err(|error| self.failed(name, error))?;
        if !owner.is_none() {
            chownat(
                parent,
                draft.name(),
                owner.user(),
                owner.group(),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|error| self.failed(name, error))?;
        }
        draft
            .move_to(name, RenameFlags::empty())
            .map_err(|error| self.failed(name, error))
    }

    fn hard_link(&self, (parent, name): (&OwnedFd, &CStr), header: &Header) -> CallResult<()> {
        let Some(source) = self.place(&header.link)? else {
            return Err(self.refused(&header.link, "it is no file to link to"));
        };
        let directory = self
            .beneath(&source.parent)
            .map_err(|error| self.no_parent(&source.parent, error))?;
        let made = Draft::make(parent.as_fd(), |draft| {
            linkat(&directory, &source.name, parent, draft, AtFlags::empty())
        });
        let (draft, ()) = made.map_err(|error| self.failed(name, error))?;
        let draft_name = draft.name().to_owned();
        let moved = renameat(parent, &draft_name, parent, name);
        // Where both were the same file already, the move did nothing.
        let _ = unlinkat(parent, &draft_name, AtFlags::empty());
        moved.map_err(|error| self.failed(name, error))
    }
}

fn times(header: &Header) -> Timestamps {
    let time = Timespec {
        tv_sec: header.modified_s,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
