//! The dormant thread: one connection at a time, one request after the other.

use crate::child;
use crate::park::Pause;
use crate::raw::{self, Errno, Inbox, EBADF, EBUSY, EINVAL, ESRCH};
use core::sync::atomic::{AtomicI32, Ordering};
use instavm_fork_protocol::{Answer, Operations, Request};

/// A launcher that died closes its connection; this is for one that hangs.
const SILENCE_TIMEOUT_MS: i32 = 30_000;

static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// Before the helper starts: where it listens. A child listens on the same number, under which it has a socket of its own.
pub fn listen_on(listener: i32) {
    LISTENER.store(listener, Ordering::Release);
}

/// The thread's whole life.
pub fn serve() -> ! {
    loop {
        match raw::accept(LISTENER.load(Ordering::Acquire)) {
            Ok(connection) => {
                Conversation {
                    connection,
                    pause: Pause::none(),
                }
                .run();
                raw::close(connection);
            }
            Err(_) => raw::rest(),
        }
    }
}

struct Conversation {
    connection: i32,
    pause: Pause,
}

/// What goes back, beside what every answer holds.
struct Outcome {
    id: i32,
    pause_ns: u64,
}

impl Conversation {
    /// Until the launcher has left; then nobody stands.
    fn run(&mut self) {
        let mut inbox = Inbox::new();
        while inbox.receive(self.connection, SILENCE_TIMEOUT_MS).is_some() {
            let outcome = self.answer(&inbox);
            inbox.close_descriptors();
            if !self.reply(outcome) {
                break;
            }
        }
        self.pause.end();
    }

    fn answer(&mut self, inbox: &Inbox) -> Result<Outcome, Errno> {
        match Request::parse(inbox.message()) {
            Some(Request::Park(threads)) => {
                self.pause.park(threads)?;
                Ok(Outcome {
                    id: raw::thread_id(),
                    pause_ns: 0,
                })
            }
            Some(Request::Fork(operations)) => self.fork(operations, inbox),
            None => Err(EINVAL),
        }
    }

    fn fork(&mut self, operations: Operations<'_>, inbox: &Inbox) -> Result<Outcome, Errno> {
        if !self.pause.is_on() || !raw::knows_id_offset() {
            return Err(EBUSY);
        }
        let report = inbox.descriptor(0).ok_or(EBADF)?;
        let process = raw::process_id();
        // Its first thread is where the child's goes on.
        let first = raw::standing()
            .find(|thread| thread.tid == process)
            .ok_or(ESRCH)?;
        let made = raw::fork();
        if made == Ok(0) {
            raw::close(self.connection);
            child::run(child::Child {
                operations,
                inbox,
                report,
                first,
            });
        }
        let pause_ns = self.pause.end();
        made.map(|id| Outcome { id, pause_ns })
    }

    fn reply(&self, outcome: Result<Outcome, Errno>) -> bool {
        let connection_fd = self.connection;
        let parked = if self.pause.is_on() {
            raw::standing_count()
        } else {
            0
        };
        let answer = match outcome {
            Ok(Outcome { id, pause_ns }) => Answer {
                errno: 0,
                id,
                connection_fd,
                parked,
                pause_ns,
            },
            Err(Errno(errno)) => Answer {
                errno,
                id: 0,
                connection_fd,
                parked,
                pause_ns: 0,
            },
        };
        raw::send(self.connection, &answer.to_bytes())
    }
}
