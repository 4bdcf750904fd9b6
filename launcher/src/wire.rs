//! Frames: a 4-byte little-endian length, then that many bytes of protobuf.

use crate::proto::{Request, Response};
use prost::Message;

/// The longest message either side may send.
pub const FRAME_LIMIT_BYTES: usize = 1024 * 1024;

/// The peer broke the protocol; the connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// Cuts a byte stream into requests. Holds at most one frame and what one read brought.
#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Takes what was read; call `next_request` until it has no more before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole request, if it has arrived.
    pub fn next_request(&mut self) -> Result<Option<Request>, Malformed> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > FRAME_LIMIT_BYTES {
            return Err(Malformed(format!(
                "a frame of {length} bytes, expected 1 to {FRAME_LIMIT_BYTES}"
            )));
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        let request = Request::decode(frame).map_err(|error| Malformed(error.to_string()))?;
        self.buffer.drain(..4 + length);
        Ok(Some(request))
    }
}

/// A response as it goes over the wire.
pub fn encode_frame(response: &Response) -> Vec<u8> {
    let body = response.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [length.to_le_bytes().as_slice(), &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{request, Forget, Hello};

    fn frame(request: &Request) -> Vec<u8> {
        let body = request.encode_to_vec();
        [
            u32::try_from(body.len()).unwrap().to_le_bytes().as_slice(),
            &body,
        ]
        .concat()
    }

    fn hello(id: u64) -> Request {
        Request {
            id,
            request: Some(request::Request::Hello(Hello {
                protocol_version: 1,
            })),
        }
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_read_whole() {
        let mut reader = FrameReader::default();
        let bytes = frame(&hello(7));
        for byte in &bytes[..bytes.len() - 1] {
            reader.push(&[*byte]);
            assert_eq!(reader.next_request(), Ok(None));
        }
        reader.push(&bytes[bytes.len() - 1..]);
        assert_eq!(reader.next_request(), Ok(Some(hello(7))));
        assert_eq!(reader.next_request(), Ok(None));
    }

    #[test]
    fn requests_that_come_together_are_read_apart() {
        let mut reader = FrameReader::default();
        reader.push(&[frame(&hello(1)), frame(&hello(2))].concat());
        assert_eq!(reader.next_request(), Ok(Some(hello(1))));
        assert_eq!(reader.next_request(), Ok(Some(hello(2))));
    }

    #[test]
    fn empty_and_oversized_frames_are_refused_before_their_bytes_arrive() {
        for length in [0u32, 1024 * 1024 + 1, u32::MAX] {
            let mut reader = FrameReader::default();
            reader.push(&length.to_le_bytes());
            assert!(reader.next_request().is_err(), "{length}");
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let mut reader = FrameReader::default();
        reader.push(&[3, 0, 0, 0, 0xff, 0xff, 0xff]);
        assert!(reader.next_request().is_err());
    }

    /// xorshift64*: the same run for the same seed.
    struct Random(u64);
    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }
        fn below(&mut self, limit: usize) -> usize {
            usize::try_from(self.next() >> 16).unwrap() % limit
        }
    }

    #[test]
    fn no_sequence_of_bytes_makes_the_reader_fail_or_grow() {
        let good = frame(&Request {
            id: 9,
            request: Some(request::Request::Forget(Forget {
                vm_id: "x".repeat(300),
            })),
        });
        for seed in 1..=3_000u64 {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut bytes = good.repeat(1 + random.below(3));
            for _ in 0..random.below(6) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
                }
            }
            let mut reader = FrameReader::default();
            'stream: while !bytes.is_empty() {
                let taken = bytes.split_off(bytes.len().min(1 + random.below(400)));
                reader.push(&std::mem::replace(&mut bytes, taken));
                loop {
                    match reader.next_request() {
                        Ok(Some(request)) => drop(crate::validate::fuzz_target(request)),
                        Ok(None) => break,
                        Err(Malformed(_)) => break 'stream,
                    }
                }
                assert!(
                    reader.buffer.len() <= FRAME_LIMIT_BYTES + 4 + 400,
                    "seed {seed}"
                );
            }
        }
    }
}
