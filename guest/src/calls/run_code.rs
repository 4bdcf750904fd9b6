//! RunCode: a cell of Bash in a fresh shell, of any other language in an interpreter.

use crate::agent::Agent;
use crate::code::Code;
use crate::failure::{CallError, CallResult};
use crate::link::stream::Call;
use crate::process::command::Command;
use crate::process::supervise::{supervise, CallLimits};
use crate::proto::{CodeEnded, Language, RunCode};

/// Runs a cell to its end.
pub async fn run_code(agent: &Agent, call: &Call, mut request: RunCode) -> CallResult<CodeEnded> {
    let first = std::mem::take(&mut request.code);
    let code = Code::gather(agent, call, first, request.code_follows).await?;
    match request.language() {
        Language::Bash => run_bash(agent, call, code, request).await,
        language => Err(CallError::unsupported(format!(
            "{} cells",
            language.as_str_name()
        ))),
    }
}

async fn run_bash(
    agent: &Agent,
    call: &Call,
    code: Code,
    request: RunCode,
) -> CallResult<CodeEnded> {
    if !request.context_id.is_empty() {
        return Err(CallError::not_found(format!(
            "context {:?}: Bash has only its default context",
            request.context_id
        )));
    }
    let (argv, _file) = code.into_bash(agent)?;
    let command = Command {
        argv,
        cwd: agent.workdir(&request.cwd),
        account: agent.account("")?,
        base_env: agent.base_env(),
        env: request.env,
        open_stdin: false,
        extra: Vec::new(),
    };
    let running = agent.starter.start(command)?;
    let limits = CallLimits::new(request.timeout_ms, request.output_limit_bytes);
    let ended = supervise(running, call, limits, std::future::ready(Ok(()))).await?;
    Ok(CodeEnded {
        exit_code: ended.exit_code,
        timed_out: ended.timed_out,
        truncated: ended.truncated,
        language: Language::Bash.into(),
        error: None,
        cpu_us: u64::try_from(ended.cpu.as_micros()).unwrap_or(u64::MAX),
        wall_us: u64::try_from(ended.wall.as_micros()).unwrap_or(u64::MAX),
        context_lost: false,
        out_of_memory: ended.out_of_memory,
    })
}
