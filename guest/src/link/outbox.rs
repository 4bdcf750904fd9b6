//! Frames on their way to the host. Whoever has something to say appends it here; the session writes what gathered at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use prost::encoding::{encode_varint, encoded_len_varint};
use prost::Message;
use tokio::sync::Notify;

use super::frame::{FrameType, Header, MAX_PAYLOAD_BYTES};
use crate::proto::{Outcome, Output};

/// Calls produce no more while that many bytes wait for the host.
const FULL_BYTES: usize = 256 * 1024;
/// Capacity that is kept for the next frames.
const KEPT_BYTES: usize = 512 * 1024;

/// Which field of `Output` a piece of data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// `Output.stdout`
    Stdout,
    /// `Output.stderr`
    Stderr,
    /// `Output.data`
    Data,
}

impl Channel {
    /// The protobuf key: field number and "length-delimited".
    fn key(self) -> u8 {
        match self {
            Self::Stdout => 0x0a,
            Self::Stderr => 0x12,
            Self::Data => 0x1a,
        }
    }
}

/// MESSAGE payload bytes of a piece of data.
pub fn data_payload_bytes(data_bytes: usize) -> usize {
    1 + encoded_len_varint(data_bytes as u64) + data_bytes
}

#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// How many of `bytes` the host has taken.
    written: usize,
    ended_streams: Vec<u32>,
    writer: Option<Waker>,
    is_closed: bool,
}

/// Unwritten frames of one session.
#[derive(Debug, Default)]
pub struct Outbox {
    contents: Mutex<Contents>,
    drained: Notify,
}

impl Outbox {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, header: Header, write_payload: impl FnOnce(&mut Vec<u8>)) {
        let writer = {
            let mut contents = self.contents();
            if contents.is_closed {
                return;
            }
            contents.bytes.extend_from_slice(&header.encode());
            write_payload(&mut contents.bytes);
            if header.kind == FrameType::End {
                contents.ended_streams.push(header.stream_id);
            }
            contents.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Appends bytes that are no frame: the welcome.
    pub fn push_raw(&self, raw: &[u8]) {
        self.contents().bytes.extend_from_slice(raw);
    }

    /// Appends a frame with a payload of bytes.
    pub fn push(&self, kind: FrameType, stream_id: u32, payload: &[u8]) {
        let header = Header {
            payload_bytes: payload.len(),
            stream_id,
            kind,
            end_stream: false,
        };
        self.append(header, |bytes| bytes.extend_from_slice(payload));
    }

    /// Appends a MESSAGE with a piece of output, without building the message.
    pub fn push_data(&self, stream_id: u32, channel: Channel, data: &[u8]) {
        let payload_bytes = data_payload_bytes(data.len());
        let header = Header {
            payload_bytes,
            stream_id,
            kind: FrameType::Message,
            end_stream: false,
        };
        self.append(header, |bytes| {
            bytes.push(channel.key());
            encode_varint(data.len() as u64, bytes);
            bytes.extend_from_slice(data);
        });
    }

    /// Appends a MESSAGE.
    pub fn push_output(&self, stream_id: u32, output: &Output) {
        let header = Header {
            payload_bytes: output.encoded_len(),
            stream_id,
            kind: FrameType::Message,
            end_stream: false,
        };
        self.append(header, |bytes| output.encode_raw(bytes));
    }

    /// Appends the END of a call.
    pub fn push_end(&self, stream_id: u32, outcome: &Outcome) {
        let payload_bytes = outcome.encoded_len();
        debug_assert!(
            payload_bytes <= MAX_PAYLOAD_BYTES,
            "an outcome is bounded where it is made"
        );
        let header = Header {
            payload_bytes,
            stream_id,
            kind: FrameType::End,
            end_stream: false,
        };
        self.append(header, |bytes| outcome.encode_raw(bytes));
    }

    /// Whether so much waits for the host that a call is to produce no more.
    pub fn is_full(&self) -> bool {
        let contents = self.contents();
        !contents.is_closed && contents.bytes.len() - contents.written >= FULL_BYTES
    }

    /// Returns when so little waits for the host that a call may produce more. Also when the session is over.
    pub async fn has_room(&self) {
        loop {
            let drained = self.drained.notified();
            if !self.is_full() {
                return;
            }
            drained.await;
        }
    }

    /// Ready when there is something to write.
    pub fn poll_pending(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut contents = self.contents();
        if contents.written < contents.bytes.len() {
            return Poll::Ready(());
        }
        contents.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Gives everything that waits to `write`, until it is all taken (`true`) or `write` would block (`false`).
    pub fn flush<E>(
        &self,
        mut write: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
    ) -> Result<bool, E> {
        let mut contents = self.contents();
        while contents.written < contents.bytes.len() {
            match write(&contents.bytes[contents.written..])? {
                Some(count) => contents.written += count,
                None => return Ok(false),
            }
        }
        if contents.written > 0 {
            contents.written = 0;
            contents.bytes.clear();
            contents.bytes.shrink_to(KEPT_BYTES);
            drop(contents);
            self.drained.notify_waiters();
        }
        Ok(true)
    }

    /// The streams whose END was appended since the last call.
    pub fn take_ended(&self, mut each: impl FnMut(u32)) {
        for stream_id in self.contents().ended_streams.drain(..) {
            each(stream_id);
        }
    }

    /// Drops whatever comes later; what waits is still written.
    pub fn seal(&self) {
        self.contents().is_closed = true;
        self.drained.notify_waiters();
    }

    /// Drops what waits and whatever comes later.
    pub fn close(&self) {
        {
            let mut contents = self.contents();
            *contents = Contents {
                is_closed: true,
                ..Contents::default()
            };
        }
        self.drained.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::HEADER_BYTES;
    use super::*;
    use crate::proto::output;

    fn written(outbox: &Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        let done = outbox.flush(|bytes| {
            all.extend_from_slice(bytes);
            Ok::<_, ()>(Some(bytes.len()))
        });
        assert_eq!(done, Ok(true));
        all
    }

    #[test]
    fn a_piece_of_data_is_encoded_as_the_message_would_be() {
        for size in [0usize, 1, 127, 128, 16_384, 65_536] {
            let data = vec![b'x'; size];
            let quick = Outbox::default();
            quick.push_data(3, Channel::Stderr, &data);
            let slow = Outbox::default();
            slow.push_output(
                3,
                &Output {
                    output: Some(output::Output::Stderr(data)),
                },
            );
            assert_eq!(written(&quick), written(&slow));
        }
    }

    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let outbox = Outbox::default();
        outbox.push(FrameType::Pong, 0, b"hello");
        let mut seen = Vec::new();
        let mut turns = 0;
        let first = outbox.flush(|bytes| {
            turns += 1;
            if turns > 2 {
                return Ok::<_, ()>(None);
            }
            seen.push(bytes[0]);
            Ok(Some(1))
        });
        assert_eq!(first, Ok(false));
        seen.extend(written(&outbox));
        assert_eq!(seen.len(), HEADER_BYTES + 5);
        assert!(seen.ends_with(b"hello"));
    }

    #[test]
    fn a_closed_outbox_takes_nothing() {
        let outbox = Outbox::default();
        outbox.close();
        outbox.push(FrameType::Pong, 0, b"late");
        assert!(written(&outbox).is_empty());
    }
}
