//! One cell in a running interpreter, from the request to the last byte of its output.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use super::actor::Control;
use super::conversation::{Conversation, Displays};
use super::interpreter::{Interpreter, Interrupts};
use super::usage::CellUsage;
use super::wire::{Done, Mode, Status};
use crate::code::Code;
use crate::failure::{shortened, CallError, CallResult};
use crate::flag::Flag;
use crate::link::stream::Call;
use crate::process::environment::Variables;
use crate::process::group::{self, ProcessGroup};
use crate::process::output::OutputFlow;
use crate::process::pipe::PipeWriter;
use crate::process::proc_table;
use crate::proto::{CodeEnded, CodeError, Language};
use crate::sys::kernel::{Ending, Reaped};

/// What an interrupted cell gets before its interpreter is killed, and its variables with it: enough for one that heeds
/// the interrupt on a busy host under emulation.
const INTERRUPT_GRACE: Duration = Duration::from_millis(500);
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// An interrupt that comes before the interpreter has begun the cell is lost: it is sent again after this, then after
/// twice as long, and so on.
const FIRST_REPEAT: Duration = Duration::from_millis(100);
/// Between the moment in which an interpreter has read its cell and the one in which an interrupt ends it.
const BEGIN_PAUSE: Duration = Duration::from_millis(50);
/// A cell that was read and is so old has begun.
const BEGUN_BY: Duration = Duration::from_secs(1);
/// How often an interpreter is looked at that has not read its cell.
const BEGIN_POLL: Duration = Duration::from_millis(5);
/// Between the end of an interpreter's pipes and its own.
const DEATH_GRACE: Duration = Duration::from_millis(200);
/// How long a killed interpreter may take to be gone.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// A cell that waits for its turn or runs.
#[derive(Debug)]
pub struct Cell {
    /// Where its output goes.
    pub call: Arc<Call>,
    /// What to run.
    pub code: Arc<Code>,
    /// How.
    pub mode: Mode,
    /// On top of the interpreter's environment.
    pub env: Variables,
    /// Of stdout and of stderr; what lies beyond is dropped.
    pub output_limit_bytes: u64,
    /// Then it is over, also when its turn has not come.
    pub deadline: Option<Instant>,
}

impl Cell {
    /// Returns at the deadline.
    pub async fn deadline(&self) {
        until(self.deadline).await;
    }
}

/// Never returns without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
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
pub enum CellEnd {
    /// The interpreter had it.
    Over {
        /// The cell.
        verdict: CallResult<Verdict>,
        /// Whether the interpreter takes another cell.
        is_usable: bool,
    },
    /// The interpreter had ended before, in the way that is told; another one can run the cell.
    NeverRead(String),
}

/// Why a cell is over.
#[derive(Debug)]
pub enum Stop {
    /// The interpreter said so.
    Done(Done),
    /// Nothing was executed.
    NotThisLanguage,
    /// The interpreter ended.
    Died(Option<Reaped>),
    /// What came from the interpreter, or did not come, makes no sense.
    Broken(String),
    /// It did not stop when it was asked to.
    Unresponsive,
    /// Somebody asked for another interpreter.
    Restarted,
}

