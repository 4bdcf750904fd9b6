//! One cell in a running interpreter, from the request to the last byte of its output.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::{sleep_until, timeout};

use super::actor::Control;
use super::interpreter::{Interpreter, NoReply, Replies};
use super::usage::CellUsage;
use super::wire::{self, Done, Mode, Reply, Status};
use crate::code::Code;
use crate::failure::{shortened, CallError, CallResult};
use crate::link::outbox::Channel;
use crate::link::stream::{Call, MAX_DATA_BYTES};
use crate::process::group;
use crate::process::output::OutputFlow;
use crate::process::pipe::PipeWriter;
use crate::process::proc_table;
use crate::proto::{output, CodeEnded, CodeError, Display, Language, Output};
use crate::sys::kernel::{Ending, Reaped};

/// What an interrupted cell gets before its interpreter is killed.
const INTERRUPT_GRACE: Duration = Duration::from_millis(120);
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// How long a killed interpreter may take to be gone.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// What a display may have, so that its message stays within a frame.
const MAX_DISPLAY_BYTES: usize = MAX_DATA_BYTES - 1024;

/// A cell that waits for its turn or runs.
#[derive(Debug)]
pub struct Cell {
    /// Where its output goes.
    pub call: Arc<Call>,
    /// What to run.
    pub code: Arc<Code>,
    /// How.
    pub mode: Mode,
    /// Of stdout and of stderr; what lies beyond is dropped.
    pub output_limit_bytes: u64,
    /// Then it is over, also when its turn has not come.
    pub deadline: Option<Instant>,
}

