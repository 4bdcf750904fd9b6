//! One call: its windows, its input and the handle that the service of the call holds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use tokio::sync::Notify;

use super::frame::{FrameType, MAX_MESSAGE_BYTES};
use super::outbox::{data_payload_bytes, Channel, Outbox};
use crate::failure::{CallError, CallResult};
use crate::flag::Flag;
use crate::proto::{input, outcome, Input, Outcome, Output};

/// No window is ever larger, in bytes.
pub const MAX_WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// What the host may send on a stream before it is granted more, in bytes.
pub const INPUT_WINDOW_BYTES: u64 = 262_144;
/// Longest piece of data in one MESSAGE, in bytes.
pub const MAX_DATA_BYTES: usize = 65_536;

/// Consumed input is granted again in steps of this size.
const GRANT_STEP_BYTES: u64 = 65_536;
const MAX_EMPTY_IN_A_ROW: u32 = 1_000;
const MAX_SIGNALS: usize = 64;

/// Why a host's frame ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// More than was granted.
    WindowExceeded,
    /// A window above its limit.
    WindowTooLarge,
    /// A payload that is no `Input`.
    Undecodable,
    /// Too many empty messages in a row.
    EmptyFlood,
    /// Data after END_STREAM, which ends the data but not the signals.
    InputAfterEnd,
}

#[derive(Debug)]
struct Windows {
    /// Payload bytes that may still be sent to the host.
    output: u64,
    /// Payload bytes that the host may still send.
    input: u64,
    /// Bytes of input that were consumed and not granted again.
    consumed: u64,
    queue: VecDeque<(Vec<u8>, u64)>,
    /// Signals overtake data that the process does not read.
    signals: VecDeque<u32>,
    has_ended: bool,
    empty_in_a_row: u32,
}

/// What the session and the service of one call share.
#[derive(Debug)]
pub struct Stream {
    id: u32,
    windows: Mutex<Windows>,
    output_granted: Notify,
    input_arrived: Notify,
    cancelled: Flag,
}

impl Stream {
    /// A stream whose OPEN granted `credit_bytes`.
    pub fn new(id: u32, credit_bytes: u32, input_ended: bool) -> Result<Self, StreamError> {
        if u64::from(credit_bytes) > MAX_WINDOW_BYTES {
            return Err(StreamError::WindowTooLarge);
        }
        let windows = Windows {
            output: u64::from(credit_bytes),
            input: INPUT_WINDOW_BYTES,
            consumed: 0,
            queue: VecDeque::new(),
            signals: VecDeque::new(),
            has_ended: input_ended,
            empty_in_a_row: 0,
        };
        Ok(Self {
            id,
            windows: Mutex::new(windows),
            output_granted: Notify::new(),
            input_arrived: Notify::new(),
            cancelled: Flag::default(),
        })
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host grants more output.
    pub fn grant(&self, credit_bytes: u32) -> Result<(), StreamError> {
        let mut windows = self.windows();
        let granted = windows.output + u64::from(credit_bytes);
        if granted > MAX_WINDOW_BYTES {
            return Err(StreamError::WindowTooLarge);
        }
        windows.output = granted;
        drop(windows);
        self.output_granted.notify_waiters();
        Ok(())
    }

    /// The host sent a MESSAGE.
    pub fn receive(&self, payload: &[u8], is_last: bool) -> Result<(), StreamError> {
        let mut windows = self.windows();
        let bytes = payload.len() as u64;
        windows.input = windows
            .input
            .checked_sub(bytes)
            .ok_or(StreamError::WindowExceeded)?;
        windows.empty_in_a_row = if payload.is_empty() {
            windows.empty_in_a_row + 1
        } else {
            0
        };
        if windows.empty_in_a_row > MAX_EMPTY_IN_A_ROW {
            return Err(StreamError::EmptyFlood);
        }
        match Input::decode(payload)
            .map_err(|_| StreamError::Undecodable)?
            .input
        {
            Some(input::Input::Data(_)) if windows.has_ended => {
                return Err(StreamError::InputAfterEnd)
            }
            Some(input::Input::Data(data)) => windows.queue.push_back((data, bytes)),
            Some(input::Input::Signal(signal)) => {
                windows.consumed += bytes;
                windows.signals.push_back(signal);
                // Only a call that takes no signals lets them pile up.
                if windows.signals.len() > MAX_SIGNALS {
                    windows.signals.pop_front();
                }
            }
            None => windows.consumed += bytes,
        }
        windows.has_ended |= is_last;
        drop(windows);
        self.input_arrived.notify_waiters();
        Ok(())
    }

    /// Asks the service to stop.
    pub fn cancel(&self) {
        self.cancelled.set();
    }
}

/// The service's end of a call. Dropped without `end`, it answers that the agent failed.
#[derive(Debug)]
pub struct Call {
    stream: Arc<Stream>,
    outbox: Arc<Outbox>,
    has_ended: AtomicBool,
}

impl Call {
    /// Joins a stream and the session's outbox.
    pub fn new(stream: Arc<Stream>, outbox: Arc<Outbox>) -> Self {
        Self {
            stream,
            outbox,
            has_ended: AtomicBool::new(false),
        }
    }

