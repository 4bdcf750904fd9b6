//! Programs and scripts, run by a real agent.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::{Agent, Answer, Host, PATIENCE};
use instavm_agent::link::frame::FrameType;
use instavm_agent::proto::{open, output, Exec, FailureCode, Language, Ping, RunCode};

fn script(text: &str) -> Exec {
    Exec {
        script: text.to_owned(),
        ..Exec::default()
    }
}

fn exec(host: &mut Host, request: Exec) -> Answer {
    host.call(open::Call::Exec(request))
}

fn is_running(marker: &str) -> bool {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| {
            // Not the test program itself, which has no such argument.
            line.split(|&byte| byte == 0)
                .any(|argument| argument == marker.as_bytes())
        })
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let give_up_at = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up_at, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn output_exit_code_directory_and_environment_are_those_asked_for() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let request = Exec {
        cwd: "/usr".to_owned(),
        env: BTreeMap::from([("COLOUR".to_owned(), "grün".to_owned())]),
        ..script("pwd; echo $COLOUR; echo trouble >&2; exit 7")
    };
    let answer = exec(&mut host, request);
    assert_eq!(
        (answer.text().as_str(), answer.errors().as_str()),
        ("/usr\ngrün\n", "trouble\n")
    );
    let ended = answer.exec_ended();
    assert_eq!(
        (
            ended.exit_code,
            ended.signal,
            ended.timed_out,
            ended.truncated
        ),
        (7, 0, false, false)
    );
    assert_eq!((ended.stdout_bytes, ended.stderr_bytes), (11, 8));
    assert!(
        matches!(answer.outputs[0].output, Some(output::Output::Started(started)) if started.pid > 1)
    );
}

#[test]
fn arguments_arrive_as_they_are_and_stdin_is_empty() {
    let agent = Agent::start();
    let argv = ["printf", "%s|", "a b", "", "$HOME", "é"]
        .map(str::to_owned)
        .to_vec();
    let answer = exec(
        &mut agent.connect(),
        Exec {
            argv,
            ..Exec::default()
        },
    );
    assert_eq!(answer.text(), "a b||$HOME|é|");
    assert_eq!(
        exec(&mut agent.connect(), script("cat; echo $?")).text(),
        "0\n"
    );
}

#[test]
fn a_wrong_request_says_what_is_wrong() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let argv = |name: &str| Exec {
        argv: vec![name.to_owned()],
        ..Exec::default()
    };
    for (request, code) in [
        (argv("no-such-program"), FailureCode::NotFound),
        (argv("/etc/passwd"), FailureCode::Permission),
        (Exec::default(), FailureCode::Invalid),
        (
            Exec {
                script: "true".to_owned(),
                ..argv("true")
            },
            FailureCode::Invalid,
        ),
        (
            Exec {
                cwd: "relative".to_owned(),
                ..script("true")
            },
            FailureCode::Invalid,
        ),
        (
            Exec {
                cwd: "/no/such/place".to_owned(),
                ..script("true")
            },
            FailureCode::NotFound,
        ),
        (
            Exec {
                user: "no-such-user".to_owned(),
                ..script("true")
            },
            FailureCode::NotFound,
        ),
        (
            Exec {
                env: BTreeMap::from([("A=B".to_owned(), String::new())]),
                ..script("true")
            },
            FailureCode::Invalid,
        ),
        (argv("a\0b"), FailureCode::Invalid),
        (argv(&"x".repeat(200_000)), FailureCode::Invalid),
    ] {
        let failure = exec(&mut host, request).failure();
        assert_eq!(failure.code(), code, "{}", failure.message);
        assert!(!failure.message.is_empty());
    }
    assert!(host.answers());
}

#[test]
fn a_program_of_another_user_runs_as_that_user_and_can_open_its_streams() {
    if !rustix::process::getuid().is_root() {
        // Only root may become another; what is seen then is the refusal.
        let failure = exec(
            &mut Agent::start().connect(),
            Exec {
                user: "4242".to_owned(),
                ..script("id -u")
            },
        )
        .failure();
        assert_eq!(failure.code(), FailureCode::Permission);
        return;
    }
    let agent = Agent::start();
    let mut host = agent.connect();
    let as_user = |text: &str| Exec {
        user: "4242".to_owned(),
        cwd: "/".to_owned(),
        ..script(text)
    };
    let answer = exec(
        &mut host,
        as_user("id -u; id -g; id -G; echo out > /dev/stdout; echo err > /dev/stderr; echo $HOME"),
    );
    assert_eq!(
        (answer.text().as_str(), answer.errors().as_str()),
        ("4242\n4242\n4242\nout\n/\n", "err\n")
    );
    // The scratch directory of a test is not open to others, as that of a VM is.
    let long = exec(
        &mut host,
        Exec {
            user: "root".to_owned(),
            ..script(&format!("id -u; : {}", "x".repeat(150_000)))
        },
    );
    assert_eq!(long.text(), "0\n");
}

#[test]
fn a_signal_that_ends_a_program_is_told() {
    let agent = Agent::start();
    let ended = exec(&mut agent.connect(), script("kill -TERM $$")).exec_ended();
    assert_eq!((ended.exit_code, ended.signal), (143, 15));
}

