//! Contexts of JavaScript and Bash in real interpreters, and what contexts of all languages have in common.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Agent, Answer, Host};
use instavm_agent::link::frame::FrameType;
use instavm_agent::proto::{
    open, outcome, output, Activate, Context, CreateContext, DeleteContext, FailureCode,
    InterruptContext, Language, ListContexts, RestartContext, RunCode,
};

fn context_in(answer: Answer) -> Context {
    match answer.outcome {
        Some(outcome::Outcome::Context(context)) => context,
        other => panic!("expected a context, got {other:?}"),
    }
}

fn create(host: &mut Host, language: Language, cwd: &str) -> String {
    let request = CreateContext {
        language: language.into(),
        cwd: cwd.to_owned(),
        ..CreateContext::default()
    };
    context_in(host.call(open::Call::CreateContext(request))).context_id
}

/// A cell in a context, in the context's own language.
fn cell(context_id: &str, code: &str) -> RunCode {
    RunCode {
        context_id: context_id.to_owned(),
        code: code.into(),
        ..RunCode::default()
    }
}

fn run(host: &mut Host, context_id: &str, code: &str) -> Answer {
    host.run(cell(context_id, code))
}

/// Starts a cell that prints "in", and returns when it did.
fn start(host: &mut Host, request: RunCode) -> u32 {
    let id = host.open(open::Call::RunCode(request), 1 << 16, true);
    while host.receive().expect("a frame").0.kind != FrameType::Message {}
    id
}

fn interrupt(host: &mut Host, context_id: &str) {
    let request = InterruptContext {
        context_id: context_id.to_owned(),
    };
    host.open(open::Call::InterruptContext(request), 1 << 16, true);
}

/// Each language's way to say something, in a context that says where it is.
const LANGUAGES: [(Language, &str, &str, &str); 3] = [
    (
        Language::Python,
        "x = 5",
        "import os; print(os.getcwd(), 'x' in globals())",
        "import time\nprint('in', flush=True)\ntime.sleep(1000)",
    ),
    (
        Language::Javascript,
        "let x = 5",
        "console.log(process.cwd(), typeof x !== 'undefined')",
        "console.log('in'); for (;;) {}",
    ),
    (
        Language::Bash,
        "x=5",
        "echo $PWD ${x+True}",
        "echo in; sleep 1000; echo not here",
    ),
];

#[test]
fn a_context_of_each_language_has_its_state_and_its_directory_and_loses_them_in_a_restart() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (language, set, show, _) in LANGUAGES {
        let id = create(&mut host, language, "/usr");
        let fresh = run(&mut host, &id, show);
        assert_eq!(
            fresh.code_ended().language(),
            language,
            "{}",
            fresh.errors()
        );
        let missing = fresh.text();
        assert!(missing.starts_with("/usr"), "{missing}");
        assert_eq!(
            run(&mut host, &id, set).code_ended().exit_code,
            0,
            "{language:?}"
        );
        let kept = run(&mut host, &id, show).text();
        assert!(kept.to_lowercase().contains("true"), "{kept}");
        let restart = RestartContext {
            context_id: id.clone(),
        };
        context_in(host.call(open::Call::RestartContext(restart)));
        assert_eq!(run(&mut host, &id, show).text(), missing);
    }
}

#[test]
fn a_context_has_its_own_environment_also_behind_a_restart() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let shows = [
        "import os; print(os.environ.get('FLAVOUR'))",
        "console.log(process.env.FLAVOUR ?? 'None')",
        "echo ${FLAVOUR-None}",
    ];
    for ((language, ..), show) in LANGUAGES.into_iter().zip(shows) {
        let request = |env: BTreeMap<String, String>| CreateContext {
            language: language.into(),
            cwd: String::new(),
            env: env.into_iter().collect(),
        };
        let salty = BTreeMap::from([("FLAVOUR".to_owned(), "salt = a+b".to_owned())]);
        let id = context_in(host.call(open::Call::CreateContext(request(salty)))).context_id;
        let plain = create(&mut host, language, "");
        assert_eq!(run(&mut host, &id, show).text(), "salt = a+b\n");
        assert_eq!(run(&mut host, &plain, show).text(), "None\n");
        let restart = RestartContext {
            context_id: id.clone(),
        };
        context_in(host.call(open::Call::RestartContext(restart)));
        assert_eq!(run(&mut host, &id, show).text(), "salt = a+b\n");
        let wrong = BTreeMap::from([("A=B".to_owned(), String::new())]);
        let failure = host
            .call(open::Call::CreateContext(request(wrong)))
            .failure();
        assert_eq!(failure.code(), FailureCode::Invalid);
    }
}

