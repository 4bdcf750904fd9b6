//! The golden vectors, which the host's side writes: `protocol/vectors/guest-frames.json`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::io::Write;

use client::{Agent, Host};
use instavm_agent::link::frame::{FrameType, Header, HEADER_BYTES};
use instavm_agent::link::handshake::{self, find_hello, Hello, Search};
use instavm_agent::proto;
use prost::Message;
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../protocol/vectors/guest-frames.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON")
}

fn rows(vectors: &Value, section: &str) -> Vec<Value> {
    let rows = vectors[section].as_array().expect("a section").clone();
    assert!(!rows.is_empty(), "{section} is empty");
    rows
}

fn bytes(row: &Value, key: &str) -> Vec<u8> {
    let hex = row[key].as_str().expect("hex");
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).expect("a digit") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().expect("a number")
}

fn header(bytes: &[u8]) -> &[u8; HEADER_BYTES] {
    bytes.first_chunk().expect("a header")
}

fn is_for_guest(row: &Value) -> bool {
    ["guest", "both"].contains(&row["receiver"].as_str().expect("a receiver"))
}

#[test]
fn every_good_frame_decodes_to_its_fields_and_back() {
    for row in rows(&vectors(), "frames") {
        let (whole, frame) = (bytes(&row, "hex"), &row["frame"]);
        let payload = bytes(frame, "payloadHex");
        let decoded = Header::decode(header(&whole))
            .unwrap_or_else(|error| panic!("{}: {error}", row["name"]));
        assert_eq!(
            u64::from(decoded.stream_id),
            number(frame, "streamId"),
            "{}",
            row["name"]
        );
        assert_eq!(
            u64::from(decoded.kind.to_wire()),
            number(frame, "type"),
            "{}",
            row["name"]
        );
        assert_eq!(
            u64::from(decoded.end_stream),
            number(frame, "flags"),
            "{}",
            row["name"]
        );
        assert_eq!(
            (decoded.payload_bytes, &whole[HEADER_BYTES..]),
            (payload.len(), &payload[..]),
            "{}",
            row["name"]
        );
        assert_eq!(decoded.encode(), *header(&whole), "{}", row["name"]);
    }
}

#[test]
fn the_longest_payloads_are_taken_and_one_byte_more_is_not() {
    for row in rows(&vectors(), "largeFrames") {
        let decoded = Header::decode(header(&bytes(&row, "hex")));
        assert_eq!(decoded.is_ok(), row["valid"] == true, "{}", row["name"]);
        if let Ok(decoded) = decoded {
            assert_eq!(decoded.payload_bytes as u64, number(&row["fill"], "length"));
        }
    }
}

#[test]
fn what_no_host_may_send_ends_the_session_and_the_next_one_works() {
    let agent = Agent::start();
    for row in rows(&vectors(), "invalid")
        .iter()
        .filter(|row| is_for_guest(row))
    {
        let mut host = agent.connect();
        host.stream
            .write_all(&bytes(row, "hex"))
            .expect("bytes are sent");
        assert!(!host.answers(), "{} was taken", row["name"]);
    }
    assert!(agent.connect().answers());
}

#[test]
fn sequences_of_frames_leave_the_session_open_or_closed() {
    let agent = Agent::start();
    for row in rows(&vectors(), "sequences")
        .iter()
        .filter(|row| is_for_guest(row))
    {
        let mut host = agent.connect();
        let repeat = row["repeat"].as_u64().unwrap_or(1) as usize;
        host.stream
            .write_all(&bytes(row, "hex").repeat(repeat))
            .expect("bytes are sent");
        assert_eq!(
            host.answers(),
            row["expect"] == "open",
            "{}: {}",
            row["name"],
            row["why"]
        );
    }
}

#[test]
fn banner_hello_and_welcome_have_their_layout() {
    for row in rows(&vectors(), "session") {
        let whole = bytes(&row, "hex");
        let id = |key: &str| -> [u8; 16] { bytes(&row, key).try_into().expect("16 bytes") };
        match row["kind"].as_str() {
            Some("banner") => assert_eq!(whole, handshake::banner(&id("bootIdHex"))),
            Some("hello") => assert_eq!(whole, handshake::hello(&id("nonceHex"))),
            Some("welcome") => assert_eq!(
                whole,
                handshake::welcome(&Hello {
                    nonce: id("nonceHex"),
                    version: 1
                })
            ),
            other => panic!("unknown kind {other:?}"),
        }
    }
}