#[test]
fn at_the_time_limit_the_whole_tree_is_killed_and_the_output_kept() {
    let agent = Agent::start();
    let request = Exec {
        timeout_ms: 400,
        ..script("echo early; sleep 98765.25 & sleep 98765.25; echo late")
    };
    let started_at = Instant::now();
    let answer = exec(&mut agent.connect(), request);
    let ended = answer.exec_ended();
    assert_eq!((ended.exit_code, ended.timed_out), (124, true));
    assert_eq!(answer.text(), "early\n");
    assert!(started_at.elapsed() < PATIENCE);
    wait_until("the end of the background process", || {
        !is_running("98765.25")
    });
}

#[test]
fn a_background_process_does_not_hold_the_call_and_goes_on_writing() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let text = "(sleep 0.3; for i in $(seq 40000); do echo filling the pipe; done; echo done > finished) & echo started";
    let answer = exec(&mut host, script(text));
    assert_eq!(answer.text(), "started\n");
    assert!(answer.exec_ended().wall_us < 10_000_000);
    wait_until("the end of the background process", || {
        agent.workdir().join("finished").exists()
    });
}

#[test]
fn output_beyond_the_limit_is_dropped_and_counted() {
    let agent = Agent::start();
    let request = Exec {
        output_limit_bytes: 1000,
        ..script("head -c 3000000 /dev/zero; echo short >&2")
    };
    let answer = exec(&mut agent.connect(), request);
    let ended = answer.exec_ended();
    assert_eq!(
        (answer.stdout.len(), ended.stdout_bytes, ended.truncated),
        (1000, 3_000_000, true)
    );
    assert_eq!(answer.errors(), "short\n");
}

#[test]
fn binary_output_arrives_unchanged() {
    let agent = Agent::start();
    let answer = exec(
        &mut agent.connect(),
        script("for i in $(seq 0 255); do printf \"\\\\x$(printf %x $i)\"; done"),
    );
    assert_eq!(answer.stdout, (0..=255u8).collect::<Vec<_>>());
}

#[test]
fn no_more_is_sent_than_the_host_granted() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = host.open(
        open::Call::Exec(script("head -c 1000000 /dev/zero")),
        10_000,
        true,
    );
    let mut answer = Answer::default();
    let mut sent = 0;
    while sent < 9_900 {
        let (header, payload) = host.receive().expect("a frame");
        sent += payload.len();
        host.take_in(&mut answer, &header, &payload, false);
    }
    assert!(sent <= 10_000 && answer.outcome.is_none());
    // Another call is served meanwhile, and nothing more comes of this one.
    let ping = host.open(open::Call::Ping(Ping::default()), 0, true);
    let (header, _) = host.receive().expect("the pong");
    assert_eq!((header.stream_id, header.kind), (ping, FrameType::End));
    host.grant(id, 2_000_000);
    let before = answer.stdout.len();
    let rest = host.finish(id);
    assert_eq!(before + rest.stdout.len(), 1_000_000);
}

#[test]
fn stdin_is_streamed_and_its_end_is_seen() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = host.open(
        open::Call::Exec(Exec {
            open_stdin: true,
            ..script("wc -c")
        }),
        1 << 20,
        false,
    );
    let mut granted: i64 = 262_144;
    for _ in 0..40 {
        let piece = vec![b'x'; 50_000];
        granted -= 50_010;
        while granted < 0 {
            let (header, payload) = host.receive().expect("credit");
            if header.kind == FrameType::Credit {
                granted += i64::from(u32::from_le_bytes(
                    payload[..].try_into().expect("a number"),
                ));
            }
        }
        host.input(id, &piece, false);
    }
    host.input(id, b"last", true);
    assert_eq!(host.finish(id).text().trim(), "2000004");
}

#[test]
fn a_signal_reaches_a_program_that_does_not_read_its_stdin() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let text = "trap 'echo caught; exit 3' USR1; echo ready; while true; do sleep 0.05; done";
    let id = host.open(
        open::Call::Exec(Exec {
            open_stdin: true,
            ..script(text)
        }),
        1 << 20,
        false,
    );
    for _ in 0..4 {
        host.input(id, &[0; 60_000], false);
    }
    let mut answer = Answer::default();
    while answer.stdout.is_empty() {
        let (header, payload) = host.receive().expect("a frame");
        host.take_in(&mut answer, &header, &payload, true);
    }
    host.signal(id, 10);
    let rest = host.finish(id);
    assert_eq!(
        (rest.text().as_str(), rest.exec_ended().exit_code),
        ("caught\n", 3)
    );
}

#[test]
fn a_reset_kills_the_tree_and_is_answered() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = host.open(
        open::Call::Exec(script("sleep 98765.5 & sleep 98765.5")),
        1 << 20,
        true,
    );
    wait_until("the start of the processes", || is_running("98765.5"));
    host.send(FrameType::Reset, id, false, &[]);
    assert_eq!(host.finish(id).failure().code(), FailureCode::Cancelled);
    wait_until("the end of the processes", || !is_running("98765.5"));
}

