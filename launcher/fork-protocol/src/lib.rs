//! What the launcher and the fork library inside a VM process say to each other, over a Unix socket that keeps
//! messages apart (`SOCK_SEQPACKET`). One request is one message; it is complete before anything is touched.
//! All numbers are little-endian. Nothing here allocates or fails but by `None`.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// The longest message.
pub const MESSAGE_LIMIT_BYTES: usize = 8 + OPERATION_BYTES * OPERATIONS_LIMIT;
/// Threads that one process may have.
pub const THREADS_LIMIT: usize = 512;
/// Operations that one fork may take.
pub const OPERATIONS_LIMIT: usize = 320;
/// Descriptors that go along with one request; the kernel's own limit is 253.
pub const DESCRIPTORS_LIMIT: usize = 64;

const OPERATION_BYTES: usize = 24;

/// The environment variable that names the descriptor on which the library listens.
pub const LISTENER_VARIABLE: &str = "INSTAVM_FORK_FD";

/// What the launcher asks of the library. Threads that stand go on when the launcher closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Stop these threads, beside those that stand already.
    Park(Threads<'a>),
    /// Make the child and let the parent go on. The first descriptor that comes along is the one the child reports on.
    Fork(Operations<'a>),
}

/// Thread ids, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads<'a>(&'a [u8]);

/// Operations, as they came; every one of them can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations<'a>(&'a [u8]);

/// One step that the child takes before any thread but its first exists. `passed` counts the descriptors that came
/// with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `fd` becomes a copy of a descriptor that came along.
    Replace {
        /// Of the process.
        fd: i32,
        /// Position among those that came along.
        passed: u32,
    },
    /// `fd` becomes a new eventfd with this count.
    Eventfd {
        /// Of the process.
        fd: i32,
        /// As it stood in the parent.
        count: u64,
        /// `EFD_NONBLOCK` and the like.
        flags: i32,
    },
    /// `fd` becomes a new, empty epoll.
    Epoll {
        /// Of the process.
        fd: i32,
    },
    /// A file is added to an epoll.
    EpollAdd {
        /// The epoll.
        fd: i32,
        /// What is watched.
        target: i32,
        /// `EPOLLIN` and the like.
        events: u32,
        /// What the epoll's owner finds it by.
        data: u64,
    },
    /// `fd` becomes a new signalfd.
    Signalfd {
        /// Of the process.
        fd: i32,
        /// The signals.
        mask: u64,
        /// `SFD_NONBLOCK` and the like.
        flags: i32,
    },
    /// `fd` is closed.
    Close {
        /// Of the process.
        fd: i32,
    },
    /// The working directory.
    Directory {
        /// Position among those that came along.
        passed: u32,
    },
    /// A session and process group of its own.
    Session,
}

mod kind {
    pub const PARK: u32 = 1;
    pub const FORK: u32 = 2;
}

impl<'a> Request<'a> {
    /// Reads a message; `None` when any part of it is not in order.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let (kind, rest) = take_u32(message)?;
        let (count, rest) = take_u32(rest)?;
        let count = usize::try_from(count).ok()?;
        match kind {
            kind::PARK if count <= THREADS_LIMIT && rest.len() == 4 * count => {
                let threads = Threads(rest);
                threads
                    .iter()
                    .all(|tid| tid > 0)
                    .then_some(Self::Park(threads))
            }
            kind::FORK if count <= OPERATIONS_LIMIT && rest.len() == OPERATION_BYTES * count => {
                let operations = Operations(rest);
                let are_good = rest
                    .chunks_exact(OPERATION_BYTES)
                    .all(|bytes| Operation::parse(bytes).is_some());
                are_good.then_some(Self::Fork(operations))
            }
            _ => None,
        }
    }
}

impl<'a> Threads<'a> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = i32> + 'a {
        self.0
            .chunks_exact(4)
            .filter_map(|bytes| Some(take_u32(bytes)?.0 as i32))
    }
}

impl<'a> Operations<'a> {
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Operation> + 'a {
        self.0
            .chunks_exact(OPERATION_BYTES)
            .filter_map(Operation::parse)
    }
}

