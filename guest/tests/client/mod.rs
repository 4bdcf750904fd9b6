//! An agent in its own process, and a host that speaks frames to it.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "each test program uses a part of it"
)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use instavm_agent::link::frame::{FrameType, Header, HEADER_BYTES};
use instavm_agent::link::handshake;
use instavm_agent::proto::{input, open, outcome, output, Input, Open, Outcome, Output, RunCode};
use prost::Message;

/// Generous: other tests run beside.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An agent in serve mode with a directory of its own.
pub struct Agent {
    process: Child,
    directory: PathBuf,
}

impl Agent {
    pub fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "instavm-guest-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(directory.join("work")).expect("a directory");
        let process = Command::new(env!("CARGO_BIN_EXE_instavm-agent"))
            .arg("serve")
            .arg("--socket")
            .arg(directory.join("agent.sock"))
            .arg("--workdir")
            .arg(directory.join("work"))
            .env("TMPDIR", &directory)
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent's binary");
        let agent = Self { process, directory };
        let give_up_at = Instant::now() + PATIENCE;
        // The socket's file is there before it is listened to.
        while UnixStream::connect(agent.socket()).is_err() {
            assert!(Instant::now() < give_up_at, "the agent does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        agent
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }

    pub fn workdir(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// A connection on which nothing was said.
    pub fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    pub fn connect(&self) -> Host {
        Host::greet(self.dial(), [7; 16])
    }

    /// Ends it as a service is ended, and says whether it left anything behind.
    pub fn stop(mut self) -> Vec<PathBuf> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let status = self.process.wait().expect("an end");
        assert!(status.success(), "{status}");
        let entries = std::fs::read_dir(&self.directory).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| !path.ends_with("work"))
            .collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What a call answered.
#[derive(Debug, Default)]
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub data: Vec<u8>,
    pub outputs: Vec<Output>,
    pub outcome: Option<outcome::Outcome>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub fn failure(&self) -> instavm_agent::proto::Failure {
        match &self.outcome {
            Some(outcome::Outcome::Failure(failure)) => failure.clone(),
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    pub fn exec_ended(&self) -> instavm_agent::proto::ExecEnded {
        match &self.outcome {
            Some(outcome::Outcome::ExecEnded(ended)) => *ended,
            other => panic!("expected the end of an exec, got {other:?}"),
        }
    }

    pub fn code_ended(&self) -> instavm_agent::proto::CodeEnded {
        match &self.outcome {
            Some(outcome::Outcome::CodeEnded(ended)) => ended.clone(),
            other => panic!("expected the end of a cell, got {other:?}"),
        }
    }
}

/// The host's end of a session.
pub struct Host {
    pub stream: UnixStream,
    next_stream_id: u32,
    unread: VecDeque<u8>,
}

impl Host {
    pub fn greet(mut stream: UnixStream, nonce: [u8; 16]) -> Self {
        stream
            .write_all(&handshake::hello(&nonce))
            .expect("a hello");
        let mut banner = [0; handshake::BANNER_BYTES];
        stream.read_exact(&mut banner).expect("a banner");
        assert_eq!(&banner[..5], b"IVM1B");
        let mut welcome = [0; 25];
        stream.read_exact(&mut welcome).expect("a welcome");
        assert_eq!(
            (&welcome[..5], &welcome[5..21]),
            (&b"IVM1W"[..], &nonce[..])
        );
        Self {
            stream,
            next_stream_id: 1,
            unread: VecDeque::new(),
        }
    }

    pub fn send(&mut self, kind: FrameType, stream_id: u32, end_stream: bool, payload: &[u8]) {
        let header = Header {
            payload_bytes: payload.len(),
            stream_id,
            kind,
            end_stream,
        };
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).expect("a frame is sent");
    }

    /// The next frame; `None` when the agent closed.
    pub fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let header = self.take(HEADER_BYTES)?;
        let header =
            Header::decode(header[..].try_into().expect("a header")).expect("a good header");
        Some((header, self.take(header.payload_bytes)?))
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut buffer = [0; 65_536];
        while self.unread.len() < count {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.unread.extend(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came from the agent: {error}"),
            }
        }
        Some(self.unread.drain(..count).collect())
    }

    pub fn open(&mut self, call: open::Call, credit_bytes: u32, end_stream: bool) -> u32 {
        let id = self.next_stream_id;
        self.next_stream_id += 2;
        let payload = Open {
            credit_bytes,
            call: Some(call),
        }
        .encode_to_vec();
        self.send(FrameType::Open, id, end_stream, &payload);
        id
    }

    pub fn input(&mut self, id: u32, data: &[u8], is_last: bool) {
        let payload = Input {
            input: Some(input::Input::Data(data.to_vec())),
        }
        .encode_to_vec();
        self.send(FrameType::Message, id, is_last, &payload);
    }

    pub fn signal(&mut self, id: u32, signal: u32) {
        let payload = Input {
            input: Some(input::Input::Signal(signal)),
        }
        .encode_to_vec();
        self.send(FrameType::Message, id, false, &payload);
    }

    pub fn grant(&mut self, id: u32, credit_bytes: u32) {
        self.send(FrameType::Credit, id, false, &credit_bytes.to_le_bytes());
    }

    /// Reads on until the call has ended, granting as much credit as it uses.
    pub fn finish(&mut self, id: u32) -> Answer {
        let mut answer = Answer::default();
        while answer.outcome.is_none() {
            let (header, payload) = self.receive().expect("the session goes on");
            if header.stream_id != id {
                continue;
            }
            self.take_in(&mut answer, &header, &payload, true);
        }
        answer
    }

    /// Puts one frame of a call into its answer.
    pub fn take_in(&mut self, answer: &mut Answer, header: &Header, payload: &[u8], grants: bool) {
        match header.kind {
            FrameType::End => {
                answer.outcome = Outcome::decode(payload).expect("an outcome").outcome
            }
            FrameType::Message => {
                let message = Output::decode(payload).expect("an output");
                match &message.output {
                    Some(output::Output::Stdout(data)) => answer.stdout.extend(data),
                    Some(output::Output::Stderr(data)) => answer.stderr.extend(data),
                    Some(output::Output::Data(data)) => answer.data.extend(data),
                    _ => {}
                }
                answer.outputs.push(message);
                if grants {
                    self.grant(
                        header.stream_id,
                        u32::try_from(payload.len()).expect("a length"),
                    );
                }
            }
            _ => {}
        }
    }

    pub fn call(&mut self, call: open::Call) -> Answer {
        let id = self.open(call, 1 << 20, true);
        self.finish(id)
    }

    pub fn run(&mut self, request: RunCode) -> Answer {
        self.call(open::Call::RunCode(request))
    }

    /// Whether the session still answers.
    pub fn answers(&mut self) -> bool {
        let header = Header {
            payload_bytes: 4,
            stream_id: 0,
            kind: FrameType::Ping,
            end_stream: false,
        };
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(b"ping");
        if self.stream.write_all(&frame).is_err() {
            return false;
        }
        while let Some((header, payload)) = self.receive() {
            if header.kind == FrameType::Pong {
                return payload == b"ping";
            }
        }
        false
    }
}
