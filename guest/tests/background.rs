//! Processes that outlive their call, on a real agent.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::time::{Duration, Instant};

use client::{Agent, Answer, Host, PATIENCE};
use instavm_agent::link::frame::FrameType;
use instavm_agent::proto::{
    open, outcome, output, AttachProcess, Exec, FailureCode, ForgetProcess, ListProcesses,
    OutputPosition, Process, ProcessList, SignalProcess, StartProcess, WaitProcess, WriteStdin,
};

fn script(text: &str) -> Exec {
    Exec {
        script: text.to_owned(),
        ..Exec::default()
    }
}

fn process(answer: &Answer) -> Process {
    match &answer.outcome {
        Some(outcome::Outcome::Process(process)) => process.clone(),
        other => panic!("expected a process, got {other:?}"),
    }
}

fn start(host: &mut Host, exec: Exec) -> Process {
    process(&host.call(open::Call::StartProcess(StartProcess {
        exec: Some(exec),
        tag: "a tag".to_owned(),
    })))
}

fn list(host: &mut Host) -> ProcessList {
    let answer = host.call(open::Call::ListProcesses(ListProcesses {}));
    match answer.outcome {
        Some(outcome::Outcome::Processes(list)) => list,
        other => panic!("expected a list, got {other:?}"),
    }
}

fn wait(host: &mut Host, process_id: u32) -> Process {
    process(&host.call(open::Call::WaitProcess(WaitProcess { process_id })))
}

/// Waits while the frames of another call come, which are not granted again.
fn wait_beside(host: &mut Host, process_id: u32, (beside, answer): (u32, &mut Answer)) -> Process {
    let id = host.open(open::Call::WaitProcess(WaitProcess { process_id }), 0, true);
    let mut waited = Answer::default();
    while waited.outcome.is_none() {
        let (header, payload) = host.receive().expect("the session goes on");
        if header.stream_id == beside {
            host.take_in(answer, &header, &payload, false);
        } else if header.stream_id == id {
            host.take_in(&mut waited, &header, &payload, false);
        }
    }
    process(&waited)
}

fn attachment(process_id: u32, offset: u64) -> AttachProcess {
    AttachProcess {
        process_id,
        offset,
        from_end: false,
        follow: true,
    }
}

fn attach(host: &mut Host, request: AttachProcess) -> Answer {
    host.call(open::Call::AttachProcess(request))
}

fn positions(answer: &Answer) -> Vec<OutputPosition> {
    let positions = answer.outputs.iter().filter_map(|each| match each.output {
        Some(output::Output::Position(position)) => Some(position),
        _ => None,
    });
    positions.collect()
}

fn at(offset: u64, dropped_bytes: u64) -> OutputPosition {
    OutputPosition {
        offset,
        dropped_bytes,
    }
}

fn write(host: &mut Host, process_id: u32, data: &[u8], close: bool) -> Answer {
    let request = WriteStdin { process_id, close };
    let id = host.open(open::Call::WriteStdin(request), 0, false);
    host.input(id, data, true);
    host.finish(id)
}

