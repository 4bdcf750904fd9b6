//! The tar format, in both directions: ustar, with pax records for what does not fit, and GNU long names when reading.
//! Nothing here touches a file system.

use crate::failure::{CallError, CallResult};

/// Everything is in blocks of so many bytes.
pub const BLOCK_BYTES: usize = 512;
/// Longest name or link, and all pax records of one entry, in bytes.
const MAX_RECORDS_BYTES: u64 = 64 * 1024;
/// Extended headers before one entry.
const MAX_EXTENSIONS: usize = 16;
const NAME_BYTES: usize = 100;
const MAX_OCTAL_ID: u64 = 0o7_777_777;
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A device, a pipe, or something of somebody's own.
    Other,
}

/// One entry, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As it is in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Owner's group.
    pub gid: u64,
    /// Of its content, in bytes.
    pub size: u64,
    /// Last change, in seconds since 1970.
    pub modified_s: i64,
    /// Where a link points.
    pub link: Vec<u8>,
}

fn broken(why: &str) -> CallError {
    CallError::invalid(format!("the archive is broken: {why}"))
}

/// The bytes that fill a content up to whole blocks.
pub fn padding_bytes(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or(0);
    (BLOCK_BYTES - over) % BLOCK_BYTES
}

/// The blocks before the content.
pub fn encode(header: &Header) -> Vec<u8> {
    let records = pax_records(header);
    let mut blocks = Vec::with_capacity(BLOCK_BYTES);
    if !records.is_empty() {
        let extension = Header {
            name: b"PaxHeaders/entry".to_vec(),
            size: records.len() as u64,
            mode: 0o644,
            link: Vec::new(),
            uid: 0,
            gid: 0,
            ..header.clone()
        };
        blocks.extend(block(&extension, b'x'));
        blocks.extend_from_slice(&records);
        blocks.resize(blocks.len() + padding_bytes(records.len() as u64), 0);
    }
    let flag = match header.kind {
        Kind::File | Kind::Other => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Directory => b'5',
    };
    blocks.extend(block(header, flag));
    blocks
}

fn pax_records(header: &Header) -> Vec<u8> {
    let mut records = Vec::new();
    let long = |text: &[u8]| text.len() > NAME_BYTES;
    let is_text =
        std::str::from_utf8(&header.name).is_ok() && std::str::from_utf8(&header.link).is_ok();
    if (long(&header.name) || long(&header.link)) && !is_text {
        pax_record(&mut records, b"hdrcharset", b"BINARY");
    }
    if long(&header.name) {
        pax_record(&mut records, b"path", &header.name);
    }
    if long(&header.link) {
        pax_record(&mut records, b"linkpath", &header.link);
    }
    for (key, number, most) in [
        (&b"size"[..], header.size, MAX_OCTAL_SIZE),
        (b"uid", header.uid, MAX_OCTAL_ID),
        (b"gid", header.gid, MAX_OCTAL_ID),
    ] {
        if number > most {
            pax_record(&mut records, key, number.to_string().as_bytes());
        }
    }
    records
}

/// A record begins with its own length, the digits of the length included.
fn pax_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn block(header: &Header, flag: u8) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put(&mut block[..NAME_BYTES], &header.name);
    put_octal(&mut block[100..108], u64::from(header.mode));
    put_octal(&mut block[108..116], header.uid.min(MAX_OCTAL_ID));
    put_octal(&mut block[116..124], header.gid.min(MAX_OCTAL_ID));
    put_octal(&mut block[124..136], header.size.min(MAX_OCTAL_SIZE));
    let modified = u64::try_from(header.modified_s).unwrap_or(0);
    put_octal(&mut block[136..148], modified.min(MAX_OCTAL_SIZE));
    block[156] = flag;
    put(&mut block[157..257], &header.link);
    put(&mut block[257..265], b"ustar\x0000");
    block[CHECKSUM].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    put(&mut block[CHECKSUM], format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

fn put_octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    put(field, format!("{number:0digits$o}\0").as_bytes());
}

