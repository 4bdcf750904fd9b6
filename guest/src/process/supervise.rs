//! Watching a process to its end: output to the host, input from it, the time limit, cancellation.

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::command::Running;
use super::drain;
use super::group::ProcessGroup;
use super::output::OutputFlow;
use super::pipe::PipeWriter;
use crate::failure::{CallError, CallResult};
use crate::flag::Flag;
use crate::link::stream::Call;
use crate::sys::kernel::{self, Ending, Reaped};

/// How long a killed process may take to be gone; one that the kernel cannot end is left behind.
pub const KILL_GRACE: Duration = Duration::from_secs(2);

/// What bounds a call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Then everything of the call is killed.
    pub time: Option<Duration>,
    /// Of stdout and of stderr; what lies beyond is dropped.
    pub output_bytes: u64,
}

impl CallLimits {
    /// From the numbers of a request, in which 0 means none.
    pub fn new(timeout_ms: u32, output_limit_bytes: u64) -> Self {
        Self {
            time: (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into())),
            output_bytes: if output_limit_bytes == 0 {
                u64::MAX
            } else {
                output_limit_bytes
            },
        }
    }
}

/// How a process and its output ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// As a shell says it; 124 at the time limit.
    pub exit_code: i32,
    /// The signal that ended it, or 0.
    pub signal: u32,
    /// The time limit ended it.
    pub timed_out: bool,
    /// Output was dropped.
    pub truncated: bool,
    /// Bytes produced on stdout.
    pub stdout_bytes: u64,
    /// Bytes produced on stderr.
    pub stderr_bytes: u64,
    /// CPU time of all processes of the call.
    pub cpu: Duration,
    /// From start to end.
    pub wall: Duration,
    /// The kernel ended a process of the call for want of memory.
    pub out_of_memory: bool,
}

/// Serves the call until the process has ended and its output is sent. `first` is sent before any output. Fails when
/// the call was cancelled.
pub async fn supervise(
    running: Running,
    call: &Call,
    limits: CallLimits,
    first: impl Future<Output = CallResult<()>>,
) -> CallResult<Ended> {
    let Running {
        pid,
        ended,
        group,
        stdin,
        stdout,
        stderr,
        started_at,
    } = running;
    let finish = Flag::default();
    let mut flow = OutputFlow::new(call, &stdout, &stderr, limits.output_bytes);
    let watch = async {
        let result = tokio::select! {
            biased;
            result = wait_for_end(ended, &group, call, limits.time) => result,
            never = feed(pid, stdin, call) => match never {},
        };
        finish.set();
        result
    };
    let output = async {
        tokio::select! {
            biased;
            () = call.cancelled().wait() => Err(CallError::cancelled()),
            result = async {
                first.await?;
                flow.pass_on_until(&finish).await.map_err(|error| CallError::system("read the output of a process", error))
            } => result,
        }
    };
    let (result, output) = tokio::join!(watch, output);
    let wall = started_at.elapsed();
    let passed = flow.passed();
    drain::release(stdout, passed.stdout_has_ended);
    drain::release(stderr, passed.stderr_has_ended);
    let (reaped, timed_out) = result?;
    output?;
    let ending = reaped.map_or(Ending::Signalled(libc::SIGKILL), |reaped| reaped.ending);
    Ok(Ended {
        exit_code: if timed_out { 124 } else { ending.exit_code() },
        signal: ending.signal(),
        timed_out,
        truncated: passed.is_truncated,
        stdout_bytes: passed.stdout_bytes,
        stderr_bytes: passed.stderr_bytes,
        cpu: cpu_of(&group, reaped),
        wall,
        out_of_memory: group.out_of_memory_kills() > 0,
    })
}

/// CPU time of a group, or of the process that led it.
pub fn cpu_of(group: &ProcessGroup, reaped: Option<Reaped>) -> Duration {
    group
        .directory()
        .and_then(|_| group.cpu())
        .or(reaped.map(|reaped| reaped.cpu))
        .unwrap_or_default()
}

/// The end of the process, and whether the time limit brought it about.
async fn wait_for_end(
    mut ended: tokio::sync::oneshot::Receiver<Reaped>,
    group: &ProcessGroup,
    call: &Call,
    time: Option<Duration>,
) -> CallResult<(Option<Reaped>, bool)> {
    let limit = async {
        match time {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        reaped = &mut ended => Ok((reaped.ok(), false)),
        () = call.cancelled().wait() => {
            group.kill_all();
            let _ = timeout(KILL_GRACE, ended).await;
            Err(CallError::cancelled())
        }
        () = limit => {
            group.kill_all();
            let reaped = timeout(KILL_GRACE, ended).await;
            Ok((reaped.ok().and_then(Result::ok), true))
        }
    }
}

/// Gives input and signals to the process for as long as it is polled.
async fn feed(pid: i32, stdin: Option<PipeWriter>, call: &Call) -> std::convert::Infallible {
    let data = async {
        let mut stdin = stdin;
        while let Some(data) = call.next_data().await {
            if let Some(pipe) = &stdin {
                // A process that no longer reads its stdin goes on; what else comes is dropped.
                if pipe.write_all(&data).await.is_err() {
                    stdin = None;
                }
            }
        }
        drop(stdin);
        std::future::pending::<()>().await;
    };
    let signals = async {
        loop {
            let number = call.next_signal().await;
            // The group may have ended already, and a number that is no signal does nothing.
            let _ = kernel::signal_group(pid, number);
        }
    };
    tokio::select! {
        () = data => std::future::pending().await,
        never = signals => never,
    }
}
