//! RunCode: a cell in an interpreter, or of Bash in a fresh shell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::code::Code;
use crate::context::actor::Context;
use crate::context::cell::{Cell, Verdict};
use crate::context::wire::Mode;
use crate::failure::{CallError, CallResult};
use crate::link::stream::Call;
use crate::process::command::Command;
use crate::process::environment;
use crate::process::supervise::{supervise, CallLimits};
use crate::proto::{CodeEnded, FailureCode, Language, RunCode};

/// Runs a cell to its end.
pub async fn run_code(
    agent: &Arc<Agent>,
    call: &Arc<Call>,
    mut request: RunCode,
) -> CallResult<CodeEnded> {
    environment::check(&request.env)?;
    let limits = CallLimits::new(request.timeout_ms, request.output_limit_bytes);
    let deadline = limits.time.map(|time| Instant::now() + time);
    let first = std::mem::take(&mut request.code);
    let code = Arc::new(Code::gather(agent, call, first, request.code_follows).await?);
    let cell = |mode| Cell {
        call: call.clone(),
        code: code.clone(),
        mode,
        env: request.env.clone(),
        output_limit_bytes: limits.output_bytes,
        deadline,
    };
    match request.language() {
        Language::Unspecified if request.context_id.is_empty() => {
            return Err(CallError::invalid(
                "a cell with neither language nor context",
            ));
        }
        Language::Bash if request.context_id.is_empty() => {}
        Language::Detect => {
            match run_in_context(agent, &request, cell(Mode::Detect)).await {
                Ok(Verdict::Ended(ended)) => return Ok(ended),
                Ok(Verdict::NotThisLanguage) => {}
                // Without Python, everything is Bash.
                Err(error) if error.code == FailureCode::Unsupported => {}
                Err(error) => return Err(error),
            }
        }
        _ => {
            return match run_in_context(agent, &request, cell(Mode::Plain)).await? {
                Verdict::Ended(ended) => Ok(ended),
                Verdict::NotThisLanguage => Err(CallError::internal(
                    "an interpreter refused code of its own language",
                )),
            };
        }
    }
    let time = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    run_bash(agent, call, &code, request, CallLimits { time, ..limits }).await
}

async fn run_in_context(agent: &Arc<Agent>, request: &RunCode, cell: Cell) -> CallResult<Verdict> {
    let context = context_of(agent, request)?;
    if context.driver.language == Language::Bash && cell.code.bytes().contains(&0) {
        return Err(CallError::invalid(
            "the code holds a NUL byte, which no shell can read",
        ));
    }
    context.run(cell).await
}

fn context_of(agent: &Arc<Agent>, request: &RunCode) -> CallResult<Arc<Context>> {
    let expected = match request.language() {
        Language::Unspecified => return agent.contexts.find(&request.context_id),
        Language::Detect => Language::Python,
        language => language,
    };
    let context = agent
        .contexts
        .for_cell(agent, &request.context_id, expected)?;
    if context.driver.language != expected {
        return Err(CallError::invalid(format!(
            "context {:?} runs {}, not {}",
            context.id,
            context.driver.language.as_str_name(),
            expected.as_str_name()
        )));
    }
    Ok(context)
}

async fn run_bash(
    agent: &Agent,
    call: &Call,
    code: &Code,
    request: RunCode,
    limits: CallLimits,
) -> CallResult<CodeEnded> {
    let account = agent.account("")?;
    let (argv, _file) = code.for_bash(agent, &account)?;
    let command = Command {
        argv,
        cwd: agent.workdir(&request.cwd),
        account,
        base_env: agent.base_env(),
        env: request.env,
        open_stdin: false,
        extra: Vec::new(),
    };
    let running = agent.starter.start(command)?;
    let ended = supervise(running, call, limits, std::future::ready(Ok(()))).await?;
    let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(CodeEnded {
        exit_code: ended.exit_code,
        timed_out: ended.timed_out,
        truncated: ended.truncated,
        language: Language::Bash.into(),
        error: None,
        cpu_us: microseconds(ended.cpu),
        wall_us: microseconds(ended.wall),
        context_lost: false,
        out_of_memory: ended.out_of_memory,
    })
}
