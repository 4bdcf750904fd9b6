//! Every descriptor of a process that stands, and what becomes of it in the copy. What is not understood means no fork.

use super::conversation::not_forkable;
use crate::refusal::Refusal;
use instavm_fork_protocol::Operation;
use rustix::fs::{fstat, major, minor, open, readlink, stat, FileType, Mode, OFlags, Stat};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the copy gets in place of the parent's own.
pub struct Replacements<'a> {
    /// A listening socket's number, and the copy's.
    pub listeners: &'a [(i32, OwnedFd)],
    /// Files that are the parent's alone, and the copy's.
    pub files: &'a [(OwnedFd, OwnedFd)],
    /// Where a connection of the parent's leads in the copy.
    pub connection: BorrowedFd<'a>,
    /// There must be exactly one connection.
    pub needs_one_connection: bool,
}

/// What the child is to do, and the descriptors that go along.
#[derive(Default)]
pub struct Steps {
    /// In this order.
    pub operations: Vec<Operation>,
    /// Read-only descriptors that were opened for this.
    opened: Vec<OwnedFd>,
}

/// A descriptor that goes along with the request.
pub enum Passed<'a> {
    /// Somebody else's.
    Lent(BorrowedFd<'a>),
    /// Opened here; its position in `Steps::opened`.
    Opened(usize),
}

/// One process, as /proc shows it.
pub struct Inspection<'a> {
    proc: String,
    /// The connection of the fork library's thread; it closes its copy itself.
    connection_fd: i32,
    replacements: &'a Replacements<'a>,
    mappings: Mappings,
}

impl<'a> Inspection<'a> {
    /// Of a process whose threads all stand.
    pub fn of(
        pid: i32,
        connection_fd: i32,
        replacements: &'a Replacements<'a>,
    ) -> Result<Self, Refusal> {
        let proc = format!("/proc/{pid}");
        let maps = read_text(&format!("{proc}/maps"), MAPS_BYTES)
            .map_err(|error| not_forkable(format!("its memory map: {error}")))?;
        Ok(Self {
            proc,
            connection_fd,
            replacements,
            mappings: Mappings::parse(&maps)?,
        })
    }

