//! What a background process prints: the end of it is kept, for readers that come and go.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::link::outbox::Channel;

/// Most bytes that are kept of one process.
pub const LOG_BYTES: usize = 1024 * 1024;
/// What every log has from the start.
const FIRST_BYTES: usize = 64 * 1024;
/// Changes between stdout and stderr that are kept.
const MAX_RUNS: usize = 4096;

/// Memory that all logs share.
#[derive(Debug)]
pub struct LogMemory {
    left: AtomicUsize,
}

impl LogMemory {
    /// A sixteenth of the machine's, 4 MiB to 64 MiB.
    pub fn for_this_machine() -> Self {
        const MIB: u64 = 1024 * 1024;
        let info = rustix::system::sysinfo();
        let bytes = info.totalram.saturating_mul(u64::from(info.mem_unit)) / 16;
        Self::of(usize::try_from(bytes.clamp(4 * MIB, 64 * MIB)).unwrap_or(LOG_BYTES))
    }

    fn of(bytes: usize) -> Self {
        Self {
            left: AtomicUsize::new(bytes),
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(bytes)
            });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::AcqRel);
    }
}

/// Bytes of one channel in a row.
#[derive(Debug)]
struct Run {
    channel: Channel,
    start: u64,
}

/// A ring buffer that grows while there is memory for it, and drops its oldest bytes otherwise.
#[derive(Debug)]
struct Ring {
    bytes: VecDeque<u8>,
    runs: VecDeque<Run>,
    /// Offset of the first byte that is kept.
    start: u64,
    /// What it may hold.
    capacity: usize,
    memory: Arc<LogMemory>,
}

impl Ring {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn append(&mut self, channel: Channel, data: &[u8]) {
        self.grow_for(data.len());
        if self.runs.back().is_none_or(|run| run.channel != channel) {
            let start = self.end();
            self.runs.push_back(Run { channel, start });
        }
        let kept = &data[data.len().saturating_sub(self.capacity)..];
        let cut = data.len() - kept.len();
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(self.capacity);
        self.drop_oldest(surplus);
        // What is cut had no room even in an empty buffer.
        self.start += cut as u64;
        self.bytes.extend(kept);
        self.drop_runs();
    }

    fn grow_for(&mut self, bytes: usize) {
        while self.bytes.len() + bytes > self.capacity && self.capacity < LOG_BYTES {
            let more = self.capacity.min(LOG_BYTES - self.capacity);
            if !self.memory.take(more) {
                return;
            }
            self.capacity += more;
            self.bytes.reserve_exact(self.capacity - self.bytes.len());
        }
    }

    fn drop_oldest(&mut self, bytes: usize) {
        self.bytes.drain(..bytes);
        self.start += bytes as u64;
    }

    /// Drops the runs that hold nothing any more, and the oldest when there are too many.
    fn drop_runs(&mut self) {
        while self.runs.len() > 1 {
            let second = self.runs.get(1).map_or(u64::MAX, |run| run.start);
            if second > self.start {
                if self.runs.len() <= MAX_RUNS {
                    return;
                }
                let bytes = usize::try_from(second - self.start).unwrap_or(0);
                self.drop_oldest(bytes.min(self.bytes.len()));
            }
            self.runs.pop_front();
        }
    }

    /// A piece at an offset that is kept.
    fn piece(&self, offset: u64, most: usize) -> Option<(Channel, Vec<u8>)> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let next = self.runs.partition_point(|run| run.start <= offset);
        let run = self.runs.get(next.checked_sub(1)?)?;
        let run_end = self.runs.get(next).map_or(self.end(), |run| run.start);
        let length = usize::try_from(run_end.saturating_sub(offset))
            .ok()?
            .min(most);
        if length == 0 {
            return None;
        }
        let piece = self.bytes.range(at..at + length).copied().collect();
        Some((run.channel, piece))
    }

    /// Gives back what nothing more will fill.
    fn settle(&mut self) {
        self.bytes.shrink_to_fit();
        self.runs.shrink_to_fit();
        let needed = self.bytes.len().max(FIRST_BYTES).min(self.capacity);
        self.memory.give_back(self.capacity - needed);
        self.capacity = needed;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.memory.give_back(self.capacity);
    }
}

/// The log of one process.
#[derive(Debug)]
pub struct OutputLog {
    ring: Mutex<Ring>,
    changed: Notify,
}