impl Cell {
    /// Returns at the deadline.
    pub async fn deadline(&self) {
        match self.deadline {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// What became of a cell.
#[derive(Debug)]
pub enum Verdict {
    /// It ran, to whatever end.
    Ended(CodeEnded),
    /// It is of another language.
    NotThisLanguage,
}

/// What became of a cell and of its interpreter.
#[derive(Debug)]
pub struct CellEnd {
    /// The cell.
    pub verdict: CallResult<Verdict>,
    /// Whether the interpreter takes another cell.
    pub is_usable: bool,
}

/// Why the cell is over.
enum Stop {
    Done(Done),
    NotThisLanguage,
    Died(Option<Reaped>),
    Broken(String),
    /// It did not stop when it was asked to.
    Unresponsive,
    /// Somebody asked for another interpreter.
    Restarted,
}

struct Conversation<'a> {
    cell: &'a Cell,
    cell_id: u32,
    requests: &'a PipeWriter,
    replies: &'a mut Replies,
    flow: OutputFlow<'a>,
    has_dropped_display: bool,
}

impl Conversation<'_> {
    /// Sends the cell and passes on what it shows until it is over.
    async fn run(&mut self) -> Stop {
        let request = wire::execute(self.cell_id, self.cell.mode, self.cell.code.bytes());
        if self.requests.write_all(&request).await.is_err() {
            return Stop::Broken("its pipe is closed".to_owned());
        }
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

    async fn pass_rest_on(&mut self) -> CallResult<()> {
        self.flow
            .pass_rest_on()
            .await
            .map_err(|error| CallError::system("read the output of a cell", error))
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

/// Runs a cell in an interpreter that runs no other.
pub async fn run(
    interpreter: &mut Interpreter,
    cell: &Cell,
    cell_id: u32,
    control: &Control,
) -> CellEnd {
    let started_at = Instant::now();
    let start_ticks = proc_table::now_ticks();
    let usage_before = interpreter.usage.start_cell(interpreter.pid);
    let call = &cell.call;
    for (channel, kept) in [
        (Channel::Stdout, &mut interpreter.kept_stdout),
        (Channel::Stderr, &mut interpreter.kept_stderr),
    ] {
        send_kept(call, channel, std::mem::take(kept)).await;
    }
    let Interpreter {
        driver,
        usage,
        pid,
        ended,
        group: processes,
        stdout,
        stderr,
        requests,
        replies,
        ..
    } = &mut *interpreter;
    let (pid, processes) = (*pid, &*processes);
    let mut conversation = Conversation {
        cell,
        cell_id,
        requests,
        replies,
        flow: OutputFlow::new(call, stdout, stderr, cell.output_limit_bytes),
        has_dropped_display: false,
    };
    let interrupt = || group::signal(pid, Signal::INT);
    let mut timed_out = false;
    let stop = {
        let answer = conversation.run();
        tokio::pin!(answer);
        let deadline = cell.deadline();
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                stop = &mut answer => break stop,
                reaped = &mut *ended => break Stop::Died(reaped.ok()),
                () = call.cancelled().wait() => {
                    interrupt();
                    processes.kill_since(start_ticks, pid);
                    break timeout(CANCEL_GRACE, &mut answer).await.unwrap_or(Stop::Unresponsive);
                }
                () = &mut deadline => {
                    timed_out = true;
                    interrupt();
                    processes.kill_since(start_ticks, pid);
                    break timeout(INTERRUPT_GRACE, &mut answer).await.unwrap_or(Stop::Unresponsive);
                }
                is_restart = control.disturbance() => {
                    if is_restart {
                        break Stop::Restarted;
                    }
                    interrupt();
                }
            }
        }
    };
    // What the cell was starting when it was interrupted.
    if timed_out || call.cancelled().is_set() {
        processes.kill_since(start_ticks, pid);
    }
    // A driver that died closes its pipes first.
    let stop = match stop {
        Stop::Broken(why) => match timeout(Duration::from_millis(200), &mut *ended).await {
            Ok(reaped) => Stop::Died(reaped.ok()),
            Err(_) => Stop::Broken(why),
        },
        stop => stop,
    };
    let mut reaped = None;
    let is_usable = match &stop {
        Stop::Done(done) => done.status != Status::Exited,
        Stop::NotThisLanguage => true,
        Stop::Died(how) => {
            reaped = *how;
            false
        }
        Stop::Broken(_) | Stop::Unresponsive | Stop::Restarted => {
            processes.kill_all();
            reaped = timeout(KILL_GRACE, &mut *ended)
                .await
                .ok()
                .and_then(Result::ok);
            false
        }
    };
    let rest = tokio::select! {
        biased;
        () = call.cancelled().wait() => Err(CallError::cancelled()),
        result = conversation.pass_rest_on() => result,
    };
    let truncated = conversation.flow.passed().is_truncated || conversation.has_dropped_display;
    let wall = started_at.elapsed();
    let cell_usage = usage.end_cell(usage_before, processes, pid, wall, reaped);
    let figures = Figures {
        language: driver.language,
        timed_out,
        truncated,
        usage: cell_usage,
        wall,
    };
    if matches!(&stop, Stop::Done(_) | Stop::Died(_)) && !is_usable {
        interpreter.leave_alone();
    }
    let verdict = match (rest, call.cancelled().is_set(), stop) {
        (_, true, _) => Err(CallError::cancelled()),
        (Err(error), ..) => Err(error),
        (Ok(()), _, Stop::NotThisLanguage) => Ok(Verdict::NotThisLanguage),
        (Ok(()), _, stop) => Ok(Verdict::Ended(summary(stop, reaped, &figures))),
    };
    CellEnd { verdict, is_usable }
}

async fn send_kept(call: &Call, channel: Channel, kept: Vec<u8>) {
    let mut rest = &kept[..];
    while !rest.is_empty() {
        let room = tokio::select! {
            biased;
            () = call.cancelled().wait() => return,
            room = call.data_room() => room.min(rest.len()),
        };
        call.send_data(channel, &rest[..room]);
        rest = &rest[room..];
    }
}

/// A cell whose time ran out before it ran.
pub fn never_run(language: Language, waited: Duration) -> CodeEnded {
    CodeEnded {
        exit_code: 124,
        timed_out: true,
        language: language.into(),
        wall_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
        ..CodeEnded::default()
    }
}

struct Figures {
    language: Language,
    timed_out: bool,
    truncated: bool,
    usage: CellUsage,
    wall: Duration,
}

fn summary(stop: Stop, reaped: Option<Reaped>, figures: &Figures) -> CodeEnded {
    let killed = || reaped.map_or(Ending::Signalled(libc::SIGKILL), |reaped| reaped.ending);
    let (exit_code, error, context_lost) = match stop {
        Stop::Done(done) => {
            let is_exit = done.status == Status::Exited;
            let exit_code = if is_exit {
                done.exit_code & 0xff
            } else {
                i32::from(done.status == Status::Raised)
            };
            (
                exit_code,
                (done.status == Status::Raised).then(|| bounded_error(done)),
                is_exit,
            )
        }
        Stop::NotThisLanguage => (0, None, false),
        Stop::Died(_) => (
            killed().exit_code(),
            Some(lost(&format!("the interpreter {}", described(killed())))),
            true,
        ),
        Stop::Broken(why) => (killed().exit_code(), Some(lost(&why)), true),
        Stop::Unresponsive => (
            killed().exit_code(),
            Some(lost("the cell did not stop when it was interrupted")),
            true,
        ),
        Stop::Restarted => (
            killed().exit_code(),
            Some(lost("the interpreter was restarted")),
            true,
        ),
    };
    CodeEnded {
        exit_code: if figures.timed_out { 124 } else { exit_code },
        timed_out: figures.timed_out,
        truncated: figures.truncated,
        language: figures.language.into(),
        error,
        cpu_us: u64::try_from(figures.usage.cpu.as_micros()).unwrap_or(u64::MAX),
        wall_us: u64::try_from(figures.wall.as_micros()).unwrap_or(u64::MAX),
        context_lost,
        out_of_memory: figures.usage.out_of_memory,
    }
}

fn described(ending: Ending) -> String {
    match ending {
        Ending::Exited(code) => format!("ended with code {code}"),
        Ending::Signalled(signal) => format!("was ended by signal {signal}"),
    }
}

fn lost(why: &str) -> CodeError {
    CodeError {
        name: "InterpreterLost".to_owned(),
        value: format!("{why}; its variables are lost, the next cell gets a new one"),
        traceback: String::new(),
    }
}

fn bounded_error(done: Done) -> CodeError {
    CodeError {
        name: shortened(done.name, 1024),
        value: shortened(done.value, 16 * 1024),
        traceback: shortened(done.traceback, 64 * 1024),
    }
}