/// Runs a cell in an interpreter that runs no other.
pub async fn run(
    interpreter: &mut Interpreter,
    cell: &Cell,
    cell_id: u32,
    control: &Control,
) -> CellEnd {
    let started_at = Instant::now();
    let interrupts = interpreter.driver.interrupts;
    let usage_before = interpreter.usage.start_cell(interpreter.pid);
    let Interpreter {
        pid,
        ended,
        group,
        stdout,
        stderr,
        requests,
        replies,
        kept_stdout,
        kept_stderr,
        ..
    } = &mut *interpreter;
    let mut process = Process {
        pid: *pid,
        ended,
        group,
        start_ticks: proc_table::now_ticks(),
        interrupts,
    };
    let was_sent = Flag::default();
    let mut conversation = Conversation {
        cell,
        cell_id,
        requests,
        replies,
        flow: OutputFlow::new(&cell.call, stdout, stderr, cell.output_limit_bytes),
        kept: [kept_stdout, kept_stderr],
        displays: Displays::default(),
        request_bytes: 0,
        was_sent: &was_sent,
        was_refused: false,
    };
    let (stop, timed_out) = process.watch(&mut conversation, control).await;
    let (stop, reaped) = process.settle(stop).await;
    let rest = tokio::select! {
        biased;
        () = cell.call.cancelled().wait() => None,
        result = conversation.pass_rest_on() => Some(result),
    };
    let rest = match rest {
        Some(result) => result,
        None => conversation.drop_rest().await,
    };
    let truncated = conversation.is_truncated();
    let was_read = conversation.was_read();
    let wall = started_at.elapsed();
    let usage = interpreter.usage.end_cell(
        usage_before,
        &interpreter.group,
        interpreter.pid,
        wall,
        reaped,
    );
    let figures = Figures {
        language: interpreter.driver.language,
        ends_silently: interpreter.driver.ends_silently,
        timed_out,
        truncated,
        usage,
        wall,
    };
    let is_usable = match &stop {
        Stop::Done(done) => done.status != Status::Exited,
        Stop::NotThisLanguage => true,
        Stop::Died(_) | Stop::Broken(_) | Stop::Unresponsive | Stop::Restarted => false,
    };
    if !is_usable && matches!(&stop, Stop::Done(_) | Stop::Died(_)) {
        interpreter.leave_alone();
    }
    if matches!(&stop, Stop::Died(_)) && !was_read && !timed_out && !cell.call.cancelled().is_set()
    {
        return CellEnd::NeverRead(ending_of(reaped).to_string());
    }
    let verdict = match (rest, cell.call.cancelled().is_set(), stop) {
        (_, true, _) => Err(CallError::cancelled()),
        (Err(error), ..) => Err(error),
        (Ok(()), _, Stop::NotThisLanguage) => Ok(Verdict::NotThisLanguage),
        (Ok(()), _, stop) => Ok(Verdict::Ended(summary(stop, reaped, &figures))),
    };
    CellEnd::Over { verdict, is_usable }
}

/// The interpreter's process while a cell runs in it.
struct Process<'a> {
    pid: i32,
    ended: &'a mut oneshot::Receiver<Reaped>,
    group: &'a ProcessGroup,
    start_ticks: u64,
    interrupts: Interrupts,
}

