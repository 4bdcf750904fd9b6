//! Makes a copy of a VM process that runs: see docs/decisions/009-process-fork.md. Runs on a worker.
//!
//! The process's own part is the library that it was started with (`launcher/fork`). Everything that can be decided
//! out here is: which threads there are, what becomes of each descriptor, whether a fork is possible at all.

mod conversation;
mod descriptors;
pub mod plan;

use crate::clone_file::clone_file;
use crate::listen::{listen_in, FORK_SOCKET_NAME};
use crate::made_files::MadeFiles;
use crate::prepare::{open_new_log, LOG_NAME};
use crate::process_file::ProcessName;
use crate::refusal::Refusal;
use crate::roots::Roots;
use crate::validate::{VmId, FORK_FD};
use conversation::{not_forkable, Child, Conversation};
use descriptors::{Inspection, Passed, Replacements};
use instavm_fork_protocol::{Operation, Report, REPORT_BYTES};
use plan::ForkPlan;
use rustix::fs::{openat, Mode, OFlags};
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    recv, send, socketpair, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

/// A new thread can appear while others are brought to a stand; a process that makes them faster is not forked.
const ROUNDS: usize = 8;
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The process that is copied.
#[derive(Clone, Copy)]
pub struct Parent {
    /// It may end meanwhile, and its number then mean another; what is read of that one leads nowhere.
    pub name: ProcessName,
}

/// A copy that waits for its *go*. Dropped before, it exits, and the files made for it are removed.
pub struct Forked {
    /// The copy.
    pub vm_id: VmId,
    /// Its directory, and what was made there.
    pub made: MadeFiles,
    /// Its process.
    pub pid: i32,
    /// -20..=19
    pub priority: i32,
    /// How long its parent stood.
    pub pause: Duration,
    report: OwnedFd,
    first_input: Option<OwnedFd>,
}

impl Forked {
    /// Makes it. On failure the parent goes on as it was and nothing is left behind.
    pub fn make(plan: ForkPlan, parent: Parent, roots: &Roots) -> Result<Self, Refusal> {
        let parent_directory = roots.open_vm_directory(&plan.parent)?;
        let mut made = MadeFiles::new(roots.open_vm_directory(&plan.vm_id)?);
        let own = OwnFiles::make(&plan, parent_directory.as_fd(), &mut made)?;
        let [report, childs_report] = pair(SocketType::SEQPACKET)?;
        let [input, connection] = pair(SocketType::STREAM)?;
        let first_input = give(input, &plan.first_input)?;
        let replacements = Replacements {
            listeners: &own.listeners,
            files: &own.files,
            connection: connection.as_fd(),
            needs_one_connection: first_input.is_some(),
        };
        let child = Attempt {
            conversation: Conversation::open(parent_directory.as_fd())?,
            pid: parent.name.pid,
        }
        .fork(
            &own,
            &replacements,
            [childs_report.as_fd(), made.directory()],
        )?;
        // Its end in the child is the only one from now on.
        drop(childs_report);
        let forked = Self {
            vm_id: plan.vm_id,
            made,
            pid: child.pid,
            priority: plan.priority,
            pause: child.pause,
            report,
            first_input,
        };
        forked.await_report()?;
        Ok(forked)
    }

    fn await_report(&self) -> Result<(), Refusal> {
        let failed = |error| Refusal::os("the fork's report", error);
        set_socket_timeout(&self.report, Timeout::Recv, Some(REPORT_TIMEOUT)).map_err(failed)?;
        let mut bytes = [0; REPORT_BYTES];
        let (length, _) = recv(&self.report, &mut bytes[..], RecvFlags::empty()).map_err(failed)?;
        match bytes.get(..length).and_then(Report::parse) {
            Some(Report { errno: 0, .. }) => Ok(()),
            Some(Report { errno, operation }) => Err(not_forkable(format!(
                "step {operation} of the child: error {errno}"
            ))),
            None => Err(ended_before("it reported")),
        }
    }

    /// Lets it run: it is known on disk. What is returned is to be read until something comes.
    pub fn go(mut self) -> Result<Option<FirstAnswer>, Refusal> {
        send(&self.report, b"g", SendFlags::NOSIGNAL).map_err(|_| ended_before("its go"))?;
        self.made.keep();
        Ok(self.first_input.take().map(FirstAnswer))
    }
}

/// The child is gone, killed by somebody: its parent is as it was.
pub fn ended_before(what: &str) -> Refusal {
    not_forkable(format!("the child ended before {what}"))
}

/// The connection that the first input was written to.
pub struct FirstAnswer(OwnedFd);

impl FirstAnswer {
    /// Waits until the input was answered, at most for a while: closed earlier, it might not be acted upon.
    pub fn wait(self) {
        let limited = set_socket_timeout(&self.0, Timeout::Recv, Some(FIRST_ANSWER_TIMEOUT));
        if limited.is_ok() {
            let _ = recv(&self.0, &mut [0u8; 64][..], RecvFlags::empty());
        }
    }
}