fn signal(host: &mut Host, process_id: u32, signal: u32) -> Answer {
    host.call(open::Call::SignalProcess(SignalProcess {
        process_id,
        signal,
    }))
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_process_outlives_call_and_session_and_is_found_again() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let started = start(
        &mut host,
        script("echo begun; read line; echo $line >&2; exit 3"),
    );
    assert_eq!(
        (
            started.process_id,
            started.tag.as_str(),
            started.stdin_is_open
        ),
        (1, "a tag", false)
    );
    let waiting = start(
        &mut host,
        Exec {
            open_stdin: true,
            ..script("echo begun; read line; echo $line >&2; exit 3")
        },
    );
    assert!(waiting.ended.is_none() && waiting.stdin_is_open && waiting.pid > 1);
    drop(host);
    let mut host = agent.connect();
    let known = list(&mut host).processes;
    assert_eq!(
        known
            .iter()
            .map(|process| process.process_id)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(known[1].command.starts_with("echo begun"));
    let id = waiting.process_id;
    assert!(matches!(
        write(&mut host, id, b"hello\n", false).outcome,
        Some(outcome::Outcome::StdinWritten(written)) if written.bytes == 6
    ));
    let answer = attach(&mut host, attachment(id, 0));
    assert_eq!(
        (answer.text().as_str(), answer.errors().as_str()),
        ("begun\n", "hello\n")
    );
    assert_eq!(positions(&answer), [at(0, 0)]);
    let ended = process(&answer);
    let how = ended.ended.expect("an end");
    assert_eq!(
        (
            how.exit_code,
            how.signal,
            how.stdout_bytes,
            how.stderr_bytes
        ),
        (3, 0, 6, 6)
    );
    assert_eq!(
        (ended.output_start, ended.output_bytes, ended.stdin_is_open),
        (0, 12, false)
    );
    assert!(ended.ended_unix_ms >= ended.started_unix_ms && ended.started_unix_ms > 0);
}

#[test]
fn any_number_of_readers_attach_at_any_offset_also_after_the_end() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = start(&mut host, script("printf 0123; sleep 0.2; printf 456789")).process_id;
    let readers: Vec<u32> = [0, 4, 9, 50]
        .map(|offset| {
            host.open(
                open::Call::AttachProcess(attachment(id, offset)),
                1 << 16,
                true,
            )
        })
        .to_vec();
    let mut answers: Vec<Answer> = readers.iter().map(|_| Answer::default()).collect();
    while answers.iter().any(|answer| answer.outcome.is_none()) {
        let (header, payload) = host.receive().expect("the session goes on");
        if let Some(index) = readers
            .iter()
            .position(|&reader| reader == header.stream_id)
        {
            host.take_in(&mut answers[index], &header, &payload, true);
        }
    }
    let texts: Vec<String> = answers.iter().map(Answer::text).collect();
    assert_eq!(texts, ["0123456789", "456789", "9", ""]);
    assert_eq!(positions(&answers[2]), [at(9, 0)]);
    assert_eq!(attach(&mut host, attachment(id, 8)).text(), "89");
    let tail = AttachProcess {
        from_end: true,
        ..attachment(id, 3)
    };
    let answer = attach(&mut host, tail);
    assert_eq!(
        (answer.text().as_str(), positions(&answer)),
        ("789", vec![at(7, 0)])
    );
    assert_eq!(
        attach(&mut host, attachment(99, 0)).failure().code(),
        FailureCode::NotFound
    );
}

#[test]
fn a_reader_that_does_not_follow_ends_at_what_is_there() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = start(&mut host, script("echo ready; exec sleep 1000")).process_id;
    let give_up_at = Instant::now() + PATIENCE;
    while list(&mut host).processes[0].output_bytes < 6 {
        assert!(Instant::now() < give_up_at, "no output");
    }
    let request = AttachProcess {
        follow: false,
        ..attachment(id, 0)
    };
    let answer = attach(&mut host, request);
    assert_eq!(answer.text(), "ready\n");
    assert!(process(&answer).ended.is_none());
    signal(&mut host, id, 15);
    assert_eq!(wait(&mut host, id).ended.expect("an end").signal, 15);
}

