//! What a process prints, on its way to the host.
//!
//! A watched pipe would wake the agent at each write of the process, and each small frame is one more exit to the
//! emulator. So the pipes are looked at after a short pause, and watched only when the process has been silent for a
//! while: what is quick costs one message, what is slow is passed on at once, and silence costs nothing.

use std::io;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::output_log::OutputLog;
use super::pipe::{OutputPipe, Piece};
use crate::flag::Flag;
use crate::link::outbox::Channel;
use crate::link::stream::{Call, MAX_DATA_BYTES};
use crate::scratch;

/// After output, or a start.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Doubled from the first; a longer silence is waited out.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// Half a pipe: a process that prints that much in a pause is not made to wait.
const BUSY_BYTES: usize = 32 * 1024;

/// One of the two streams.
struct Lane<'a> {
    pipe: &'a OutputPipe,
    channel: Channel,
    total_bytes: u64,
    has_ended: bool,
}

/// Where output goes.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// To the host, as it grants credit.
    Host(&'a Call),
    /// To whoever reads it later, without waiting.
    Log(&'a OutputLog),
}

/// Stdout and stderr of one process.
pub struct OutputFlow<'a> {
    target: Target<'a>,
    lanes: [Lane<'a>; 2],
    limit_bytes: u64,
}

/// What has been passed on.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Bytes of stdout, the dropped ones included.
    pub stdout_bytes: u64,
    /// Bytes of stderr, the dropped ones included.
    pub stderr_bytes: u64,
    /// Something was dropped.
    pub is_truncated: bool,
    /// Nobody can write to stdout any more.
    pub stdout_has_ended: bool,
    /// Nobody can write to stderr any more.
    pub stderr_has_ended: bool,
}

impl<'a> OutputFlow<'a> {
    /// Of each stream, what lies beyond `limit_bytes` is read and dropped.
    pub fn new(
        call: &'a Call,
        stdout: &'a OutputPipe,
        stderr: &'a OutputPipe,
        limit_bytes: u64,
    ) -> Self {
        Self::to(Target::Host(call), (stdout, stderr), limit_bytes)
    }

    /// Everything goes into a log.
    pub fn into_log(log: &'a OutputLog, stdout: &'a OutputPipe, stderr: &'a OutputPipe) -> Self {
        Self::to(Target::Log(log), (stdout, stderr), u64::MAX)
    }

    fn to(
        target: Target<'a>,
        (stdout, stderr): (&'a OutputPipe, &'a OutputPipe),
        limit_bytes: u64,
    ) -> Self {
        let lane = |pipe, channel| Lane {
            pipe,
            channel,
            total_bytes: 0,
            has_ended: false,
        };
        Self {
            target,
            lanes: [lane(stdout, Channel::Stdout), lane(stderr, Channel::Stderr)],
            limit_bytes,
        }
    }

    /// What has been passed on so far.
    pub fn passed(&self) -> Passed {
        let [stdout, stderr] = &self.lanes;
        Passed {
            stdout_bytes: stdout.total_bytes,
            stderr_bytes: stderr.total_bytes,
            is_truncated: self
                .lanes
                .iter()
                .any(|lane| lane.total_bytes > self.limit_bytes),
            stdout_has_ended: stdout.has_ended,
            stderr_has_ended: stderr.has_ended,
        }
    }