#[test]
fn contexts_of_one_language_are_apart_and_listed_until_they_are_deleted() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (language, set, show, _) in LANGUAGES {
        let (one, other) = (
            create(&mut host, language, "/usr"),
            create(&mut host, language, "/usr"),
        );
        run(&mut host, &one, set);
        assert_ne!(
            run(&mut host, &one, show).text(),
            run(&mut host, &other, show).text()
        );
        let Some(outcome::Outcome::Contexts(list)) =
            host.call(open::Call::ListContexts(ListContexts {})).outcome
        else {
            panic!("no list")
        };
        let listed: Vec<_> = list
            .contexts
            .iter()
            .map(|context| {
                (
                    context.context_id.clone(),
                    context.language(),
                    context.is_busy,
                )
            })
            .collect();
        assert_eq!(
            listed,
            [
                (one.clone(), language, false),
                (other.clone(), language, false)
            ]
        );
        for id in [one, other] {
            let delete = DeleteContext {
                context_id: id.clone(),
            };
            context_in(host.call(open::Call::DeleteContext(delete)));
            assert_eq!(
                run(&mut host, &id, show).failure().code(),
                FailureCode::NotFound
            );
        }
    }
}

#[test]
fn an_interrupt_and_a_time_limit_end_the_cell_and_keep_the_state() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (language, set, show, endless) in LANGUAGES {
        let id = create(&mut host, language, "/usr");
        run(&mut host, &id, set);
        let running = start(&mut host, cell(&id, endless));
        interrupt(&mut host, &id);
        let ended = host.finish(running).code_ended();
        let expected = if language == Language::Bash { 130 } else { 1 };
        assert_eq!(
            (ended.exit_code, ended.context_lost, ended.timed_out),
            (expected, false, false),
            "{language:?}: {ended:?}"
        );
        let limited = RunCode {
            timeout_ms: 700,
            ..cell(&id, endless)
        };
        let ended = host.run(limited).code_ended();
        assert_eq!(
            (ended.exit_code, ended.context_lost, ended.timed_out),
            (124, false, true),
            "{language:?}: {ended:?}"
        );
        let kept = run(&mut host, &id, show).text();
        assert!(kept.to_lowercase().contains("true"), "{language:?}: {kept}");
    }
}

fn is_busy(host: &mut Host, context_id: &str) -> bool {
    let Some(outcome::Outcome::Contexts(list)) =
        host.call(open::Call::ListContexts(ListContexts {})).outcome
    else {
        panic!("no list")
    };
    list.contexts
        .iter()
        .any(|context| context.context_id == context_id && context.is_busy)
}

#[test]
fn what_a_cell_printed_last_that_nobody_waits_for_is_in_no_later_cell() {
    let agent = Agent::start();
    let loops = [
        (
            Language::Python,
            "import time\nwhile True:\n    print('stale', flush=True)\n    time.sleep(0.0005)",
        ),
        (Language::Python, "while True: print('stale')"),
        (Language::Javascript, "for (;;) console.log('stale');"),
        (
            Language::Bash,
            "while :; do echo stale; read -t 0.001 < <(:); done",
        ),
    ];
    for (language, endless) in loops {
        let context_id = create(&mut agent.connect(), language, "");
        for _ in 0..8 {
            let mut host = agent.connect();
            start(&mut host, cell(&context_id, endless));
            host.send(FrameType::Detach, 0, false, &[]);
            while host.receive().expect("a frame").0.kind != FrameType::Detached {}
            let next = run(&mut agent.connect(), &context_id, "1");
            let printed = next.text() + &next.errors();
            assert!(
                !printed.contains("stale") && !printed.contains("Interrupt"),
                "{language:?}: {printed}"
            );
        }
    }
}

