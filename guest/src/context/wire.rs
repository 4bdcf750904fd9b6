//! What the agent and a driver say to each other. Each message: u32 length of what follows, u8 type, body; little-endian.
//! A cell can write to the driver's pipe too, so nothing that comes from it is believed before it is checked.

use std::fmt;

/// Longest reply that is no display.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
/// Most data of one display; what does not fit is skipped.
pub const MAX_DISPLAY_BYTES: usize = 16 * 1024 * 1024;
/// Most that is held of a display. A smaller one is read whole.
pub const MAX_PIECE_BYTES: usize = 60 * 1024;
const LENGTH_BYTES: usize = 4;
const MAX_DISPLAY_PARTS: u32 = 64;
const MAX_MIME_BYTES: usize = 1024;

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

/// Sets the environment of the next cell. Never answered.
pub fn environment<'a>(env: impl ExactSizeIterator<Item = (&'a String, &'a String)>) -> Vec<u8> {
    let mut body = vec![b'E'];
    append_pairs(&mut body, env);
    framed(&body)
}

/// Says that a cell may come soon. Never answered.
pub const WAKE: [u8; 5] = [1, 0, 0, 0, b'W'];

/// Seeds the generators and adds to the environment.
pub fn activate<'a>(
    seed: &[u8],
    env: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Vec<u8> {
    let mut body = vec![b'A'];
    append_bytes(&mut body, seed);
    append_pairs(&mut body, env);
    framed(&body)
}

fn append_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    body.extend_from_slice(bytes);
}

fn append_pairs<'a>(
    body: &mut Vec<u8>,
    pairs: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) {
    body.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
    for (name, value) in pairs {
        append_bytes(body, name.as_bytes());
        append_bytes(body, value.as_bytes());
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(LENGTH_BYTES + body.len());
    append_bytes(&mut message, body);
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
    /// A piece of a display that is not read whole.
    Piece(Piece),
    /// A part of a display that is too long to be kept.
    Skipped,
    /// The seed and the environment are in place.
    Activated,
}

/// A piece of a long display, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whether it is the value of the cell's last expression.
    pub is_result: bool,
    /// Of which part it is; empty in the last.
    pub mime: String,
    /// What comes next of it.
    pub data: Vec<u8>,
    /// No other follows.
    pub is_last: bool,
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
    /// How many bytes of an over-long part are still to come.
    skipping: usize,
    long: Option<LongDisplay>,
}

/// A display that is passed on in pieces.
#[derive(Debug)]
struct LongDisplay {
    is_result: bool,
    /// Bytes of its message that were not looked at.
    left: usize,
    parts_left: u32,
    /// Data that may still be kept.
    room: usize,
    /// The part that is being read, and how much of it is to come.
    part: Option<(String, usize)>,
}

impl ReplyReader {
    /// Takes bytes that arrived; holds at most one reply or piece and what was given after it.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let skipped = self.skipping.min(bytes.len());
        self.skipping -= skipped;
        bytes = &bytes[skipped..];
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole reply, or the next piece of a long display.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, Malformed> {
        if let Some(display) = self.long.take() {
            return self.next_piece(display);
        }
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
        if kind == b'V' && length > MAX_PIECE_BYTES {
            return self.begin_long(length - 1);
        }
        if length > MAX_REPLY_BYTES {
            return Err(Malformed("a message that is too long"));
        }
        let Some(message) = self.bytes.get(LENGTH_BYTES + 1..LENGTH_BYTES + length) else {
            return Ok(None);
        };
        let reply = parse(kind, message)?;
        self.consume(LENGTH_BYTES + length);
        Ok(Some(reply))
    }

    fn consume(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.bytes.shrink_to(64 * 1024);
    }

    fn begin_long(&mut self, body_bytes: usize) -> Result<Option<Reply>, Malformed> {
        const HEAD_BYTES: usize = 9;
        let start = LENGTH_BYTES + 1;
        let Some(head) = self.bytes.get(start..start + HEAD_BYTES) else {
            return Ok(None);
        };
        let mut head = Body(head);
        let (_cell_id, is_result) = (head.number()?, head.byte()? != 0);
        let parts_left = head.number()?;
        if parts_left > MAX_DISPLAY_PARTS {
            return Err(Malformed("a display of too many parts"));
        }
        self.consume(start + HEAD_BYTES);
        self.next_piece(LongDisplay {
            is_result,
            left: body_bytes - HEAD_BYTES,
            parts_left,
            room: MAX_DISPLAY_BYTES,
            part: None,
        })
    }

    fn next_piece(&mut self, mut display: LongDisplay) -> Result<Option<Reply>, Malformed> {
        let reply = match display.part.take() {
            Some((mime, to_come)) => self.piece_of_part(&mut display, mime, to_come),
            None if display.parts_left == 0 => {
                if display.left > 0 {
                    return Err(Malformed("a message with bytes left over"));
                }
                return Ok(Some(Reply::Piece(Piece {
                    is_result: display.is_result,
                    mime: String::new(),
                    data: Vec::new(),
                    is_last: true,
                })));
            }
            None => self.begin_part(&mut display)?,
        };
        self.long = Some(display);
        Ok(reply)
    }

