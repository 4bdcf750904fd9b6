//! The file of changed pages: a header, the pages one after the other from 4096 on, and then which they are, as runs
//! of (first page, count), 4 bytes each, little-endian. The header is written last: a file that was not finished has none.

use super::guest_memory::{append, Run};
use super::PAGE_BYTES;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 16] = b"instavm-pages-1\0";
const HEADER_BYTES: usize = 40;
const DATA_OFFSET: u64 = PAGE_BYTES as u64;
const RUN_BYTES: usize = 8;
const BUFFER_BYTES: usize = 1024 * 1024;

/// Writes one.
pub struct PagesWriter {
    file: BufWriter<File>,
    memory_bytes: u64,
    runs: Vec<Run>,
    pages: u64,
}

impl PagesWriter {
    /// Over an empty file.
    pub fn new(mut file: File, memory_bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() != 0 {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        file.seek(SeekFrom::Start(DATA_OFFSET))?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            memory_bytes,
            runs: Vec::new(),
            pages: 0,
        })
    }

    /// Adds a page; they come in their order.
    pub fn push(&mut self, page: usize, bytes: &[u8]) -> io::Result<()> {
        append(&mut self.runs, page, usize::MAX);
        self.pages += 1;
        self.file.write_all(bytes)
    }

    /// Returns how many pages there are.
    pub fn finish(mut self) -> io::Result<u64> {
        for run in &self.runs {
            self.file.write_all(&number(run.first)?.to_le_bytes())?;
            self.file.write_all(&number(run.count)?.to_le_bytes())?;
        }
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        for field in [self.memory_bytes, self.pages, self.runs.len() as u64] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        file.write_all_at(&header, 0)?;
        Ok(self.pages)
    }
}

fn number(value: usize) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
}

/// Why a file cannot be used.
#[derive(Debug)]
pub struct Flaw(String);

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Pages of a file, and where they are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRun {
    /// In the guest's memory.
    pub first: usize,
    /// How many.
    pub count: usize,
    offset: u64,
}

/// Reads one, which may be anybody's.
pub struct PagesReader {
    file: File,
    runs: Vec<Run>,
}

impl PagesReader {
    /// Checks all but the pages' bytes.
    pub fn open(file: File, memory_bytes: u64) -> Result<Self, Flaw> {
        let size = file.metadata().map_err(unreadable)?.len();
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(unreadable)?;
        let (magic, fields) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Flaw("its first bytes are not those of saved memory".into()));
        }
        let mut fields = fields.chunks_exact(8).map(little_endian);
        let mut field = || fields.next().unwrap_or(0);
        let (saved_bytes, pages, run_count) = (field(), field(), field());
        if saved_bytes != memory_bytes {
            return Err(Flaw(format!(
                "it is of {saved_bytes} bytes of memory, the VM has {memory_bytes}"
            )));
        }
        let limit = memory_bytes / PAGE_BYTES as u64;
        if pages > limit || run_count > pages {
            return Err(Flaw(format!(
                "{pages} pages in {run_count} runs; expected at most {limit} pages"
            )));
        }
        let index_offset = DATA_OFFSET + pages * PAGE_BYTES as u64;
        let expected = index_offset + run_count * RUN_BYTES as u64;
        // A file without pages ends with its header.
        if pages > 0 && size != expected {
            return Err(Flaw(format!("it has {size} bytes; expected {expected}")));
        }
        let mut index = vec![0; usize::try_from(run_count).unwrap_or(0) * RUN_BYTES];
        if pages > 0 {
            file.read_exact_at(&mut index, index_offset)
                .map_err(unreadable)?;
        }
        let runs = checked(&index, pages, limit)?;
        Ok(Self { file, runs })
    }

    /// All pages, in runs of at most `limit`.
    pub fn runs(&self, limit: usize) -> Vec<StoredRun> {
        let mut parts = Vec::new();
        let mut offset = DATA_OFFSET;
        for run in &self.runs {
            for done in (0..run.count).step_by(limit) {
                let count = limit.min(run.count - done);
                let first = run.first + done;
                parts.push(StoredRun {
                    first,
                    count,
                    offset,
                });
                offset += (count * PAGE_BYTES) as u64;
            }
        }
        parts
    }

    /// The bytes of a run.
    pub fn read(&self, run: &StoredRun, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, run.offset)
    }
}

fn unreadable(error: io::Error) -> Flaw {
    Flaw(error.to_string())
}