impl Operation {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (code, rest) = take_u32(bytes)?;
        let (fd, rest) = take_u32(rest)?;
        let (first, rest) = take_u64(rest)?;
        let (second, _) = take_u64(rest)?;
        let fd = fd as i32;
        let low = (first & 0xffff_ffff) as u32;
        let high = (first >> 32) as u32;
        let passed = || (high == 0 && (low as usize) < DESCRIPTORS_LIMIT).then_some(low);
        let flags = || Some(u32::try_from(second).ok()? as i32);
        let operation = match code {
            1 => Self::Replace {
                fd,
                passed: passed()?,
            },
            2 => Self::Eventfd {
                fd,
                count: first,
                flags: flags()?,
            },
            3 => Self::Epoll { fd },
            4 => Self::EpollAdd {
                fd,
                target: low as i32,
                events: high,
                data: second,
            },
            5 => Self::Signalfd {
                fd,
                mask: first,
                flags: flags()?,
            },
            6 => Self::Close { fd },
            7 => Self::Directory { passed: passed()? },
            8 => Self::Session,
            _ => return None,
        };
        (fd >= 0).then_some(operation)
    }

    /// As it goes over the wire.
    pub fn to_bytes(self) -> [u8; OPERATION_BYTES] {
        let (code, fd, first, second): (u32, i32, u64, u64) = match self {
            Self::Replace { fd, passed } => (1, fd, passed.into(), 0),
            Self::Eventfd { fd, count, flags } => (2, fd, count, u64::from(flags as u32)),
            Self::Epoll { fd } => (3, fd, 0, 0),
            Self::EpollAdd {
                fd,
                target,
                events,
                data,
            } => (
                4,
                fd,
                u64::from(target as u32) | u64::from(events) << 32,
                data,
            ),
            Self::Signalfd { fd, mask, flags } => (5, fd, mask, u64::from(flags as u32)),
            Self::Close { fd } => (6, fd, 0, 0),
            Self::Directory { passed } => (7, 0, passed.into(), 0),
            Self::Session => (8, 0, 0, 0),
        };
        let mut bytes = [0; OPERATION_BYTES];
        put(&mut bytes, 0, &code.to_le_bytes());
        put(&mut bytes, 4, &fd.to_le_bytes());
        put(&mut bytes, 8, &first.to_le_bytes());
        put(&mut bytes, 16, &second.to_le_bytes());
        bytes
    }
}

/// The head of a request: what follows it are `count` thread ids of 4 bytes, or operations.
pub fn park_head(count: u32) -> [u8; 8] {
    head(kind::PARK, count)
}

/// See `park_head`.
pub fn fork_head(count: u32) -> [u8; 8] {
    head(kind::FORK, count)
}

fn head(kind: u32, count: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    put(&mut bytes, 0, &kind.to_le_bytes());
    put(&mut bytes, 4, &count.to_le_bytes());
    bytes
}

/// What the library answers to every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// 0, or what the kernel said.
    pub errno: i32,
    /// To `Park`: the library's own thread, which never stands. To `Fork`: the child.
    pub id: i32,
    /// The descriptor of this connection in the process; a child closes its copy.
    pub connection_fd: i32,
    /// How many threads stand.
    pub parked: u32,
    /// How long the threads stood, from the first signal to their release; after `Fork`.
    pub pause_ns: u64,
}

/// The length of an answer.
pub const ANSWER_BYTES: usize = 24;

impl Answer {
    /// As it goes over the wire.
    pub fn to_bytes(self) -> [u8; ANSWER_BYTES] {
        let mut bytes = [0; ANSWER_BYTES];
        put(&mut bytes, 0, &self.errno.to_le_bytes());
        put(&mut bytes, 4, &self.id.to_le_bytes());
        put(&mut bytes, 8, &self.connection_fd.to_le_bytes());
        put(&mut bytes, 12, &self.parked.to_le_bytes());
        put(&mut bytes, 16, &self.pause_ns.to_le_bytes());
        bytes
    }

    /// Reads one; `None` when it has another length.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != ANSWER_BYTES {
            return None;
        }
        let (errno, rest) = take_u32(bytes)?;
        let (id, rest) = take_u32(rest)?;
        let (connection_fd, rest) = take_u32(rest)?;
        let (parked, rest) = take_u32(rest)?;
        let (pause_ns, _) = take_u64(rest)?;
        Some(Self {
            errno: errno as i32,
            id: id as i32,
            connection_fd: connection_fd as i32,
            parked,
            pause_ns,
        })
    }
}

/// What a child says before it waits for one byte: its *go*. The end of the stream instead means exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// 0 = all operations were done.
    pub errno: i32,
    /// The operation that failed.
    pub operation: u32,
}

/// The length of a report.
pub const REPORT_BYTES: usize = 8;

