//! Bytes that arrived and are not used yet. Grows to one frame and no further.

use super::frame::{FrameError, Header, HEADER_BYTES, MAX_PAYLOAD_BYTES};

const START_BYTES: usize = 16 * 1024;

/// Holds at most the longest frame.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self {
            bytes: vec![0; START_BYTES],
            start: 0,
            end: 0,
        }
    }
}

impl ReadBuffer {
    /// What has arrived and was not consumed.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Forgets the first `count` unread bytes.
    pub fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Where the next bytes belong. Never empty: a buffer that is full of unread bytes grows, up to a frame.
    pub fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            let larger = (self.bytes.len() * 2).min(HEADER_BYTES + MAX_PAYLOAD_BYTES + START_BYTES);
            self.bytes.resize(larger, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes were put into `space`.
    pub fn filled(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
    }

    /// The next whole frame's header, when all its bytes are here. Leaves everything in place.
    pub fn next_frame(&self) -> Result<Option<Header>, FrameError> {
        let Some(first) = self.unread().first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::decode(first)?;
        let whole = self.unread().len() >= HEADER_BYTES + header.payload_bytes;
        Ok(whole.then_some(header))
    }

    /// The payload of the frame that `next_frame` announced.
    pub fn payload(&self, header: &Header) -> &[u8] {
        &self.unread()[HEADER_BYTES..HEADER_BYTES + header.payload_bytes]
    }

    /// Forgets the frame that `next_frame` announced.
    pub fn consume_frame(&mut self, header: &Header) {
        self.consume(HEADER_BYTES + header.payload_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::FrameType;
    use super::*;

    fn put(buffer: &mut ReadBuffer, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = buffer.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            buffer.filled(count);
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn a_frame_is_seen_when_its_last_byte_arrived() {
        let header = Header {
            payload_bytes: MAX_PAYLOAD_BYTES,
            stream_id: 1,
            kind: FrameType::Open,
            end_stream: false,
        };
        let mut bytes = header.encode().to_vec();
        bytes.resize(HEADER_BYTES + MAX_PAYLOAD_BYTES, 7);
        let mut buffer = ReadBuffer::default();
        put(&mut buffer, b"abc");
        buffer.consume(3);
        put(&mut buffer, &bytes[..bytes.len() - 1]);
        assert_eq!(buffer.next_frame(), Ok(None));
        put(&mut buffer, &bytes[bytes.len() - 1..]);
        assert_eq!(buffer.next_frame(), Ok(Some(header)));
        assert_eq!(buffer.payload(&header).len(), MAX_PAYLOAD_BYTES);
        buffer.consume_frame(&header);
        assert!(buffer.unread().is_empty());
    }

    #[test]
    fn there_is_always_space_while_frames_are_consumed() {
        let header = Header {
            payload_bytes: 40_000,
            stream_id: 1,
            kind: FrameType::Message,
            end_stream: false,
        };
        let mut frame = header.encode().to_vec();
        frame.resize(HEADER_BYTES + 40_000, 1);
        let mut buffer = ReadBuffer::default();
        for _ in 0..100 {
            put(&mut buffer, &frame);
            while let Ok(Some(seen)) = buffer.next_frame() {
                buffer.consume_frame(&seen);
            }
        }
        assert!(buffer.unread().is_empty());
        assert!(buffer.bytes.len() <= HEADER_BYTES + MAX_PAYLOAD_BYTES + START_BYTES);
    }
}
