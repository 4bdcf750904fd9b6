//! WatchFiles: tells what happens to files.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::sleep;

use super::pieces::send_output;
use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::files::watch::{event_of, Watcher};
use crate::files::work::{self, resolve, Work};
use crate::link::stream::Call;
use crate::proto::{output, FileEvent, FileEventKind, Output, WatchEnded, WatchFiles};
use crate::sys::readiness;

/// Watches at once.
pub const MAX_WATCHES: usize = 16;
/// Changes within that time are looked at together.
const GATHERING: Duration = Duration::from_millis(20);

/// Watches until what is watched is gone. Without credit nothing is read: then the kernel's own queue fills, up to its
/// bound, and says that it did.
pub async fn watch(agent: &Agent, call: &Arc<Call>, request: WatchFiles) -> CallResult<WatchEnded> {
    let work = Work::new(call, "watch", resolve(agent, &request.path)?);
    let Ok(_place) = agent.watches.try_acquire() else {
        return Err(CallError::limit(format!(
            "{MAX_WATCHES} watches are open, expected fewer"
        )));
    };
    let mut watcher = work::run(move || Watcher::new(&work, request.recursive)).await?;
    let fail = |error| CallError::system("watch files", error);
    let descriptor = watcher.descriptor().map_err(fail)?;
    let changes = readiness::watch(descriptor, Interest::READABLE).map_err(fail)?;
    send(call, event_of(FileEventKind::Ready, Vec::new(), false)).await?;
    while !watcher.has_ended() {
        let mut ready = tokio::select! {
            biased;
            () = call.cancelled().wait() => return Err(CallError::cancelled()),
            ready = changes.readable() => ready.map_err(fail)?,
        };
        ready.clear_ready();
        let mut is_all = false;
        while !is_all {
            tokio::select! {
                biased;
                () = call.cancelled().wait() => return Err(CallError::cancelled()),
                () = sleep(GATHERING) => {}
            }
            let (back, batch) = work::run(move || {
                let batch = watcher.look()?;
                Ok((watcher, batch))
            })
            .await?;
            watcher = back;
            is_all = batch.is_all;
            for event in batch.events {
                send(call, event).await?;
            }
        }
    }
    Ok(WatchEnded {})
}

async fn send(call: &Call, event: FileEvent) -> CallResult<()> {
    let event = Output {
        output: Some(output::Output::FileEvent(event)),
    };
    send_output(call, &event).await
}