/// Where an archive comes from.
pub trait Bytes {
    /// Bytes that are there, at most `most`; empty at the end.
    fn read(&mut self, most: usize) -> CallResult<&[u8]>;
}

/// Takes an archive apart, entry by entry, with a bounded memory.
#[derive(Debug)]
pub struct Reader<B> {
    source: B,
    /// Of the content of the current entry.
    rest: u64,
    padding: usize,
    is_begun: bool,
}

/// What extended headers say about the entry after them.
#[derive(Debug, Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    modified_s: Option<i64>,
}

impl<B: Bytes> Reader<B> {
    /// Reads from the first block on.
    pub fn new(source: B) -> Self {
        Self {
            source,
            rest: 0,
            padding: 0,
            is_begun: false,
        }
    }

    /// The next entry; `None` at the end of the archive. Content that was not read is passed over.
    pub fn next_entry(&mut self) -> CallResult<Option<Header>> {
        let mut extension = Extension::default();
        for _ in 0..MAX_EXTENSIONS {
            self.pass_over()?;
            let Some(block) = self.block()? else {
                return Ok(None);
            };
            let mut header = decode(&block)?;
            match block[156] {
                b'x' => extension.take_records(&self.records(header.size)?)?,
                b'L' => extension.name = Some(self.long_name(header.size)?),
                b'K' => extension.link = Some(self.long_name(header.size)?),
                // Defaults for all entries: nothing that is used here.
                b'g' => self.begin_content(header.size),
                b'S' => {
                    return Err(CallError::unsupported(
                        "the archive holds a sparse file of GNU tar; make it without --sparse",
                    ))
                }
                _ => {
                    extension.apply(&mut header);
                    if header.kind == Kind::File && header.name.ends_with(b"/") {
                        header.kind = Kind::Directory;
                    }
                    if !matches!(header.kind, Kind::File | Kind::Other) {
                        header.size = 0;
                    }
                    self.begin_content(header.size);
                    return Ok(Some(header));
                }
            }
        }
        Err(broken("one entry has too many extended headers"))
    }

    /// A piece of the entry's content; empty at its end.
    pub fn content(&mut self) -> CallResult<&[u8]> {
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX);
        if most == 0 {
            return Ok(&[]);
        }
        let piece = self.source.read(most)?;
        if piece.is_empty() {
            return Err(broken("it ends within a file"));
        }
        self.rest -= piece.len() as u64;
        Ok(piece)
    }

    fn begin_content(&mut self, size: u64) {
        self.rest = size;
        self.padding = padding_bytes(size);
    }

    fn pass_over(&mut self) -> CallResult<()> {
        while !self.content()?.is_empty() {}
        while self.padding > 0 {
            let piece = self.source.read(self.padding)?.len();
            if piece == 0 {
                return Err(broken("it ends within a file"));
            }
            self.padding -= piece;
        }
        Ok(())
    }

    /// The next header; `None` for the zeros that end an archive, and for an empty one.
    fn block(&mut self) -> CallResult<Option<[u8; BLOCK_BYTES]>> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let piece = self.source.read(BLOCK_BYTES - filled)?;
            if piece.is_empty() {
                if filled == 0 && !self.is_begun {
                    return Ok(None);
                }
                return Err(broken("it ends before its end, as if it were cut"));
            }
            block[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        self.is_begun = true;
        Ok(block.iter().any(|&byte| byte != 0).then_some(block))
    }

    fn records(&mut self, size: u64) -> CallResult<Vec<u8>> {
        if size > MAX_RECORDS_BYTES {
            return Err(CallError::limit(format!(
                "an extended header of {size} bytes in the archive, expected at most {MAX_RECORDS_BYTES}"
            )));
        }
        self.begin_content(size);
        let mut records = Vec::new();
        loop {
            let piece = self.content()?;
            if piece.is_empty() {
                return Ok(records);
            }
            records.extend_from_slice(piece);
        }
    }

    fn long_name(&mut self, size: u64) -> CallResult<Vec<u8>> {
        let mut name = self.records(size)?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }
}

