//! Files of the VM, read and written by a real agent.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};

use client::{Agent, Answer, Host};
use instavm_agent::link::frame::FrameType;
use instavm_agent::proto::{open, outcome, FailureCode, ReadFile, WriteFile};

fn read(host: &mut Host, path: &str, offset: u64, length: u64) -> Answer {
    host.call(open::Call::ReadFile(ReadFile {
        path: path.as_bytes().to_vec(),
        offset,
        announce: false,
        length,
    }))
}

fn write(host: &mut Host, request: WriteFile, content: &[u8]) -> Answer {
    let id = host.open(open::Call::WriteFile(request), 1 << 16, false);
    for piece in content.chunks(50_000) {
        host.input(id, piece, false);
    }
    host.send(FrameType::Message, id, true, &[]);
    host.finish(id)
}

fn to(path: &str) -> WriteFile {
    WriteFile {
        path: path.as_bytes().to_vec(),
        ..WriteFile::default()
    }
}

#[test]
fn what_was_written_is_read() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let content: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
    let answer = write(&mut host, to("data.bin"), &content);
    let Some(outcome::Outcome::FileWritten(written)) = answer.outcome else {
        panic!("{answer:?}")
    };
    let path = agent.workdir().join("data.bin");
    assert_eq!(
        (written.bytes, written.path.as_slice()),
        (200_000, path.as_os_str().as_encoded_bytes())
    );
    assert_eq!(fs::read(&path).expect("a file"), content);
    assert_eq!(read(&mut host, "data.bin", 0, 0).data, content);
    assert_eq!(
        read(&mut host, path.to_str().expect("text"), 100_000, 70_000).data,
        content[100_000..170_000]
    );
    assert_eq!(read(&mut host, "data.bin", 1 << 40, 0).data, b"");
    assert_eq!(read(&mut host, "/proc/self/status", 0, 5).data, b"Name:");
}

#[test]
fn an_empty_file_is_one_and_the_mode_is_that_asked_for_or_that_of_the_file_before() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let mode = |name: &str| {
        fs::metadata(agent.workdir().join(name))
            .expect("a file")
            .permissions()
            .mode()
            & 0o7777
    };
    write(&mut host, to("empty"), b"");
    assert_eq!(
        (
            mode("empty"),
            fs::read(agent.workdir().join("empty"))
                .expect("a file")
                .len()
        ),
        (0o644, 0)
    );
    write(
        &mut host,
        WriteFile {
            mode: 0o755,
            ..to("tool")
        },
        b"#!/bin/sh\n",
    );
    assert_eq!(mode("tool"), 0o755);
    write(&mut host, to("tool"), b"#!/bin/sh\ntrue\n");
    assert_eq!(mode("tool"), 0o755);
}

#[test]
fn parents_are_made_when_asked_for() {
    let agent = Agent::start();
    let mut host = agent.connect();
    assert_eq!(
        write(&mut host, to("a/b/c"), b"x").failure().code(),
        FailureCode::NotFound
    );
    write(
        &mut host,
        WriteFile {
            make_parents: true,
            ..to("a/b/c")
        },
        b"x",
    );
    assert_eq!(
        fs::read(agent.workdir().join("a/b/c")).expect("a file"),
        b"x"
    );
}

#[test]
fn a_link_stays_and_its_target_is_replaced() {
    let agent = Agent::start();
    let mut host = agent.connect();
    fs::write(agent.workdir().join("target"), "old").expect("a file");
    symlink("target", agent.workdir().join("link")).expect("a link");
    write(&mut host, to("link"), b"new");
    assert!(fs::symlink_metadata(agent.workdir().join("link"))
        .expect("a link")
        .is_symlink());
    assert_eq!(
        fs::read(agent.workdir().join("target")).expect("a file"),
        b"new"
    );
}

#[test]
fn what_is_no_file_is_refused() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (path, code) in [
        ("/etc", FailureCode::IsDirectory),
        ("/no/such/file", FailureCode::NotFound),
        ("/dev/zero", FailureCode::Invalid),
        ("", FailureCode::Invalid),
        ("a\0b", FailureCode::Invalid),
        ("/etc/passwd/x", FailureCode::NotFound),
    ] {
        assert_eq!(
            read(&mut host, path, 0, 0).failure().code(),
            code,
            "reading {path:?}"
        );
    }
    for (path, code) in [
        ("/etc", FailureCode::IsDirectory),
        ("/dev/null", FailureCode::Invalid),
        ("", FailureCode::Invalid),
    ] {
        assert_eq!(
            write(&mut host, to(path), b"x").failure().code(),
            code,
            "writing {path:?}"
        );
    }
}

#[test]
fn a_file_that_is_not_finished_does_not_appear() {
    let agent = Agent::start();
    let mut host = agent.connect();
    fs::write(agent.workdir().join("kept"), "old").expect("a file");
    let large = write(
        &mut host,
        WriteFile {
            size_limit_bytes: 10,
            ..to("kept")
        },
        b"more than ten bytes",
    );
    assert_eq!(large.failure().code(), FailureCode::Limit);
    let id = host.open(open::Call::WriteFile(to("kept")), 1 << 16, false);
    host.input(id, b"half", false);
    host.send(FrameType::Reset, id, false, &[]);
    assert_eq!(host.finish(id).failure().code(), FailureCode::Cancelled);
    let names: Vec<_> = fs::read_dir(agent.workdir())
        .expect("a directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(
        fs::read(agent.workdir().join("kept")).expect("a file"),
        b"old"
    );
}