impl OutputLog {
    /// An empty log; `None` when there is no memory for another.
    pub fn new(memory: &Arc<LogMemory>) -> Option<Self> {
        if !memory.take(FIRST_BYTES) {
            return None;
        }
        let ring = Ring {
            bytes: VecDeque::new(),
            runs: VecDeque::new(),
            start: 0,
            capacity: FIRST_BYTES,
            memory: memory.clone(),
        };
        Some(Self {
            ring: Mutex::new(ring),
            changed: Notify::new(),
        })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds output. Never waits for a reader.
    pub fn append(&self, channel: Channel, data: &[u8]) {
        if !data.is_empty() {
            self.ring().append(channel, data);
            self.changed.notify_waiters();
        }
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.ring().settle();
        self.changed.notify_waiters();
    }

    /// Offsets of the first byte that is kept and behind the last one.
    pub fn extent(&self) -> (u64, u64) {
        let ring = self.ring();
        (ring.start, ring.end())
    }

    /// Bytes of one channel at an offset, at most `most`; `None` when the offset is not kept.
    pub fn piece(&self, offset: u64, most: usize) -> Option<(Channel, Vec<u8>)> {
        self.ring().piece(offset, most)
    }

    /// Wakes at the next change. Made before a look at the log, it misses none.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(log: &OutputLog) -> Vec<(Channel, Vec<u8>)> {
        let (mut offset, end) = log.extent();
        let mut pieces = Vec::new();
        while offset < end {
            let piece = log.piece(offset, usize::MAX).expect("a piece");
            offset += piece.1.len() as u64;
            pieces.push(piece);
        }
        pieces
    }

    #[test]
    fn output_keeps_its_order_and_its_channels() {
        let memory = Arc::new(LogMemory::of(LOG_BYTES));
        let log = OutputLog::new(&memory).expect("a log");
        log.append(Channel::Stdout, b"one ");
        log.append(Channel::Stdout, b"two");
        log.append(Channel::Stderr, b"oops");
        log.append(Channel::Stdout, b"three");
        let expected = [
            (Channel::Stdout, b"one two".to_vec()),
            (Channel::Stderr, b"oops".to_vec()),
            (Channel::Stdout, b"three".to_vec()),
        ];
        assert_eq!(all(&log), expected);
        assert_eq!(log.piece(5, 1), Some((Channel::Stdout, b"w".to_vec())));
        assert_eq!(log.piece(8, 100), Some((Channel::Stderr, b"ops".to_vec())));
        assert_eq!(log.piece(16, 100), None);
    }

    #[test]
    fn the_last_bytes_are_kept_and_their_offsets_stay() {
        let memory = Arc::new(LogMemory::of(4 * LOG_BYTES));
        let log = OutputLog::new(&memory).expect("a log");
        let mut written = Vec::new();
        for number in 0..40_000u32 {
            let line = format!("line {number} {}\n", "x".repeat((number % 60) as usize));
            let channel = if number % 3 == 0 {
                Channel::Stderr
            } else {
                Channel::Stdout
            };
            log.append(channel, line.as_bytes());
            written.extend_from_slice(line.as_bytes());
        }
        let (start, end) = log.extent();
        assert_eq!(end, written.len() as u64);
        assert!(end - start <= LOG_BYTES as u64);
        let kept: Vec<u8> = all(&log).into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(kept, written[start as usize..]);
        assert_eq!(log.piece(start - 1, 10), None);
        assert!(log.ring().runs.len() <= MAX_RUNS);
    }

    #[test]
    fn a_piece_larger_than_everything_leaves_its_end() {
        let memory = Arc::new(LogMemory::of(FIRST_BYTES));
        let log = OutputLog::new(&memory).expect("a log");
        log.append(Channel::Stderr, b"before");
        let data: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
        log.append(Channel::Stdout, &data);
        assert_eq!(log.extent(), (200_006 - FIRST_BYTES as u64, 200_006));
        assert_eq!(
            all(&log),
            [(Channel::Stdout, data[200_000 - FIRST_BYTES..].to_vec())]
        );
    }

    #[test]
    fn logs_share_their_memory_and_give_it_back() {
        let memory = Arc::new(LogMemory::of(3 * FIRST_BYTES));
        let first = OutputLog::new(&memory).expect("a log");
        let second = OutputLog::new(&memory).expect("a log");
        first.append(Channel::Stdout, &vec![1; LOG_BYTES]);
        second.append(Channel::Stdout, &vec![2; LOG_BYTES]);
        assert_eq!(first.extent().1 - first.extent().0, 2 * FIRST_BYTES as u64);
        assert_eq!(second.extent().1 - second.extent().0, FIRST_BYTES as u64);
        assert!(OutputLog::new(&memory).is_none());
        first.close();
        drop(second);
        assert!(OutputLog::new(&memory).is_some());
        drop(first);
        assert_eq!(memory.left.load(Ordering::Acquire), 3 * FIRST_BYTES);
    }
}
