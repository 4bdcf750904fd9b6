//! What happens below a directory, from inotify. Watches, paths and events are bounded; what is beyond is told as such.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{
    add_watch, init, remove_watch, CreateFlags, ReadFlags, Reader, WatchFlags,
};
use rustix::io::Errno;

use super::draft::is_draft;
use super::work::Work;
use crate::failure::{CallError, CallResult};
use crate::proto::{FileEvent, FileEventKind};

/// Directories of one call that are watched.
const MAX_DIRECTORIES: usize = 4096;
/// Of their paths together, and of the paths of one batch of events, in bytes.
const MAX_PATH_BYTES: usize = 1024 * 1024;
/// Events of one batch.
const MAX_EVENTS: usize = 4096;
/// A batch of the kernel's events: at most 2048 of them fit.
const BUFFER_BYTES: usize = 32 * 1024;
const ENOUGH_EVENTS: usize = 1024;

/// Watches one directory, with or without those below, or one file.
#[derive(Debug)]
pub struct Watcher {
    inotify: OwnedFd,
    root: PathBuf,
    root_watch: i32,
    is_recursive: bool,
    /// Paths relative to the root; empty for itself.
    paths: HashMap<i32, Vec<u8>>,
    path_bytes: usize,
    has_ended: bool,
}

/// An event of the kernel.
struct Raw {
    watch: i32,
    what: ReadFlags,
    cookie: u32,
    name: Option<Vec<u8>>,
}

/// Something that was moved away and has not arrived yet.
struct Moving {
    cookie: u32,
    path: Vec<u8>,
    is_directory: bool,
}

/// What one look has found.
#[derive(Debug, Default)]
pub struct Batch {
    /// In their order.
    pub events: Vec<FileEvent>,
    /// Nothing was left to be read.
    pub is_all: bool,
    last: HashMap<Vec<u8>, FileEventKind>,
    path_bytes: usize,
    has_overflowed: bool,
}