impl Process<'_> {
    /// Waits until the cell is over or has to be; also says whether its time ran out.
    async fn watch(
        &mut self,
        conversation: &mut Conversation<'_>,
        control: &Control,
    ) -> (Stop, bool) {
        let cell = conversation.cell;
        let request = Request {
            was_sent: conversation.was_sent,
            pipe: conversation.requests,
        };
        let started_at = Instant::now();
        let mut timed_out = false;
        let stop = {
            let answer = conversation.run();
            tokio::pin!(answer);
            let deadline = cell.deadline();
            tokio::pin!(deadline);
            let begun = request.has_begun();
            tokio::pin!(begun);
            // An interrupt that is sent only once waits until somebody sees it.
            let (mut is_due, mut has_begun) = (false, self.interrupts.again.is_some());
            let (mut again_at, mut again_pause) = (None, self.interrupts.again);
            loop {
                let patience = tokio::select! {
                    biased;
                    stop = &mut answer => break stop,
                    reaped = &mut *self.ended => break Stop::Died(reaped.ok()),
                    () = cell.call.cancelled().wait() => CANCEL_GRACE,
                    () = &mut deadline => {
                        timed_out = true;
                        INTERRUPT_GRACE
                    }
                    is_restart = control.disturbance() => {
                        if is_restart {
                            break Stop::Restarted;
                        }
                        has_begun |= request.was_read() && started_at.elapsed() > BEGUN_BY;
                        if !has_begun {
                            is_due = true;
                            continue;
                        }
                        self.interrupt();
                        again_at = again_pause.map(|pause| Instant::now() + pause);
                        continue;
                    }
                    () = &mut begun, if is_due => {
                        (is_due, has_begun) = (false, true);
                        self.interrupt();
                        continue;
                    }
                    () = until(again_at) => {
                        self.interrupt();
                        again_pause = again_pause.map(|pause| 2 * pause);
                        again_at = again_pause.map(|pause| Instant::now() + pause);
                        continue;
                    }
                };
                let given_up_at = Instant::now() + patience;
                let mut pause = FIRST_REPEAT;
                break loop {
                    self.interrupt();
                    self.group.kill_since(self.start_ticks, self.pid);
                    let rest = given_up_at.saturating_duration_since(Instant::now());
                    if rest.is_zero() {
                        break Stop::Unresponsive;
                    }
                    if let Ok(stop) = timeout(pause.min(rest), &mut answer).await {
                        break stop;
                    }
                    pause *= 2;
                };
            }
        };
        // What the cell was starting when it was interrupted.
        if timed_out || cell.call.cancelled().is_set() {
            self.group.kill_since(self.start_ticks, self.pid);
        }
        (stop, timed_out)
    }

    fn interrupt(&self) {
        let signal = if self.interrupts.to_group {
            group::signal_all
        } else {
            group::signal
        };
        signal(self.pid, Signal::INT);
    }

    /// Ends an interpreter that cannot be used any more, and says how it ended.
    async fn settle(&mut self, stop: Stop) -> (Stop, Option<Reaped>) {
        match stop {
            Stop::Done(_) | Stop::NotThisLanguage => (stop, None),
            Stop::Died(reaped) => (stop, reaped),
            Stop::Broken(why) => {
                // An interpreter that dies closes its pipes first.
                match timeout(DEATH_GRACE, &mut *self.ended).await {
                    Ok(reaped) => {
                        let reaped = reaped.ok();
                        (Stop::Died(reaped), reaped)
                    }
                    Err(_) => (Stop::Broken(why), self.kill().await),
                }
            }
            Stop::Unresponsive | Stop::Restarted => (stop, self.kill().await),
        }
    }

    async fn kill(&mut self) -> Option<Reaped> {
        self.group.kill_all();
        timeout(KILL_GRACE, &mut *self.ended)
            .await
            .ok()
            .and_then(Result::ok)
    }
}

/// A cell on its way into its interpreter.
struct Request<'a> {
    was_sent: &'a Flag,
    pipe: &'a PipeWriter,
}

impl Request<'_> {
    fn was_read(&self) -> bool {
        self.was_sent.is_set() && self.pipe.waiting_bytes() == 0
    }

    /// Returns when an interrupt ends the cell: between cells, interpreters take no notice of one.
    async fn has_begun(&self) {
        self.was_sent.wait().await;
        while !self.was_read() {
            sleep(BEGIN_POLL).await;
        }
        sleep(BEGIN_PAUSE).await;
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
    ends_silently: bool,
    timed_out: bool,
    truncated: bool,
    usage: CellUsage,
    wall: Duration,
}

fn summary(stop: Stop, reaped: Option<Reaped>, figures: &Figures) -> CodeEnded {
    let killed = || ending_of(reaped);
    let (exit_code, error, context_lost) = match stop {
        Stop::Done(done) => {
            let is_exit = done.status == Status::Exited;
            let exit_code = match done.status {
                Status::Raised => 1,
                Status::Completed | Status::Exited => done.exit_code & 0xff,
            };
            (
                exit_code,
                (done.status == Status::Raised).then(|| bounded_error(done)),
                is_exit,
            )
        }
        Stop::NotThisLanguage => (0, None, false),
        Stop::Died(Some(Reaped {
            ending: Ending::Exited(exit_code),
            ..
        })) if figures.ends_silently => (exit_code & 0xff, None, true),
        Stop::Died(_) => (
            killed().exit_code(),
            Some(lost(&format!("the interpreter {}", killed()))),
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

fn ending_of(reaped: Option<Reaped>) -> Ending {
    reaped.map_or(Ending::Signalled(libc::SIGKILL), |reaped| reaped.ending)
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