    /// The steps for all descriptors; `passed` are the descriptors that already go along.
    pub fn steps<'p>(&self, passed: &mut Vec<Passed<'p>>) -> Result<Steps, Refusal>
    where
        'a: 'p,
    {
        let mut steps = Steps::default();
        let mut watched = Vec::new();
        let mut connections = 0;
        let mut positions = HashMap::new();
        for fd in self.numbers()? {
            match self.become_what(fd)? {
                Fate::Shared => {}
                Fate::Replaced(source) => {
                    let position = *positions.entry(source.key()).or_insert_with(|| {
                        passed.push(source.passed(self.replacements));
                        passed.len() - 1
                    });
                    steps.operations.push(replace(fd, position));
                    connections += usize::from(matches!(source, Source::Connection));
                }
                Fate::ReadOnly(file) => {
                    passed.push(Passed::Opened(steps.opened.len()));
                    steps.opened.push(file);
                    steps.operations.push(replace(fd, passed.len() - 1));
                }
                Fate::Anew(operation, adds) => {
                    steps.operations.push(operation);
                    watched.extend(adds);
                }
            }
        }
        // What an epoll watches must be the copy's own by then.
        steps.operations.extend(watched);
        if self.replacements.needs_one_connection && connections != 1 {
            return Err(not_forkable(format!(
                "{connections} connections, expected one that takes the first input"
            )));
        }
        Ok(steps)
    }

    fn numbers(&self) -> Result<Vec<i32>, Refusal> {
        let failed = |error| not_forkable(format!("its descriptors: {error}"));
        let entries = fs::read_dir(format!("{}/fd", self.proc)).map_err(failed)?;
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
        }
        numbers.retain(|fd| *fd != self.connection_fd);
        Ok(numbers)
    }

    fn become_what(&self, fd: i32) -> Result<Fate, Refusal> {
        let path = format!("{}/fd/{fd}", self.proc);
        let link = readlink(&path, Vec::new())
            .map_err(|error| not_forkable(format!("descriptor {fd}: {error}")))?;
        let link = link.to_string_lossy().into_owned();
        let unknown = |why: &str| not_forkable(format!("descriptor {fd} is {link:?}: {why}"));
        if link.starts_with("anon_inode:") {
            let info = self.info(fd)?;
            return anonymous(fd, &link, &info)
                .ok_or_else(|| unknown("not of a kind that can be copied"));
        }
        let status = stat(&path).map_err(|error| unknown(&error.to_string()))?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Socket => Ok(self.socket(fd)),
            FileType::CharacterDevice if is_harmless_device(&status) => Ok(Fate::Shared),
            FileType::RegularFile => {
                let access = Access::parse(&self.info(fd)?)
                    .ok_or_else(|| unknown("its mode is not readable"))?;
                self.file(&path, &link, &status, access)
            }
            _ => Err(unknown("not of a kind that can be copied")),
        }
    }

    fn socket(&self, fd: i32) -> Fate {
        let listeners = self.replacements.listeners.iter();
        match listeners.enumerate().find(|(_, (number, _))| *number == fd) {
            Some((index, _)) => Fate::Replaced(Source::Listener(index)),
            // One that listens under a number nobody named would become a connection that is cut: the copy then does
            // not listen, and says so by not answering.
            None => Fate::Replaced(Source::Connection),
        }
    }

    fn file(&self, path: &str, link: &str, status: &Stat, access: Access) -> Result<Fate, Refusal> {
        let is_same = |file: &OwnedFd| {
            fstat(file).is_ok_and(|own| (own.st_dev, own.st_ino) == (status.st_dev, status.st_ino))
        };
        let files = self.replacements.files.iter();
        if let Some((index, _)) = files.enumerate().find(|(_, (own, _))| is_same(own)) {
            return Ok(Fate::Replaced(Source::File(index)));
        }
        if access == Access::ReadOnly {
            return Ok(Fate::Shared);
        }
        // QEMU keeps the descriptor of the memory that it mapped, and has no more use for it.
        if self.mappings.are_private(link, status.st_ino) {
            let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            return file
                .map(Fate::ReadOnly)
                .map_err(|error| not_forkable(format!("{link}: {error}")));
        }
        Err(not_forkable(format!(
            "{link:?} is open for writing, and is neither a disk nor its log"
        )))
    }

    fn info(&self, fd: i32) -> Result<String, Refusal> {
        read_text(&format!("{}/fdinfo/{fd}", self.proc), INFO_BYTES)
            .map_err(|error| not_forkable(format!("descriptor {fd}: {error}")))
    }
}

impl Steps {
    /// Whatever a passed descriptor is.
    pub fn descriptor<'s>(&'s self, passed: &Passed<'s>) -> Option<BorrowedFd<'s>> {
        match passed {
            Passed::Lent(fd) => Some(*fd),
            Passed::Opened(index) => self.opened.get(*index).map(AsFd::as_fd),
        }
    }
}

/// What such texts usually take; they are read in the parent's pause, and each call of the kernel counts.
const INFO_BYTES: usize = 1024;
const MAPS_BYTES: usize = 64 * 1024;

