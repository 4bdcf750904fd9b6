//! What keeps a process from being forked, and copies that die while they are made: each time the parent goes on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod harness;

use harness::forkable::{ask, assert_lives, fork, start_program, tell};
use harness::{is_alive, wait_until, Home};
use instavm_launcher::proto::{ended::How, request::Request, response::Response, ErrorCode};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the process is told to do first, and what the refusal says.
const REFUSED: [(&str, &str); 9] = [
    ("open", "neither a disk nor its log"),
    ("pipe", "pipe:"),
    ("share", "mapped for writing, and shared"),
    ("aio", "the kernel's asynchronous I/O"),
    ("ring", "anon_inode:[io_uring]"),
    ("timer", "anon_inode:[timerfd]"),
    ("watch", "inotify"),
    ("directory", "not of a kind that can be copied"),
    ("deaf", "a thread did not stand within a second"),
];

#[test]
fn what_is_not_understood_is_refused_with_the_reason_and_the_parent_goes_on() {
    let home = Home::new();
    let _launcher = home.launch_forking();
    let mut client = home.connect();
    for (number, (what, reason)) in REFUSED.into_iter().enumerate() {
        let parent = start_program(&home, &mut client, 10 + number);
        assert_lives(&home, &parent);
        assert_eq!(ask(&home, &parent, what), "done", "{what}");
        let child = home.vm(40 + number);
        // More than once: what stood the first time stands again.
        for _ in 0..2 {
            let (code, message) = client.fork(fork(&parent, &child)).unwrap_err();
            assert_eq!(code, ErrorCode::NotForkable, "{what}: {message}");
            assert!(message.contains(reason), "{what}: {message}");
            assert_lives(&home, &parent);
        }
        let left: Vec<_> = fs::read_dir(home.vm_file(&child, "."))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "vm.log")
            .collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
}

#[test]
fn a_thread_that_is_held_up_is_waited_for_a_second_and_later_the_process_is_forked() {
    let home = Home::new();
    let _launcher = home.launch_forking();
    let mut client = home.connect();
    for (number, what) in ["held", "vfork"].into_iter().enumerate() {
        let parent = start_program(&home, &mut client, 10 + number);
        assert_lives(&home, &parent);
        assert_eq!(ask(&home, &parent, what), "done");
        // Not before it has begun to be held up.
        std::thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        let (code, message) = client
            .fork(fork(&parent, &home.vm(20 + number)))
            .unwrap_err();
        let waited = started.elapsed();
        assert_eq!(code, ErrorCode::NotForkable, "{what}: {message}");
        assert!(message.contains("within a second"), "{what}: {message}");
        assert!(waited > Duration::from_millis(950), "{what}: {waited:?}");
        assert_lives(&home, &parent);
        let child = home.vm(30 + number);
        client.fork(fork(&parent, &child)).unwrap();
        assert_lives(&home, &child);
        assert_lives(&home, &parent);
    }
}

#[test]
fn a_copy_that_is_killed_at_any_step_of_its_making_costs_only_that_fork() {
    let home = Home::new();
    let launcher = home.launch_forking();
    let mut client = home.connect();
    let parent = start_program(&home, &mut client, 1);
    assert_lives(&home, &parent);
    let (parent_pid, _) = tell(&home, &parent);
    let descriptors = count(&format!("/proc/{parent_pid}/fd"));
    let launchers_own = count(&format!("/proc/{}/fd", launcher.process.id()));
    let rounds: u32 = match std::env::var("INSTAVM_FORK_CHILD_KILLS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => 80,
    };
    let mut reasons = HashSet::new();
    let mut failed = 0;
    for round in 0..rounds {
        let child = home.vm(100 + usize::try_from(round).unwrap());
        let mut before = children_of(launcher.process.id());
        // The kernel's list can miss one while another ends.
        before.insert(parent_pid);
        client.send(Request::Fork(fork(&parent, &child)));
        let pid = new_child(launcher.process.id(), &before);
        // From its first instruction to after its go.
        let delay = Duration::from_micros(u64::from(round % 40) * 25);
        let start = Instant::now();
        while start.elapsed() < delay {}
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        match client.receive().1 {
            Response::Started(started) => {
                assert_eq!(i32::try_from(started.pid), Ok(pid.as_raw_nonzero().get()));
                let ended = client.ended();
                assert_eq!((ended.vm_id, ended.how), (child, Some(How::Signal(9))));
            }
            Response::Error(error) => {
                assert_eq!(error.code(), ErrorCode::NotForkable, "{}", error.message);
                assert!(error.message.contains("ended before"), "{}", error.message);
                reasons.insert(error.message);
                failed += 1;
                let known = client.list();
                assert!(known.iter().all(|one| one.vm_id != child), "{known:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(tell(&home, &parent).0, parent_pid);
    }
    eprintln!("{failed} of {rounds} died before their go: {reasons:?}");
    assert!(failed > 0);
    let last = home.vm(2);
    client.fork(fork(&parent, &last)).unwrap();
    assert_lives(&home, &last);
    assert_lives(&home, &parent);
    wait_until("the parent has no descriptor more", || {
        count(&format!("/proc/{parent_pid}/fd")) <= descriptors
    });
    wait_until("the launcher has closed what it opened, and reaped", || {
        let children = children_of(launcher.process.id());
        children.len() == 2
            && children.iter().all(|pid| is_alive(*pid))
            && count(&format!("/proc/{}/fd", launcher.process.id())) <= launchers_own + 2
    });
}

fn count(directory: &str) -> usize {
    fs::read_dir(Path::new(directory)).unwrap().count()
}

/// Of all its threads.
fn children_of(pid: u32) -> HashSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    texts
        .flat_map(|text| {
            text.split_whitespace()
                .map(|word| word.parse().unwrap())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// As soon as there is one.
fn new_child(pid: u32, known: &HashSet<u32>) -> rustix::process::Pid {
    let start = Instant::now();
    loop {
        if let Some(new) = children_of(pid).difference(known).next() {
            return rustix::process::Pid::from_raw(i32::try_from(*new).unwrap()).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "no child");
    }
}
