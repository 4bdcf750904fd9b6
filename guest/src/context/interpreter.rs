//! One running driver.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::usage::Usage;
use super::wire::{self, Malformed, Reply, ReplyReader};
use crate::agent::Agent;
use crate::failure::{shortened, CallError, CallResult};
use crate::process::command::{Command, Running};
use crate::process::environment::Variables;
use crate::process::group::{self, ProcessGroup};
use crate::process::pipe::{OutputPipe, Piece, PipeReader, PipeWriter};
use crate::proto::{FailureCode, Language};
use crate::scratch;
use crate::sys::kernel::Reaped;

/// Under emulation, on a busy host, an interpreter is slow to start.
const START_LIMIT: Duration = Duration::from_secs(60);
const ACTIVATE_LIMIT: Duration = Duration::from_secs(20);
/// How long the pipes of an interpreter are left alone behind a cell.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
/// Output between cells that is kept for the next one, of stdout and of stderr each.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// The program that drives a language.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// The language.
    pub language: Language,
    /// Its interpreter, looked up in PATH.
    pub program: &'static str,
    /// Arguments before the driver's file.
    pub options: &'static [&'static str],
    /// Name of the driver's file in the agent's directory.
    pub file: &'static str,
    /// Its text.
    pub source: &'static str,
    /// How its cells are interrupted.
    pub interrupts: Interrupts,
    /// It says nothing when a cell ends it: its end has the exit code.
    pub ends_silently: bool,
}

/// How a cell is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupts {
    /// It goes to the whole process group: also to what a cell waits for.
    pub to_group: bool,
    /// It is sent again when it did nothing for so long, then after twice as long, and so on: one may strike where
    /// nobody sees it.
    pub again: Option<Duration>,
}

/// Python's driver. What its options are for is said in the file.
pub const PYTHON: Driver = Driver {
    language: Language::Python,
    program: "python3",
    options: &["-I", "-S", "-X", "utf8"],
    file: "driver.py",
    source: include_str!("../../interpreters/python/driver.py"),
    interrupts: Interrupts {
        to_group: false,
        again: None,
    },
    ends_silently: false,
};

/// JavaScript's driver.
pub const JAVASCRIPT: Driver = Driver {
    language: Language::Javascript,
    program: "node",
    options: &[],
    file: "driver.cjs",
    source: include_str!("../../interpreters/javascript/driver.cjs"),
    // No cell sees it, so more than one does no harm.
    interrupts: Interrupts {
        to_group: true,
        again: Some(Duration::from_millis(100)),
    },
    ends_silently: false,
};

/// Bash's driver.
pub const BASH: Driver = Driver {
    language: Language::Bash,
    program: "bash",
    options: &[],
    file: "driver.sh",
    source: include_str!("../../interpreters/bash/driver.sh"),
    // A program that is just being started misses it. One that handles it gets some time.
    interrupts: Interrupts {
        to_group: true,
        again: Some(Duration::from_millis(500)),
    },
    ends_silently: true,
};

/// A driver that said it is ready. Dropped, it is killed with everything it started.
#[derive(Debug)]
pub struct Interpreter {
    /// What it is an interpreter of.
    pub driver: &'static Driver,
    /// Its process.
    pub pid: i32,
    /// How it ends.
    pub ended: oneshot::Receiver<Reaped>,
    /// It and what its cells start.
    pub group: ProcessGroup,
    /// What cells print.
    pub stdout: OutputPipe,
    /// What cells complain about.
    pub stderr: OutputPipe,
    /// What it has used.
    pub usage: Usage,
    /// Where cells go.
    pub requests: PipeWriter,
    /// Where its replies come from.
    pub replies: Replies,
    /// What was printed between cells.
    pub kept_stdout: Vec<u8>,
    /// What was complained about between cells.
    pub kept_stderr: Vec<u8>,
    is_left_alone: bool,
}

/// Replies from a driver's pipe.
#[derive(Debug)]
pub struct Replies {
    pipe: PipeReader,
    reader: ReplyReader,
}

/// Why no further reply will come.
#[derive(Debug)]
pub enum NoReply {
    /// Every writer of the pipe is gone.
    Closed,
    /// What came is no reply.
    Malformed(Malformed),
    /// The pipe could not be read.
    Io(io::Error),
}

impl Replies {
    /// The next one. May be given up while it waits.
    pub async fn next(&mut self) -> Result<Reply, NoReply> {
        loop {
            if let Some(reply) = self.reader.next_reply().map_err(NoReply::Malformed)? {
                return Ok(reply);
            }
            let arrived = self.pipe.arrived().await.map_err(NoReply::Io)?;
            let reader = &mut self.reader;
            let piece = scratch::with(|buffer| -> io::Result<Piece> {
                let piece = arrived.read(buffer)?;
                if let Piece::Bytes(count) = piece {
                    reader.feed(&buffer[..count]);
                }
                Ok(piece)
            });
            if piece.map_err(NoReply::Io)? == Piece::End {
                return Err(NoReply::Closed);
            }
        }
    }
}

/// Where and with what an interpreter starts.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Empty = the image's workdir.
    pub cwd: String,
    /// On top of the environment of every program.
    pub env: Variables,
}

impl Interpreter {
    /// Starts a driver and waits until it is ready.
    pub async fn start(agent: &Agent, driver: &'static Driver, place: &Place) -> CallResult<Self> {
        let mut interpreter = Self::spawn(agent, driver, place)?;
        let ready = timeout(START_LIMIT, interpreter.replies.next()).await;
        let why = match ready {
            Ok(Ok(Reply::Ready)) => return Ok(interpreter),
            Ok(Ok(_)) => "its first message is another than \"ready\"".to_owned(),
            Ok(Err(NoReply::Malformed(malformed))) => malformed.to_string(),
            Ok(Err(NoReply::Closed | NoReply::Io(_))) => "it ended".to_owned(),
            Err(_) => format!("it was not ready within {} s", START_LIMIT.as_secs()),
        };
        Err(CallError::internal(format!(
            "{} did not start: {why}; {}",
            driver.program,
            interpreter.last_words()
        )))
    }