    /// Whether nothing can come any more.
    pub fn has_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.has_ended)
    }

    /// Passes on what comes until `finish` is set, then what the pipes still hold.
    pub async fn pass_on_until(&mut self, finish: &Flag) -> io::Result<()> {
        tokio::select! {
            biased;
            () = finish.wait() => {}
            result = self.pass_on() => {
                result?;
                finish.wait().await;
            }
        }
        self.pass_rest_on().await
    }

    /// Passes on what comes until nothing can come any more. May be given up while it waits.
    pub async fn pass_on(&mut self) -> io::Result<()> {
        let mut pause = FIRST_PAUSE;
        sleep(pause).await;
        while !self.has_ended() {
            let bytes = self.pass_on_what_is_there().await?;
            if bytes >= BUSY_BYTES {
                yield_now().await;
            } else if bytes > 0 {
                pause = FIRST_PAUSE;
                sleep(pause).await;
            } else if pause < LONGEST_PAUSE {
                pause *= 2;
                sleep(pause).await;
            } else {
                self.arrival().await?;
                pause = FIRST_PAUSE;
            }
        }
        Ok(())
    }

    /// What waits in the pipes now, and not what a process that lives on adds meanwhile.
    pub async fn pass_rest_on(&mut self) -> io::Result<()> {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let mut rest = if lane.has_ended {
                0
            } else {
                lane.pipe.waiting_bytes()
            };
            while rest > 0 {
                let most = usize::try_from(rest).unwrap_or(MAX_DATA_BYTES);
                match self.read(index, most).await? {
                    Piece::Bytes(count) => rest -= rest.min(count as u64),
                    Piece::Nothing | Piece::End => break,
                }
            }
        }
        Ok(())
    }

    /// Drops what waits in the pipes now: it is of a call that nobody hears any more, and no later one's.
    pub async fn drop_rest(&mut self) -> io::Result<()> {
        self.limit_bytes = 0;
        self.pass_rest_on().await
    }

    /// One look at each pipe.
    async fn pass_on_what_is_there(&mut self) -> io::Result<usize> {
        let mut bytes = 0;
        for index in 0..self.lanes.len() {
            if !self.lanes[index].has_ended {
                if let Piece::Bytes(count) = self.read(index, MAX_DATA_BYTES).await? {
                    bytes += count;
                }
            }
        }
        Ok(bytes)
    }

    /// Waits for the host's credit when there is something to read, and reads it.
    async fn read(&mut self, index: usize, most: usize) -> io::Result<Piece> {
        let lane = &self.lanes[index];
        let room = if lane.total_bytes >= self.limit_bytes {
            MAX_DATA_BYTES
        } else {
            match self.target {
                Target::Log(_) => MAX_DATA_BYTES,
                Target::Host(call) => match call.data_room_now() {
                    0 if lane.pipe.waiting_bytes() > 0 => call.data_room().await,
                    0 => return Ok(Piece::Nothing),
                    room => room,
                },
            }
        };
        // Nothing is awaited between here and the use of the room.
        scratch::with(|buffer| {
            let piece = self.lanes[index]
                .pipe
                .try_read(&mut buffer[..room.min(most)])?;
            match piece {
                Piece::Bytes(count) => self.send(index, &buffer[..count]),
                Piece::End => self.lanes[index].has_ended = true,
                Piece::Nothing => {}
            }
            Ok(piece)
        })
    }

    fn send(&mut self, index: usize, data: &[u8]) {
        let lane = &mut self.lanes[index];
        let wanted = self.limit_bytes.saturating_sub(lane.total_bytes);
        let sent = data
            .len()
            .min(usize::try_from(wanted).unwrap_or(usize::MAX));
        if sent > 0 {
            match self.target {
                Target::Host(call) => call.send_data(lane.channel, &data[..sent]),
                Target::Log(log) => log.append(lane.channel, &data[..sent]),
            }
        }
        lane.total_bytes += data.len() as u64;
    }

    async fn arrival(&self) -> io::Result<()> {
        let [stdout, stderr] = &self.lanes;
        tokio::select! {
            result = stdout.arrival(), if !stdout.has_ended => result,
            result = stderr.arrival(), if !stderr.has_ended => result,
            else => Ok(()),
        }
    }
}

