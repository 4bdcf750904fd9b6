//! Exec: runs a program or a script.

use crate::agent::Agent;
use crate::code::{Code, ScriptFile};
use crate::failure::{CallError, CallResult};
use crate::link::stream::Call;
use crate::process::command::Command;
use crate::process::supervise::{supervise, CallLimits, Ended};
use crate::proto::{output, Exec, ExecEnded, Output, Started};

/// Where the bytes for stdin come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// From the call's own input.
    IsInput,
    /// From other calls.
    ComesLater,
}

/// A program that is ready to start, and what must live as long as it.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// The program.
    pub command: Command<'a>,
    /// The script, which counts against the agent's memory.
    pub code: Code,
    /// A long script's file.
    pub file: Option<ScriptFile>,
}

/// Checks a request and gathers its script.
pub async fn prepare(
    agent: &Agent,
    call: &Call,
    request: Exec,
    stdin: Stdin,
) -> CallResult<Prepared<'static>> {
    let Exec {
        argv,
        script,
        cwd,
        env,
        user,
        open_stdin,
        script_follows,
        ..
    } = request;
    let is_script = !script.is_empty() || script_follows;
    if is_script != argv.is_empty() {
        return Err(CallError::invalid("expected either argv or a script"));
    }
    if script_follows && open_stdin && stdin == Stdin::IsInput {
        return Err(CallError::invalid(
            "the input is the rest of the script, so it cannot be stdin too",
        ));
    }
    let code = Code::gather(agent, call, script.into_bytes(), script_follows).await?;
    let account = agent.account(&user)?;
    let (argv, file) = if is_script {
        code.for_bash(agent, &account)?
    } else {
        (argv, None)
    };
    let command = Command {
        argv,
        cwd: agent.workdir(&cwd),
        account,
        base_env: agent.base_env(),
        env,
        open_stdin,
        extra: Vec::new(),
    };
    Ok(Prepared {
        command,
        code,
        file,
    })
}

/// Runs it to its end.
pub async fn exec(agent: &Agent, call: &Call, request: Exec) -> CallResult<ExecEnded> {
    let limits = CallLimits::new(request.timeout_ms, request.output_limit_bytes);
    let prepared = prepare(agent, call, request, Stdin::IsInput).await?;
    let running = agent.starter.start(prepared.command)?;
    let started = Started {
        pid: running.pid.unsigned_abs(),
    };
    // The process is watched even while the host gives no credit for this message.
    let announcement = async {
        call.send(&Output {
            output: Some(output::Output::Started(started)),
        })
        .await
    };
    let ended = supervise(running, call, limits, announcement).await?;
    Ok(report(&ended))
}

fn report(ended: &Ended) -> ExecEnded {
    ExecEnded {
        exit_code: ended.exit_code,
        signal: ended.signal,
        timed_out: ended.timed_out,
        truncated: ended.truncated,
        stdout_bytes: ended.stdout_bytes,
        stderr_bytes: ended.stderr_bytes,
        cpu_us: u64::try_from(ended.cpu.as_micros()).unwrap_or(u64::MAX),
        wall_us: u64::try_from(ended.wall.as_micros()).unwrap_or(u64::MAX),
        out_of_memory: ended.out_of_memory,
    }
}