fn decode(block: &[u8; BLOCK_BYTES]) -> CallResult<Header> {
    let announced = number(&block[CHECKSUM])?;
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| u64::from(if CHECKSUM.contains(&at) { b' ' } else { byte }))
        .sum();
    if sum != announced {
        return Err(broken(
            "a header's checksum is wrong, or it is no tar archive",
        ));
    }
    let mut name = text(&block[..NAME_BYTES]).to_vec();
    let prefix = text(&block[345..500]);
    // GNU tar keeps other things there.
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        name = [prefix, b"/", &name].concat();
    }
    let kind = match block[156] {
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'5' => Kind::Directory,
        _ => Kind::Other,
    };
    Ok(Header {
        name,
        kind,
        mode: u32::try_from(number(&block[100..108])? & 0o7777).unwrap_or(0),
        uid: number(&block[108..116])?,
        gid: number(&block[116..124])?,
        size: number(&block[124..136])?,
        modified_s: i64::try_from(number(&block[136..148])?).unwrap_or(0),
        link: text(&block[157..257]).to_vec(),
    })
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Octal digits among spaces, or a binary number with the first bit set. A negative one counts as 0.
fn number(field: &[u8]) -> CallResult<u64> {
    if let Some((&first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        if first & 0x40 != 0 {
            return Ok(0);
        }
        let digits = std::iter::once(first & 0x3f).chain(rest.iter().copied());
        return digits
            .into_iter()
            .try_fold(0u64, |number, digit| {
                number.checked_mul(256)?.checked_add(u64::from(digit))
            })
            .ok_or_else(|| broken("a number is too large"));
    }
    let digits = text(field).trim_ascii();
    digits
        .iter()
        .try_fold(0u64, |number, digit| match digit {
            b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
            _ => None,
        })
        .ok_or_else(|| broken("a number is none"))
}

impl Extension {
    fn take_records(&mut self, mut records: &[u8]) -> CallResult<()> {
        while !records.is_empty() {
            let (key, value, rest) =
                split_record(records).ok_or_else(|| broken("a pax record is none"))?;
            records = rest;
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value)?),
                b"uid" => self.uid = Some(decimal(value)?),
                b"gid" => self.gid = Some(decimal(value)?),
                b"mtime" => self.modified_s = Some(seconds(value)),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(CallError::unsupported(
                        "the archive holds a sparse file of GNU tar; make it without --sparse",
                    ))
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, header: &mut Header) {
        if let Some(name) = self.name.take() {
            header.name = name;
        }
        if let Some(link) = self.link.take() {
            header.link = link;
        }
        header.size = self.size.unwrap_or(header.size);
        header.uid = self.uid.unwrap_or(header.uid);
        header.gid = self.gid.unwrap_or(header.gid);
        header.modified_s = self.modified_s.unwrap_or(header.modified_s);
    }
}

/// Key, value, and what follows the record.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(8).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let record = records.get(space + 1..length)?;
    let rest = records.get(length..)?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

fn decimal(value: &[u8]) -> CallResult<u64> {
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| broken("a number is none"))
}

