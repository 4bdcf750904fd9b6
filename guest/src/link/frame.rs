//! Frames: a 12-byte header and a payload. Only what can be said about one frame alone is checked here.

use std::fmt;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 12;
/// Longest payload of any frame, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 262_144;
/// Longest payload of a MESSAGE frame, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 65_536 + 64;
/// Longest payload of a PING or PONG frame, in bytes.
pub const MAX_PING_BYTES: usize = 64;
/// Flag of OPEN and MESSAGE frames from the host: no input follows.
pub const END_STREAM: u8 = 1;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameType {
    /// The host opens a call.
    Open,
    /// Input or output of a call.
    Message,
    /// The agent closes a call with its outcome.
    End,
    /// The host cancels a call.
    Reset,
    /// The receiver allows that many more payload bytes.
    Credit,
    /// Asks for the same bytes back.
    Ping,
    /// Gives the bytes of a PING back.
    Pong,
    /// The host leaves.
    Detach,
    /// The agent's last frame.
    Detached,
}

impl FrameType {
    /// The type of a wire number; `None` when there is no such type.
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Open,
            2 => Self::Message,
            3 => Self::End,
            4 => Self::Reset,
            5 => Self::Credit,
            6 => Self::Ping,
            7 => Self::Pong,
            8 => Self::Detach,
            9 => Self::Detached,
            _ => return None,
        })
    }

    /// The wire number.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Message => 2,
            Self::End => 3,
            Self::Reset => 4,
            Self::Credit => 5,
            Self::Ping => 6,
            Self::Pong => 7,
            Self::Detach => 8,
            Self::Detached => 9,
        }
    }

    fn belongs_to_session(self) -> bool {
        matches!(
            self,
            Self::Ping | Self::Pong | Self::Detach | Self::Detached
        )
    }

    fn payload_bytes(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Open | Self::End => 0..=MAX_PAYLOAD_BYTES,
            Self::Message => 0..=MAX_MESSAGE_BYTES,
            Self::Credit => 4..=4,
            Self::Ping | Self::Pong => 0..=MAX_PING_BYTES,
            Self::Reset | Self::Detach | Self::Detached => 0..=0,
        }
    }
}

/// A decoded header that is right in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the payload that follows, in bytes.
    pub payload_bytes: usize,
    /// The call, or 0 for the session.
    pub stream_id: u32,
    /// What the frame is for.
    pub kind: FrameType,
    /// No input follows.
    pub end_stream: bool,
}

