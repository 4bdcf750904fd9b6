//! Brings threads to a stand, and lets them go again.

use crate::raw::{self, Errno, ETIMEDOUT};
use instavm_fork_protocol::Threads;

/// A thread in the middle of a write takes the signal when the write has ended.
const STAND_TIMEOUT_NS: u64 = 1_000_000_000;
const LOOK_AGAIN_NS: u64 = 20_000_000;

/// Whether threads stand, and since when.
pub struct Pause {
    since_ns: Option<u64>,
}

impl Pause {
    /// Nobody stands.
    pub const fn none() -> Self {
        Self { since_ns: None }
    }

    /// Whether anybody is to stand.
    pub fn is_on(&self) -> bool {
        self.since_ns.is_some()
    }

    /// Stops these threads beside those that stand already. When one does not stand in time all go on.
    pub fn park(&mut self, threads: Threads<'_>) -> Result<(), Errno> {
        if self.since_ns.is_none() {
            raw::begin_pause()?;
            self.since_ns = Some(raw::now_ns());
        }
        let (process, own) = (raw::process_id(), raw::thread_id());
        let deadline_ns = raw::now_ns() + STAND_TIMEOUT_NS;
        for tid in threads.iter().filter(|tid| *tid != own && !stands(*tid)) {
            // One that has ended meanwhile needs not stand.
            raw::signal_thread(process, tid);
        }
        loop {
            let seen = raw::standing_count();
            if threads
                .iter()
                .all(|tid| tid == own || stands(tid) || !raw::thread_exists(process, tid))
            {
                return Ok(());
            }
            if raw::now_ns() >= deadline_ns {
                self.end();
                return Err(ETIMEDOUT);
            }
            raw::wait_for_more(seen, LOOK_AGAIN_NS);
        }
    }

    /// Lets all go on; how long they stood, in ns.
    pub fn end(&mut self) -> u64 {
        let Some(since_ns) = self.since_ns.take() else {
            return 0;
        };
        raw::end_pause();
        raw::now_ns().saturating_sub(since_ns)
    }
}

fn stands(tid: i32) -> bool {
    raw::standing().any(|thread| thread.tid == tid)
}
