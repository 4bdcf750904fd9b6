//! One session: takes the host's frames apart, opens calls, and writes what they answer.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use prost::Message;

use super::frame::{FrameType, Header};
use super::handshake::{self, Hello};
use super::line::{Arrival, Line};
use super::outbox::Outbox;
use super::read_buffer::ReadBuffer;
use super::stream::{Call, Stream};
use crate::agent::Agent;
use crate::failure::CallError;
use crate::proto::{outcome, Open, Outcome};

/// Calls that may be open at once.
pub const MAX_STREAMS: usize = 256;

/// How a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// The host left in order.
    Detached,
    /// The host's end of the stream was closed.
    Lost,
    /// The host sent what no host may send.
    Violation(String),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => f.write_str("the host left"),
            Self::Lost => f.write_str("the host is gone"),
            Self::Violation(why) => write!(f, "the host broke the protocol: {why}"),
        }
    }
}

struct Session<'a> {
    line: &'a Line,
    agent: &'a Arc<Agent>,
    outbox: Arc<Outbox>,
    streams: BTreeMap<u32, Arc<Stream>>,
    last_stream_id: u32,
    is_detaching: bool,
}

/// Welcomes the host and serves it until the session ends. What was not understood stays in the buffer.
pub async fn serve(
    line: &Line,
    buffer: &mut ReadBuffer,
    hello: &Hello,
    agent: &Arc<Agent>,
) -> io::Result<SessionEnd> {
    let outbox = Arc::new(Outbox::default());
    outbox.push_raw(&handshake::welcome(hello));
    let mut session = Session {
        line,
        agent,
        outbox,
        streams: BTreeMap::new(),
        last_stream_id: 0,
        is_detaching: false,
    };
    let end = if hello.version == handshake::LINK_VERSION {
        session.run(buffer).await
    } else {
        // The host reads our version in the welcome.
        session
            .outbox
            .flush(|bytes| line.descriptor().write(bytes))?;
        Ok(SessionEnd::Violation(format!(
            "link version {}, expected {}",
            hello.version,
            handshake::LINK_VERSION
        )))
    };
    session.outbox.close();
    session.cancel_all();
    end
}

impl Session<'_> {
    async fn run(&mut self, buffer: &mut ReadBuffer) -> io::Result<SessionEnd> {
        loop {
            while !self.is_detaching {
                match self.handle_frame(buffer) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(why) => return Ok(SessionEnd::Violation(why)),
                }
            }
            let is_flushed = self
                .outbox
                .flush(|bytes| self.line.descriptor().write(bytes))?;
            if is_flushed && self.is_detaching {
                return Ok(SessionEnd::Detached);
            }
            let outbox = &self.outbox;
            tokio::select! {
                biased;
                arrival = self.line.arrival(buffer.space()) => match arrival? {
                    Arrival::Bytes(count) => buffer.filled(count),
                    Arrival::Nothing => {}
                    Arrival::Closed => return Ok(SessionEnd::Lost),
                },
                () = poll_fn(|context| outbox.poll_pending(context)), if is_flushed => {}
                writable = self.line.writable(), if !is_flushed => writable?,
            }
        }
    }

    /// Handles the next whole frame; `false` when there is none.
    fn handle_frame(&mut self, buffer: &mut ReadBuffer) -> Result<bool, String> {
        let Some(header) = buffer.next_frame().map_err(|error| error.to_string())? else {
            return Ok(false);
        };
        self.handle(&header, buffer.payload(&header))?;
        buffer.consume_frame(&header);
        Ok(true)
    }

    fn handle(&mut self, header: &Header, payload: &[u8]) -> Result<(), String> {
        match header.kind {
            FrameType::Open => self.open(header, payload),
            FrameType::Message => {
                self.with_stream(header, |stream| stream.receive(payload, header.end_stream))
            }
            FrameType::Credit => {
                let credit = payload
                    .first_chunk()
                    .map_or(0, |bytes| u32::from_le_bytes(*bytes));
                self.with_stream(header, |stream| stream.grant(credit))
            }
            FrameType::Reset => self.with_stream(header, |stream| {
                stream.cancel();
                Ok(())
            }),
            FrameType::Ping => {
                self.outbox.push(FrameType::Pong, 0, payload);
                Ok(())
            }
            FrameType::Pong => Ok(()),
            FrameType::Detach => {
                self.cancel_all();
                self.outbox.push(FrameType::Detached, 0, &[]);
                self.outbox.seal();
                self.is_detaching = true;
                Ok(())
            }
            FrameType::End | FrameType::Detached => {
                Err(format!("a {:?} frame from the host", header.kind))
            }
        }
    }

    fn with_stream(
        &mut self,
        header: &Header,
        act: impl FnOnce(&Stream) -> Result<(), super::stream::StreamError>,
    ) -> Result<(), String> {
        let id = header.stream_id;
        match self.streams.get(&id) {
            Some(stream) => act(stream).map_err(|error| {
                format!("{error:?} on stream {id} with a {:?} frame", header.kind)
            }),
            None if id <= self.last_stream_id => Ok(()),
            None => Err(format!(
                "a {:?} frame on stream {id}, which was never opened",
                header.kind
            )),
        }
    }

    fn open(&mut self, header: &Header, payload: &[u8]) -> Result<(), String> {
        let id = header.stream_id;
        if id <= self.last_stream_id {
            return Err(format!(
                "stream {id} opened after stream {}",
                self.last_stream_id
            ));
        }
        self.last_stream_id = id;
        let open = Open::decode(payload)
            .map_err(|error| format!("an OPEN payload on stream {id}: {error}"))?;
        let stream = Stream::new(id, open.credit_bytes, header.end_stream)
            .map_err(|error| format!("{error:?} on stream {id} with an Open frame"))?;
        let streams = &mut self.streams;
        self.outbox.take_ended(|ended| {
            streams.remove(&ended);
        });
        if streams.len() >= MAX_STREAMS {
            self.refuse(
                id,
                CallError::limit(format!("{MAX_STREAMS} calls are open, expected fewer")),
            );
            return Ok(());
        }
        let Some(call) = open.call else {
            self.refuse(
                id,
                CallError::unsupported("an OPEN without a call that this agent knows"),
            );
            return Ok(());
        };
        match self.agent.answer_at_once(&call) {
            Some(outcome) => self.answer(id, outcome),
            None => {
                let stream = Arc::new(stream);
                self.streams.insert(id, stream.clone());
                tokio::spawn(
                    self.agent
                        .clone()
                        .run(call, Call::new(stream, self.outbox.clone())),
                );
            }
        }
        Ok(())
    }

    fn answer(&self, id: u32, outcome: outcome::Outcome) {
        self.outbox.push_end(
            id,
            &Outcome {
                outcome: Some(outcome),
            },
        );
    }

    fn refuse(&self, id: u32, error: CallError) {
        self.answer(id, outcome::Outcome::Failure(error.into()));
    }

    fn cancel_all(&self) {
        for stream in self.streams.values() {
            stream.cancel();
        }
    }
}