#[test]
fn a_host_that_is_gone_takes_its_programs_along() {
    let agent = Agent::start();
    let mut host = agent.connect();
    host.open(open::Call::Exec(script("sleep 98765.75")), 1 << 20, true);
    wait_until("the start of the process", || is_running("98765.75"));
    drop(host);
    wait_until("the end of the process", || !is_running("98765.75"));
    assert!(agent.connect().answers());
}

#[test]
fn a_script_of_any_length_is_run() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let answer = exec(
        &mut host,
        script(&format!("echo {} | wc -c", "x".repeat(200_000))),
    );
    assert_eq!(answer.text().trim(), "200001");
    let id = host.open(
        open::Call::Exec(Exec {
            script_follows: true,
            ..script("echo on")
        }),
        1 << 20,
        false,
    );
    host.input(id, b"e; #", false);
    for _ in 0..4 {
        host.input(id, &[b'y'; 50_000], false);
    }
    host.input(id, b"\necho two", true);
    assert_eq!(host.finish(id).text(), "one\ntwo\n");
    let left = std::fs::read_dir(agent.workdir().parent().expect("a parent")).expect("a directory");
    let scripts = left
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| std::fs::read_dir(entry.path()))
        .flatten();
    assert!(!scripts
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("script-")));
}

#[test]
fn code_that_is_too_long_is_refused_and_the_next_call_works() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = host.open(
        open::Call::Exec(Exec {
            script_follows: true,
            ..Exec::default()
        }),
        1 << 20,
        false,
    );
    let mut granted: i64 = 262_144;
    let mut answer = Answer::default();
    while answer.outcome.is_none() {
        if granted > 65_536 {
            granted -= 60_010;
            host.input(id, &[b'#'; 60_000], false);
            continue;
        }
        let (header, payload) = host.receive().expect("a frame");
        if header.kind == FrameType::Credit {
            granted += i64::from(u32::from_le_bytes(
                payload[..].try_into().expect("a number"),
            ));
        }
        host.take_in(&mut answer, &header, &payload, false);
    }
    assert_eq!(answer.failure().code(), FailureCode::Limit);
    assert!(host.answers());
}

#[test]
fn calls_run_beside_each_other() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let ids: Vec<u32> = (0..20)
        .map(|number| {
            host.open(
                open::Call::Exec(script(&format!("sleep 0.5; echo {number}"))),
                1 << 16,
                true,
            )
        })
        .collect();
    let started_at = Instant::now();
    let mut ended = BTreeMap::new();
    let mut texts: BTreeMap<u32, Answer> = BTreeMap::new();
    while ended.len() < ids.len() {
        let (header, payload) = host.receive().expect("a frame");
        let answer = texts.entry(header.stream_id).or_default();
        host.take_in(answer, &header, &payload, false);
        if header.kind == FrameType::End {
            ended.insert(header.stream_id, texts[&header.stream_id].text());
        }
    }
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(ended[id], format!("{number}\n"));
    }
    assert!(
        started_at.elapsed() < Duration::from_secs(9),
        "20 sleeps of 0.5 s took {:?}",
        started_at.elapsed()
    );
}

#[test]
fn the_call_after_the_last_stream_is_refused() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let waiting = Exec {
        open_stdin: true,
        argv: vec!["cat".to_owned()],
        ..Exec::default()
    };
    let ids: Vec<u32> = (0..256)
        .map(|_| host.open(open::Call::Exec(waiting.clone()), 1 << 16, false))
        .collect();
    let refused = host.open(open::Call::Exec(waiting), 1 << 16, true);
    assert_eq!(host.finish(refused).failure().code(), FailureCode::Limit);
    for id in ids {
        host.input(id, b"", true);
    }
    let mut left = 256;
    while left > 0 {
        let (header, _) = host.receive().expect("a frame");
        left -= usize::from(header.kind == FrameType::End);
    }
    assert_eq!(exec(&mut host, script("echo again")).text(), "again\n");
}

#[test]
fn a_cell_of_bash_is_a_fresh_shell_in_the_workdir() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let cell = |code: &str| RunCode {
        language: Language::Bash.into(),
        code: code.into(),
        ..RunCode::default()
    };
    let answer = host.run(cell("X=1; cd /; pwd; false"));
    assert_eq!(
        (answer.text().as_str(), answer.code_ended().exit_code),
        ("/\n", 1)
    );
    let answer = host.run(cell("echo \"[$X]\"; pwd"));
    assert_eq!(
        answer.text(),
        format!("[]\n{}\n", agent.workdir().display())
    );
    assert_eq!(answer.code_ended().language(), Language::Bash);
}

#[test]
fn an_agent_that_is_asked_to_end_leaves_nothing_behind() {
    let agent = Agent::start();
    let mut host = agent.connect();
    host.open(open::Call::Exec(script("sleep 98766.25")), 1 << 16, true);
    wait_until("the start of the process", || is_running("98766.25"));
    assert_eq!(agent.stop(), Vec::<std::path::PathBuf>::new());
    wait_until("the end of the process", || !is_running("98766.25"));
}
