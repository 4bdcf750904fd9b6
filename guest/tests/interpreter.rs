//! Cells of Python in a real interpreter.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::collections::BTreeMap;
use std::time::Instant;

use client::{Agent, Answer, Host, PATIENCE};
use instavm_agent::link::frame::FrameType;
use instavm_agent::proto::{
    open, outcome, output, Activate, CreateContext, DeleteContext, FailureCode, InterruptContext,
    Language, ListContexts, RestartContext, RunCode,
};

fn cell(code: &str) -> RunCode {
    RunCode {
        language: Language::Python.into(),
        code: code.into(),
        ..RunCode::default()
    }
}

fn python(host: &mut Host, code: &str) -> Answer {
    host.run(cell(code))
}

#[test]
fn state_lives_from_cell_to_cell() {
    let agent = Agent::start();
    let mut host = agent.connect();
    assert_eq!(python(&mut host, "x = 6").code_ended().exit_code, 0);
    let answer = python(&mut host, "print(x * 7)");
    assert_eq!(
        (answer.text().as_str(), answer.code_ended().exit_code),
        ("42\n", 0)
    );
    assert_eq!(answer.code_ended().language(), Language::Python);
    drop(host);
    assert_eq!(python(&mut agent.connect(), "print(x)").text(), "6\n");
}

#[test]
fn an_exception_is_reported_and_the_next_cell_works() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let answer = python(&mut host, "print('before'); 1/0");
    let ended = answer.code_ended();
    let error = ended.error.expect("an error");
    assert_eq!(
        (ended.exit_code, error.name.as_str(), error.value.as_str()),
        (1, "ZeroDivisionError", "division by zero")
    );
    assert!(answer.errors().contains("ZeroDivisionError") && !ended.context_lost);
    assert_eq!(
        (
            answer.text().as_str(),
            python(&mut host, "print(1)").text().as_str()
        ),
        ("before\n", "1\n")
    );
}

#[test]
fn an_interpreter_that_ends_says_how_and_the_next_cell_gets_a_new_one() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (code, exit_code) in [
        ("exit(3)", 3),
        ("import os; os._exit(9)", 9),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("exit()", 0),
    ] {
        let answer = python(
            &mut host,
            &format!("x = 1; print('going', flush=True); {code}"),
        );
        let ended = answer.code_ended();
        assert_eq!(
            (ended.exit_code, ended.context_lost, answer.text().as_str()),
            (exit_code, true, "going\n"),
            "{code}"
        );
        let answer = python(&mut host, "print('x' in globals())");
        assert_eq!(
            (answer.text().as_str(), answer.code_ended().context_lost),
            ("False\n", false)
        );
    }
}

#[test]
fn at_the_time_limit_the_cell_is_interrupted_and_the_state_kept() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "x = 5");
    let endless = RunCode {
        timeout_ms: 300,
        ..cell("print('in')\nwhile True: pass")
    };
    let answer = host.run(endless);
    let ended = answer.code_ended();
    assert_eq!(
        (
            ended.exit_code,
            ended.timed_out,
            ended.context_lost,
            answer.text().as_str()
        ),
        (124, true, false, "in\n")
    );
    assert_eq!(python(&mut host, "print(x)").text(), "5\n");
}

#[test]
fn a_cell_that_cannot_be_interrupted_is_killed_with_its_interpreter() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "x = 1");
    let deaf = "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\ntime.sleep(1000)";
    let started_at = Instant::now();
    let ended = host
        .run(RunCode {
            timeout_ms: 300,
            ..cell(deaf)
        })
        .code_ended();
    assert_eq!(
        (ended.exit_code, ended.timed_out, ended.context_lost),
        (124, true, true)
    );
    assert!(started_at.elapsed() < PATIENCE);
    assert_eq!(python(&mut host, "print(1)").text(), "1\n");
}

