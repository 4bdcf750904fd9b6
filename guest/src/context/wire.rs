//! What the agent and a driver say to each other. Each message: u32 length of what follows, u8 type, body; little-endian.
//! A cell can write to the driver's pipe too, so nothing that comes from it is believed before it is checked.

use std::fmt;

/// Longest reply that is kept; a longer display is skipped, anything else that long is an error.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
const LENGTH_BYTES: usize = 4;
const MAX_DISPLAY_PARTS: u32 = 64;

/// How a driver is to run a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As code of the driver's language.
    Plain,
    /// Only when it is code of the driver's language.
    Detect,
}

/// Asks to run a cell.
pub fn execute(cell_id: u32, mode: Mode, code: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(LENGTH_BYTES + 6 + code.len());
    message.extend_from_slice(&((6 + code.len()) as u32).to_le_bytes());
    message.push(b'X');
    message.extend_from_slice(&cell_id.to_le_bytes());
    message.push(u8::from(mode == Mode::Detect));
    message.extend_from_slice(code);
    message
}

/// Says that a cell may come soon. Never answered.
pub const WAKE: [u8; 5] = [1, 0, 0, 0, b'W'];

/// Seeds the generators and adds to the environment.
pub fn activate<'a>(
    seed: &[u8],
    env: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Vec<u8> {
    let mut body = vec![b'A'];
    let mut append = |bytes: &[u8]| {
        body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        body.extend_from_slice(bytes);
    };
    append(seed);
    let count = env.len() as u32;
    let pairs: Vec<_> = env.collect();
    body.extend_from_slice(&count.to_le_bytes());
    for (name, value) in pairs {
        for text in [name, value] {
            body.extend_from_slice(&(text.len() as u32).to_le_bytes());
            body.extend_from_slice(text.as_bytes());
        }
    }
    let mut message = (body.len() as u32).to_le_bytes().to_vec();
    message.append(&mut body);
    message
}

/// What a driver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It can take cells.
    Ready,
    /// A cell has ended.
    Done(Done),
    /// The cell is not of this language; nothing was executed.
    NotThisLanguage(u32),
    /// Something rich to show.
    Display {
        /// The cell that shows it.
        cell_id: u32,
        /// Whether it is the value of the cell's last expression.
        is_result: bool,
        /// MIME types and data.
        parts: Vec<(String, Vec<u8>)>,
    },
    /// A display that is too long to be kept.
    Skipped,
    /// The seed and the environment are in place.
    Activated,
}

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The cell.
    pub cell_id: u32,
    /// In what way.
    pub status: Status,
    /// 0, 1, or what `exit` was given.
    pub exit_code: i32,
    /// The exception's type.
    pub name: String,
    /// The exception's text.
    pub value: String,
    /// The exception's traceback.
    pub traceback: String,
}

/// In what way a cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It ran to its end.
    Completed,
    /// It raised.
    Raised,
    /// It ended the interpreter.
    Exited,
}

/// A reply that no driver sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the interpreter's pipe carried {}", self.0)
    }
}

/// Takes replies apart as their bytes arrive.
#[derive(Debug, Default)]
pub struct ReplyReader {
    bytes: Vec<u8>,
    /// How many bytes of an over-long display are still to come.
    skipping: usize,
}

impl ReplyReader {
    /// Takes bytes that arrived; holds at most one reply and what was given after it.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let skipped = self.skipping.min(bytes.len());
        self.skipping -= skipped;
        bytes = &bytes[skipped..];
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole reply.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, Malformed> {
        let Some(length) = self.bytes.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            return Err(Malformed("a message without a type"));
        }
        let Some(&kind) = self.bytes.get(LENGTH_BYTES) else {
            return Ok(None);
        };
        if length > MAX_REPLY_BYTES {
            return self.skip(kind, length);
        }
        let Some(message) = self.bytes.get(LENGTH_BYTES + 1..LENGTH_BYTES + length) else {
            return Ok(None);
        };
        let reply = parse(kind, message)?;
        self.bytes.drain(..LENGTH_BYTES + length);
        self.bytes.shrink_to(64 * 1024);
        Ok(Some(reply))
    }

    fn skip(&mut self, kind: u8, length: usize) -> Result<Option<Reply>, Malformed> {
        if kind != b'V' {
            return Err(Malformed("a message that is too long"));
        }
        let here = self.bytes.len().min(LENGTH_BYTES + length);
        self.skipping = LENGTH_BYTES + length - here;
        self.bytes.drain(..here);
        Ok(Some(Reply::Skipped))
    }
}

