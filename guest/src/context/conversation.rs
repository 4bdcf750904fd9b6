//! What is said between the agent and an interpreter about one cell, and what of it goes to the host.

use super::cell::{Cell, Stop};
use super::interpreter::{NoReply, Replies};
use super::wire::{self, Piece, Reply};
use crate::failure::{CallError, CallResult};
use crate::flag::Flag;
use crate::link::outbox::Channel;
use crate::process::output::OutputFlow;
use crate::process::pipe::PipeWriter;
use crate::proto::{output, Display, Output};

/// What a pipe holds. A longer request may have been read in part, and be why its reader is gone.
const PIPE_BYTES: usize = 64 * 1024;

/// One cell and the pipes of the interpreter that runs it.
pub struct Conversation<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Its number, which replies repeat.
    pub cell_id: u32,
    /// Where it goes.
    pub requests: &'a PipeWriter,
    /// Where replies come from.
    pub replies: &'a mut Replies,
    /// What it prints.
    pub flow: OutputFlow<'a>,
    /// What was printed before it, on stdout and on stderr.
    pub kept: [&'a mut Vec<u8>; 2],
    /// What is shown, and what could not be.
    pub displays: Displays,
    /// Length of the request once it is in the pipe.
    pub request_bytes: u64,
    /// Set when all of the request is in the pipe.
    pub was_sent: &'a Flag,
    /// The pipe had no reader any more when a request came that it could hold.
    pub was_refused: bool,
}

/// How the displays of a cell go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Displays {
    /// One, or a part of one, was left out.
    has_dropped: bool,
    /// The host waits for more of one.
    is_open: bool,
    /// The host did not take one in time: it gets no other.
    are_over: bool,
}

impl Conversation<'_> {
    /// Sends the cell and passes on what it shows until it is over.
    pub async fn run(&mut self) -> Stop {
        self.send_kept().await;
        let mut request = if self.cell.env.is_empty() {
            Vec::new()
        } else {
            wire::environment(self.cell.env.iter())
        };
        request.extend(wire::execute(
            self.cell_id,
            self.cell.mode,
            self.cell.code.bytes(),
        ));
        if self.requests.write_all(&request).await.is_err() {
            self.was_refused = request.len() <= PIPE_BYTES;
            return Stop::Broken("its pipe is closed".to_owned());
        }
        self.request_bytes = request.len() as u64;
        self.was_sent.set();
        drop(request);
        loop {
            // Streams that the cell closed bring nothing more.
            let reply = tokio::select! {
                biased;
                reply = self.replies.next() => reply,
                result = self.flow.pass_on(), if !self.flow.has_ended() => match result {
                    Ok(()) => continue,
                    Err(error) => return Stop::Broken(error.to_string()),
                },
            };
            match reply {
                Ok(Reply::Done(done)) if done.cell_id == self.cell_id => return Stop::Done(done),
                Ok(Reply::NotThisLanguage(id)) if id == self.cell_id => {
                    return Stop::NotThisLanguage
                }
                Ok(Reply::Display {
                    parts, is_result, ..
                }) => {
                    if let Err(error) = self.show_whole(parts, is_result).await {
                        return Stop::Broken(error.message);
                    }
                }
                Ok(Reply::Piece(piece)) => {
                    if let Err(error) = self.show_piece(piece).await {
                        return Stop::Broken(error.message);
                    }
                }
                Ok(Reply::Skipped) => self.displays.has_dropped = true,
                Ok(_) => {
                    return Stop::Broken(
                        "the interpreter's pipe carried a message out of turn".to_owned(),
                    )
                }
                Err(NoReply::Closed) => return Stop::Broken("its pipe is closed".to_owned()),
                Err(NoReply::Malformed(malformed)) => return Stop::Broken(malformed.to_string()),
                Err(NoReply::Io(error)) => return Stop::Broken(error.to_string()),
            }
        }
    }

    /// Whether the interpreter has taken anything of the request out of its pipe. (One that is killed between cells ends
    /// a little later than it is signalled, and a cell may come in between.)
    pub fn was_read(&self) -> bool {
        !self.was_refused
            && (self.request_bytes == 0 || self.requests.waiting_bytes() < self.request_bytes)
    }

    async fn show_whole(
        &mut self,
        parts: Vec<(String, Vec<u8>)>,
        is_result: bool,
    ) -> CallResult<()> {
        if parts.is_empty() {
            return Ok(());
        }
        self.show(Display {
            data: parts.into_iter().collect(),
            is_result,
            continues: false,
        })
        .await
    }

    async fn show_piece(&mut self, piece: Piece) -> CallResult<()> {
        if piece.is_last && !self.displays.is_open {
            // Nothing of it was kept.
            return Ok(());
        }
        let mut display = Display {
            is_result: piece.is_result,
            continues: !piece.is_last,
            ..Display::default()
        };
        if !piece.mime.is_empty() {
            display.data.insert(piece.mime, piece.data);
        }
        self.show(display).await
    }

    /// Behind what was printed before it. Once the cell has no time left, a host that reads slowly is not waited for.
    async fn show(&mut self, display: Display) -> CallResult<()> {
        if self.displays.are_over {
            return Ok(());
        }
        if !self.displays.is_open {
            self.pass_rest_on().await?;
        }
        let continues = display.continues;
        let output = Output {
            output: Some(output::Output::Display(display)),
        };
        let was_sent = tokio::select! {
            biased;
            result = self.cell.call.send(&output) => result.map(|()| true)?,
            () = self.cell.call.cancelled().wait() => false,
            () = self.cell.deadline() => false,
        };
        if was_sent {
            self.displays.is_open = continues;
        } else {
            self.displays.has_dropped = true;
            self.displays.are_over = true;
        }
        Ok(())
    }

    /// Passes on what the cell printed last.
    pub async fn pass_rest_on(&mut self) -> CallResult<()> {
        self.flow
            .pass_rest_on()
            .await
            .map_err(|error| CallError::system("read the output of a cell", error))
    }

    /// Drops it.
    pub async fn drop_rest(&mut self) -> CallResult<()> {
        self.flow
            .drop_rest()
            .await
            .map_err(|error| CallError::system("read the output of a cell", error))
    }

    /// Whether something that was printed or shown was dropped.
    pub fn is_truncated(&self) -> bool {
        self.flow.passed().is_truncated || self.displays.has_dropped || self.displays.is_open
    }

    async fn send_kept(&mut self) {
        for (channel, kept) in [Channel::Stdout, Channel::Stderr]
            .into_iter()
            .zip(&mut self.kept)
        {
            let kept = std::mem::take(*kept);
            let mut rest = &kept[..];
            while !rest.is_empty() {
                let room = self.cell.call.data_room().await.min(rest.len());
                self.cell.call.send_data(channel, &rest[..room]);
                rest = &rest[room..];
            }
        }
    }
}