#[test]
fn cells_wait_for_each_other_and_a_limit_counts_from_the_call() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "import time, os");
    let first = host.open(
        open::Call::RunCode(cell("time.sleep(1); print('first')")),
        1 << 16,
        true,
    );
    let second = host.open(
        open::Call::RunCode(RunCode {
            timeout_ms: 200,
            ..cell("print('never')")
        }),
        1 << 16,
        true,
    );
    let third = host.open(open::Call::RunCode(cell("print('third')")), 1 << 16, true);
    let mut answers: BTreeMap<u32, Answer> = BTreeMap::new();
    let mut order = Vec::new();
    while order.len() < 3 {
        let (header, payload) = host.receive().expect("a frame");
        host.take_in(
            answers.entry(header.stream_id).or_default(),
            &header,
            &payload,
            false,
        );
        if header.kind == FrameType::End {
            order.push(header.stream_id);
        }
    }
    assert_eq!(order, [second, first, third]);
    assert_eq!(
        (
            answers[&first].text().as_str(),
            answers[&third].text().as_str()
        ),
        ("first\n", "third\n")
    );
    let ended = answers[&second].code_ended();
    assert_eq!(
        (
            ended.exit_code,
            ended.timed_out,
            answers[&second].text().as_str()
        ),
        (124, true, "")
    );
}

#[test]
fn more_than_64_waiting_cells_are_refused() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "import time");
    let blocker = host.open(open::Call::RunCode(cell("time.sleep(1000)")), 1 << 16, true);
    let ids: Vec<u32> = (0..66)
        .map(|_| host.open(open::Call::RunCode(cell("print(1)")), 1 << 16, true))
        .collect();
    let refused = host.finish(ids[65]);
    assert_eq!(refused.failure().code(), FailureCode::Limit);
    host.send(FrameType::Reset, blocker, false, &[]);
    assert_eq!(host.finish(ids[60]).text(), "1\n");
}

#[test]
fn a_reset_interrupts_a_cell_and_keeps_the_state() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "import time; x = 8");
    let id = host.open(
        open::Call::RunCode(cell("print('in', flush=True); time.sleep(1000)")),
        1 << 16,
        true,
    );
    while host.receive().expect("a frame").0.kind != FrameType::Message {}
    host.send(FrameType::Reset, id, false, &[]);
    assert_eq!(host.finish(id).failure().code(), FailureCode::Cancelled);
    assert_eq!(python(&mut host, "print(x)").text(), "8\n");
}

#[test]
fn much_output_arrives_whole_and_beyond_the_limit_it_is_dropped() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let answer = python(
        &mut host,
        "import sys\nfor i in range(100000): print(i)\nsys.stdout.buffer.write(bytes(range(256)))",
    );
    let mut expected: Vec<u8> = (0..100_000)
        .flat_map(|number| format!("{number}\n").into_bytes())
        .collect();
    expected.extend(0..=255u8);
    assert_eq!(answer.stdout, expected);
    let limited = RunCode {
        output_limit_bytes: 5000,
        ..cell("print('x' * 10_000_000)")
    };
    let answer = host.run(limited);
    assert_eq!(
        (answer.stdout.len(), answer.code_ended().truncated),
        (5000, true)
    );
}

#[test]
fn what_is_shown_keeps_its_place_between_what_is_printed() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let answer = python(
        &mut host,
        "print('above')\nclass A:\n  def __repr__(self): return 'an A'\nA()",
    );
    let kinds: Vec<&str> = answer
        .outputs
        .iter()
        .map(|message| match &message.output {
            Some(output::Output::Stdout(_)) => "stdout",
            Some(output::Output::Display(display)) if display.is_result => "result",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["stdout", "result"]);
}

/// Shows an image of `bytes` bytes as the driver shows a figure.
fn show(bytes: usize) -> String {
    format!(
        "import builtins\nshow = builtins.__instavm_system__.__self__.show\nshow({{'image/png': bytes(range(251)) * ({bytes} // 251)}})"
    )
}

#[test]
fn a_large_display_comes_in_pieces_and_a_larger_one_is_left_out() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let answer = python(&mut host, &show(1_000_000));
    assert!(!answer.code_ended().truncated);
    let mut image: Vec<u8> = Vec::new();
    for (index, message) in answer.outputs.iter().enumerate() {
        let Some(output::Output::Display(display)) = &message.output else {
            panic!("{message:?}");
        };
        assert_eq!(display.continues, index + 1 < answer.outputs.len());
        image.extend(display.data.get("image/png").into_iter().flatten());
    }
    assert_eq!(image.len(), 1_000_000 / 251 * 251);
    assert!(image
        .iter()
        .enumerate()
        .all(|(index, &byte)| usize::from(byte) == index % 251));
    let answer = python(&mut host, &show(20_000_000));
    assert!(answer.code_ended().truncated && answer.outputs.is_empty());
}