#[test]
fn a_hello_is_found_wherever_it_is() {
    for row in rows(&vectors(), "scans")
        .iter()
        .filter(|row| row["reader"] == "guest")
    {
        let whole = bytes(row, "hex");
        for step in [1, 7, whole.len()] {
            let mut unread: Vec<u8> = Vec::new();
            let mut found = None;
            for piece in whole.chunks(step) {
                unread.extend(piece);
                if found.is_some() {
                    continue;
                }
                let used = match find_hello(&unread) {
                    Search::Found(hello, used) => {
                        found = Some(hello);
                        used
                    }
                    Search::Missing(useless) => useless,
                };
                unread.drain(..used);
            }
            assert_eq!(
                found.is_some(),
                row["found"] == true,
                "{} in steps of {step}",
                row["name"]
            );
            if let Some(hello) = found {
                assert_eq!(hello.nonce[..], bytes(row, "nonceHex"), "{}", row["name"]);
                assert_eq!(unread, bytes(row, "restHex"), "{}", row["name"]);
            }
        }
    }
}

/// Decodes and encodes a message of any type by its name; `None` when the bytes are no such message.
fn round_trip(type_name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    fn through<M: Message + Default>(bytes: &[u8]) -> Option<Vec<u8>> {
        M::decode(bytes).ok().map(|message| message.encode_to_vec())
    }
    macro_rules! by_name {
        ($($name:ident)*) => {
            match type_name.strip_prefix("instavm.guest.v1.").expect("our package") {
                $(stringify!($name) => through::<proto::$name>(bytes),)*
                other => panic!("the test does not know the message {other}"),
            }
        };
    }
    by_name!(
        Open Input Output Started Display Outcome Failure Ping Pong Activate Activated SetClock ClockSet Stats
        StatsReport Exec ExecEnded RunCode CodeEnded CodeError CreateContext RestartContext InterruptContext
        DeleteContext ListContexts Context ContextList ReadFile FileRead WriteFile FileWritten
        FileEntry ListDirectory DirectoryListed StatFile MakeDirectory MoveFile RemoveFile FileRemoved ChangeFile
        ReadTree TreeRead WriteTree TreeWritten WatchFiles FileEvent WatchEnded StartProcess Process ListProcesses
        ProcessList AttachProcess OutputPosition WriteStdin StdinWritten SignalProcess WaitProcess
        ForgetProcess
    )
}

#[test]
fn every_message_decodes_and_encodes_to_the_same_bytes() {
    for row in rows(&vectors(), "messages") {
        let whole = bytes(&row, "hex");
        let again = round_trip(row["type"].as_str().expect("a type"), &whole);
        if has_empty_map_value(&row["json"]) {
            // Ours leaves an entry's empty value out, theirs writes it; both read both.
            let shorter = again.expect("a message");
            assert_eq!(
                round_trip(row["type"].as_str().expect("a type"), &shorter),
                Some(shorter),
                "{}",
                row["name"]
            );
        } else {
            assert_eq!(again, Some(whole), "{} {}", row["type"], row["name"]);
        }
    }
}

fn has_empty_map_value(json: &Value) -> bool {
    ["env", "data"]
        .iter()
        .filter_map(|key| json[*key].as_object())
        .flatten()
        .any(|(_, value)| value == "")
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    for row in rows(&vectors(), "invalidMessages") {
        let decoded = round_trip(row["type"].as_str().expect("a type"), &bytes(&row, "hex"));
        assert_eq!(decoded, None, "{}: {}", row["name"], row["why"]);
    }
}

#[test]
fn a_host_of_another_version_is_told_ours_and_left() {
    let agent = Agent::start();
    let mut stream = agent.dial();
    let mut hello = handshake::hello(&[9; 16]);
    hello[21] = 2;
    stream.write_all(&hello).expect("a hello");
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut all).expect("the end");
    assert_eq!(
        all[21..],
        handshake::welcome(&Hello {
            nonce: [9; 16],
            version: 2
        })
    );
    let mut host: Host = agent.connect();
    host.send(FrameType::Detach, 0, false, &[]);
    assert_eq!(
        host.receive().map(|(header, _)| header.kind),
        Some(FrameType::Detached)
    );
}
