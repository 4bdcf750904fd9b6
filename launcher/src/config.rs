//! The command line.

use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub const USAGE: &str = "\
instavm-launcher --state-dir DIR --socket PATH --program PATH [--program PATH]... [--read-root DIR]...
                 [--fork-library PATH] [--idle-exit-s SECONDS] [--foreground]

Starts and reaps the VM processes of one state directory. Returns when the launcher listens in the
background, or with one sentence on stderr when it cannot. Exit code 3: another launcher serves the directory.
  --state-dir DIR      VMs live in DIR/vms/<id>; launcher.log and launcher.lock in DIR
  --socket PATH        where it listens (made with mode 0600)
  --program PATH       a program that a VM process may be; absolute
  --read-root DIR      files below may be cloned from or inherited read-only
  --fork-library PATH  what makes a VM process one that can be forked; absolute
  --idle-exit-s N      exits after N s without VM and connection; 0 = never; default 60
  --foreground         stays where it was started, prints `ready` when it listens";

/// A checked command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Absolute.
    pub state_dir: PathBuf,
    /// Absolute, at most 107 bytes.
    pub socket: PathBuf,
    /// Absolute paths, at least one.
    pub programs: Vec<String>,
    /// Absolute.
    pub read_roots: Vec<PathBuf>,
    /// Absolute.
    pub fork_library: Option<PathBuf>,
    /// `None` = never.
    pub idle_exit: Option<Duration>,
    /// Do not move to the background.
    pub foreground: bool,
}

/// The longest path that fits `sockaddr_un`.
const SOCKET_PATH_LIMIT_BYTES: usize = 107;

impl Config {
    /// Parses the arguments after the program's name; the error is a sentence for stderr.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut state_dir, mut socket, mut fork_library) = (None, None, None);
        let (mut programs, mut read_roots) = (Vec::new(), Vec::new());
        let (mut idle_exit_s, mut foreground) = (60, false);
        let mut args = args;
        while let Some(option) = args.next() {
            if option == "--foreground" {
                foreground = true;
                continue;
            }
            let value = args
                .next()
                .ok_or_else(|| format!("{option} has no value\n{USAGE}"))?;
            match option.as_str() {
                "--state-dir" => state_dir = Some(absolute(&option, value)?),
                "--socket" => socket = Some(absolute(&option, value)?),
                "--program" => programs.push(program(absolute(&option, value)?)?),
                "--read-root" => read_roots.push(absolute(&option, value)?.into()),
                "--fork-library" => fork_library = Some(absolute(&option, value)?.into()),
                "--idle-exit-s" => idle_exit_s = seconds(&value)?,
                _ => return Err(format!("{option} is not an option\n{USAGE}")),
            }
        }
        let socket = socket.ok_or("--socket is missing")?;
        if socket.len() > SOCKET_PATH_LIMIT_BYTES {
            return Err(format!(
                "--socket is {} bytes long, at most {SOCKET_PATH_LIMIT_BYTES} fit",
                socket.len()
            ));
        }
        if programs.is_empty() {
            return Err("--program is missing: name at least one".into());
        }
        Ok(Self {
            state_dir: state_dir.ok_or("--state-dir is missing")?.into(),
            socket: socket.into(),
            programs,
            read_roots,
            fork_library,
            idle_exit: (idle_exit_s > 0).then(|| Duration::from_secs(idle_exit_s)),
            foreground,
        })
    }
}

fn absolute(option: &str, path: String) -> Result<String, String> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(path);
    }
    Err(format!("{option} {path:?} is not an absolute path"))
}

/// `process.json` holds the program's path between quotes, so it must not need an escape.
fn program(path: String) -> Result<String, String> {
    if path
        .chars()
        .any(|letter| letter.is_control() || letter == '"' || letter == '\\')
    {
        return Err(format!(
            "--program {path:?} holds a quote, a backslash or a control character"
        ));
    }
    Ok(path)
}

fn seconds(value: &str) -> Result<u64, String> {
    match value.parse::<u32>() {
        Ok(seconds) => Ok(u64::from(seconds)),
        Err(_) => Err(format!(
            "--idle-exit-s {value:?} is not a number of seconds"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, String> {
        Config::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn a_full_command_line_is_understood() {
        let line = "--state-dir /s --socket /s/l.sock --program /bin/a --program /bin/b --read-root /r --fork-library /f.so --idle-exit-s 5 --foreground";
        let expected = Config {
            state_dir: "/s".into(),
            socket: "/s/l.sock".into(),
            programs: vec!["/bin/a".into(), "/bin/b".into()],
            read_roots: vec!["/r".into()],
            fork_library: Some("/f.so".into()),
            idle_exit: Some(Duration::from_secs(5)),
            foreground: true,
        };
        assert_eq!(parse(line), Ok(expected));
    }

    #[test]
    fn zero_seconds_means_it_never_exits() {
        let config = parse("--state-dir /s --socket /l --program /p --idle-exit-s 0");
        assert_eq!(config.map(|config| config.idle_exit), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("--state-dir /s --program /p --socket /{}", "x".repeat(107));
        for (line, sentence) in [
            ("--socket /l --program /p", "--state-dir is missing"),
            ("--state-dir /s --program /p", "--socket is missing"),
            (
                "--state-dir /s --socket /l",
                "--program is missing: name at least one",
            ),
            (
                "--state-dir s --socket /l --program /p",
                "--state-dir \"s\" is not an absolute path",
            ),
            ("--state-dir /s --socket /l --program /p\"", "holds a quote"),
            (
                "--state-dir /s --idle-exit-s -1",
                "--idle-exit-s \"-1\" is not a number of seconds",
            ),
            ("--wrong x", "--wrong is not an option"),
            ("--socket", "--socket has no value"),
            (&long, "--socket is 108 bytes long, at most 107 fit"),
        ] {
            let seen = parse(line);
            assert!(
                matches!(&seen, Err(message) if message.contains(sentence)),
                "{line}: {seen:?}"
            );
        }
    }
}