fn parse(kind: u8, body: &[u8]) -> Result<Reply, Malformed> {
    let mut body = Body(body);
    let reply = match kind {
        b'R' => Reply::Ready,
        b'K' => Reply::Activated,
        b'N' => Reply::NotThisLanguage(body.number()?),
        b'D' => Reply::Done(parse_done(&mut body)?),
        b'V' => {
            let (cell_id, is_result) = (body.number()?, body.byte()? != 0);
            let count = body.number()?;
            if count > MAX_DISPLAY_PARTS {
                return Err(Malformed("a display of too many parts"));
            }
            let parts = (0..count)
                .map(|_| Ok((body.text()?, body.bytes()?.to_vec())))
                .collect::<Result<_, _>>()?;
            Reply::Display {
                cell_id,
                is_result,
                parts,
            }
        }
        _ => return Err(Malformed("a message of an unknown type")),
    };
    if body.0.is_empty() {
        Ok(reply)
    } else {
        Err(Malformed("a message with bytes left over"))
    }
}

fn parse_done(body: &mut Body<'_>) -> Result<Done, Malformed> {
    let cell_id = body.number()?;
    let status = match body.byte()? {
        0 => Status::Completed,
        1 => Status::Raised,
        2 => Status::Exited,
        _ => return Err(Malformed("an end of an unknown kind")),
    };
    let exit_code = i32::from_le_bytes(body.number()?.to_le_bytes());
    Ok(Done {
        cell_id,
        status,
        exit_code,
        name: body.text()?,
        value: body.text()?,
        traceback: body.text()?,
    })
}

/// What is left of a message.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Malformed("a message that is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.number()? as usize;
        self.take(count)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Malformed("text that is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((body.len() + 1) as u32).to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(body);
        bytes
    }

    fn read_all(bytes: &[u8], step: usize) -> Result<Vec<Reply>, Malformed> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in bytes.chunks(step) {
            reader.feed(piece);
            while let Some(reply) = reader.next_reply()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let done = [
            &7u32.to_le_bytes()[..],
            &[2],
            &(-1i32).to_le_bytes(),
            &string("SystemExit"),
            &string("é"),
            &string(""),
        ]
        .concat();
        let display = [
            &7u32.to_le_bytes()[..],
            &[1],
            &1u32.to_le_bytes(),
            &string("text/plain"),
            &string("42"),
        ]
        .concat();
        let bytes = [
            message(b'R', b""),
            message(b'V', &display),
            message(b'D', &done),
            message(b'K', b""),
        ]
        .concat();
        for step in [1, 3, 7, bytes.len()] {
            let replies = read_all(&bytes, step).expect("replies");
            assert_eq!(replies.len(), 4);
            assert_eq!(replies[0], Reply::Ready);
            let parts = vec![("text/plain".to_owned(), b"42".to_vec())];
            assert_eq!(
                replies[1],
                Reply::Display {
                    cell_id: 7,
                    is_result: true,
                    parts
                }
            );
            assert!(
                matches!(&replies[2], Reply::Done(done) if done.exit_code == -1 && done.value == "é")
            );
            assert_eq!(replies[3], Reply::Activated);
        }
    }

    #[test]
    fn a_display_that_is_too_long_is_skipped_and_never_held() {
        let bytes = [message(b'V', &vec![0; 5 << 20]), message(b'K', b"")].concat();
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in bytes.chunks(60_000) {
            reader.feed(piece);
            assert!(reader.bytes.len() <= 120_000);
            while let Some(reply) = reader.next_reply().expect("replies") {
                replies.push(reply);
            }
        }
        assert_eq!(replies, [Reply::Skipped, Reply::Activated]);
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [
            0u32.to_le_bytes().to_vec(),
            message(b'?', b""),
            message(b'R', b"x"),
            message(b'N', b"abc"),
            message(b'D', &[0; 8]),
            message(
                b'D',
                &[
                    0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ],
            ),
            message(b'V', &[0, 0, 0, 0, 0, 255, 255, 255, 255]),
            message(b'D', &vec![0; 2 << 20]),
        ] {
            assert!(read_all(&bytes, 1 << 20).is_err());
        }
    }

    #[test]
    fn random_bytes_never_get_past_the_checks_into_a_panic_or_much_memory() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let body: Vec<u8> = state.to_le_bytes().repeat(3)[..(state % 24) as usize].to_vec();
                let kind = b"RKNDV?"[(state >> 8) as usize % 6];
                bytes.extend(message(kind, &body));
                if state % 5 == 0 {
                    let at = (state >> 16) as usize % bytes.len();
                    bytes[at] ^= (state >> 24) as u8;
                }
            }
            // Only that it returns is of interest.
            let _ = read_all(&bytes, 5);
        }
    }

    #[test]
    fn requests_have_the_layout_that_drivers_read() {
        assert_eq!(
            execute(258, Mode::Detect, b"x"),
            [7, 0, 0, 0, b'X', 2, 1, 0, 0, 1, b'x']
        );
        let env = std::collections::BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        let expected = [
            20, 0, 0, 0, b'A', 1, 0, 0, 0, 9, 1, 0, 0, 0, 1, 0, 0, 0, b'A', 1, 0, 0, 0, b'b',
        ];
        assert_eq!(activate(&[9], env.iter())[..], expected);
    }
}
