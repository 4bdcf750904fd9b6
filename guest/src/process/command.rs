//! From what a call asks for to a process with pipes.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::time::Instant;

use rustix::io::Errno;
use tokio::sync::oneshot;

use super::account::Account;
use super::environment::{self, Variables};
use super::group::{Groups, ProcessGroup};
use super::pipe::{OutputPipe, PipeWriter};
use super::reaper::Reaper;
use crate::failure::{CallError, CallResult};
use crate::proto::FailureCode;
use crate::sys::kernel::Reaped;
use crate::sys::spawn::{spawn, Plan, SpawnError, Stage};

const MAX_ARGUMENTS: usize = 4096;
/// One argument with its terminating NUL; the kernel's bound.
const MAX_ARGUMENT_BYTES: usize = 128 * 1024;

/// What every start needs of the agent.
#[derive(Debug)]
pub struct Starter {
    /// Waits for the children.
    pub reaper: Reaper,
    /// Where process groups come from.
    pub groups: Groups,
    /// /dev/null, for a stdin that nobody writes to.
    pub null: OwnedFd,
}

/// A program to start.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Whom it runs as.
    pub account: Account,
    /// The environment of every program.
    pub base_env: Variables,
    /// On top of it.
    pub env: Variables,
    /// Whether its stdin is a pipe.
    pub open_stdin: bool,
    /// Further descriptors, and their numbers (3 to 9).
    pub extra: Vec<(BorrowedFd<'a>, i32)>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Running {
    /// Its id, also of its session and process group.
    pub pid: i32,
    /// How it ends.
    pub ended: oneshot::Receiver<Reaped>,
    /// It and what it starts.
    pub group: ProcessGroup,
    /// Its stdin, when asked for.
    pub stdin: Option<PipeWriter>,
    /// Its stdout.
    pub stdout: OutputPipe,
    /// Its stderr.
    pub stderr: OutputPipe,
    /// When it was started.
    pub started_at: Instant,
}

impl Starter {
    /// Starts a program.
    pub fn start(&self, command: Command<'_>) -> CallResult<Running> {
        check_arguments(&command.argv)?;
        environment::check(&command.env)?;
        if !command.cwd.starts_with('/') {
            return Err(CallError::invalid(format!(
                "working directory {:?}, expected an absolute path",
                command.cwd
            )));
        }
        let (env, path) =
            environment::of_program(&command.account, &command.base_env, &command.env)?;
        let pipes = || -> std::io::Result<_> {
            let stdin = if command.open_stdin {
                Some(PipeWriter::new()?)
            } else {
                None
            };
            Ok((stdin, OutputPipe::new()?, OutputPipe::new()?))
        };
        let (stdin, (stdout, stdout_end), (stderr, stderr_end)) =
            pipes().map_err(|error| CallError::system("pipes for a process", error))?;
        let (stdin, stdin_end) = stdin.unzip();
        if let Some(credentials) = &command.account.credentials {
            // Or the process could not open its own /dev/stdout.
            for end in [Some(&stdout_end), Some(&stderr_end), stdin_end.as_ref()]
                .into_iter()
                .flatten()
            {
                fchown(end, Some(credentials.uid), Some(credentials.gid)).map_err(|error| {
                    CallError::system("give a pipe to the process's user", error)
                })?;
            }
        }
        let stdin_source = stdin_end
            .as_ref()
            .map_or(self.null.as_fd(), |end| end.as_fd());
        let mut descriptors = vec![
            (stdin_source, 0),
            (stdout_end.as_fd(), 1),
            (stderr_end.as_fd(), 2),
        ];
        descriptors.extend(&command.extra);
        let mut group = self
            .groups
            .take()
            .map_err(|error| CallError::system("a cgroup for the process", error))?;
        let argv = command
            .argv
            .iter()
            .map(|argument| c_string(argument))
            .collect::<CallResult<Vec<_>>>()?;
        let plan = Plan {
            programs: candidates(&command.argv, &path)?,
            argv,
            env,
            cwd: c_string(&command.cwd)?,
            credentials: command.account.credentials.clone(),
            descriptors,
            cgroup: group.directory(),
        };
        let started_at = Instant::now();
        let pid = spawn(&plan).map_err(|error| explain(error, &command))?;
        drop(plan);
        group.set_leader(pid);
        let ended = self.reaper.watch(pid);
        Ok(Running {
            pid,
            ended,
            group,
            stdin,
            stdout,
            stderr,
            started_at,
        })
    }
}

