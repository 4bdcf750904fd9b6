//! A thing that happens once and that many may wait for.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Unset until `set`, then set for ever.
#[derive(Debug, Default)]
pub struct Flag {
    is_set: AtomicBool,
    changed: Notify,
}

impl Flag {
    /// Sets it and wakes all who wait.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Returns when it is set.
    pub async fn wait(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_set() {
                return;
            }
            changed.await;
        }
    }
}