#[test]
fn a_display_that_the_host_does_not_take_costs_its_cell_no_more_than_its_time() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "x = 5");
    let request = RunCode {
        timeout_ms: 1500,
        ..cell(&format!(
            "{}\nshow({{'text/html': 'later'}})",
            show(5_000_000)
        ))
    };
    let id = host.open(open::Call::RunCode(request), 200_000, true);
    let mut answer = Answer::default();
    while answer.outcome.is_none() {
        let (header, payload) = host.receive().expect("the session goes on");
        if header.stream_id == id {
            host.take_in(&mut answer, &header, &payload, false);
        }
    }
    let ended = answer.code_ended();
    assert!(ended.truncated && !ended.context_lost, "{ended:?}");
    // A cell that the limit finds in the middle of it says so.
    assert!(answer.outputs.iter().all(|message| match &message.output {
        Some(output::Output::Display(display)) => display.continues,
        Some(output::Output::Stderr(_)) =>
            ended.timed_out && answer.errors().contains("KeyboardInterrupt"),
        _ => false,
    }));
    assert_eq!(python(&mut host, "print(x)").text(), "5\n");
}

#[test]
fn a_program_that_writes_to_the_interpreters_pipe_only_harms_itself() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let forge = "import os, struct\nfor fd in range(3, 260):\n  try: os.write(fd, b'\\xff' * 64)\n  except OSError: pass";
    let ended = python(&mut host, forge).code_ended();
    assert!(ended.context_lost, "{ended:?}");
    assert_eq!(python(&mut host, "print(1)").text(), "1\n");
}

#[test]
fn without_a_language_it_is_python_or_else_bash() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (code, language, output) in [
        ("print(6*7)", Language::Python, "42\n"),
        ("echo $((6*7))", Language::Bash, "42\n"),
        ("pwd", Language::Bash, ""),
    ] {
        let answer = host.run(RunCode {
            language: Language::Detect.into(),
            ..cell(code)
        });
        assert_eq!(answer.code_ended().language(), language, "{code}");
        assert!(
            answer.text().ends_with(output) && !answer.text().is_empty(),
            "{code}: {}",
            answer.text()
        );
    }
}

#[test]
fn long_code_is_taken_in_pieces() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = host.open(
        open::Call::RunCode(RunCode {
            code_follows: true,
            ..cell("x = '")
        }),
        1 << 16,
        false,
    );
    for _ in 0..4 {
        host.input(id, &[b'y'; 60_000], false);
    }
    host.input(id, b"'\nprint(len(x))", true);
    assert_eq!(host.finish(id).text(), "240000\n");
}

#[test]
fn contexts_are_apart_and_can_be_restarted_interrupted_and_ended() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "x = 'default'");
    let create = CreateContext {
        language: Language::Python.into(),
        cwd: "/usr".to_owned(),
        ..CreateContext::default()
    };
    let Some(outcome::Outcome::Context(context)) =
        host.call(open::Call::CreateContext(create)).outcome
    else {
        panic!("no context")
    };
    let inside = |code: &str| RunCode {
        context_id: context.context_id.clone(),
        ..cell(code)
    };
    assert_eq!(
        host.run(inside(
            "import os; print(os.getcwd(), 'x' in globals()); x = 2"
        ))
        .text(),
        "/usr False\n"
    );
    let restart = RestartContext {
        context_id: context.context_id.clone(),
    };
    assert!(matches!(
        host.call(open::Call::RestartContext(restart)).outcome,
        Some(outcome::Outcome::Context(_))
    ));
    assert_eq!(
        host.run(inside("print('x' in globals())")).text(),
        "False\n"
    );
    let id = host.open(
        open::Call::RunCode(inside(
            "import time\nprint('in', flush=True)\ntime.sleep(1000)",
        )),
        1 << 16,
        true,
    );
    while host.receive().expect("a frame").0.kind != FrameType::Message {}
    let interrupt = InterruptContext {
        context_id: context.context_id.clone(),
    };
    host.open(open::Call::InterruptContext(interrupt), 1 << 16, true);
    let ended = host.finish(id).code_ended();
    assert_eq!((ended.exit_code, ended.context_lost), (1, false));
    let Some(outcome::Outcome::Contexts(list)) =
        host.call(open::Call::ListContexts(ListContexts {})).outcome
    else {
        panic!("no list")
    };
    assert_eq!(list.contexts.len(), 2);
    let delete = DeleteContext {
        context_id: context.context_id.clone(),
    };
    assert!(matches!(
        host.call(open::Call::DeleteContext(delete)).outcome,
        Some(outcome::Outcome::Context(_))
    ));
    assert_eq!(
        host.run(inside("1")).failure().code(),
        FailureCode::NotFound
    );
    assert_eq!(python(&mut host, "print(x)").text(), "default\n");
}

