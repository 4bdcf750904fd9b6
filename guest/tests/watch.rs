//! What happens to files, as a real agent tells it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{symlink, PermissionsExt};

use client::{Agent, Answer, Host};
use instavm_agent::link::frame::FrameType;
use instavm_agent::proto::FileEventKind::{
    Attributes, Created, Modified, Moved, Overflow, Ready, Removed,
};
use instavm_agent::proto::{open, outcome, output, FailureCode, FileEvent, WatchFiles};

/// One watch and what it has told.
struct Watch {
    id: u32,
    answer: Answer,
    seen: usize,
}

fn watch(host: &mut Host, path: &str, recursive: bool) -> Watch {
    let call = open::Call::WatchFiles(WatchFiles {
        path: path.as_bytes().to_vec(),
        recursive,
    });
    let mut watch = Watch {
        id: host.open(call, 1 << 16, true),
        answer: Answer::default(),
        seen: 0,
    };
    assert_eq!(watch.next(host).kind(), Ready);
    watch
}

impl Watch {
    fn next(&mut self, host: &mut Host) -> FileEvent {
        while self.answer.outputs.len() == self.seen {
            assert!(
                self.answer.outcome.is_none(),
                "ended with {:?}",
                self.answer.outcome
            );
            let (header, payload) = host.receive().expect("the session goes on");
            if header.stream_id == self.id {
                host.take_in(&mut self.answer, &header, &payload, true);
            }
        }
        self.seen += 1;
        match &self.answer.outputs[self.seen - 1].output {
            Some(output::Output::FileEvent(event)) => event.clone(),
            other => panic!("expected an event, got {other:?}"),
        }
    }

    /// Reads on until an event of that kind and path comes; answers everything on the way.
    fn until(
        &mut self,
        host: &mut Host,
        kind: instavm_agent::proto::FileEventKind,
        path: &str,
    ) -> Vec<FileEvent> {
        let mut events = Vec::new();
        loop {
            let event = self.next(host);
            let is_it = event.kind() == kind && event.path == path.as_bytes();
            events.push(event);
            if is_it {
                return events;
            }
        }
    }
}

#[test]
fn files_that_come_change_and_go_are_told() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let at = |name: &str| agent.workdir().join(name);
    fs::write(at("old"), "x").expect("a file");
    let mut watch = watch(&mut host, ".", false);
    fs::write(at("new\nline"), "x").expect("a file");
    let created = watch.next(&mut host);
    assert_eq!(
        (
            created.kind(),
            created.path.as_slice(),
            created.is_directory
        ),
        (Created, &b"new\nline"[..], false)
    );
    fs::write(at("old"), "y").expect("a file");
    watch.until(&mut host, Modified, "old");
    fs::set_permissions(at("old"), fs::Permissions::from_mode(0o600)).expect("a mode");
    watch.until(&mut host, Attributes, "old");
    fs::create_dir(at("directory")).expect("a directory");
    assert!(
        watch
            .until(&mut host, Created, "directory")
            .last()
            .expect("an event")
            .is_directory
    );
    fs::rename(at("old"), at("renamed")).expect("a move");
    let moved = watch.until(&mut host, Moved, "renamed");
    assert_eq!(moved.last().expect("an event").from_path, b"old");
    fs::remove_file(at("renamed")).expect("a removal");
    watch.until(&mut host, Removed, "renamed");
    // Not recursive.
    fs::write(at("directory/file"), "").expect("a file");
    fs::write(at("last"), "").expect("a file");
    let events = watch.until(&mut host, Created, "last");
    assert!(events
        .iter()
        .all(|event| !event.path.starts_with(b"directory/")));
}

#[test]
fn what_the_agent_itself_is_writing_is_told_when_it_has_its_name() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let at = |name: &str| agent.workdir().join(name);
    let mut watch = watch(&mut host, ".", false);
    fs::write(at(".instavm-draft-9-9"), "content").expect("a draft");
    fs::rename(at(".instavm-draft-9-9"), at("uploaded")).expect("its name");
    let created = watch.next(&mut host);
    assert_eq!(
        (created.kind(), created.path.as_slice(), created.from_path),
        (Created, &b"uploaded"[..], Vec::new())
    );
}