impl Lane<'_> {
    async fn arrival(&self) -> io::Result<()> {
        self.pipe.watch()?.arrived().await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::link::outbox::Outbox;
    use crate::link::stream::Stream;

    fn call(credit_bytes: u32) -> (Arc<Stream>, Arc<Outbox>, Call) {
        let stream = Arc::new(Stream::new(1, credit_bytes, true).expect("a stream"));
        let outbox = Arc::new(Outbox::default());
        (stream.clone(), outbox.clone(), Call::new(stream, outbox))
    }

    fn frames(outbox: &Outbox) -> usize {
        let mut bytes = Vec::new();
        outbox
            .flush(|piece| {
                bytes.extend_from_slice(piece);
                Ok::<_, ()>(Some(piece.len()))
            })
            .expect("a flush");
        let mut count = 0;
        let mut rest = &bytes[..];
        while let Some(header) = rest.first_chunk() {
            let header = crate::link::frame::Header::decode(header).expect("a header");
            rest = &rest[crate::link::frame::HEADER_BYTES + header.payload_bytes..];
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn many_small_writes_become_few_messages() {
        let (_stream, outbox, call) = call(1 << 20);
        let ((out, out_end), (err, err_end)) = (
            OutputPipe::new().expect("a pipe"),
            OutputPipe::new().expect("a pipe"),
        );
        for _ in 0..500 {
            rustix::io::write(&out_end, b"line\n").expect("a write");
        }
        drop((out_end, err_end));
        let mut flow = OutputFlow::new(&call, &out, &err, u64::MAX);
        flow.pass_on().await.expect("output");
        assert_eq!(flow.passed().stdout_bytes, 2500);
        assert_eq!(frames(&outbox), 1);
    }

    #[tokio::test]
    async fn a_silent_process_is_heard_at_once_when_it_speaks() {
        let (_stream, outbox, call) = call(1 << 20);
        let ((out, out_end), (err, _err_end)) = (
            OutputPipe::new().expect("a pipe"),
            OutputPipe::new().expect("a pipe"),
        );
        let mut flow = OutputFlow::new(&call, &out, &err, u64::MAX);
        let speaker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            rustix::io::write(&out_end, b"hello").expect("a write");
            (Instant::now(), out_end)
        });
        let heard = tokio::time::timeout(Duration::from_secs(5), async {
            tokio::select! {
                _ = flow.pass_on() => Instant::now(),
                () = std::future::poll_fn(|context| outbox.poll_pending(context)) => Instant::now(),
            }
        });
        let heard_at = heard.await.expect("output in time");
        let (spoken_at, _end) = speaker.join().expect("a thread");
        assert!(heard_at.saturating_duration_since(spoken_at) < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn streams_that_end_in_any_pause_end_the_flow() {
        for delay_ms in [0, 1, 5, 10, 20, 25, 40, 60] {
            let (_stream, _outbox, call) = call(1 << 20);
            let ((out, out_end), (err, err_end)) = (
                OutputPipe::new().expect("a pipe"),
                OutputPipe::new().expect("a pipe"),
            );
            let ends = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(delay_ms));
                drop((out_end, err_end));
            });
            let mut flow = OutputFlow::new(&call, &out, &err, u64::MAX);
            flow.pass_on().await.expect("output");
            assert!(flow.has_ended());
            ends.join().expect("a thread");
        }
    }

    #[tokio::test]
    async fn what_lies_beyond_the_limit_is_read_and_dropped_without_credit() {
        let (_stream, _outbox, call) = call(20);
        let ((out, out_end), (err, err_end)) = (
            OutputPipe::new().expect("a pipe"),
            OutputPipe::new().expect("a pipe"),
        );
        let writer = std::thread::spawn(move || {
            for _ in 0..100 {
                rustix::io::write(&out_end, &[b'x'; 10_000]).expect("a write");
            }
            drop(err_end);
        });
        let mut flow = OutputFlow::new(&call, &out, &err, 10);
        flow.pass_on().await.expect("output");
        writer.join().expect("a thread");
        assert_eq!(flow.passed().stdout_bytes, 1_000_000);
        assert!(flow.passed().is_truncated);
    }

    #[tokio::test]
    async fn without_credit_nothing_is_read() {
        let (stream, _outbox, call) = call(0);
        let ((out, out_end), (err, _err_end)) = (
            OutputPipe::new().expect("a pipe"),
            OutputPipe::new().expect("a pipe"),
        );
        rustix::io::write(&out_end, b"12345").expect("a write");
        let mut flow = OutputFlow::new(&call, &out, &err, u64::MAX);
        let blocked = tokio::time::timeout(Duration::from_millis(50), flow.pass_rest_on()).await;
        assert!(blocked.is_err());
        assert_eq!(out.waiting_bytes(), 5);
        stream.grant(100).expect("a grant");
        flow.pass_rest_on().await.expect("output");
        assert_eq!(flow.passed().stdout_bytes, 5);
    }
}