#[test]
fn an_interrupt_that_comes_before_the_interpreter_has_begun_is_not_lost() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for delay_ms in [0, 1, 5, 20, 60, 150] {
        let id = create(&mut host, Language::Python, "");
        let code = cell(&id, "import time\nfor _ in range(1000): time.sleep(0.02)");
        let running = host.open(open::Call::RunCode(code), 1 << 16, true);
        while !is_busy(&mut host, &id) {}
        std::thread::sleep(Duration::from_millis(delay_ms));
        interrupt(&mut host, &id);
        let ended = host.finish(running).code_ended();
        assert_eq!((ended.exit_code, ended.context_lost), (1, false));
        assert_eq!(run(&mut host, &id, "print(6 * 7)").text(), "42\n");
    }
}

#[test]
fn a_cell_is_interrupted_wherever_the_interrupt_strikes() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (language, code) in [
        (
            Language::Javascript,
            "console.log('in'); await new Promise(() => {})",
        ),
        (Language::Bash, "echo in; sleep 1000; echo not here"),
    ] {
        let id = create(&mut host, language, "");
        for _ in 0..30 {
            let running = start(&mut host, cell(&id, code));
            interrupt(&mut host, &id);
            let answer = host.finish(running);
            let ended = answer.code_ended();
            assert!(!ended.context_lost && ended.exit_code > 0, "{ended:?}");
            assert_eq!(answer.text(), "");
        }
    }
}

#[test]
fn javascript_shows_results_raises_errors_and_exits() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let javascript = |code: &str| RunCode {
        language: Language::Javascript.into(),
        ..cell("", code)
    };
    let answer = host.run(javascript(
        "const a = 6; display.png(Buffer.alloc(300_000, 1)); console.log('between'); a * 7",
    ));
    let (mut image, mut result, mut order) = (0, Vec::new(), Vec::new());
    for message in &answer.outputs {
        match &message.output {
            Some(output::Output::Display(display)) if display.is_result => {
                order.push("result");
                result = display.data["text/plain"].clone();
            }
            Some(output::Output::Display(display)) => {
                image += display.data.get("image/png").map_or(0, Vec::len);
            }
            _ => order.push("stdout"),
        }
    }
    assert_eq!((image, &result[..]), (300_000, &b"42"[..]));
    assert_eq!(order, ["stdout", "result"]);
    let answer = host.run(javascript(
        "function f() { throw new RangeError('far') }; f()",
    ));
    let error = answer.code_ended().error.expect("an error");
    assert_eq!(
        (error.name.as_str(), error.value.as_str()),
        ("RangeError", "far")
    );
    assert!(error.traceback.contains("at f (<cell-2>:1:22)"));
    assert_eq!(answer.errors(), error.traceback);
    let ended = host
        .run(javascript("console.log(1); process.exit(7)"))
        .code_ended();
    assert_eq!(
        (ended.exit_code, ended.context_lost, ended.error),
        (7, true, None)
    );
    let answer = host.run(javascript("typeof a"));
    assert!(matches!(
        &answer.outputs[0].output,
        Some(output::Output::Display(display)) if display.data["text/plain"] == b"'undefined'"
    ));
}