/// Files and sockets of the copy, made while the parent still runs.
struct OwnFiles {
    /// Number in the process, and the socket.
    listeners: Vec<(i32, OwnedFd)>,
    /// The parent's and the copy's: disks, then the log.
    files: Vec<(OwnedFd, OwnedFd)>,
    disk_count: usize,
}

impl OwnFiles {
    fn make(
        plan: &ForkPlan,
        parent: BorrowedFd<'_>,
        made: &mut MadeFiles,
    ) -> Result<Self, Refusal> {
        let open_parents = |name: &str, access: OFlags| {
            openat(
                parent,
                name,
                access | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|error| Refusal::os(name, error))
        };
        let mut files = Vec::new();
        for name in &plan.disks {
            let source = open_parents(name, OFlags::RDONLY)?;
            let target = made
                .create(name)
                .map_err(|error| Refusal::os(name, error))?;
            files.push((source, target));
        }
        let log = open_new_log(made.directory())?;
        files.push((open_parents(LOG_NAME, OFlags::RDONLY)?, log));
        let mut listeners = Vec::new();
        for listener in &plan.listeners {
            listeners.push((
                listener.fd,
                listen_in(made.directory(), &listener.name, SocketType::STREAM)?,
            ));
            made.note(&listener.name);
        }
        listeners.push((
            FORK_FD,
            listen_in(made.directory(), FORK_SOCKET_NAME, SocketType::SEQPACKET)?,
        ));
        made.note(FORK_SOCKET_NAME);
        Ok(Self {
            listeners,
            files,
            disk_count: plan.disks.len(),
        })
    }

    /// Inside the parent's pause.
    fn copy_disks(&self) -> Result<(), Refusal> {
        let disks = self.files.iter().take(self.disk_count);
        disks.into_iter().try_for_each(|(source, target)| {
            clone_file(source.as_fd(), target.as_fd()).map_err(|error| Refusal::os("disk", error))
        })
    }
}

/// One attempt at a fork. Whatever fails, the parent goes on when the conversation is closed.
struct Attempt {
    conversation: Conversation,
    pid: i32,
}

impl Attempt {
    fn fork(
        &self,
        own: &OwnFiles,
        replacements: &Replacements<'_>,
        [report, directory]: [BorrowedFd<'_>; 2],
    ) -> Result<Child, Refusal> {
        let connection_fd = self.park_all()?;
        let mut passed = vec![Passed::Lent(report), Passed::Lent(directory)];
        // The parent stands until both are done: the disk is copied beside the looking.
        let mut steps = thread::scope(|scope| {
            let copying = scope.spawn(|| own.copy_disks());
            let steps =
                Inspection::of(self.pid, connection_fd, replacements)?.steps(&mut passed)?;
            let copied = copying.join();
            copied.map_err(|_| not_forkable("the copy of its disk broke off"))??;
            Ok::<_, Refusal>(steps)
        })?;
        steps
            .operations
            .extend([Operation::Directory { passed: 1 }, Operation::Session]);
        let descriptors: Vec<_> = passed
            .iter()
            .filter_map(|one| steps.descriptor(one))
            .collect();
        self.conversation.fork(&steps.operations, &descriptors)
    }

    /// Returns the number of the library's connection in the process.
    fn park_all(&self) -> Result<i32, Refusal> {
        let mut known = BTreeSet::new();
        for _ in 0..ROUNDS {
            let new: Vec<i32> = self
                .threads()?
                .into_iter()
                .filter(|tid| !known.contains(tid))
                .collect();
            let answer = self.conversation.park(&new)?;
            if new.is_empty() {
                return Ok(answer.connection_fd);
            }
            known.extend(new);
        }
        Err(not_forkable(format!(
            "it still makes threads after {ROUNDS} rounds"
        )))
    }

    fn threads(&self) -> Result<Vec<i32>, Refusal> {
        let failed = |error| not_forkable(format!("its threads: {error}"));
        let mut tids = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid)).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            tids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
        }
        Ok(tids)
    }
}

fn pair(kind: SocketType) -> Result<[OwnedFd; 2], Refusal> {
    let made = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    made.map(|(one, other)| [one, other])
        .map_err(|error| Refusal::os("socket pair", error))
}

/// Writes what is to be read first; with nothing to write the connection is cut.
fn give(input: OwnedFd, bytes: &[u8]) -> Result<Option<OwnedFd>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match send(&input, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(length) if length == bytes.len() => Ok(Some(input)),
        Ok(length) => Err(Refusal::invalid(format!(
            "first input: {length} of {} bytes fit",
            bytes.len()
        ))),
        Err(error) => Err(Refusal::os("first input", error)),
    }
}
