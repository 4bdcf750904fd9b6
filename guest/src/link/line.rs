//! A non-blocking byte stream to the host: a virtio-serial port or a connected Unix socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll;
use rustix::fs::{fcntl_getfl, fcntl_setfl, OFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use crate::sys::readiness;

/// What an attempt to read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// A descriptor that several registrations share.
#[derive(Clone, Debug)]
pub struct Descriptor(Arc<OwnedFd>);

impl Descriptor {
    /// Takes the descriptor and makes it non-blocking.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self(Arc::new(fd)))
    }

    /// Reads what is there.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        loop {
            match rustix::io::read(&*self.0, &mut *buffer) {
                Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Arrival::Closed),
                Ok(count) => return Ok(Arrival::Bytes(count)),
                Err(Errno::AGAIN) => return Ok(Arrival::Nothing),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what fits; `None` when nothing does. A lost host shows when reading.
    pub fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::write(&*self.0, bytes) {
                Ok(count) => return Ok(Some(count)),
                Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// One connection. A registration never forgets an end of file, so every connection has its own.
#[derive(Debug)]
pub struct Line {
    descriptor: Descriptor,
    arrivals: AsyncFd<Arc<OwnedFd>>,
}

impl Line {
    /// Registers for what arrives.
    pub fn new(descriptor: Descriptor) -> io::Result<Self> {
        let arrivals = readiness::watch_shared(descriptor.0.clone(), Interest::READABLE)?;
        Ok(Self {
            descriptor,
            arrivals,
        })
    }

    /// The descriptor.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Waits until something may have arrived and reads it into `buffer`.
    pub async fn arrival(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let mut ready = self.arrivals.readable().await?;
        let arrival = self.descriptor.read(buffer)?;
        if arrival == Arrival::Nothing {
            ready.clear_ready();
        }
        Ok(arrival)
    }

    /// Waits until a write may succeed. Registered only meanwhile: a port reports each buffer that the host took.
    pub async fn writable(&self) -> io::Result<()> {
        let copy = self.descriptor.0.try_clone()?;
        let writable = readiness::watch(copy, Interest::WRITABLE)?;
        let ready = writable.writable().await?;
        drop(ready);
        Ok(())
    }
}

/// Rings when the state of a port changes. A port without a host counts as readable and hung up all the time, so only
/// the changes tell; an edge-triggered epoll of its own sees them.
#[derive(Debug)]
pub struct Doorbell {
    epoll: AsyncFd<OwnedFd>,
}

impl Doorbell {
    /// Watches a port.
    pub fn new(port: &Descriptor) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&epoll, port.0.as_fd(), epoll::EventData::new_u64(0), flags)?;
        Ok(Self {
            epoll: readiness::watch(epoll, Interest::READABLE)?,
        })
    }

    /// Returns after a change since the last return.
    pub async fn ring(&self) -> io::Result<()> {
        loop {
            let mut ready = self.epoll.readable().await?;
            let mut events = Vec::with_capacity(1);
            let now = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            epoll::wait(
                self.epoll.get_ref(),
                rustix::buffer::spare_capacity(&mut events),
                Some(&now),
            )?;
            ready.clear_ready();
            if !events.is_empty() {
                return Ok(());
            }
        }
    }
}