#[test]
fn a_process_is_never_stopped_for_a_reader_who_is_told_what_it_missed() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let text = "read line; for i in $(seq 300); do printf '%010000d' $i; done";
    let exec = Exec {
        open_stdin: true,
        ..script(text)
    };
    let id = start(&mut host, exec).process_id;
    // So much credit, and no more, while the process runs.
    let slow = host.open(open::Call::AttachProcess(attachment(id, 0)), 20_000, true);
    let begun = host.receive().expect("the session goes on");
    let mut answer = Answer::default();
    host.take_in(&mut answer, &begun.0, &begun.1, false);
    let request = WriteStdin {
        process_id: id,
        close: true,
    };
    let writer = host.open(open::Call::WriteStdin(request), 0, false);
    host.input(writer, b"\n", true);
    let ended = wait_beside(&mut host, id, (slow, &mut answer));
    assert_eq!(
        (ended.output_bytes, ended.output_start),
        (3_000_000, 3_000_000 - (1 << 20))
    );
    assert!(ended.ended.expect("an end").truncated);
    host.grant(slow, 1 << 20);
    while answer.outcome.is_none() {
        let (header, payload) = host.receive().expect("the session goes on");
        host.take_in(&mut answer, &header, &payload, true);
    }
    let told = positions(&answer);
    let dropped: u64 = told.iter().map(|position| position.dropped_bytes).sum();
    assert_eq!(told[0], at(0, 0));
    assert!(told.len() >= 2 && dropped > 1_000_000);
    assert_eq!(dropped + answer.stdout.len() as u64, 3_000_000);
    assert!(answer.text().ends_with("0000300"));
    let late = attach(&mut host, attachment(id, 5));
    assert_eq!(
        positions(&late),
        [at(ended.output_start, ended.output_start - 5)]
    );
    assert_eq!(late.stdout.len(), 1 << 20);
}

#[test]
fn stdin_is_written_by_one_call_after_the_other_and_closed() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let cat = Exec {
        argv: vec!["cat".to_owned()],
        open_stdin: true,
        ..Exec::default()
    };
    let id = start(&mut host, cat.clone()).process_id;
    write(&mut host, id, b"one ", false);
    write(&mut host, id, b"two", true);
    assert_eq!(
        write(&mut host, id, b"three", false).failure().code(),
        FailureCode::Conflict
    );
    let answer = attach(&mut host, attachment(id, 0));
    assert_eq!(answer.text(), "one two");
    assert_eq!(
        write(&mut host, id, b"", false).failure().code(),
        FailureCode::Conflict
    );
    // A writer that waits for a process that reads nothing does not outlive it.
    let exec = Exec {
        open_stdin: true,
        ..script("sleep 1000 & exec sleep 1000")
    };
    let id = start(&mut host, exec).process_id;
    let writer = host.open(
        open::Call::WriteStdin(WriteStdin {
            process_id: id,
            close: false,
        }),
        0,
        false,
    );
    host.input(writer, &[7; 65_000], false);
    host.input(writer, &[7; 65_000], false);
    signal(&mut host, id, 9);
    assert_eq!(host.finish(writer).failure().code(), FailureCode::Conflict);
}

#[test]
fn a_kill_ends_everything_that_the_process_has_started() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = start(&mut host, script("sleep 1000 & echo $!; wait")).process_id;
    let give_up_at = Instant::now() + PATIENCE;
    let child = loop {
        let request = AttachProcess {
            follow: false,
            ..attachment(id, 0)
        };
        if let Ok(pid) = attach(&mut host, request).text().trim().parse() {
            break pid;
        }
        assert!(Instant::now() < give_up_at, "no output");
    };
    signal(&mut host, id, 9);
    let ended = wait(&mut host, id).ended.expect("an end");
    assert_eq!((ended.exit_code, ended.signal), (137, 9));
    while is_alive(child) {
        assert!(Instant::now() < give_up_at, "the child lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
    // One that has ended is left as it is.
    assert!(process(&signal(&mut host, id, 15)).ended.is_some());
    for number in [0, 65] {
        assert_eq!(
            signal(&mut host, id, number).failure().code(),
            FailureCode::Invalid
        );
    }
}

fn forget(host: &mut Host, process_id: u32) -> Answer {
    host.call(open::Call::ForgetProcess(ForgetProcess { process_id }))
}

#[test]
fn a_process_is_forgotten_after_it_has_been_ended() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let short = start(&mut host, script("echo short")).process_id;
    let long = start(&mut host, script("sleep 1000 & echo begun; wait"));
    wait(&mut host, short);
    let reader = attachment(long.process_id, 0);
    let reader = host.open(open::Call::AttachProcess(reader), 1 << 16, true);
    let (header, _) = host.receive().expect("the reader's position");
    assert_eq!(header.stream_id, reader);
    let id = host.open(
        open::Call::ForgetProcess(ForgetProcess {
            process_id: long.process_id,
        }),
        0,
        true,
    );
    let (mut read, mut forgotten) = (Answer::default(), Answer::default());
    while read.outcome.is_none() || forgotten.outcome.is_none() {
        let (header, payload) = host.receive().expect("the session goes on");
        let answer = if header.stream_id == id {
            &mut forgotten
        } else {
            &mut read
        };
        host.take_in(answer, &header, &payload, false);
    }
    // Who reads it sees its end.
    assert_eq!(process(&read).ended.expect("an end").signal, 9);
    assert_eq!(process(&forgotten).ended.expect("an end").signal, 9);
    assert!(!is_alive(long.pid));
    assert_eq!(list(&mut host).processes.len(), 1);
    assert_eq!(process(&forget(&mut host, short)).output_bytes, 6);
    for id in [short, long.process_id, 99] {
        assert_eq!(
            forget(&mut host, id).failure().code(),
            FailureCode::NotFound
        );
    }
    assert!(list(&mut host).processes.is_empty());
}

