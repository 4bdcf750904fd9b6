//! The launcher's program: command line, lock, socket, then the loop.

use instavm_launcher::config::{Config, USAGE};
use instavm_launcher::detach::{start_in_background, READY};
use instavm_launcher::lock::{Lock, LockFailure};
use instavm_launcher::log::Log;
use instavm_launcher::server::Server;
use instavm_launcher::spawn::own_the_descriptors;
use rustix::fs::Mode;
use rustix::process::{getrlimit, setrlimit, setsid, umask, Resource, Rlimit};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

/// Another launcher serves the state directory.
const EXIT_HELD: u8 = 3;

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match start() {
        Ok(code) => code,
        Err(message) => {
            eprintln!("instavm-launcher: {message}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode, String> {
    own_the_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let config = Config::parse(std::env::args().skip(1))?;
    if !config.foreground {
        return start_in_background().map_err(|error| format!("start in the background: {error}"));
    }
    // Refused to the leader of a process group: then a shell or a supervisor started it and keeps it.
    let _ = setsid();
    umask(Mode::RWXG | Mode::RWXO);
    allow_many_descriptors();
    serve(config)
}

fn serve(config: Config) -> Result<ExitCode, String> {
    let state_dir = config.state_dir.clone();
    let named = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| format!("{}: {error}", path.display())
    };
    fs::create_dir_all(state_dir.join("vms")).map_err(named(&state_dir))?;
    let lock = match Lock::take(&state_dir.join("launcher.lock")) {
        Ok(lock) => lock,
        Err(LockFailure::Held(pid)) => {
            eprintln!(
                "instavm-launcher: another launcher (pid {pid}) serves {}",
                state_dir.display()
            );
            return Ok(ExitCode::from(EXIT_HELD));
        }
        Err(LockFailure::Os(error)) => return Err(named(&state_dir.join("launcher.lock"))(error)),
    };
    let log = Log::open(state_dir.join("launcher.log"))
        .map_err(named(&state_dir.join("launcher.log")))?;
    let socket = config.socket.clone();
    let listener = listen(&socket).map_err(named(&socket))?;
    let inode = fs::symlink_metadata(&socket).map_err(named(&socket))?.ino();
    let mut server = Server::new(config, listener, log).map_err(named(&state_dir))?;
    // Nobody may read it; the launcher serves all the same.
    let _ = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    let ran = server.run();
    // Socket before lock: the next launcher makes its own only when it has the lock.
    if fs::symlink_metadata(&socket).is_ok_and(|found| found.ino() == inode) {
        let _ = fs::remove_file(&socket);
    }
    lock.remove();
    ran.map(|()| ExitCode::SUCCESS)
        .map_err(|error| format!("the loop ended: {error}"))
}

/// The lock is held, so a socket that nobody answers on is an earlier launcher's.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("exists and is not a socket"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(io::Error::other("another program listens there"))
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One descriptor per VM: the usual soft limit of 1024 would be the first to be met.
fn allow_many_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
