//! A child's first steps, taken by its only thread.

use crate::raw::{self, Errno, Inbox, Standing, EBADF};
use instavm_fork_protocol::{Operation, Operations, Report};

/// What a child is made of.
pub struct Child<'a> {
    /// Done in this order.
    pub operations: Operations<'a>,
    /// What came with them.
    pub inbox: &'a Inbox,
    /// Where it reports, and waits for its *go*.
    pub report: i32,
    /// What its first thread goes on with.
    pub first: Standing,
}

/// The launcher is to say *go* within this time.
const GO_TIMEOUT_MS: i32 = 30_000;

/// Nobody waits for this child: the launcher has left, or the child could not be made.
const EXIT_GIVEN_UP: u8 = 121;
const EXIT_NO_THREAD: u8 = 122;

/// Makes the process an own one and goes on as the program; exits when it cannot, or is not wanted.
pub fn run(child: Child<'_>) -> ! {
    raw::end_pause_in_child();
    let failed = (0u32..)
        .zip(child.operations.iter())
        .find_map(|(at, operation)| {
            let Errno(errno) = perform(operation, child.inbox).err()?;
            Some(Report {
                errno,
                operation: at,
            })
        });
    let report = failed.unwrap_or(Report {
        errno: 0,
        operation: 0,
    });
    let was_heard = raw::send(child.report, &report.to_bytes());
    let mut go = Inbox::new();
    if failed.is_some() || !was_heard || go.receive(child.report, GO_TIMEOUT_MS).is_none() {
        raw::exit(EXIT_GIVEN_UP);
    }
    for position in 0.. {
        let Some(fd) = child.inbox.descriptor(position) else {
            break;
        };
        raw::close(fd);
    }
    let others = raw::standing().filter(|thread| thread.tid != child.first.tid);
    for thread in others {
        if raw::continue_thread(thread).is_err() {
            raw::exit(EXIT_NO_THREAD);
        }
    }
    if raw::start_helper(Some(child.first)).is_err() {
        raw::exit(EXIT_NO_THREAD);
    }
    raw::become_thread(child.first)
}

fn perform(operation: Operation, inbox: &Inbox) -> Result<(), Errno> {
    let passed = |position| inbox.descriptor(position).ok_or(EBADF);
    match operation {
        Operation::Replace {
            fd,
            passed: position,
        } => raw::replace(passed(position)?, fd),
        Operation::Eventfd { fd, count, flags } => {
            become_descriptor(raw::eventfd(count, flags)?, fd)
        }
        Operation::Epoll { fd } => become_descriptor(raw::epoll()?, fd),
        Operation::EpollAdd {
            fd,
            target,
            events,
            data,
        } => raw::epoll_add(fd, target, events, data),
        Operation::Signalfd { fd, mask, flags } => {
            become_descriptor(raw::signalfd(mask, flags)?, fd)
        }
        Operation::Close { fd } => {
            raw::close(fd);
            Ok(())
        }
        Operation::Directory { passed: position } => raw::enter_directory(passed(position)?),
        Operation::Session => raw::new_session(),
    }
}

fn become_descriptor(made: i32, wanted: i32) -> Result<(), Errno> {
    let replaced = raw::replace(made, wanted);
    raw::close(made);
    replaced
}
