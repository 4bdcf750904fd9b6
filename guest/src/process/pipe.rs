//! Pipes between the agent and a process.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pipe::{pipe_with, PipeFlags};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::Interest;

use crate::sys::readiness;

/// The agent's end of a pipe that a process writes its output to. Not watched unless somebody waits for what arrives.
#[derive(Debug)]
pub struct OutputPipe(OwnedFd);

/// The agent's end of a pipe that a process writes to and that is always watched.
#[derive(Debug)]
pub struct PipeReader(AsyncFd<OwnedFd>);

/// The agent's end of a pipe that a process reads from.
#[derive(Debug)]
pub struct PipeWriter(AsyncFd<OwnedFd>);

/// What an attempt to read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// Every writer is gone.
    End,
}

/// A pipe that something may have arrived in.
#[derive(Debug)]
pub struct Arrived<'a>(AsyncFdReadyGuard<'a, OwnedFd>);

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Piece> {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => return Ok(Piece::End),
            Ok(count) => return Ok(Piece::Bytes(count)),
            Err(Errno::AGAIN) => return Ok(Piece::Nothing),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Our end, which does not block, and the process's.
fn from_process() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

impl Arrived<'_> {
    /// Reads it, if it is there.
    pub fn read(mut self, buffer: &mut [u8]) -> io::Result<Piece> {
        let piece = read(self.0.get_inner(), buffer)?;
        if piece == Piece::Nothing {
            self.0.clear_ready();
        }
        Ok(piece)
    }
}

impl PipeReader {
    /// A pipe: our end and the process's.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = from_process()?;
        Ok((Self(readiness::watch(ours, Interest::READABLE)?), theirs))
    }

    /// Waits until something may be there; `Arrived::read` then reads it.
    pub async fn arrived(&self) -> io::Result<Arrived<'_>> {
        Ok(Arrived(self.0.readable().await?))
    }
}

impl OutputPipe {
    /// A pipe: our end and the process's.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        from_process().map(|(ours, theirs)| (Self(ours), theirs))
    }

    /// Reads what is there.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<Piece> {
        read(&self.0, buffer)
    }

    /// Bytes that wait in the pipe.
    pub fn waiting_bytes(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.0).unwrap_or(0)
    }

    /// A watch on the same pipe.
    pub fn watch(&self) -> io::Result<PipeReader> {
        Ok(PipeReader(readiness::watch(
            self.0.try_clone()?,
            Interest::READABLE,
        )?))
    }

    /// The descriptor.
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }
}

impl PipeWriter {
    /// A pipe: our end and the process's.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
        Ok((Self(readiness::watch(ours, Interest::WRITABLE)?), theirs))
    }

    /// Writes a few bytes, if there is room for all of them.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::io::write(self.0.get_ref(), bytes)?;
        Ok(())
    }

    /// Bytes that the process has not read.
    pub fn waiting_bytes(&self) -> u64 {
        rustix::io::ioctl_fionread(self.0.get_ref()).unwrap_or(0)
    }

    /// Writes everything; waits while the process does not read. An error when nobody will read any more.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        // Tried before readiness is known: nearly always there is room.
        let mut attempt = rustix::io::write(self.0.get_ref(), bytes);
        loop {
            match attempt {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let mut ready = self.0.writable().await?;
            attempt = rustix::io::write(self.0.get_ref(), bytes);
            if attempt == Err(Errno::AGAIN) {
                ready.clear_ready();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_gets_every_byte() {
        let (writer, theirs) = PipeWriter::new().expect("a pipe");
        let reader = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(30));
            std::io::read_to_string(std::fs::File::from(theirs))
                .expect("text")
                .len()
        });
        writer
            .write_all(&vec![b'x'; 1_000_000])
            .await
            .expect("a write");
        drop(writer);
        assert_eq!(reader.join().expect("a thread"), 1_000_000);
    }

    #[tokio::test]
    async fn what_waits_is_counted_and_the_end_is_seen() {
        let (pipe, theirs) = OutputPipe::new().expect("a pipe");
        let reader = pipe.watch().expect("a watch");
        rustix::io::write(&theirs, b"abc").expect("a write");
        assert_eq!(pipe.waiting_bytes(), 3);
        let mut buffer = [0; 8];
        assert_eq!(
            reader
                .arrived()
                .await
                .expect("an arrival")
                .read(&mut buffer)
                .expect("a read"),
            Piece::Bytes(3)
        );
        drop(theirs);
        assert_eq!(
            reader
                .arrived()
                .await
                .expect("an arrival")
                .read(&mut buffer)
                .expect("a read"),
            Piece::End
        );
    }
}
