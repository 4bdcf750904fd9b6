//! Moving to the background: the command returns when the launcher listens, or says why it does not.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};

/// What the launcher prints on stdout, alone on a line, once it listens.
pub const READY: &str = "ready";

/// Starts this program again with `--foreground`, apart from the caller's terminal, and waits until it listens.
/// It has no parent that anybody waits for: init takes it over when this process returns.
pub fn start_in_background() -> io::Result<ExitCode> {
    let mut child = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .arg("--foreground")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut line = String::new();
    if let Some(stdout) = stdout {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.trim_end() == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    let mut why = String::new();
    if let Some(stderr) = stderr {
        stderr.take(64 * 1024).read_to_string(&mut why)?;
    }
    eprint!("{why}");
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