    fn piece_of_part(
        &mut self,
        display: &mut LongDisplay,
        mime: String,
        to_come: usize,
    ) -> Option<Reply> {
        let count = to_come.min(MAX_PIECE_BYTES);
        let Some(data) = self.bytes.get(..count).map(<[u8]>::to_vec) else {
            display.part = Some((mime, to_come));
            return None;
        };
        self.consume(count);
        if to_come > count {
            display.part = Some((mime.clone(), to_come - count));
        }
        Some(Reply::Piece(Piece {
            is_result: display.is_result,
            mime,
            data,
            is_last: false,
        }))
    }

    /// Its type and its length; one that is too long is skipped at once.
    fn begin_part(&mut self, display: &mut LongDisplay) -> Result<Option<Reply>, Malformed> {
        let too_short = Malformed("a message that is too short");
        let Some(mime_bytes) = self.bytes.first_chunk::<LENGTH_BYTES>() else {
            return if display.left < LENGTH_BYTES {
                Err(too_short)
            } else {
                Ok(None)
            };
        };
        let mime_bytes = u32::from_le_bytes(*mime_bytes) as usize;
        if mime_bytes > MAX_MIME_BYTES {
            return Err(Malformed("a MIME type that is too long"));
        }
        let head_bytes = 2 * LENGTH_BYTES + mime_bytes;
        if head_bytes > display.left {
            return Err(too_short);
        }
        let Some(head) = self.bytes.get(..head_bytes) else {
            return Ok(None);
        };
        let mut head = Body(head);
        let (mime, data_bytes) = (head.text()?, head.number()? as usize);
        display.left -= head_bytes;
        display.left = display.left.checked_sub(data_bytes).ok_or(too_short)?;
        display.parts_left -= 1;
        self.consume(head_bytes);
        if data_bytes > display.room {
            let here = self.bytes.len().min(data_bytes);
            self.consume(here);
            self.skipping = data_bytes - here;
            return Ok(Some(Reply::Skipped));
        }
        display.room -= data_bytes;
        Ok(self.piece_of_part(display, mime, data_bytes))
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

    fn display(parts: &[(&str, usize)]) -> Vec<u8> {
        let mut body = [&9u32.to_le_bytes()[..], &[1]].concat();
        body.extend((parts.len() as u32).to_le_bytes());
        for (mime, length) in parts {
            body.extend(string(mime));
            body.extend((*length as u32).to_le_bytes());
            body.extend((0..*length).map(|index| (index % 251) as u8));
        }
        message(b'V', &body)
    }

    #[test]
    fn a_long_display_is_read_in_pieces_and_never_held() {
        let bytes = [
            display(&[("text/plain", 3), ("image/png", 200_000), ("text/html", 0)]),
            message(b'K', b""),
        ]
        .concat();
        for step in [1, 4096, 60_000, bytes.len()] {
            let mut reader = ReplyReader::default();
            let (mut image, mut text, mut ends, mut activated) = (Vec::new(), 0, 0, 0);
            for piece in bytes.chunks(step) {
                reader.feed(piece);
                while let Some(reply) = reader.next_reply().expect("replies") {
                    match reply {
                        Reply::Piece(piece) => {
                            assert!(piece.is_result && piece.data.len() <= MAX_PIECE_BYTES);
                            match piece.mime.as_str() {
                                "image/png" => image.extend(piece.data),
                                "text/plain" => text += piece.data.len(),
                                "text/html" => assert!(piece.data.is_empty()),
                                other => assert_eq!((other, piece.is_last), ("", true)),
                            }
                            ends += u32::from(piece.is_last);
                        }
                        other => {
                            assert_eq!((other, ends), (Reply::Activated, 1));
                            activated += 1;
                        }
                    }
                }
                assert!(reader.bytes.len() <= MAX_PIECE_BYTES + step);
            }
            assert_eq!((image.len(), text, activated), (200_000, 3, 1));
            assert!(image
                .iter()
                .enumerate()
                .all(|(index, &byte)| byte == (index % 251) as u8));
        }
    }

    #[test]
    fn a_part_that_is_too_long_is_skipped_and_the_others_kept() {
        let bytes = [
            display(&[("image/png", 17 << 20), ("text/plain", 70_000)]),
            message(b'K', b""),
        ]
        .concat();
        let mut reader = ReplyReader::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(60_000) {
            reader.feed(piece);
            assert!(reader.bytes.len() <= 2 * MAX_PIECE_BYTES);
            while let Some(reply) = reader.next_reply().expect("replies") {
                seen.push(match reply {
                    Reply::Skipped => "skipped".to_owned(),
                    Reply::Piece(piece) => piece.mime,
                    _ => "other".to_owned(),
                });
            }
        }
        assert_eq!(seen, ["skipped", "text/plain", "text/plain", "", "other"]);
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
            message(b'V', &[0xff; 100_000]),
            message(
                b'V',
                &[&[0, 0, 0, 0, 0, 1, 0, 0, 0][..], &[b'x'; 100_000]].concat(),
            ),
            // More bytes than its parts have, and parts that are longer than it is.
            message(b'V', &[0; 100_000]),
            message(
                b'V',
                &[
                    &[0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'a', 0, 0, 2, 0][..],
                    &[0; 100_000],
                ]
                .concat(),
            ),
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
                if state % 64 == 1 {
                    bytes.extend(display(&[
                        ("a/b", (state >> 32) as usize % 100_000),
                        ("c/d", 9),
                    ]));
                }
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
        let expected = [
            15, 0, 0, 0, b'E', 1, 0, 0, 0, 1, 0, 0, 0, b'A', 1, 0, 0, 0, b'b',
        ];
        assert_eq!(environment(env.iter())[..], expected);
    }
}
