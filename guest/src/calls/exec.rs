//! Exec: runs a program or a script.

use crate::agent::Agent;
use crate::code::Code;
use crate::failure::{CallError, CallResult};
use crate::link::stream::Call;
use crate::process::command::Command;
use crate::process::supervise::{supervise, CallLimits, Ended};
use crate::proto::{output, Exec, ExecEnded, Output, Started};

/// Runs it to its end.
pub async fn exec(agent: &Agent, call: &Call, request: Exec) -> CallResult<ExecEnded> {
    let Exec {
        argv,
        script,
        cwd,
        env,
        user,
        timeout_ms,
        output_limit_bytes,
        open_stdin,
        script_follows,
    } = request;
    let is_script = !script.is_empty() || script_follows;
    if is_script != argv.is_empty() {
        return Err(CallError::invalid("expected either argv or a script"));
    }
    if script_follows && open_stdin {
        return Err(CallError::invalid(
            "the input is the rest of the script, so it cannot be stdin too",
        ));
    }
    let code = Code::gather(agent, call, script.into_bytes(), script_follows).await?;
    let account = agent.account(&user)?;
    let (argv, _file) = if is_script {
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
    let running = agent.starter.start(command)?;
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
    let limits = CallLimits::new(timeout_ms, output_limit_bytes);
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
