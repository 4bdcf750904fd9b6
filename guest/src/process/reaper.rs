//! The one place that waits for children: ours, and the orphans that the kernel gives to PID 1.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::Interest;
use tokio::sync::oneshot;

use crate::sys::kernel::{self, Reaped};
use crate::sys::readiness;

/// Each takes some 0.1 ms under emulation.
const REAPED_AT_ONCE: usize = 8;

/// Who waits for which child.
#[derive(Debug, Default)]
pub struct Reaper {
    waiting: Mutex<HashMap<i32, oneshot::Sender<Reaped>>>,
}

/// What a signal asks of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End in order.
    Terminate,
}

impl Reaper {
    fn waiting(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<Reaped>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the child ends. Called before control goes back to the runtime after the child was made.
    pub fn watch(&self, pid: i32) -> oneshot::Receiver<Reaped> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(pid, sender);
        receiver
    }

    /// The children that somebody waits for.
    pub fn watched(&self) -> Vec<i32> {
        self.waiting().keys().copied().collect()
    }

    /// Reaps until a signal asks the agent to end. Signals come through a descriptor of `kernel::signal_descriptor`.
    pub async fn run(&self, signals: OwnedFd) -> io::Result<Request> {
        let signals = readiness::watch(signals, Interest::READABLE)?;
        loop {
            let mut ready = signals.readable().await?;
            while let Some(signal) = kernel::next_signal(signals.get_ref())? {
                if signal == libc::SIGCHLD.unsigned_abs() {
                    self.reap_all().await;
                } else {
                    return Ok(Request::Terminate);
                }
            }
            ready.clear_ready();
        }
    }

    /// A fork bomb that is ended leaves hundreds of orphans at once: the host's messages are answered in between.
    async fn reap_all(&self) {
        while self.reap_some() {
            tokio::task::yield_now().await;
        }
    }

    /// False when nothing is left to reap.
    fn reap_some(&self) -> bool {
        for _ in 0..REAPED_AT_ONCE {
            let Some(reaped) = kernel::reap() else {
                return false;
            };
            if let Some(sender) = self.waiting().remove(&reaped.pid) {
                // Nobody waits any more when its call was given up.
                let _ = sender.send(reaped);
            }
        }
        true
    }
}