fn checked(index: &[u8], pages: u64, limit: u64) -> Result<Vec<Run>, Flaw> {
    let mut runs = Vec::with_capacity(index.len() / RUN_BYTES);
    let (mut end, mut total) = (0u64, 0u64);
    for entry in index.chunks_exact(RUN_BYTES) {
        let (first, count) = entry.split_at(4);
        let (first, count) = (little_endian(first), little_endian(count));
        if count == 0 || first < end || first + count > limit {
            return Err(Flaw(format!(
                "{count} pages from {first} on; expected pages from {end} to {limit}"
            )));
        }
        (end, total) = (first + count, total + count);
        runs.push(Run {
            first: usize::try_from(first).unwrap_or(usize::MAX),
            count: usize::try_from(count).unwrap_or(0),
        });
    }
    if total == pages {
        return Ok(runs);
    }
    Err(Flaw(format!("{total} pages are named; expected {pages}")))
}

/// Of up to 8 bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!(
                "instavm-launcher-pages-{name}-{}",
                std::process::id()
            )))
        }
        fn create(&self) -> File {
            (File::options().read(true).write(true).create_new(true))
                .open(&self.0)
                .unwrap()
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    const MEMORY_BYTES: u64 = 64 * PAGE_BYTES as u64;

    fn written(scratch: &Scratch, pages: &[usize]) -> File {
        let file = scratch.create();
        let mut writer = PagesWriter::new(file.try_clone().unwrap(), MEMORY_BYTES).unwrap();
        for page in pages {
            let byte = u8::try_from(*page).unwrap();
            writer.push(*page, &[byte; PAGE_BYTES]).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), pages.len() as u64);
        file
    }

    #[test]
    fn what_is_written_is_read_again_in_runs() {
        let scratch = Scratch::new("again");
        let reader = PagesReader::open(written(&scratch, &[0, 5, 6, 7, 63]), MEMORY_BYTES).unwrap();
        let runs = reader.runs(2);
        let names: Vec<_> = runs.iter().map(|run| (run.first, run.count)).collect();
        assert_eq!(names, [(0, 1), (5, 2), (7, 1), (63, 1)]);
        let mut bytes = [0; 2 * PAGE_BYTES];
        reader.read(&runs[1], &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[PAGE_BYTES]), (5, 6));
    }

    #[test]
    fn memory_that_was_not_changed_has_no_pages() {
        let scratch = Scratch::new("none");
        let reader = PagesReader::open(written(&scratch, &[]), MEMORY_BYTES).unwrap();
        assert_eq!(reader.runs(8), []);
    }

    #[test]
    fn a_file_that_was_not_finished_or_was_cut_is_refused() {
        let scratch = Scratch::new("cut");
        let file = written(&scratch, &[1, 2, 40]);
        let whole = file.metadata().unwrap().len();
        for bytes in [0, 39, 4096, whole - 1, whole + 1] {
            file.set_len(bytes).unwrap();
            let seen = PagesReader::open(file.try_clone().unwrap(), MEMORY_BYTES);
            assert!(seen.is_err(), "{bytes} bytes");
        }
    }

    #[test]
    fn every_broken_field_is_refused() {
        let scratch = Scratch::new("fields");
        let file = written(&scratch, &[1, 2, 40]);
        let index = DATA_OFFSET + 3 * PAGE_BYTES as u64;
        let fields: [(u64, u8, &str); 7] = [
            (0, b'X', "first bytes"),
            (18, 9, "of memory"),
            (24, 99, "at most 64"),
            (32, 4, "in 4 runs"),
            (index, 64, "expected pages from 0 to 64"),
            (index + 4, 0, "0 pages from 1"),
            (index + 8, 2, "expected pages from 3"),
        ];
        for (offset, byte, sentence) in fields {
            let mut before = [0];
            file.read_exact_at(&mut before, offset).unwrap();
            file.write_all_at(&[byte], offset).unwrap();
            let seen = PagesReader::open(file.try_clone().unwrap(), MEMORY_BYTES);
            let said = seen.err().map(|flaw| flaw.to_string());
            assert!(
                said.as_ref().is_some_and(|said| said.contains(sentence)),
                "{sentence}: {said:?}"
            );
            file.write_all_at(&before, offset).unwrap();
        }
        assert!(PagesReader::open(file, MEMORY_BYTES).is_ok());
    }

    #[test]
    fn only_an_empty_file_is_written() {
        let scratch = Scratch::new("empty");
        assert!(PagesWriter::new(written(&scratch, &[1]), MEMORY_BYTES).is_err());
    }
}
