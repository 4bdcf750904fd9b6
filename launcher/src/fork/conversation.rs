//! The launcher's end of the socket on which a VM process's fork library listens. What comes from there is checked: the
//! process ran a stranger's code.

use crate::listen::{address, FORK_SOCKET_NAME};
use crate::proto::ErrorCode;
use crate::refusal::Refusal;
use instavm_fork_protocol::{fork_head, park_head, Answer, Operation, ANSWER_BYTES, THREADS_LIMIT};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    connect, recv, sendmsg, socket_with, AddressFamily, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Others may wait for the same parent; each of their forks is a matter of milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Dropped, it lets the parent go on.
pub struct Conversation {
    connection: OwnedFd,
}

/// A child that waits for its *go*.
pub struct Child {
    /// As the parent sees it.
    pub pid: i32,
    /// How long the parent stood.
    pub pause: Duration,
}

impl Conversation {
    /// Refused when the process has no fork library that answers.
    pub fn open(directory: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let open = || {
            let kind = SocketType::SEQPACKET;
            let connection = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
            set_socket_timeout(&connection, Timeout::Send, Some(ANSWER_TIMEOUT))?;
            set_socket_timeout(&connection, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
            connect(&connection, &address(directory, FORK_SOCKET_NAME)?)?;
            Ok(Self { connection })
        };
        open().map_err(|error: Errno| not_forkable(format!("its fork library: {error}")))
    }

    /// Brings these threads to a stand, beside those that stand.
    pub fn park(&self, tids: &[i32]) -> Result<Answer, Refusal> {
        let count = u32::try_from(tids.len())
            .ok()
            .filter(|count| *count as usize <= THREADS_LIMIT);
        let count = count.ok_or_else(|| {
            not_forkable(format!(
                "{} threads, at most {THREADS_LIMIT} can be forked",
                tids.len()
            ))
        })?;
        let mut message = park_head(count).to_vec();
        message.extend(tids.iter().flat_map(|tid| tid.to_le_bytes()));
        self.ask("stop of its threads", &message, &[])
    }

    /// Makes the child; the parent goes on. The first descriptor is the one that the child reports on.
    pub fn fork(
        &self,
        operations: &[Operation],
        passed: &[BorrowedFd<'_>],
    ) -> Result<Child, Refusal> {
        let count = u32::try_from(operations.len()).unwrap_or(u32::MAX);
        let mut message = fork_head(count).to_vec();
        message.extend(operations.iter().flat_map(|operation| operation.to_bytes()));
        let answer = self.ask("fork", &message, passed)?;
        let pause = Duration::from_nanos(answer.pause_ns);
        Ok(Child {
            pid: answer.id,
            pause,
        })
    }

    fn ask(
        &self,
        what: &str,
        message: &[u8],
        passed: &[BorrowedFd<'_>],
    ) -> Result<Answer, Refusal> {
        let failed = |error: Errno| not_forkable(format!("{what}: {error}"));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !passed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(passed)) {
            return Err(not_forkable(format!(
                "{what}: {} descriptors are too many",
                passed.len()
            )));
        }
        let parts = [IoSlice::new(message)];
        sendmsg(&self.connection, &parts, &mut control, SendFlags::NOSIGNAL).map_err(failed)?;
        let mut bytes = [0u8; ANSWER_BYTES + 1];
        let (received, _) =
            recv(&self.connection, &mut bytes[..], RecvFlags::empty()).map_err(failed)?;
        let answer = bytes
            .get(..received)
            .and_then(Answer::parse)
            .ok_or_else(|| {
                not_forkable(format!(
                    "{what}: an answer of {received} bytes, expected {ANSWER_BYTES}"
                ))
            })?;
        match answer.errno {
            0 => Ok(answer),
            // The library's own limit; by then all go on.
            libc::ETIMEDOUT => Err(not_forkable(format!(
                "{what}: a thread did not stand within a second"
            ))),
            errno => Err(failed(Errno::from_raw_os_error(errno.clamp(1, 4095)))),
        }
    }
}

/// The process stays as it is; a file clone is the way.
pub fn not_forkable(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::NotForkable, message)
}