    /// The host or the end of the session cancelled the call.
    pub fn cancelled(&self) -> &Flag {
        &self.stream.cancelled
    }

    /// How many bytes of data may be sent now, at most `MAX_DATA_BYTES`. Stays true until the next `await`.
    pub fn data_room_now(&self) -> usize {
        if self.outbox.is_full() {
            return 0;
        }
        let credit = usize::try_from(self.stream.windows().output).unwrap_or(usize::MAX);
        // A key byte and at most three bytes of length go before the data.
        MAX_DATA_BYTES.min(credit.saturating_sub(4))
    }

    /// The same, but waits until it is at least 1.
    pub async fn data_room(&self) -> usize {
        loop {
            self.outbox.has_room().await;
            let granted = self.stream.output_granted.notified();
            let room = self.data_room_now();
            if room > 0 {
                return room;
            }
            granted.await;
        }
    }

    /// Sends data for which `data_room` made room.
    pub fn send_data(&self, channel: Channel, data: &[u8]) {
        let mut windows = self.stream.windows();
        windows.output = windows
            .output
            .saturating_sub(data_payload_bytes(data.len()) as u64);
        drop(windows);
        self.outbox.push_data(self.stream.id, channel, data);
    }

    /// Sends a message when the host's credit allows it. One that no window or frame can hold is refused.
    pub async fn send(&self, output: &Output) -> CallResult<()> {
        let bytes = output.encoded_len();
        if bytes > MAX_MESSAGE_BYTES {
            return Err(CallError::limit(format!(
                "an output message of {bytes} bytes, expected at most {MAX_MESSAGE_BYTES}"
            )));
        }
        loop {
            self.outbox.has_room().await;
            let granted = self.stream.output_granted.notified();
            {
                let mut windows = self.stream.windows();
                if let Some(rest) = windows.output.checked_sub(bytes as u64) {
                    windows.output = rest;
                    break;
                }
            }
            granted.await;
        }
        self.outbox.push_output(self.stream.id, output);
        Ok(())
    }