/// Why a header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The payload is longer than any frame's may be.
    TooLong(usize),
    /// No such type.
    UnknownType(u8),
    /// A flag that must be 0.
    ReservedFlags(u8),
    /// The reserved field is not 0.
    ReservedField(u16),
    /// A payload length that this type cannot have.
    WrongLength(FrameType, usize),
    /// A stream id that this type cannot have.
    WrongStream(FrameType, u32),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => write!(
                f,
                "a frame of {bytes} bytes, expected at most {MAX_PAYLOAD_BYTES}"
            ),
            Self::UnknownType(number) => write!(f, "frame type {number}, expected 1 to 9"),
            Self::ReservedFlags(flags) => write!(
                f,
                "frame flags {flags:#04x}, expected only END_STREAM where it is allowed"
            ),
            Self::ReservedField(value) => {
                write!(f, "a reserved header field of {value:#06x}, expected 0")
            }
            Self::WrongLength(kind, bytes) => write!(
                f,
                "a {kind:?} frame of {bytes} bytes, expected {:?}",
                kind.payload_bytes()
            ),
            Self::WrongStream(kind, id) => write!(f, "a {kind:?} frame on stream {id}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Header {
    /// Decodes and checks a header.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, s0, s1, s2, s3, number, flags, r0, r1] = *bytes;
        let payload_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let stream_id = u32::from_le_bytes([s0, s1, s2, s3]);
        let reserved = u16::from_le_bytes([r0, r1]);
        if payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(FrameError::TooLong(payload_bytes));
        }
        let kind = FrameType::from_wire(number).ok_or(FrameError::UnknownType(number))?;
        let allowed = if matches!(kind, FrameType::Open | FrameType::Message) {
            END_STREAM
        } else {
            0
        };
        if flags & !allowed != 0 {
            return Err(FrameError::ReservedFlags(flags));
        }
        if reserved != 0 {
            return Err(FrameError::ReservedField(reserved));
        }
        if !kind.payload_bytes().contains(&payload_bytes) {
            return Err(FrameError::WrongLength(kind, payload_bytes));
        }
        // A stream id is odd; the session's own is 0.
        if (stream_id == 0) != kind.belongs_to_session() || (stream_id != 0 && stream_id % 2 == 0) {
            return Err(FrameError::WrongStream(kind, stream_id));
        }
        Ok(Self {
            payload_bytes,
            stream_id,
            kind,
            end_stream: flags & END_STREAM != 0,
        })
    }

    /// The header's bytes. The caller keeps to the limits that `decode` checks.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [l0, l1, l2, l3] = (self.payload_bytes as u32).to_le_bytes();
        let [s0, s1, s2, s3] = self.stream_id.to_le_bytes();
        [
            l0,
            l1,
            l2,
            l3,
            s0,
            s1,
            s2,
            s3,
            self.kind.to_wire(),
            u8::from(self.end_stream),
            0,
            0,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: FrameType, stream_id: u32, payload_bytes: usize) -> Header {
        Header {
            payload_bytes,
            stream_id,
            kind,
            end_stream: false,
        }
    }

    #[test]
    fn every_type_survives_encoding_and_decoding() {
        for number in 1..=9u8 {
            let kind = FrameType::from_wire(number).expect("a type");
            let stream_id = if kind.belongs_to_session() { 0 } else { 7 };
            let sent = header(kind, stream_id, *kind.payload_bytes().end());
            assert_eq!(Header::decode(&sent.encode()), Ok(sent));
        }
    }

    #[test]
    fn a_header_with_one_wrong_field_is_refused() {
        let good = header(FrameType::Message, 7, 3).encode();
        let cases: [(usize, u8, FrameError); 6] = [
            (3, 1, FrameError::TooLong((1 << 24) + 3)),
            (8, 0, FrameError::UnknownType(0)),
            (8, 10, FrameError::UnknownType(10)),
            (9, 2, FrameError::ReservedFlags(2)),
            (10, 1, FrameError::ReservedField(1)),
            (4, 6, FrameError::WrongStream(FrameType::Message, 6)),
        ];
        for (offset, value, expected) in cases {
            let mut bytes = good;
            bytes[offset] = value;
            assert_eq!(Header::decode(&bytes), Err(expected));
        }
    }

    #[test]
    fn lengths_and_streams_are_those_of_the_type() {
        for (kind, stream_id, bytes) in [
            (FrameType::Message, 1, MAX_MESSAGE_BYTES + 1),
            (FrameType::Credit, 1, 3),
            (FrameType::Credit, 1, 5),
            (FrameType::Ping, 0, 65),
            (FrameType::Reset, 1, 1),
            (FrameType::Detach, 0, 1),
        ] {
            let decoded = Header::decode(&header(kind, stream_id, bytes).encode());
            assert_eq!(decoded, Err(FrameError::WrongLength(kind, bytes)));
        }
        for (kind, stream_id) in [
            (FrameType::Ping, 1),
            (FrameType::Open, 0),
            (FrameType::Open, 2),
            (FrameType::Detach, 3),
        ] {
            let decoded = Header::decode(&header(kind, stream_id, 0).encode());
            assert_eq!(decoded, Err(FrameError::WrongStream(kind, stream_id)));
        }
    }

    #[test]
    fn end_stream_is_refused_where_it_means_nothing() {
        let mut bytes = header(FrameType::Reset, 1, 0).encode();
        bytes[9] = END_STREAM;
        assert_eq!(
            Header::decode(&bytes),
            Err(FrameError::ReservedFlags(END_STREAM))
        );
    }
}
