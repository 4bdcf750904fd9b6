//! Sessions of a real agent: how they begin, end and survive nonsense.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::io::Write;

use client::{Agent, Host};
use instavm_agent::link::frame::{FrameType, Header};
use instavm_agent::link::handshake;
use instavm_agent::proto::{open, outcome, Exec, FailureCode, Open, Ping, Stats};
use prost::Message;

#[test]
fn a_ping_comes_back_with_the_agents_version() {
    let agent = Agent::start();
    let answer = agent.connect().call(open::Call::Ping(Ping {
        payload: b"hello".to_vec(),
    }));
    let Some(outcome::Outcome::Pong(pong)) = answer.outcome else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (pong.payload, pong.agent_version.as_str()),
        (b"hello".to_vec(), env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn bytes_before_the_hello_are_passed_over_and_frames_behind_it_are_taken() {
    let agent = Agent::start();
    let mut stream = agent.dial();
    stream
        .write_all(b"left over IVM1H from an earlier session")
        .expect("bytes");
    let mut first = handshake::hello(&[3; 16]).to_vec();
    let payload = Open {
        credit_bytes: 0,
        call: Some(open::Call::Ping(Ping::default())),
    }
    .encode_to_vec();
    let header = Header {
        payload_bytes: payload.len(),
        stream_id: 1,
        kind: FrameType::Open,
        end_stream: true,
    };
    first.extend(header.encode());
    first.extend(payload);
    // `greet` sends a hello of its own; this one is answered first.
    stream.write_all(&first).expect("bytes");
    let mut begin = [0; handshake::BANNER_BYTES + 25];
    std::io::Read::read_exact(&mut stream, &mut begin).expect("banner and welcome");
    assert_eq!(
        (&begin[21..26], &begin[26..42]),
        (&b"IVM1W"[..], &[3; 16][..])
    );
    let mut end = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut end).expect("a frame");
    assert_eq!(Header::decode(&end).expect("a header").kind, FrameType::End);
}

#[test]
fn one_host_after_the_other_is_served() {
    let agent = Agent::start();
    for _ in 0..20 {
        let mut host = agent.connect();
        assert!(host.answers());
        host.send(FrameType::Detach, 0, false, &[]);
        assert_eq!(
            host.receive().map(|(header, _)| header.kind),
            Some(FrameType::Detached)
        );
    }
    for _ in 0..20 {
        assert!(agent.connect().answers());
    }
}

#[test]
fn detach_cancels_what_runs() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let sleep = Exec {
        argv: vec!["sleep".to_owned(), "1000".to_owned()],
        ..Exec::default()
    };
    host.open(open::Call::Exec(sleep), 1 << 16, true);
    assert_eq!(
        host.receive().map(|(header, _)| header.kind),
        Some(FrameType::Message)
    );
    host.send(FrameType::Detach, 0, false, &[]);
    assert_eq!(
        host.receive().map(|(header, _)| header.kind),
        Some(FrameType::Detached)
    );
    assert!(agent.connect().answers());
}

#[test]
fn a_call_that_the_agent_does_not_know_is_answered() {
    let agent = Agent::start();
    let mut host = agent.connect();
    // Field 99 of a newer host, and a language of its own.
    for payload in [
        vec![0x08, 0x00, 0x9a, 0x06, 0x00],
        vec![],
        vec![0xf2, 0x01, 0x02, 0x10, 0x63],
    ] {
        let id = 1 + 2 * u32::try_from(payload.len()).expect("a length");
        host.send(FrameType::Open, id, true, &payload);
        if payload.is_empty() {
            // The id is lower than the first: the session is closed instead.
            assert!(!host.answers());
            host = agent.connect();
            host.send(FrameType::Open, id, true, &payload);
        }
        let failure = host.finish(id).failure();
        assert!(
            [FailureCode::Unsupported, FailureCode::Invalid].contains(&failure.code()),
            "{failure:?}"
        );
    }
}

#[test]
fn figures_are_plausible() {
    let agent = Agent::start();
    let answer = agent.connect().call(open::Call::Stats(Stats {}));
    let Some(outcome::Outcome::Stats(stats)) = answer.outcome else {
        panic!("{answer:?}")
    };
    assert!(stats.memory_total_bytes > stats.memory_available_bytes && stats.process_count > 1);
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Frames as a host would send them, some of them damaged.
fn noise(random: &mut Random) -> Vec<u8> {
    let calls = [
        open::Call::Ping(Ping::default()),
        open::Call::Stats(Stats {}),
        open::Call::Exec(Exec {
            argv: vec!["true".to_owned()],
            open_stdin: true,
            ..Exec::default()
        }),
        open::Call::Exec(Exec {
            script: "cat".to_owned(),
            script_follows: true,
            ..Exec::default()
        }),
        open::Call::ListContexts(instavm_agent::proto::ListContexts {}),
        open::Call::ReadFile(instavm_agent::proto::ReadFile {
            path: b"/etc/passwd".to_vec(),
            ..Default::default()
        }),
        open::Call::WriteFile(instavm_agent::proto::WriteFile {
            path: b"fuzzed".to_vec(),
            ..Default::default()
        }),
    ];
    let mut bytes = Vec::new();
    let mut id = 1;
    for _ in 0..random.below(30) {
        let kind = FrameType::from_wire(1 + random.below(8) as u8).expect("a type");
        let call = calls[random.below(calls.len() as u64) as usize].clone();
        let payload = match kind {
            FrameType::Open => Open {
                credit_bytes: random.below(100_000) as u32,
                call: Some(call),
            }
            .encode_to_vec(),
            FrameType::Credit => (random.below(50_000) as u32).to_le_bytes().to_vec(),
            FrameType::Message => [&[0x0a, 8][..], &random.next().to_le_bytes()].concat(),
            _ => Vec::new(),
        };
        let is_session = matches!(kind, FrameType::Ping | FrameType::Pong | FrameType::Detach);
        let stream_id = if is_session { 0 } else { id };
        id += if kind == FrameType::Open { 2 } else { 0 };
        let end_stream =
            matches!(kind, FrameType::Open | FrameType::Message) && random.below(3) == 0;
        bytes.extend(
            Header {
                payload_bytes: payload.len(),
                stream_id,
                kind,
                end_stream,
            }
            .encode(),
        );
        bytes.extend(payload);
    }
    for _ in 0..random.below(4) {
        if !bytes.is_empty() {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= random.next() as u8;
        }
    }
    bytes
}

#[test]
fn whatever_bytes_a_host_sends_the_next_host_is_served() {
    let agent = Agent::start();
    for seed in 1..=150u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut host = agent.connect();
        // A closed session ends the connection in the middle.
        let _ = host.stream.write_all(&noise(&mut random));
        drop(host);
        assert!(agent.connect().answers(), "seed {seed}");
    }
}

#[test]
fn a_host_that_takes_nothing_does_not_stop_the_agent() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let flood = Exec {
        script: "head -c 50000000 /dev/zero".to_owned(),
        ..Exec::default()
    };
    for _ in 0..20 {
        host.open(open::Call::Exec(flood.clone()), 4 << 20, true);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(host);
    let mut next: Host = agent.connect();
    assert!(next.answers());
}