fn check_arguments(argv: &[String]) -> CallResult<()> {
    if argv.first().is_none_or(String::is_empty) || argv.len() > MAX_ARGUMENTS {
        return Err(CallError::invalid(format!(
            "{} arguments, expected 1 to {MAX_ARGUMENTS}, the first a program's name",
            argv.len()
        )));
    }
    if let Some(longest) = argv
        .iter()
        .map(String::len)
        .max()
        .filter(|&longest| longest >= MAX_ARGUMENT_BYTES)
    {
        return Err(CallError::invalid(format!(
            "an argument of {longest} bytes, expected fewer than {MAX_ARGUMENT_BYTES}"
        )));
    }
    Ok(())
}

/// The paths at which the program may be.
fn candidates(argv: &[String], path: &str) -> CallResult<Vec<CString>> {
    let name = argv.first().map_or("", String::as_str);
    if name.contains('/') {
        return Ok(vec![c_string(name)?]);
    }
    let directories = path
        .split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory });
    directories
        .map(|directory| c_string(&format!("{directory}/{name}")))
        .collect()
}

fn c_string(text: &str) -> CallResult<CString> {
    CString::new(text).map_err(|_| CallError::invalid("an argument or a path holds a NUL byte"))
}

fn explain(error: SpawnError, command: &Command<'_>) -> CallError {
    let program = command.argv.first().map_or("", String::as_str);
    match (error.stage, error.errno) {
        (Stage::Execute, Errno::NOENT) => {
            CallError::not_found(format!("program {program:?} was not found in the VM"))
        }
        (Stage::Execute, Errno::NOEXEC) => CallError::invalid(format!(
            "{program:?} is neither a program nor a script that names its interpreter"
        )),
        (Stage::Execute, Errno::TOOBIG) => {
            CallError::limit("arguments and environment are larger together than the kernel takes")
        }
        (Stage::Execute, errno) => CallError::system(format_args!("run {program:?}"), errno),
        (Stage::WorkingDirectory, errno) => CallError::system(
            format_args!("enter the working directory {:?}", command.cwd),
            errno,
        ),
        (Stage::Credentials, errno) => CallError::system(
            format_args!("run {program:?} as user {:?}", command.account.name),
            errno,
        ),
        (Stage::Clone, Errno::AGAIN | Errno::NOMEM) => CallError::new(
            FailureCode::Limit,
            format!(
                "the VM has no room for another process ({}): end some first",
                error.errno
            ),
        ),
        (Stage::Clone | Stage::SetUp, errno) => {
            CallError::system(format_args!("start {program:?}"), errno)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_slash_is_looked_up_in_path() {
        let paths = |name: &str| candidates(&[name.to_owned()], "/a::/b").expect("candidates");
        assert_eq!(
            paths("sh"),
            [c"/a/sh", c"./sh", c"/b/sh"].map(CString::from)
        );
        assert_eq!(paths("./sh"), [c"./sh"].map(CString::from));
    }

    #[test]
    fn arguments_have_bounds() {
        assert!(check_arguments(&[]).is_err());
        assert!(check_arguments(&[String::new()]).is_err());
        assert!(check_arguments(&vec!["x".to_owned(); MAX_ARGUMENTS + 1]).is_err());
        assert!(check_arguments(&["x".repeat(MAX_ARGUMENT_BYTES)]).is_err());
        assert!(check_arguments(&["x".repeat(MAX_ARGUMENT_BYTES - 1)]).is_ok());
    }
}
