//! A real launcher in a directory of its own, and a plain client of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    dead_code,
    missing_docs
)]

pub mod forkable;

use instavm_launcher::proto::{
    request, response, Ended, ErrorCode, Forget, Fork, Hello, List, Process, Request, Response,
    Signal, Start, Started,
};
use prost::Message;
use rustix::process::{kill_process, Pid};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);
static NEXT: AtomicU32 = AtomicU32::new(1);

/// The launcher of this build: beside the directory of the tests' own programs.
pub fn launcher_path() -> String {
    let tests = std::env::current_exe().unwrap();
    let build = tests.parent().and_then(Path::parent).unwrap();
    build.join("instavm-launcher").to_str().unwrap().into()
}

/// The fork library. Tests do not link with it, so cargo has not built it; it only loads when it was optimized.
fn fork_library() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let args = ["build", "--locked", "--quiet", "--release", "-p"];
        let mut cargo = Command::new(env!("CARGO"));
        assert!(cargo
            .args(args)
            .arg("instavm-fork")
            .status()
            .unwrap()
            .success());
        let launcher = PathBuf::from(launcher_path());
        let target = launcher.parent().and_then(Path::parent).unwrap();
        let library = target.join("release/libinstavm_fork.so");
        library.to_str().unwrap().into()
    })
}

/// A state directory with read root `images`; removed with all its processes.
pub struct Home {
    pub path: PathBuf,
}

impl Home {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "instavm-launcher-test-{}-{number}",
            std::process::id()
        ));
        fs::create_dir_all(path.join("state/vms")).unwrap();
        fs::create_dir_all(path.join("images")).unwrap();
        Self { path }
    }

    pub fn path(&self, rest: &str) -> String {
        self.path.join(rest).to_str().unwrap().into()
    }

    pub fn args(&self) -> Vec<String> {
        let mut args = vec![
            "--state-dir".into(),
            self.path("state"),
            "--socket".into(),
            self.path("launcher.sock"),
        ];
        args.extend(["--read-root".into(), self.path("images")]);
        for program in [
            "/bin/sh",
            "/bin/sleep",
            "/bin/ls",
            "/usr/bin/python3",
            "/nonexistent/program",
            &launcher_path(),
        ] {
            args.extend(["--program".into(), program.into()]);
        }
        args
    }

    /// A launcher that can fork.
    pub fn launch_forking(&self) -> Launcher {
        self.launch(&["--fork-library", fork_library()])
    }

    /// A launcher in the foreground that listens already.
    pub fn launch(&self, more: &[&str]) -> Launcher {
        Launcher::from(Command::new(launcher_path()).args(self.args()).args(more))
    }

    pub fn vm(&self, number: usize) -> String {
        let vm_id = format!("v{number:019}");
        fs::create_dir_all(self.path.join("state/vms").join(&vm_id)).unwrap();
        vm_id
    }

    pub fn vm_file(&self, vm_id: &str, name: &str) -> PathBuf {
        self.path.join("state/vms").join(vm_id).join(name)
    }

    pub fn connect(&self) -> Client {
        let mut client = self.connect_silently();
        client.call(request::Request::Hello(Hello {
            protocol_version: 1,
        }));
        client
    }

    pub fn connect_silently(&self) -> Client {
        let stream = UnixStream::connect(self.path.join("launcher.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client {
            stream,
            next_id: 1,
            events: Vec::new(),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
                .and_then(Pid::from_raw);
            let cwd = fs::read_link(entry.path().join("cwd"));
            if let (Some(pid), true) = (pid, cwd.is_ok_and(|cwd| cwd.starts_with(&self.path))) {
                let _ = kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A launcher process; killed when dropped.
pub struct Launcher {
    pub process: Child,
}

impl Launcher {
    pub fn from(command: &mut Command) -> Self {
        let mut process = command
            .arg("--foreground")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self { process }
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Client {
    pub stream: UnixStream,
    next_id: u64,
    events: Vec<Ended>,
}

impl Client {
    /// Sends without waiting; the id of the request.
    pub fn send(&mut self, request: request::Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let body = Request {
            id,
            request: Some(request),
        }
        .encode_to_vec();
        let length = u32::try_from(body.len()).unwrap();
        self.stream
            .write_all(&[length.to_le_bytes().as_slice(), &body].concat())
            .unwrap();
        id
    }

    /// The next response that is not an event; events are kept.
    pub fn receive(&mut self) -> (u64, response::Response) {
        loop {
            let response = self.read().expect("the launcher closed the connection");
            match response.response.unwrap() {
                response::Response::Ended(ended) => self.events.push(ended),
                other => return (response.id, other),
            }
        }
    }

    /// `None` when the launcher closed the connection.
    pub fn read(&mut self) -> Option<Response> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer within {DEADLINE:?}")
            }
            Err(_) => return None,
        }
        let mut body = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        Some(Response::decode(body.as_slice()).unwrap())
    }

    pub fn call(&mut self, request: request::Request) -> response::Response {
        let id = self.send(request);
        let (answered, response) = self.receive();
        assert_eq!(answered, id);
        response
    }

    pub fn start(&mut self, start: Start) -> Result<Started, (ErrorCode, String)> {
        match self.call(request::Request::Start(start)) {
            response::Response::Started(started) => Ok(started),
            response::Response::Error(error) => Err((error.code(), error.message)),
            other => panic!("{other:?}"),
        }
    }

    pub fn fork(&mut self, fork: Fork) -> Result<Started, (ErrorCode, String)> {
        match self.call(request::Request::Fork(fork)) {
            response::Response::Started(started) => Ok(started),
            response::Response::Error(error) => Err((error.code(), error.message)),
            other => panic!("{other:?}"),
        }
    }

    /// `Ok` for Done.
    pub fn ask(&mut self, request: request::Request) -> Result<(), (ErrorCode, String)> {
        match self.call(request) {
            response::Response::Done(_) => Ok(()),
            response::Response::Error(error) => Err((error.code(), error.message)),
            other => panic!("{other:?}"),
        }
    }

    pub fn signal(&mut self, vm_id: &str, signal: u32) -> Result<(), (ErrorCode, String)> {
        self.ask(request::Request::Signal(Signal {
            vm_id: vm_id.into(),
            signal,
        }))
    }

    pub fn forget(&mut self, vm_id: &str) -> Result<(), (ErrorCode, String)> {
        self.ask(request::Request::Forget(Forget {
            vm_id: vm_id.into(),
        }))
    }

    pub fn list(&mut self) -> Vec<Process> {
        match self.call(request::Request::List(List {})) {
            response::Response::Processes(processes) => processes.processes,
            other => panic!("{other:?}"),
        }
    }

    /// The next event.
    pub fn ended(&mut self) -> Ended {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        match self.read().and_then(|response| response.response) {
            Some(response::Response::Ended(ended)) => ended,
            other => panic!("{other:?}"),
        }
    }
}

/// `sh -c script`
pub fn shell(vm_id: &str, script: &str) -> Start {
    Start {
        vm_id: vm_id.into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        ..Start::default()
    }
}

pub fn sleep(vm_id: &str) -> Start {
    Start {
        vm_id: vm_id.into(),
        program: "/bin/sleep".into(),
        args: vec!["600".into()],
        ..Start::default()
    }
}

pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Asks again until it holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Fields of /proc/<pid>/stat from the third on.
pub fn stat_fields(path: &Path) -> Vec<String> {
    let stat = fs::read_to_string(path).unwrap();
    stat.rsplit_once(") ")
        .unwrap()
        .1
        .split_whitespace()
        .map(String::from)
        .collect()
}
