//! One client: bytes in, requests out; responses in, bytes out. Never blocks, never holds more than its bounds.

use crate::proto::{Request, Response};
use crate::wire::{encode_frame, FrameReader};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

const READ_BYTES: usize = 64 * 1024;
/// A client that leaves more than this unread is disconnected.
const UNREAD_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// The connection is over, and why.
#[derive(Debug)]
pub struct Gone(pub String);

/// A connected client.
pub struct Connection {
    stream: UnixStream,
    incoming: FrameReader,
    outgoing: VecDeque<u8>,
    /// Its Hello was answered: it gets events.
    pub greeted: bool,
}

impl Connection {
    /// Takes a stream that is set to nonblocking.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: FrameReader::default(),
            outgoing: VecDeque::new(),
            greeted: false,
        }
    }

    /// For poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether something waits to be written.
    pub fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Reads once and returns the requests that are complete.
    pub fn receive(&mut self) -> Result<Vec<Request>, Gone> {
        let mut buffer = [0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(Gone("closed by the client".into())),
            Ok(length) => self.incoming.push(&buffer[..length]),
            Err(error) if is_momentary(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Gone(error.to_string())),
        }
        let mut requests = Vec::new();
        while let Some(request) = self
            .incoming
            .next_request()
            .map_err(|malformed| Gone(malformed.0))?
        {
            requests.push(request);
        }
        Ok(requests)
    }

    /// Queues a response and writes what the client takes now.
    pub fn send(&mut self, response: &Response) -> Result<(), Gone> {
        self.outgoing.extend(encode_frame(response));
        self.flush()?;
        if self.outgoing.len() > UNREAD_LIMIT_BYTES {
            return Err(Gone(format!(
                "left more than {UNREAD_LIMIT_BYTES} bytes unread"
            )));
        }
        Ok(())
    }

    /// Writes what the client takes now.
    pub fn flush(&mut self) -> Result<(), Gone> {
        while self.wants_to_write() {
            let (front, _) = self.outgoing.as_slices();
            match self.stream.write(front) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if is_momentary(&error) => break,
                Err(error) => return Err(Gone(error.to_string())),
            }
        }
        Ok(())
    }
}

fn is_momentary(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{response, Done};

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Connection::new(ours), theirs)
    }

    #[test]
    fn a_client_that_reads_nothing_is_given_up_after_a_bound() {
        let (mut connection, _unread) = pair();
        let done = Response {
            id: 1,
            response: Some(response::Response::Done(Done {})),
        };
        let sent = (0..2_000_000)
            .take_while(|_| connection.send(&done).is_ok())
            .count();
        assert!(sent > 100_000 && sent < 2_000_000, "{sent}");
        assert!(connection.outgoing.len() <= UNREAD_LIMIT_BYTES + 16);
    }

    #[test]
    fn a_closed_client_is_gone() {
        let (mut connection, theirs) = pair();
        assert!(connection
            .receive()
            .is_ok_and(|requests| requests.is_empty()));
        drop(theirs);
        assert!(connection.receive().is_err());
    }
}