/// The whole seconds of a time; one before 1970 counts as 0.
fn seconds(value: &[u8]) -> i64 {
    let whole = value.split(|&byte| byte == b'.').next().unwrap_or_default();
    let number = std::str::from_utf8(whole)
        .ok()
        .and_then(|text| text.parse().ok());
    number.unwrap_or(0i64).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slice<'a>(&'a [u8], usize);

    impl Bytes for Slice<'_> {
        fn read(&mut self, most: usize) -> CallResult<&[u8]> {
            let (now, later) = self.0.split_at(most.min(self.1).min(self.0.len()));
            self.0 = later;
            Ok(now)
        }
    }

    fn header(name: &[u8]) -> Header {
        Header {
            name: name.to_vec(),
            kind: Kind::File,
            mode: 0o4755,
            uid: 1000,
            gid: 100,
            size: 0,
            modified_s: 1_700_000_000,
            link: Vec::new(),
        }
    }

    fn archive(entries: &[(Header, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (header, content) in entries {
            bytes.extend(encode(header));
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len() + padding_bytes(content.len() as u64), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK_BYTES, 0);
        bytes
    }

    fn read_all(bytes: &[u8], step: usize) -> CallResult<Vec<(Header, Vec<u8>)>> {
        let mut reader = Reader::new(Slice(bytes, step));
        let mut entries = Vec::new();
        while let Some(header) = reader.next_entry()? {
            let mut content = Vec::new();
            loop {
                let piece = reader.content()?;
                if piece.is_empty() {
                    break;
                }
                content.extend_from_slice(piece);
            }
            entries.push((header, content));
        }
        Ok(entries)
    }

    fn samples() -> Vec<(Header, Vec<u8>)> {
        let file = |name: &[u8], content: &[u8]| {
            let size = content.len() as u64;
            (
                Header {
                    size,
                    ..header(name)
                },
                content.to_vec(),
            )
        };
        let special = |kind, name: &[u8], link: &[u8]| {
            let link = link.to_vec();
            (
                Header {
                    kind,
                    link,
                    ..header(name)
                },
                Vec::new(),
            )
        };
        vec![
            file(b"plain", b"hello"),
            file(b"-rf new\nline", &[7; 512]),
            file("größe 🙂".as_bytes(), &[8; 513]),
            file(&[0xff; 99], b""),
            file(&[0xfe; 101], b"x"),
            file(&vec![b'n'; 5000], b"long"),
            special(Kind::Directory, b"directory/", b""),
            special(Kind::Symlink, b"link", &[b'l'; 300]),
            special(Kind::HardLink, b"again", b"plain"),
            (
                Header {
                    uid: 4_000_000_000,
                    gid: 3_000_000_000,
                    ..header(b"owner")
                },
                Vec::new(),
            ),
        ]
    }

    #[test]
    fn what_was_written_is_read_in_any_steps() {
        let bytes = archive(&samples());
        for step in [1, 7, 512, 100_000] {
            assert_eq!(read_all(&bytes, step).expect("entries"), samples());
        }
        assert_eq!(read_all(&[], 1), Ok(Vec::new()));
    }

    #[test]
    fn a_size_beyond_the_octal_digits_is_told() {
        let large = Header {
            size: 1 << 40,
            ..header(b"large")
        };
        let bytes = encode(&large);
        let mut reader = Reader::new(Slice(&bytes, 512));
        let read = reader.next_entry().expect("an entry").expect("an entry");
        assert_eq!(read, large);
    }

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Ok(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Ok(0));
        assert!(number(b"0000648\0").is_err());
        assert!(number(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn a_cut_archive_is_refused_wherever_it_is_cut() {
        let bytes = archive(&samples()[..3]);
        let end = bytes.len() - 2 * BLOCK_BYTES;
        for length in 1..=end {
            assert!(read_all(&bytes[..length], 512).is_err(), "cut at {length}");
        }
        assert!(read_all(&bytes[..end + BLOCK_BYTES], 512).is_ok());
    }

    /// A repeatable source of numbers.
    fn next(state: &mut u64) -> usize {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap_or(0)
    }

    #[test]
    fn damaged_archives_end_in_an_answer() {
        let whole = archive(&samples());
        let mut state = 7;
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next(&mut state) % 4 {
                let at = next(&mut state) % bytes.len();
                match next(&mut state) % 3 {
                    0 => bytes[at] = next(&mut state) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, next(&mut state) as u8),
                }
                // So that more than the checksum is tried.
                mend(&mut bytes);
            }
            let entries = read_all(&bytes, 4096).map_or(0, |entries| entries.len());
            assert!(entries <= bytes.len() / BLOCK_BYTES);
        }
    }

    fn mend(bytes: &mut [u8]) {
        for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
            if block.get(257..262) == Some(b"ustar") {
                block[CHECKSUM].fill(b' ');
                let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
                put(&mut block[CHECKSUM], format!("{sum:06o}\0 ").as_bytes());
            }
        }
    }
}