impl Watcher {
    /// Watches from now on.
    pub fn new(work: &Work, is_recursive: bool) -> CallResult<Self> {
        let root = fs::canonicalize(work.path()).map_err(|error| work.failed(error))?;
        let is_directory = root.is_dir();
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|error| work.failed(error))?;
        let root_watch =
            add_watch(&inotify, &root, what(is_directory)).map_err(|error| work.failed(error))?;
        let mut watcher = Self {
            inotify,
            root,
            root_watch,
            is_recursive: is_recursive && is_directory,
            paths: HashMap::from([(root_watch, Vec::new())]),
            path_bytes: 0,
            has_ended: false,
        };
        let mut found = Batch::default();
        if watcher.is_recursive {
            watcher.add_below(Vec::new(), (&mut found, false), || work.go_on())?;
        }
        if !found.events.is_empty() {
            return Err(CallError::limit(format!(
                "watch {}: more than {MAX_DIRECTORIES} directories are below it, or some cannot be opened; watch fewer at once",
                work.path().display()
            )));
        }
        Ok(watcher)
    }

    /// Becomes readable when something has happened.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.inotify.try_clone()
    }

    /// What was watched is gone.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What has happened since the last look.
    pub fn look(&mut self) -> CallResult<Batch> {
        let mut batch = Batch::default();
        let (raw, is_all) = self
            .read()
            .map_err(|error| CallError::system("read what happened to files", error))?;
        batch.is_all = is_all;
        let mut moving = None;
        for event in raw {
            self.take(event, &mut batch, &mut moving)?;
        }
        self.settle(&mut moving, &mut batch);
        Ok(batch)
    }

    fn read(&self) -> Result<(Vec<Raw>, bool), Errno> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut found = Vec::new();
        loop {
            if found.len() >= ENOUGH_EVENTS && reader.is_buffer_empty() {
                return Ok((found, false));
            }
            match reader.next() {
                Ok(event) => found.push(Raw {
                    watch: event.wd(),
                    what: event.events(),
                    cookie: event.cookie(),
                    name: event.file_name().map(|name| name.to_bytes().to_vec()),
                }),
                Err(Errno::AGAIN) => return Ok((found, true)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(
        &mut self,
        event: Raw,
        batch: &mut Batch,
        moving: &mut Option<Moving>,
    ) -> CallResult<()> {
        let Raw {
            watch,
            what,
            cookie,
            name,
        } = event;
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            batch.overflow();
            // Directories may have come unseen.
            if self.is_recursive {
                self.add_below(Vec::new(), (batch, false), || Ok(()))?;
            }
            return Ok(());
        }
        if what.contains(ReadFlags::IGNORED) {
            self.has_ended |= watch == self.root_watch;
            self.forget_watch(watch);
            return Ok(());
        }
        let Some(directory) = self.paths.get(&watch) else {
            return Ok(());
        };
        let Some(name) = name else {
            if watch == self.root_watch {
                self.take_own(what, batch);
            }
            return Ok(());
        };
        if is_draft(&name) {
            // What the agent itself is writing is nobody's until it has its name.
            return Ok(());
        }
        let path = joined(directory, &name);
        let is_directory = what.contains(ReadFlags::ISDIR);
        let of = |kind| event_of(kind, path.clone(), is_directory);
        if what.contains(ReadFlags::MOVED_FROM) {
            self.settle(moving, batch);
            *moving = Some(Moving {
                cookie,
                path,
                is_directory,
            });
        } else if what.contains(ReadFlags::MOVED_TO) {
            match moving.take_if(|moving| moving.cookie == cookie) {
                Some(from) => {
                    self.rename(&from.path, &path);
                    batch.push(FileEvent {
                        from_path: from.path,
                        ..of(FileEventKind::Moved)
                    });
                }
                None => self.arrived(path, is_directory, batch)?,
            }
        } else if what.contains(ReadFlags::CREATE) {
            self.arrived(path, is_directory, batch)?;
        } else if what.contains(ReadFlags::DELETE) {
            batch.push(of(FileEventKind::Removed));
            self.forget_below(&path);
        } else if what.contains(ReadFlags::MODIFY) {
            batch.push(of(FileEventKind::Modified));
        } else if what.contains(ReadFlags::ATTRIB) {
            batch.push(of(FileEventKind::Attributes));
        }
        Ok(())
    }

    /// What happened to the root itself. Others are told by the directory above them.
    fn take_own(&mut self, what: ReadFlags, batch: &mut Batch) {
        let of = |kind| event_of(kind, Vec::new(), what.contains(ReadFlags::ISDIR));
        if what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            batch.push(of(FileEventKind::Removed));
            self.has_ended = true;
        } else if what.contains(ReadFlags::MODIFY) {
            batch.push(of(FileEventKind::Modified));
        } else if what.contains(ReadFlags::ATTRIB) {
            batch.push(of(FileEventKind::Attributes));
        }
    }

    fn arrived(&mut self, path: Vec<u8>, is_directory: bool, batch: &mut Batch) -> CallResult<()> {
        batch.push(event_of(FileEventKind::Created, path.clone(), is_directory));
        if is_directory && self.is_recursive {
            self.add_below(path, (batch, true), || Ok(()))?;
        }
        Ok(())
    }

    /// What went away and did not arrive is gone.
    fn settle(&mut self, moving: &mut Option<Moving>, batch: &mut Batch) {
        if let Some(gone) = moving.take() {
            self.forget_below(&gone.path);
            batch.push(event_of(
                FileEventKind::Removed,
                gone.path,
                gone.is_directory,
            ));
        }
    }

    /// Watches a directory and those below; when `announces`, what they hold already is told as new.
    fn add_below(
        &mut self,
        path: Vec<u8>,
        (batch, announces): (&mut Batch, bool),
        go_on: impl Fn() -> CallResult<()>,
    ) -> CallResult<()> {
        let mut left = vec![path];
        while let Some(path) = left.pop() {
            go_on()?;
            match self.add(&path) {
                Ok(()) => {}
                // Gone, or no directory any more.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(_) => {
                    batch.push(event_of(FileEventKind::Unwatched, path, true));
                    continue;
                }
            }
            let Ok(entries) = fs::read_dir(self.absolute(&path)) else {
                continue;
            };
            for entry in entries.flatten() {
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if !announces && !is_directory {
                    continue;
                }
                let below = joined(&path, entry.file_name().as_bytes());
                if announces {
                    batch.push(event_of(
                        FileEventKind::Created,
                        below.clone(),
                        is_directory,
                    ));
                }
                if is_directory && left.len() < MAX_DIRECTORIES {
                    left.push(below);
                } else if is_directory {
                    batch.push(event_of(FileEventKind::Unwatched, below, true));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &[u8]) -> Result<(), Errno> {
        let is_full =
            self.paths.len() >= MAX_DIRECTORIES || self.path_bytes + path.len() > MAX_PATH_BYTES;
        if is_full && !self.paths.values().any(|known| known == path) {
            return Err(Errno::NOSPC);
        }
        if path.is_empty() {
            return Ok(());
        }
        let flags = what(true) | WatchFlags::DONT_FOLLOW;
        let watch = add_watch(&self.inotify, self.absolute(path), flags)?;
        self.path_bytes += path.len();
        if let Some(before) = self.paths.insert(watch, path.to_vec()) {
            self.path_bytes -= before.len();
        }
        Ok(())
    }

    fn absolute(&self, path: &[u8]) -> PathBuf {
        self.root.join(Path::new(std::ffi::OsStr::from_bytes(path)))
    }

    /// The kernel's watches follow what they watch; their paths here follow, too.
    fn rename(&mut self, from: &[u8], to: &[u8]) {
        for path in self.paths.values_mut() {
            if let Some(rest) = below(path, from) {
                let renamed = [to, rest].concat();
                self.path_bytes = self.path_bytes + renamed.len() - path.len();
                *path = renamed;
            }
        }
    }

    fn forget_below(&mut self, path: &[u8]) {
        let gone = self
            .paths
            .iter()
            .filter(|(_, known)| below(known, path).is_some());
        let gone: Vec<i32> = gone.map(|(&watch, _)| watch).collect();
        for watch in gone {
            self.forget_watch(watch);
            // The kernel has done it already for what was removed.
            let _ = remove_watch(&self.inotify, watch);
        }
    }

    fn forget_watch(&mut self, watch: i32) {
        if let Some(path) = self.paths.remove(&watch) {
            self.path_bytes -= path.len();
        }
    }
}

fn what(is_directory: bool) -> WatchFlags {
    let own =
        WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    if !is_directory {
        return own;
    }
    own | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVE
        | WatchFlags::ONLYDIR
        | WatchFlags::EXCL_UNLINK
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

/// What follows `parent` in the path of it or of something below it.
fn below<'a>(path: &'a [u8], parent: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(parent)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// An event about one path.
pub fn event_of(kind: FileEventKind, path: Vec<u8>, is_directory: bool) -> FileEvent {
    FileEvent {
        kind: kind.into(),
        path,
        from_path: Vec::new(),
        is_directory,
    }
}

impl Batch {
    /// Adds an event, unless an earlier one says it already.
    fn push(&mut self, event: FileEvent) {
        use FileEventKind::{Attributes, Created, Modified};
        if self.has_overflowed {
            return;
        }
        let kind = event.kind();
        let is_told = matches!(
            (self.last.get(&event.path), kind),
            (Some(Created), Created)
                | (Some(Created | Modified), Modified)
                | (Some(Created | Modified | Attributes), Attributes)
        );
        if is_told {
            return;
        }
        self.path_bytes += event.path.len() + event.from_path.len();
        if self.events.len() >= MAX_EVENTS || self.path_bytes > MAX_PATH_BYTES {
            self.overflow();
            return;
        }
        self.last.remove(&event.from_path);
        self.last.insert(event.path.clone(), kind);
        self.events.push(event);
    }

    fn overflow(&mut self) {
        self.has_overflowed = true;
        self.last.clear();
        self.events = vec![event_of(FileEventKind::Overflow, Vec::new(), false)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FileEventKind::{Attributes, Created, Modified, Overflow, Removed};

    fn kinds(pushed: &[(FileEventKind, &str)]) -> Vec<FileEventKind> {
        let mut batch = Batch::default();
        for (kind, path) in pushed {
            batch.push(event_of(*kind, path.as_bytes().to_vec(), false));
        }
        batch.events.iter().map(FileEvent::kind).collect()
    }

    #[test]
    fn changes_that_follow_each_other_are_one_event() {
        let written = [
            (Created, "a"),
            (Modified, "a"),
            (Modified, "a"),
            (Attributes, "a"),
        ];
        assert_eq!(kinds(&written), [Created]);
        let changed = [
            (Modified, "a"),
            (Attributes, "b"),
            (Attributes, "b"),
            (Modified, "a"),
        ];
        assert_eq!(kinds(&changed), [Modified, Attributes]);
        let replaced = [
            (Modified, "a"),
            (Removed, "a"),
            (Created, "a"),
            (Modified, "a"),
        ];
        assert_eq!(kinds(&replaced), [Modified, Removed, Created]);
    }

    #[test]
    fn more_events_than_are_kept_are_one_overflow() {
        let names: Vec<String> = (0..=MAX_EVENTS).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (Created, name.as_str())).collect();
        assert_eq!(kinds(&many), [Overflow]);
        assert_eq!(kinds(&many[1..]).len(), MAX_EVENTS);
        let long = "x".repeat(4000);
        let names: Vec<String> = (0..300).map(|number| format!("{long}{number}")).collect();
        let long: Vec<_> = names.iter().map(|name| (Created, name.as_str())).collect();
        assert_eq!(kinds(&long), [Overflow]);
    }

    #[test]
    fn a_path_is_below_its_parents_only() {
        assert_eq!(below(b"a/b", b"a"), Some(&b"/b"[..]));
        assert_eq!(below(b"a", b"a"), Some(&b""[..]));
        assert_eq!(below(b"ab", b"a"), None);
    }
}