#[test]
fn bash_in_a_context_keeps_its_state_and_without_one_does_not() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let id = create(&mut host, Language::Bash, "");
    let answer = run(
        &mut host,
        &id,
        "cd /; x=1; echo out; echo err >&2; (exit 9)",
    );
    assert_eq!(
        (
            answer.text().as_str(),
            answer.errors().as_str(),
            answer.code_ended().exit_code
        ),
        ("out\n", "err\n", 9)
    );
    assert_eq!(answer.code_ended().error, None);
    assert_eq!(run(&mut host, &id, "echo $PWD $x").text(), "/ 1\n");
    let fresh = RunCode {
        language: Language::Bash.into(),
        ..cell("", "echo ${x-none}")
    };
    assert_eq!(host.run(fresh).text(), "none\n");
    let ended = run(&mut host, &id, "set -e; false; echo not here").code_ended();
    assert_eq!(
        (ended.exit_code, ended.context_lost, ended.error),
        (1, true, None)
    );
    assert_eq!(run(&mut host, &id, "echo ${x-none}").text(), "none\n");
    assert_eq!(
        run(&mut host, &id, "echo a\0b").failure().code(),
        FailureCode::Invalid
    );
    let started = run(&mut host, &id, "sleep 1000 & echo $!");
    let running = format!("kill -0 {} && echo runs", started.text().trim());
    assert_eq!(run(&mut host, &id, &running).text(), "runs\n");
}

#[test]
fn a_cell_has_an_environment_of_its_own_in_each_language() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let ids: Vec<_> = [
        (Language::Python, "import os; print(os.environ.get('OWN'))"),
        (Language::Javascript, "console.log(process.env.OWN)"),
        (Language::Bash, "sh -c 'echo $OWN'"),
    ]
    .into_iter()
    .map(|(language, show)| (create(&mut host, language, ""), show))
    .collect();
    for (id, show) in &ids {
        let before = run(&mut host, id, show).text();
        let with = RunCode {
            env: BTreeMap::from([("OWN".to_owned(), "über".to_owned())]),
            ..cell(id, show)
        };
        assert_eq!(host.run(with).text(), "über\n");
        assert_eq!(run(&mut host, id, show).text(), before);
        let wrong = RunCode {
            env: BTreeMap::from([("A=B".to_owned(), String::new())]),
            ..cell(id, show)
        };
        assert_eq!(host.run(wrong).failure().code(), FailureCode::Invalid);
    }
    let activate = Activate {
        keep_identity: true,
        env: BTreeMap::from([("OWN".to_owned(), "all".to_owned())]),
        ..Activate::default()
    };
    host.call(open::Call::Activate(activate));
    for (id, show) in &ids {
        assert_eq!(run(&mut host, id, show).text(), "all\n");
    }
}

#[test]
fn a_context_that_cannot_be_is_refused_when_it_is_made() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (language, cwd) in [
        (Language::Bash, "relative"),
        (Language::Bash, "/no/such/directory"),
        (Language::Bash, "/etc/passwd"),
    ] {
        let request = CreateContext {
            language: language.into(),
            cwd: cwd.to_owned(),
            ..CreateContext::default()
        };
        let failure = host.call(open::Call::CreateContext(request)).failure();
        assert_eq!(failure.code(), FailureCode::Invalid, "{cwd}");
    }
    for language in [Language::Unspecified, Language::Detect] {
        let request = CreateContext {
            language: language.into(),
            cwd: String::new(),
            ..CreateContext::default()
        };
        let failure = host.call(open::Call::CreateContext(request)).failure();
        assert_eq!(failure.code(), FailureCode::Unsupported, "{language:?}");
    }
    let id = create(&mut host, Language::Bash, "");
    let other = RunCode {
        language: Language::Javascript.into(),
        ..cell(&id, "1")
    };
    assert_eq!(host.run(other).failure().code(), FailureCode::Invalid);
    let none = host.run(cell("", "1")).failure();
    assert_eq!(none.code(), FailureCode::Invalid);
}

#[test]
fn no_more_than_32_contexts_are_made() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let mut made = Vec::new();
    let failure = loop {
        let request = CreateContext {
            language: Language::Bash.into(),
            cwd: String::new(),
            ..CreateContext::default()
        };
        match host.call(open::Call::CreateContext(request)) {
            answer if matches!(answer.outcome, Some(outcome::Outcome::Failure(_))) => {
                break answer.failure()
            }
            answer => made.push(context_in(answer).context_id),
        }
        assert!(made.len() <= 100);
    };
    assert_eq!((made.len(), failure.code()), (32, FailureCode::Limit));
    // Their interpreters start beside each other.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(run(&mut host, &made[31], "echo 1").text(), "1\n");
}