    fn spawn(agent: &Agent, driver: &'static Driver, place: &Place) -> CallResult<Self> {
        let pipe_error = |error| CallError::system("pipes for an interpreter", error);
        let (requests, request_end) = PipeWriter::new().map_err(pipe_error)?;
        let (replies, reply_end) = PipeReader::new().map_err(pipe_error)?;
        let options = driver.options.iter().map(|option| (*option).to_owned());
        let file = agent
            .write_driver(driver)
            .map_err(|error| CallError::system("write the interpreter's driver", error))?
            .to_string_lossy()
            .into_owned();
        let command = Command {
            argv: std::iter::once(driver.program.to_owned())
                .chain(options)
                .chain([file])
                .collect(),
            cwd: agent.workdir(&place.cwd),
            account: agent.account("")?,
            base_env: agent.base_env(),
            env: place.env.clone(),
            open_stdin: false,
            extra: vec![
                (std::os::fd::AsFd::as_fd(&request_end), 3),
                (std::os::fd::AsFd::as_fd(&reply_end), 4),
            ],
        };
        let running = agent
            .starter
            .start(command)
            .map_err(|error| match error.code {
                FailureCode::NotFound => CallError::unsupported(format!(
                    "{}; this image has no such interpreter",
                    error.message
                )),
                _ => error,
            })?;
        let Running {
            pid,
            ended,
            group,
            stdout,
            stderr,
            ..
        } = running;
        Ok(Self {
            driver,
            pid,
            ended,
            group,
            stdout,
            stderr,
            requests,
            replies: Replies {
                pipe: replies,
                reader: ReplyReader::default(),
            },
            usage: Usage::default(),
            kept_stdout: Vec::new(),
            kept_stderr: Vec::new(),
            is_left_alone: false,
        })
    }

    fn last_words(&self) -> String {
        let text = scratch::with(|buffer| match self.stderr.try_read(buffer) {
            Ok(Piece::Bytes(count)) => String::from_utf8_lossy(&buffer[..count]).into_owned(),
            _ => String::new(),
        });
        if text.is_empty() {
            "it said nothing".to_owned()
        } else {
            format!("it said: {}", shortened(text, 2000))
        }
    }

    /// The driver ended, or will by itself: what its cells started goes on.
    pub fn leave_alone(&mut self) {
        self.is_left_alone = true;
        group::kill(self.pid);
    }

    /// Lets it get ready for a cell that may come soon.
    pub fn wake(&self) {
        // A pipe that is full has enough to read.
        let _ = self.requests.try_write(&wire::WAKE);
    }

    /// Seeds its generators and adds to its environment. On an error it must not be used again.
    pub async fn activate(&mut self, seed: &[u8], env: &Variables) -> CallResult<()> {
        let message = wire::activate(seed, env.iter());
        let exchange = async {
            self.requests
                .write_all(&message)
                .await
                .map_err(NoReply::Io)?;
            self.replies.next().await
        };
        match timeout(ACTIVATE_LIMIT, exchange).await {
            Ok(Ok(Reply::Activated)) => Ok(()),
            Ok(Ok(_) | Err(_)) => Err(CallError::internal(
                "an interpreter did not take its new seed and environment",
            )),
            Err(_) => Err(CallError::internal(
                "an interpreter did not take its new seed and environment in time",
            )),
        }
    }

    /// Keeps the newest of what is printed while no cell runs. Returns when the driver ends, and says how it did.
    pub async fn idle(&mut self) -> String {
        let keep = async {
            // A next cell often comes soon.
            sleep(IDLE_PAUSE).await;
            tokio::join!(
                keep_all(&self.stdout, &mut self.kept_stdout),
                keep_all(&self.stderr, &mut self.kept_stderr)
            );
            std::future::pending::<std::convert::Infallible>().await
        };
        let reaped = tokio::select! {
            reaped = &mut self.ended => reaped,
            never = keep => match never {},
        };
        // What its cells started goes on.
        self.is_left_alone = true;
        reaped.map_or_else(|_| "ended".to_owned(), |reaped| reaped.ending.to_string())
    }

    /// Lets the next cell find a line on its stderr.
    pub fn leave_note(&mut self, note: &str) {
        self.kept_stderr
            .extend_from_slice(format!("{note}\n").as_bytes());
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        if !self.is_left_alone {
            self.group.kill_all();
        }
    }
}

/// Goes on until it is given up. A cell may have closed its end of the pipe.
async fn keep_all(pipe: &OutputPipe, kept: &mut Vec<u8>) {
    // Without a watch the pipe fills up, and the next cell empties it.
    let Ok(watch) = pipe.watch() else { return };
    while keep(&watch, kept).await.is_ok() {}
}

async fn keep(pipe: &PipeReader, kept: &mut Vec<u8>) -> io::Result<()> {
    let arrived = pipe.arrived().await?;
    scratch::with(|buffer| match arrived.read(buffer)? {
        Piece::Bytes(count) => {
            kept.extend_from_slice(&buffer[..count]);
            let excess = kept.len().saturating_sub(MAX_KEPT_BYTES);
            kept.drain(..excess);
            Ok(())
        }
        Piece::Nothing => Ok(()),
        Piece::End => Err(io::ErrorKind::UnexpectedEof.into()),
    })
}
