//! What is said between the agent and an interpreter about one cell, and what of it goes to the host.

use super::cell::{Cell, Stop};
use super::interpreter::{NoReply, Replies};
use super::wire::{self, Reply};
use crate::failure::{shortened, CallError, CallResult};
use crate::link::outbox::Channel;
use crate::link::stream::MAX_DATA_BYTES;
use crate::process::output::OutputFlow;
use crate::process::pipe::PipeWriter;
use crate::proto::{output, Display, Output};

/// What a display may have, so that its message stays within a frame.
const MAX_DISPLAY_BYTES: usize = MAX_DATA_BYTES - 1024;

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
    /// Something could not be shown.
    pub has_dropped_display: bool,
    /// Length of the request once it is in the pipe.
    pub request_bytes: u64,
}

impl Conversation<'_> {
    /// Sends the cell and passes on what it shows until it is over.
    pub async fn run(&mut self) -> Stop {
        self.send_kept().await;
        let request = wire::execute(self.cell_id, self.cell.mode, self.cell.code.bytes());
        if self.requests.write_all(&request).await.is_err() {
            return Stop::Broken("its pipe is closed".to_owned());
        }
        self.request_bytes = request.len() as u64;
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
                    if let Err(error) = self.show(parts, is_result).await {
                        return Stop::Broken(error.message);
                    }
                }
                Ok(Reply::Skipped) => self.has_dropped_display = true,
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
        self.request_bytes == 0 || self.requests.waiting_bytes() < self.request_bytes
    }

    /// Behind what was printed before it.
    async fn show(&mut self, parts: Vec<(String, Vec<u8>)>, is_result: bool) -> CallResult<()> {
        self.pass_rest_on().await?;
        let (display, is_cut) = bounded_display(parts, is_result);
        self.has_dropped_display |= is_cut;
        if display.data.is_empty() {
            return Ok(());
        }
        self.cell
            .call
            .send(&Output {
                output: Some(output::Output::Display(display)),
            })
            .await
    }

    /// Passes on what the cell printed last.
    pub async fn pass_rest_on(&mut self) -> CallResult<()> {
        self.flow
            .pass_rest_on()
            .await
            .map_err(|error| CallError::system("read the output of a cell", error))
    }

    /// Whether something that was printed or shown was dropped.
    pub fn is_truncated(&self) -> bool {
        self.flow.passed().is_truncated || self.has_dropped_display
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

/// What fits into one message, and whether something did not.
fn bounded_display(parts: Vec<(String, Vec<u8>)>, is_result: bool) -> (Display, bool) {
    const SHORTEST_TEXT: usize = 1024;
    let mut display = Display {
        is_result,
        ..Display::default()
    };
    let mut room = MAX_DISPLAY_BYTES;
    let mut is_cut = false;
    for (mime, mut data) in parts {
        let overhead = mime.len() + 16;
        if overhead + data.len() > room {
            is_cut = true;
            if mime != "text/plain" || room < overhead + SHORTEST_TEXT {
                continue;
            }
            data = shortened(String::from_utf8_lossy(&data).into_owned(), room - overhead)
                .into_bytes();
        }
        room -= overhead + data.len();
        display.data.insert(mime, data);
    }
    (display, is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_fits_into_a_message_whatever_is_shown() {
        let large = |mime: &str| (mime.to_owned(), vec![b'x'; 100_000]);
        let small = ("text/html".to_owned(), b"<b>".to_vec());
        let (display, is_cut) = bounded_display(
            vec![large("image/png"), small.clone(), large("text/plain")],
            true,
        );
        assert!(is_cut && display.is_result);
        assert_eq!(
            display.data.keys().collect::<Vec<_>>(),
            ["text/html", "text/plain"]
        );
        let bytes: usize = display.data.values().map(Vec::len).sum();
        assert!((60_000..=MAX_DISPLAY_BYTES).contains(&bytes));
        let (display, is_cut) = bounded_display(vec![small], false);
        assert!(!is_cut && display.data.len() == 1);
    }
}