    /// The next piece of input; `None` when the host sent its last. Room for as much is granted to the host.
    pub async fn next_data(&self) -> Option<Vec<u8>> {
        loop {
            let arrived = self.stream.input_arrived.notified();
            {
                let mut windows = self.stream.windows();
                if let Some((data, bytes)) = windows.queue.pop_front() {
                    windows.consumed += bytes;
                    self.grant_consumed(&mut windows);
                    return Some(data);
                }
                if windows.has_ended {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// The next signal that the host sends.
    pub async fn next_signal(&self) -> u32 {
        loop {
            let arrived = self.stream.input_arrived.notified();
            if let Some(signal) = self.stream.windows().signals.pop_front() {
                return signal;
            }
            arrived.await;
        }
    }

    fn grant_consumed(&self, windows: &mut Windows) {
        if windows.consumed < GRANT_STEP_BYTES || windows.has_ended {
            return;
        }
        let bytes = windows.consumed;
        windows.consumed = 0;
        windows.input += bytes;
        // `bytes` is at most a window.
        self.outbox.push(
            FrameType::Credit,
            self.stream.id,
            &(bytes as u32).to_le_bytes(),
        );
    }

    /// Answers the call, once. All output was sent before.
    pub fn end(&self, outcome: CallResult<outcome::Outcome>) {
        if self.has_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let outcome = outcome.unwrap_or_else(|error| outcome::Outcome::Failure(error.into()));
        self.outbox.push_end(
            self.stream.id,
            &Outcome {
                outcome: Some(outcome),
            },
        );
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Err(CallError::internal("the agent dropped the call")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(data: &[u8]) -> Vec<u8> {
        Input {
            input: Some(input::Input::Data(data.to_vec())),
        }
        .encode_to_vec()
    }

    #[test]
    fn a_window_is_never_exceeded_and_never_too_large() {
        assert_eq!(
            Stream::new(1, 5 << 20, false).err(),
            Some(StreamError::WindowTooLarge)
        );
        let stream = Stream::new(1, 4 << 20, false).expect("a stream");
        assert_eq!(stream.grant(0), Ok(()));
        assert_eq!(stream.grant(1), Err(StreamError::WindowTooLarge));
        let piece = encoded(&vec![0; 65_532]);
        assert_eq!(piece.len(), 65_536);
        for _ in 0..4 {
            assert_eq!(stream.receive(&piece, false), Ok(()));
        }
        assert_eq!(
            stream.receive(&encoded(b"x"), false),
            Err(StreamError::WindowExceeded)
        );
    }

    #[test]
    fn floods_garbage_and_late_input_end_the_session() {
        let stream = Stream::new(1, 0, false).expect("a stream");
        for _ in 0..1_000 {
            assert_eq!(stream.receive(&[], false), Ok(()));
        }
        assert_eq!(stream.receive(&[], false), Err(StreamError::EmptyFlood));
        let stream = Stream::new(1, 0, false).expect("a stream");
        assert_eq!(
            stream.receive(&[0xff; 4], false),
            Err(StreamError::Undecodable)
        );
        assert_eq!(stream.receive(&[], true), Ok(()));
        let signal = Input {
            input: Some(input::Input::Signal(15)),
        };
        assert_eq!(stream.receive(&signal.encode_to_vec(), false), Ok(()));
        let late = stream.receive(&encoded(b"x"), false);
        assert_eq!(late, Err(StreamError::InputAfterEnd));
    }

    #[tokio::test]
    async fn consumed_input_is_granted_again() {
        let stream = Arc::new(Stream::new(1, 0, false).expect("a stream"));
        let outbox = Arc::new(Outbox::default());
        let call = Call::new(stream.clone(), outbox.clone());
        let piece = encoded(&vec![0; 65_532]);
        for _ in 0..16 {
            assert_eq!(stream.receive(&piece, false), Ok(()));
            assert!(call.next_data().await.is_some());
        }
    }

    #[tokio::test]
    async fn data_waits_for_credit() {
        let stream = Arc::new(Stream::new(1, 10, false).expect("a stream"));
        let outbox = Arc::new(Outbox::default());
        let call = Call::new(stream.clone(), outbox);
        let room = call.data_room().await;
        assert_eq!(room, 6);
        call.send_data(Channel::Stdout, &[0; 6]);
        let waiting =
            tokio::time::timeout(std::time::Duration::from_millis(20), call.data_room()).await;
        assert!(waiting.is_err());
        stream.grant(100_000).expect("a grant");
        assert_eq!(call.data_room().await, MAX_DATA_BYTES);
    }
}