#[test]
fn the_time_limit_counts_from_the_start() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let exec = Exec {
        timeout_ms: 100,
        ..script("sleep 1000")
    };
    let id = start(&mut host, exec).process_id;
    let ended = wait(&mut host, id).ended.expect("an end");
    assert_eq!((ended.exit_code, ended.timed_out), (124, true));
}

#[test]
fn a_wrong_request_says_what_is_wrong() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let wrong = [
        StartProcess::default(),
        StartProcess {
            exec: Some(script("true")),
            tag: "x".repeat(257),
        },
        StartProcess {
            exec: Some(Exec {
                output_limit_bytes: 1,
                ..script("true")
            }),
            tag: String::new(),
        },
        StartProcess {
            exec: Some(Exec::default()),
            tag: String::new(),
        },
    ];
    for request in wrong {
        let failure = host.call(open::Call::StartProcess(request)).failure();
        assert_eq!(failure.code(), FailureCode::Invalid, "{}", failure.message);
    }
    assert!(list(&mut host).processes.is_empty());
}

#[test]
fn the_last_ones_that_ended_are_remembered_and_no_more_than_so_many_run() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for _ in 0..70 {
        let id = start(&mut host, script(":")).process_id;
        wait(&mut host, id);
    }
    let give_up_at = Instant::now() + PATIENCE;
    while list(&mut host).processes.len() > 64 {
        assert!(Instant::now() < give_up_at, "nothing is forgotten");
    }
    let known = list(&mut host).processes;
    assert_eq!((known.len(), known[0].process_id), (64, 7));
    let mut refused = None;
    for _ in 0..129 {
        let answer = host.call(open::Call::StartProcess(StartProcess {
            exec: Some(Exec {
                argv: ["sleep", "1000"].map(str::to_owned).to_vec(),
                ..Exec::default()
            }),
            tag: String::new(),
        }));
        if matches!(answer.outcome, Some(outcome::Outcome::Failure(_))) {
            refused = Some(answer.failure().code());
            break;
        }
    }
    assert_eq!(refused, Some(FailureCode::Limit));
    assert!(host.answers());
    // They would outlive the agent.
    let running = list(&mut host).processes.into_iter();
    for process in running.filter(|process| process.ended.is_none()) {
        signal(&mut host, process.process_id, 9);
    }
}

#[test]
fn a_cancelled_reader_leaves_the_process_alone() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = start(&mut host, script("exec sleep 1000")).process_id;
    let reader = host.open(open::Call::AttachProcess(attachment(id, 0)), 1 << 16, true);
    host.send(FrameType::Reset, reader, false, &[]);
    assert_eq!(host.finish(reader).failure().code(), FailureCode::Cancelled);
    assert!(list(&mut host).processes[0].ended.is_none());
    signal(&mut host, id, 9);
}