#[test]
fn an_activation_reaches_the_interpreter_that_runs_and_every_later_program() {
    let agent = Agent::start();
    let mut host = agent.connect();
    python(&mut host, "import os, random; random.seed(1)");
    let activate = |entropy: Vec<u8>| {
        open::Call::Activate(Activate {
            entropy,
            hostname: "vm-1".to_owned(),
            env: BTreeMap::from([("TOKEN".to_owned(), "abc".to_owned())]),
            ..Activate::default()
        })
    };
    assert_eq!(
        host.call(activate(vec![1; 3])).failure().code(),
        FailureCode::Invalid
    );
    assert!(matches!(
        host.call(activate(vec![1; 32])).outcome,
        Some(outcome::Outcome::Activated(_))
    ));
    let answer = python(
        &mut host,
        "print(os.environ['TOKEN'], random.random() != random.Random(1).random())",
    );
    assert_eq!(answer.text(), "abc True\n");
    let bash = RunCode {
        language: Language::Bash.into(),
        ..cell("echo $TOKEN")
    };
    assert_eq!(host.run(bash).text(), "abc\n");
}

#[test]
fn what_runs_on_between_cells_is_heard_in_the_next() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let talker = "import threading, time\ndef talk():\n  time.sleep(0.4)\n  print('x' * 300_000, flush=True)\n  open('done', 'w').close()\nthreading.Thread(target=talk).start()";
    assert_eq!(python(&mut host, talker).text(), "");
    let give_up_at = Instant::now() + PATIENCE;
    while !agent.workdir().join("done").exists() {
        assert!(
            Instant::now() < give_up_at,
            "the thread is stuck in its print"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let text = python(&mut host, "print('next')").text();
    assert!(
        text.ends_with("x\nnext\n") && text.len() <= 64 * 1024 + 5,
        "{} bytes",
        text.len()
    );
}

#[test]
fn an_interpreter_that_was_killed_between_cells_is_missed_aloud() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let pid = python(&mut host, "import os; x = 1; print(os.getpid())").text();
    let kill = RunCode {
        language: Language::Bash.into(),
        ..cell(&format!("kill -9 {pid}"))
    };
    assert_eq!(host.run(kill).code_ended().exit_code, 0);
    let give_up_at = Instant::now() + PATIENCE;
    while std::path::Path::new("/proc").join(pid.trim()).exists() {
        assert!(Instant::now() < give_up_at, "the interpreter lives on");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let answer = python(&mut host, "print('x' in globals())");
    assert_eq!(answer.text(), "False\n");
    assert!(answer.errors().contains("signal 9"), "{}", answer.errors());
}

#[test]
fn a_cell_that_reaches_an_interpreter_in_its_death_runs_in_the_next_one() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let pid = python(&mut host, "import os; x = 1; print(os.getpid())").text();
    let signal = |name: &str| {
        let status = std::process::Command::new("kill")
            .args([name, pid.trim()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    };
    signal("-STOP");
    // On a busy machine it is not held at once, and would read the cell.
    let stat = format!("/proc/{}/stat", pid.trim());
    let is_held = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "));
    let give_up_at = Instant::now() + PATIENCE;
    while !is_held() {
        assert!(Instant::now() < give_up_at, "the interpreter goes on");
    }
    let request = cell("print('x' in globals())");
    let id = host.open(open::Call::RunCode(request), 1 << 20, true);
    // Behind its answer the agent has written the cell to the interpreter's pipe.
    assert!(host.answers());
    signal("-KILL");
    let answer = host.finish(id);
    assert_eq!(answer.text(), "False\n");
    assert_eq!(answer.code_ended().exit_code, 0);
    assert!(answer.errors().contains("signal 9"), "{}", answer.errors());
}
