//! Bytes between the link and a thread that may block, a few pieces at a time.

use std::sync::Arc;

use tokio::sync::{mpsc, SemaphorePermit};
use tokio::task::spawn_blocking;

use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::link::outbox::Channel;
use crate::link::stream::{Call, MAX_DATA_BYTES};
use crate::proto::Output;

/// Pieces between a file and the link.
const PIECES: usize = 4;
/// Calls that move bytes at once: each may keep a thread for as long as the host likes.
pub const MAX_TRANSFERS: usize = 32;

/// Waits until one more call may move bytes.
pub async fn begin<'a>(agent: &'a Agent, call: &Call) -> CallResult<SemaphorePermit<'a>> {
    tokio::select! {
        biased;
        () = call.cancelled().wait() => Err(CallError::cancelled()),
        permit = agent.transfers.acquire() => permit
            .map_err(|error| CallError::internal(format!("transfers: {error}"))),
    }
}

/// Sends a message, unless the call is cancelled while it waits for credit.
pub async fn send_output(call: &Call, output: &Output) -> CallResult<()> {
    tokio::select! {
        biased;
        () = call.cancelled().wait() => Err(CallError::cancelled()),
        sent = call.send(output) => sent,
    }
}

/// Sends data as the host grants it.
pub async fn send_data(call: &Call, channel: Channel, mut data: &[u8]) -> CallResult<()> {
    while !data.is_empty() {
        let room = tokio::select! {
            biased;
            () = call.cancelled().wait() => return Err(CallError::cancelled()),
            room = call.data_room() => room.min(data.len()),
        };
        call.send_data(channel, &data[..room]);
        data = &data[room..];
    }
    Ok(())
}

/// Where a thread puts what the host is to get.
#[derive(Debug)]
pub struct Sink {
    sender: mpsc::Sender<Vec<u8>>,
    gathered: Vec<u8>,
}

impl Sink {
    /// Hands a piece on; waits while the host is slow, and fails when the call is cancelled.
    pub fn send(&mut self, piece: Vec<u8>) -> CallResult<()> {
        self.sender
            .blocking_send(piece)
            .map_err(|_| CallError::cancelled())
    }

    /// Hands bytes on in pieces of a good size.
    pub fn write(&mut self, mut bytes: &[u8]) -> CallResult<()> {
        while !bytes.is_empty() {
            let room = MAX_DATA_BYTES - self.gathered.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.gathered.extend_from_slice(now);
            bytes = later;
            if self.gathered.len() == MAX_DATA_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Hands on what has gathered.
    pub fn flush(&mut self) -> CallResult<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.gathered);
        self.send(piece)
    }
}

/// Sends what a thread produces to its end. Answers the number of bytes and what the thread answered.
pub async fn send_all<T: Send + 'static>(
    call: &Call,
    produce: impl FnOnce(&mut Sink) -> CallResult<T> + Send + 'static,
) -> CallResult<(u64, T)> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let producing = spawn_blocking(move || {
        let mut sink = Sink {
            sender,
            gathered: Vec::new(),
        };
        let produced = produce(&mut sink)?;
        sink.flush()?;
        Ok(produced)
    });
    let mut bytes = 0;
    loop {
        let piece: Vec<u8> = tokio::select! {
            biased;
            () = call.cancelled().wait() => return Err(CallError::cancelled()),
            piece = pieces.recv() => match piece {
                Some(piece) => piece,
                None => break,
            },
        };
        bytes += piece.len() as u64;
        send_data(call, Channel::Data, &piece).await?;
    }
    let produced = producing
        .await
        .map_err(|error| CallError::internal(format!("reading a file: {error}")))?;
    produced.map(|produced| (bytes, produced))
}

enum Piece {
    Data(Vec<u8>),
    /// Without it what came is given up.
    End,
}

/// Where a thread finds what the host sends.
#[derive(Debug)]
pub struct Arrivals {
    pieces: mpsc::Receiver<Piece>,
    current: Vec<u8>,
    at: usize,
    has_ended: bool,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(data) => write!(f, "Data({})", data.len()),
            Self::End => f.write_str("End"),
        }
    }
}

impl Arrivals {
    /// The next piece; `None` at the end of the data. Fails when the call was cancelled before it.
    pub fn next_piece(&mut self) -> CallResult<Option<Vec<u8>>> {
        if self.has_ended {
            return Ok(None);
        }
        match self.pieces.blocking_recv() {
            Some(Piece::Data(data)) => Ok(Some(data)),
            Some(Piece::End) => {
                self.has_ended = true;
                Ok(None)
            }
            None => Err(CallError::cancelled()),
        }
    }

    /// Bytes that have arrived, at most `most`; empty at the end of the data.
    pub fn read(&mut self, most: usize) -> CallResult<&[u8]> {
        while self.at == self.current.len() {
            match self.next_piece()? {
                Some(piece) => (self.current, self.at) = (piece, 0),
                None => return Ok(&[]),
            }
        }
        let start = self.at;
        self.at = self.current.len().min(start.saturating_add(most));
        Ok(&self.current[start..self.at])
    }
}

/// Gives what the host sends to a thread, up to a limit (0 = none). Answers the number of bytes and what the thread answered.
pub async fn receive_all<T: Send + 'static>(
    call: &Arc<Call>,
    limit_bytes: u64,
    consume: impl FnOnce(&mut Arrivals) -> CallResult<T> + Send + 'static,
) -> CallResult<(u64, T)> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let consuming = spawn_blocking(move || {
        consume(&mut Arrivals {
            pieces,
            current: Vec::new(),
            at: 0,
            has_ended: false,
        })
    });
    let mut bytes = 0;
    let complete = loop {
        let piece = tokio::select! {
            biased;
            () = call.cancelled().wait() => break Err(CallError::cancelled()),
            piece = call.next_data() => piece,
        };
        let Some(piece) = piece else { break Ok(()) };
        bytes += piece.len() as u64;
        if limit_bytes > 0 && bytes > limit_bytes {
            break Err(CallError::limit(format!(
                "the content is larger than its limit of {limit_bytes} bytes"
            )));
        }
        let sent = tokio::select! {
            biased;
            () = call.cancelled().wait() => break Err(CallError::cancelled()),
            sent = sender.send(Piece::Data(piece)) => sent,
        };
        // The consumer ended early: it says why.
        if sent.is_err() {
            break Ok(());
        }
    };
    if complete.is_ok() {
        let _ = sender.send(Piece::End).await;
    }
    drop(sender);
    let consumed = consuming
        .await
        .map_err(|error| CallError::internal(format!("writing a file: {error}")))?;
    complete?;
    Ok((bytes, consumed?))
}