fn read_text(path: &str, usual_bytes: usize) -> io::Result<String> {
    // Into room that is there already: `fs::read_to_string` asks for the length, then begins with 32 bytes.
    let mut bytes = vec![0; usual_bytes];
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
        match file.read(&mut bytes[length..])? {
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn replace(fd: i32, position: usize) -> Operation {
    // `Conversation::fork` refuses more descriptors than fit.
    let passed = u32::try_from(position).unwrap_or(u32::MAX);
    Operation::Replace { fd, passed }
}

enum Fate {
    Shared,
    Replaced(Source),
    ReadOnly(OwnedFd),
    Anew(Operation, Vec<Operation>),
}

#[derive(Clone, Copy)]
enum Source {
    Listener(usize),
    File(usize),
    Connection,
}

impl Source {
    /// One descriptor goes along for all that become it.
    fn key(self) -> (u8, usize) {
        match self {
            Self::Listener(index) => (0, index),
            Self::File(index) => (1, index),
            Self::Connection => (2, 0),
        }
    }

    fn passed<'a>(self, from: &'a Replacements<'a>) -> Passed<'a> {
        let fd = match self {
            Self::Listener(index) => from.listeners.get(index).map(|(_, fd)| fd.as_fd()),
            Self::File(index) => from.files.get(index).map(|(_, fd)| fd.as_fd()),
            Self::Connection => None,
        };
        Passed::Lent(fd.unwrap_or(from.connection))
    }
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Access {
    ReadOnly,
    Writable,
}

impl Access {
    fn parse(info: &str) -> Option<Self> {
        let flags = flags_of(info)?;
        let is_read_only = flags & libc::O_ACCMODE == libc::O_RDONLY;
        Some(if is_read_only {
            Self::ReadOnly
        } else {
            Self::Writable
        })
    }
}

fn flags_of(info: &str) -> Option<i32> {
    i32::from_str_radix(field(info, "flags:")?, 8).ok()
}

fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// /dev/null, zero, full, random and urandom hold nothing of a process.
fn is_harmless_device(status: &Stat) -> bool {
    major(status.st_rdev) == 1 && matches!(minor(status.st_rdev), 3 | 5 | 7 | 8 | 9)
}

/// Those that only count or watch are made anew, as they stand.
fn anonymous(fd: i32, link: &str, info: &str) -> Option<Fate> {
    let nonblocking = flags_of(info)? & libc::O_NONBLOCK;
    let operation = match link {
        "anon_inode:[eventfd]" => {
            if field(info, "eventfd-semaphore:").is_some_and(|is_one| is_one != "0") {
                return None;
            }
            let count = u64::from_str_radix(field(info, "eventfd-count:")?, 16).ok()?;
            Operation::Eventfd {
                fd,
                count,
                flags: nonblocking,
            }
        }
        "anon_inode:[signalfd]" => {
            let mask = u64::from_str_radix(field(info, "sigmask:")?, 16).ok()?;
            Operation::Signalfd {
                fd,
                mask,
                flags: nonblocking,
            }
        }
        "anon_inode:[eventpoll]" => {
            let lines = info
                .lines()
                .filter(|line| line.trim_start().starts_with("tfd:"));
            let adds = lines
                .map(|line| watched(fd, line))
                .collect::<Option<Vec<_>>>()?;
            return Some(Fate::Anew(Operation::Epoll { fd }, adds));
        }
        _ => return None,
    };
    Some(Fate::Anew(operation, Vec::new()))
}

/// `tfd: 5 events: 19 data: ffff  pos:0 …`
fn watched(fd: i32, line: &str) -> Option<Operation> {
    let mut words = line.split_ascii_whitespace();
    let mut next = |name: &str| (words.next() == Some(name)).then(|| words.next()).flatten();
    let target = next("tfd:")?.parse().ok()?;
    let events = u32::from_str_radix(next("events:")?, 16).ok()?;
    let data = u64::from_str_radix(next("data:")?, 16).ok()?;
    Some(Operation::EpollAdd {
        fd,
        target,
        events,
        data,
    })
}

/// Which files a process has mapped for itself.
struct Mappings {
    private: HashSet<(String, u64)>,
}

impl Mappings {
    /// Refused: memory that the copy would go on to share, and kernel AIO.
    fn parse(maps: &str) -> Result<Self, Refusal> {
        let mut private = HashSet::new();
        for line in maps.lines() {
            let mut words = line.splitn(6, ' ').map(str::trim);
            let (Some(_), Some(mode), Some(_), Some(_), Some(inode)) = (
                words.next(),
                words.next(),
                words.next(),
                words.next(),
                words.next(),
            ) else {
                return Err(not_forkable(format!(
                    "a mapping that is not understood: {line:?}"
                )));
            };
            let path = words.next().unwrap_or_default();
            if path == "/[aio] (deleted)" || path == "[aio]" {
                return Err(not_forkable("it uses the kernel's asynchronous I/O"));
            }
            if mode.contains('w') && mode.ends_with('s') {
                return Err(not_forkable(format!(
                    "{path:?} is mapped for writing, and shared"
                )));
            }
            if mode.ends_with('p') {
                private.insert((path.to_owned(), inode.parse().unwrap_or(0)));
            }
        }
        Ok(Self { private })
    }

    fn are_private(&self, path: &str, inode: u64) -> bool {
        self.private.contains(&(path.to_owned(), inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_counts_or_watches_is_made_anew() {
        let eventfd = anonymous(
            7,
            "anon_inode:[eventfd]",
            "pos:\t0\nflags:\t02004002\nmnt_id:\t15\nino:\t1\neventfd-count:               1f\neventfd-id: 5\n",
        );
        assert!(matches!(
            eventfd,
            Some(Fate::Anew(Operation::Eventfd { fd: 7, count: 31, flags: 0o4000 }, adds)) if adds.is_empty()
        ));
        let signalfd = anonymous(
            6,
            "anon_inode:[signalfd]",
            "flags:\t02004002\nsigmask:\t0000000000000028\n",
        );
        assert!(matches!(
            signalfd,
            Some(Fate::Anew(
                Operation::Signalfd {
                    fd: 6,
                    mask: 0x28,
                    flags: 0o4000
                },
                _
            ))
        ));
        let epoll = anonymous(
            3,
            "anon_inode:[eventpoll]",
            "flags:\t02000002\ntfd:        5 events:       19 data:             55aa  pos:0 ino:1 sdev:b\n",
        );
        let expected = Operation::EpollAdd {
            fd: 3,
            target: 5,
            events: 0x19,
            data: 0x55aa,
        };
        assert!(matches!(
            epoll,
            Some(Fate::Anew(Operation::Epoll { fd: 3 }, adds)) if adds == [expected]
        ));
    }

    #[test]
    fn other_kinds_are_refused() {
        let flags = "flags:\t02\n";
        for link in [
            "anon_inode:[io_uring]",
            "anon_inode:[timerfd]",
            "anon_inode:kvm-vm",
            "anon_inode:inotify",
        ] {
            assert!(anonymous(3, link, flags).is_none(), "{link}");
        }
        let semaphore = "flags:\t02\neventfd-count: 1\neventfd-semaphore: 1\n";
        assert!(anonymous(3, "anon_inode:[eventfd]", semaphore).is_none());
    }

    #[test]
    fn memory_that_would_be_shared_and_kernel_aio_are_refused() {
        let private = "7f00-7f10 rw-p 00000000 08:01 77   /state/a b/mem\n7f20-7f30 r--s 00000000 08:01 5 /usr/lib/cache\n";
        let mappings = Mappings::parse(private).unwrap();
        assert!(mappings.are_private("/state/a b/mem", 77));
        assert!(
            !mappings.are_private("/state/a b/mem", 78)
                && !mappings.are_private("/usr/lib/cache", 5)
        );
        for line in [
            "7f00-7f10 rw-s 00000000 08:01 77   /state/mem",
            "7f00-7f10 rw-p 00000000 00:0f 9   /[aio] (deleted)",
            "7f00-7f10",
        ] {
            assert!(Mappings::parse(line).is_err(), "{line}");
        }
    }
}
