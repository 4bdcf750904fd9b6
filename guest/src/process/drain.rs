//! A process that outlives its call may go on writing to its pipes. Closing them would kill it, a full pipe would stop it:
//! what it writes is read and dropped, by a thread of ordinary priority.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::event::epoll;
use rustix::io::Errno;

use super::pipe::{OutputPipe, Piece};
use crate::log;
use crate::scratch;

/// Beyond that many pipes, further ones are closed.
const MAX_PIPES: usize = 1024;
const PIECE_BYTES: usize = 64 * 1024;

struct Drain {
    epoll: OwnedFd,
    pipes: Mutex<HashMap<u64, OwnedFd>>,
}

static DRAIN: OnceLock<Option<Arc<Drain>>> = OnceLock::new();

/// Lets go of a pipe; while a process goes on that may write to it, it is drained.
pub fn release(pipe: OutputPipe, has_ended: bool) {
    if !has_ended {
        let last = scratch::with(|buffer| pipe.try_read(buffer));
        if !matches!(last, Ok(Piece::End)) {
            adopt(pipe.into_descriptor());
        }
    }
}

/// Takes over the reading end of a pipe until its last writer is gone.
fn adopt(pipe: OwnedFd) {
    let started = DRAIN.get_or_init(|| {
        start()
            .inspect_err(|error| log::warn(format_args!("no thread to drain pipes: {error}")))
            .ok()
    });
    let Some(drain) = started else { return };
    let key = u64::from(pipe.as_raw_fd().unsigned_abs());
    let mut pipes = drain.pipes.lock().unwrap_or_else(PoisonError::into_inner);
    if pipes.len() >= MAX_PIPES {
        return;
    }
    if epoll::add(
        &drain.epoll,
        &pipe,
        epoll::EventData::new_u64(key),
        epoll::EventFlags::IN,
    )
    .is_ok()
    {
        pipes.insert(key, pipe);
    }
}

fn start() -> io::Result<Arc<Drain>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let drain = Arc::new(Drain {
        epoll,
        pipes: Mutex::default(),
    });
    let worker = drain.clone();
    std::thread::Builder::new()
        .name("drain".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || worker.run())?;
    Ok(drain)
}

impl Drain {
    fn run(&self) {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut events = Vec::with_capacity(16);
        loop {
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    return log::warn(format_args!("pipes are no longer drained: {error}"))
                }
            }
            for event in &events {
                self.read(event.data.u64(), &mut buffer);
            }
        }
    }

    fn read(&self, key: u64, buffer: &mut [u8]) {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = pipes.get(&key) else { return };
        match rustix::io::read(pipe, buffer) {
            Ok(0) => {}
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => {}
        }
        pipes.remove(&key);
    }
}