#[test]
fn directories_below_are_watched_also_those_that_come_later() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let at = |name: &str| agent.workdir().join(name);
    fs::create_dir_all(at("tree/a/b")).expect("directories");
    fs::create_dir_all(at("outside/c")).expect("directories");
    symlink("../outside", at("tree/link")).expect("a link");
    let mut watch = watch(&mut host, "tree", true);
    fs::write(at("tree/a/b/file"), "").expect("a file");
    watch.until(&mut host, Created, "a/b/file");
    fs::create_dir_all(at("tree/new/deep")).expect("directories");
    fs::write(at("tree/new/deep/file"), "").expect("a file");
    watch.until(&mut host, Created, "new/deep/file");
    fs::write(at("tree/new/deep/later"), "").expect("a file");
    watch.until(&mut host, Created, "new/deep/later");
    // What comes from elsewhere is new with everything in it.
    fs::write(at("outside/c/file"), "").expect("a file");
    fs::rename(at("outside/c"), at("tree/c")).expect("a move");
    watch.until(&mut host, Created, "c/file");
    // A directory that moves within keeps being watched, under its new name.
    fs::rename(at("tree/new"), at("tree/a/moved")).expect("a move");
    watch.until(&mut host, Moved, "a/moved");
    fs::write(at("tree/a/moved/deep/again"), "").expect("a file");
    watch.until(&mut host, Created, "a/moved/deep/again");
    // One that goes elsewhere is gone, and so is what is below a link.
    fs::rename(at("tree/a/moved"), at("outside/moved")).expect("a move");
    watch.until(&mut host, Removed, "a/moved");
    fs::write(at("outside/moved/unseen"), "").expect("a file");
    fs::write(at("tree/last"), "").expect("a file");
    let events = watch.until(&mut host, Created, "last");
    assert!(!events.iter().any(|event| event.path.ends_with(b"unseen")));
}

#[test]
fn a_file_that_is_written_again_and_again_is_told_now_and_then() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let path = agent.workdir().join("log");
    fs::write(&path, "").expect("a file");
    let mut watch = watch(&mut host, ".", false);
    let writer = std::thread::spawn(move || {
        let mut file = fs::File::options()
            .append(true)
            .open(&path)
            .expect("a file");
        for _ in 0..20_000 {
            file.write_all(b"line\n").expect("a line");
        }
        fs::write(path.with_file_name("end"), "").expect("a file");
    });
    let events = watch.until(&mut host, Created, "end");
    writer.join().expect("a thread");
    assert!(events.len() < 10_000, "{} events", events.len());
}

#[test]
fn events_that_nobody_takes_are_one_overflow_and_the_watch_goes_on() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let mut watch = watch(&mut host, ".", false);
    // Far more than the kernel's queue and the window hold.
    for number in 0..60_000 {
        let path = agent.workdir().join(format!("file{number}"));
        fs::write(&path, "").expect("a file");
        fs::remove_file(path).expect("a removal");
    }
    watch.until(&mut host, Overflow, "");
    fs::write(agent.workdir().join("end"), "").expect("a file");
    watch.until(&mut host, Created, "end");
}

#[test]
fn a_watch_ends_with_what_it_watches() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for (name, is_file) in [("directory", false), ("file", true)] {
        let path = agent.workdir().join(name);
        if is_file {
            fs::write(&path, "").expect("a file");
        } else {
            fs::create_dir(&path).expect("a directory");
        }
        let mut watch = watch(&mut host, name, true);
        if is_file {
            fs::write(&path, "x").expect("a file");
            watch.until(&mut host, Modified, "");
            fs::remove_file(&path).expect("a removal");
        } else {
            fs::remove_dir(&path).expect("a removal");
        }
        watch.until(&mut host, Removed, "");
        let outcome = host.finish(watch.id).outcome;
        assert!(matches!(outcome, Some(outcome::Outcome::WatchEnded(_))));
    }
}

#[test]
fn watches_are_bounded_and_given_back() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let watch_one = |host: &mut Host| {
        let request = WatchFiles {
            path: b".".to_vec(),
            recursive: true,
        };
        host.open(open::Call::WatchFiles(request), 1 << 16, true)
    };
    let open: Vec<u32> = (0..16).map(|_| watch_one(&mut host)).collect();
    let refused = watch_one(&mut host);
    assert_eq!(host.finish(refused).failure().code(), FailureCode::Limit);
    host.send(FrameType::Reset, open[3], false, &[]);
    assert_eq!(
        host.finish(open[3]).failure().code(),
        FailureCode::Cancelled
    );
    let mut another = watch(&mut host, ".", true);
    fs::write(agent.workdir().join("file"), "").expect("a file");
    another.until(&mut host, Created, "file");
    let missing = WatchFiles {
        path: b"missing".to_vec(),
        recursive: false,
    };
    host.send(FrameType::Reset, open[4], false, &[]);
    host.finish(open[4]);
    let answer = host.call(open::Call::WatchFiles(missing));
    assert_eq!(answer.failure().code(), FailureCode::NotFound);
}

#[test]
fn a_tree_of_too_many_directories_is_refused() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for number in 0..4200 {
        fs::create_dir(agent.workdir().join(format!("{number}"))).expect("a directory");
    }
    let request = WatchFiles {
        path: b".".to_vec(),
        recursive: true,
    };
    let answer = host.call(open::Call::WatchFiles(request));
    assert_eq!(answer.failure().code(), FailureCode::Limit);
    watch(&mut host, ".", false);
}