impl Report {
    /// As it goes over the wire.
    pub fn to_bytes(self) -> [u8; REPORT_BYTES] {
        let mut bytes = [0; REPORT_BYTES];
        put(&mut bytes, 0, &self.errno.to_le_bytes());
        put(&mut bytes, 4, &self.operation.to_le_bytes());
        bytes
    }

    /// Reads one; `None` when it has another length.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != REPORT_BYTES {
            return None;
        }
        let (errno, rest) = take_u32(bytes)?;
        let (operation, _) = take_u32(rest)?;
        Some(Self {
            errno: errno as i32,
            operation,
        })
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn put(bytes: &mut [u8], at: usize, number: &[u8]) {
    for (target, source) in bytes.iter_mut().skip(at).zip(number) {
        *target = *source;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Operation; 8] = [
        Operation::Replace { fd: 5, passed: 63 },
        Operation::Eventfd {
            fd: 6,
            count: u64::MAX - 1,
            flags: 0o4000,
        },
        Operation::Epoll { fd: 7 },
        Operation::EpollAdd {
            fd: 7,
            target: 6,
            events: 0x8000_0019,
            data: u64::MAX,
        },
        Operation::Signalfd {
            fd: 8,
            mask: 1 << 63,
            flags: 0,
        },
        Operation::Close { fd: i32::MAX },
        Operation::Directory { passed: 0 },
        Operation::Session,
    ];

    fn fork_message(operations: &[Operation]) -> Vec<u8> {
        let mut message = fork_head(operations.len().try_into().unwrap()).to_vec();
        message.extend(operations.iter().flat_map(|operation| operation.to_bytes()));
        message
    }

    #[test]
    fn what_is_written_is_read_again() {
        let message = fork_message(&ALL);
        let Some(Request::Fork(read)) = Request::parse(&message) else {
            panic!("not a fork")
        };
        assert_eq!(read.iter().collect::<Vec<_>>(), ALL);

        let mut message = park_head(2).to_vec();
        message.extend([7i32.to_le_bytes(), 8i32.to_le_bytes()].concat());
        let Some(Request::Park(read)) = Request::parse(&message) else {
            panic!("not a park")
        };
        assert_eq!(read.iter().collect::<Vec<_>>(), [7, 8]);

        let answer = Answer {
            errno: -1,
            id: 7,
            connection_fd: 9,
            parked: 5,
            pause_ns: 1 << 40,
        };
        assert_eq!(Answer::parse(&answer.to_bytes()), Some(answer));
        let report = Report {
            errno: 9,
            operation: 3,
        };
        assert_eq!(Report::parse(&report.to_bytes()), Some(report));
    }

    #[test]
    fn the_longest_fork_fits() {
        let message = fork_message(&[Operation::Session; OPERATIONS_LIMIT]);
        assert_eq!(message.len(), MESSAGE_LIMIT_BYTES);
        assert!(Request::parse(&message).is_some());
        assert!(
            Request::parse(&fork_message(&[Operation::Session; OPERATIONS_LIMIT + 1])).is_none()
        );
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for operation in [
            Operation::Replace { fd: -1, passed: 0 },
            Operation::Replace { fd: 1, passed: 64 },
            Operation::Directory { passed: u32::MAX },
            Operation::Close { fd: i32::MIN },
        ] {
            assert_eq!(
                Request::parse(&fork_message(&[operation])),
                None,
                "{operation:?}"
            );
        }
        let mut none = park_head(1).to_vec();
        none.extend(0i32.to_le_bytes());
        assert_eq!(Request::parse(&none), None);
    }

    #[test]
    fn no_message_makes_the_parser_fail_or_read_beyond_it() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |limit: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit
        };
        let whole = fork_message(&ALL);
        for _ in 0..50_000 {
            let mut message = whole.clone();
            for _ in 0..=random(5) {
                let at = random(message.len());
                match random(4) {
                    0 => message[at] = u8::try_from(random(256)).unwrap(),
                    1 => message.truncate(at.max(1)),
                    2 => message.insert(at, u8::try_from(random(256)).unwrap()),
                    _ => message[at] ^= 1 << random(8),
                }
            }
            if let Some(Request::Fork(operations)) = Request::parse(&message) {
                assert_eq!(
                    fork_message(&operations.iter().collect::<Vec<_>>()).len(),
                    message.len()
                );
                for operation in operations.iter() {
                    assert!(Operation::parse(&operation.to_bytes()) == Some(operation));
                }
            }
        }
    }
}
