//! Processes that outlive their call: StartProcess, ListProcesses, AttachProcess, WriteStdin, SignalProcess, WaitProcess,
//! ForgetProcess.

use super::exec::{self, Stdin};
use super::pieces::send_output;
use crate::agent::Agent;
use crate::failure::{shortened, CallError, CallResult};
use crate::link::stream::Call;
use crate::process::background::{Background, Label};
use crate::process::supervise::CallLimits;
use crate::proto::{
    output, AttachProcess, ForgetProcess, Output, OutputPosition, Process, SignalProcess,
    StartProcess, StdinWritten, WaitProcess, WriteStdin,
};

const MAX_TAG_BYTES: usize = 256;
const MAX_COMMAND_BYTES: usize = 256;
const MAX_SIGNAL: u32 = 64;

/// Starts a process and answers when it runs.
pub async fn start(agent: &Agent, call: &Call, request: StartProcess) -> CallResult<Process> {
    let exec = request
        .exec
        .ok_or_else(|| CallError::invalid("nothing to start"))?;
    if request.tag.len() > MAX_TAG_BYTES {
        return Err(CallError::invalid(format!(
            "a tag of {} bytes, expected at most {MAX_TAG_BYTES}",
            request.tag.len()
        )));
    }
    if exec.output_limit_bytes > 0 {
        return Err(CallError::invalid(
            "an output limit, but the last output of a background process is kept",
        ));
    }
    let time = CallLimits::new(exec.timeout_ms, 0).time;
    let command = if exec.argv.is_empty() {
        exec.script.clone()
    } else {
        exec.argv.join(" ")
    };
    let label = Label {
        tag: request.tag,
        command: shortened(command, MAX_COMMAND_BYTES),
    };
    let prepared = exec::prepare(agent, call, exec, Stdin::ComesLater).await?;
    let log = agent.processes.reserve()?;
    let running = agent.starter.start(prepared.command)?;
    let process = agent.processes.adopt(
        running,
        (log, label),
        (time, (prepared.code, prepared.file)),
    );
    Ok(process.describe())
}

/// Sends a process's output from an offset on.
pub async fn attach(agent: &Agent, call: &Call, request: AttachProcess) -> CallResult<Process> {
    let process = agent.processes.find(request.process_id)?;
    let reading = read(&process, call, &request);
    tokio::select! {
        biased;
        () = call.cancelled().wait() => return Err(CallError::cancelled()),
        result = reading => result?,
    }
    Ok(process.describe())
}

async fn read(process: &Background, call: &Call, request: &AttachProcess) -> CallResult<()> {
    let (_, end_now) = process.log.extent();
    let mut offset = if request.from_end {
        end_now.saturating_sub(request.offset)
    } else {
        request.offset
    };
    let stop_at = if request.follow { u64::MAX } else { end_now };
    let mut is_told = false;
    loop {
        let changed = process.log.changed();
        let has_ended = process.has_ended.is_set();
        let (start, end) = process.log.extent();
        if !is_told || offset < start {
            is_told = true;
            let dropped_bytes = start.saturating_sub(offset);
            offset += dropped_bytes;
            send_output(call, &position(offset, dropped_bytes)).await?;
            continue;
        }
        if offset >= stop_at || (has_ended && offset >= end) {
            return Ok(());
        }
        if offset >= end {
            tokio::select! {
                () = changed => {}
                () = process.has_ended.wait() => {}
            }
            continue;
        }
        // What is kept may have moved on meanwhile; then there is no piece.
        let room = call.data_room().await;
        let most = usize::try_from(stop_at - offset).unwrap_or(room).min(room);
        if let Some((channel, piece)) = process.log.piece(offset, most) {
            call.send_data(channel, &piece);
            offset += piece.len() as u64;
        }
    }
}

fn position(offset: u64, dropped_bytes: u64) -> Output {
    Output {
        output: Some(output::Output::Position(OutputPosition {
            offset,
            dropped_bytes,
        })),
    }
}

/// Gives the call's input to a process.
pub async fn write_stdin(
    agent: &Agent,
    call: &Call,
    request: WriteStdin,
) -> CallResult<StdinWritten> {
    let process = agent.processes.find(request.process_id)?;
    let writing = async {
        let mut stdin = process.stdin().await;
        stdin.check()?;
        let mut bytes = 0;
        while let Some(data) = call.next_data().await {
            stdin.write(&data).await?;
            bytes += data.len() as u64;
        }
        if request.close {
            stdin.close();
        }
        Ok(StdinWritten { bytes })
    };
    tokio::select! {
        biased;
        () = call.cancelled().wait() => Err(CallError::cancelled()),
        written = writing => written,
    }
}

/// Sends a signal.
pub fn signal(agent: &Agent, request: SignalProcess) -> CallResult<Process> {
    if !(1..=MAX_SIGNAL).contains(&request.signal) {
        return Err(CallError::invalid(format!(
            "signal {}, expected 1 to {MAX_SIGNAL}",
            request.signal
        )));
    }
    let process = agent.processes.find(request.process_id)?;
    process.signal(request.signal);
    Ok(process.describe())
}

/// Answers when the process has ended.
pub async fn wait(agent: &Agent, call: &Call, request: WaitProcess) -> CallResult<Process> {
    let process = agent.processes.find(request.process_id)?;
    tokio::select! {
        biased;
        () = call.cancelled().wait() => Err(CallError::cancelled()),
        () = process.has_ended.wait() => Ok(process.describe()),
    }
}

/// Ends a process if it runs, and forgets it.
pub async fn forget(agent: &Agent, call: &Call, request: ForgetProcess) -> CallResult<Process> {
    let process = agent.processes.find(request.process_id)?;
    process.signal(libc::SIGKILL.unsigned_abs());
    tokio::select! {
        biased;
        () = call.cancelled().wait() => return Err(CallError::cancelled()),
        () = process.has_ended.wait() => {}
    }
    agent.processes.forget(request.process_id);
    Ok(process.describe())
}
