//! Directories, names, modes and owners, as a real agent tells and changes them.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::Path;

use client::{Agent, Answer, Host};
use instavm_agent::proto::{
    open, outcome, output, ChangeFile, FailureCode, FileEntry, FileType, ListDirectory,
    MakeDirectory, MoveFile, ReadFile, RemoveFile, StatFile, WriteFile,
};

fn entries(answer: &Answer) -> Vec<FileEntry> {
    let entries = answer.outputs.iter().filter_map(|each| match &each.output {
        Some(output::Output::Entry(entry)) => Some(entry.clone()),
        _ => None,
    });
    entries.collect()
}

fn entry(answer: &Answer) -> FileEntry {
    match &answer.outcome {
        Some(outcome::Outcome::Entry(entry)) => entry.clone(),
        other => panic!("expected an entry, got {other:?}"),
    }
}

fn list(host: &mut Host, path: &str, after: &[u8], limit: u32) -> Answer {
    host.call(open::Call::ListDirectory(ListDirectory {
        path: path.as_bytes().to_vec(),
        after: after.to_vec(),
        limit,
    }))
}

fn names(answer: &Answer) -> Vec<Vec<u8>> {
    entries(answer)
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

fn has_more(answer: &Answer) -> bool {
    match &answer.outcome {
        Some(outcome::Outcome::DirectoryListed(listed)) => listed.has_more,
        other => panic!("expected the end of a list, got {other:?}"),
    }
}

fn stat(host: &mut Host, path: &[u8], follow: bool) -> Answer {
    let path = path.to_vec();
    host.call(open::Call::StatFile(StatFile { path, follow }))
}

fn remove(host: &mut Host, path: &str, recursive: bool) -> Answer {
    host.call(open::Call::RemoveFile(RemoveFile {
        path: path.as_bytes().to_vec(),
        recursive,
    }))
}

fn rename(host: &mut Host, from: &str, to: &str, overwrite: bool) -> Answer {
    host.call(open::Call::MoveFile(MoveFile {
        from: from.as_bytes().to_vec(),
        to: to.as_bytes().to_vec(),
        overwrite,
        make_parents: true,
    }))
}

const UNUSUAL: &[&[u8]] = &[
    b" leading space",
    b"-rf",
    b"new\nline",
    b"\xff\xfe not utf-8",
    b"a\\b\"c'd$e`f",
    "größe 漢字 🙂".as_bytes(),
    b"...",
];

#[test]
fn a_directory_is_listed_in_pages_sorted_by_the_bytes_of_its_names() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for number in 0..25 {
        fs::write(agent.workdir().join(format!("f{number:02}")), "x").expect("a file");
    }
    let (mut seen, mut after) = (Vec::new(), Vec::new());
    loop {
        let answer = list(&mut host, ".", &after, 10);
        let page = names(&answer);
        assert!(page.len() <= 10);
        after = page.last().cloned().unwrap_or_default();
        seen.extend(page);
        if !has_more(&answer) {
            break;
        }
    }
    let expected: Vec<_> = (0..25)
        .map(|number| format!("f{number:02}").into_bytes())
        .collect();
    assert_eq!(seen, expected);
    for limit in [0, 1001] {
        let failure = list(&mut host, ".", b"", limit).failure();
        assert_eq!(failure.code(), FailureCode::Invalid);
    }
    let failure = list(&mut host, "f00", b"", 10).failure();
    assert_eq!(failure.code(), FailureCode::Invalid);
    let failure = list(&mut host, "missing", b"", 10).failure();
    assert_eq!(failure.code(), FailureCode::NotFound);
}

#[test]
fn unusual_names_are_listed_described_read_written_and_removed() {
    let agent = Agent::start();
    let mut host = agent.connect();
    for name in UNUSUAL {
        let id = host.open(
            open::Call::WriteFile(WriteFile {
                path: name.to_vec(),
                ..WriteFile::default()
            }),
            1 << 16,
            false,
        );
        host.input(id, name, true);
        host.finish(id);
        assert_eq!(
            fs::read(agent.workdir().join(OsStr::from_bytes(name))).expect("a file"),
            *name
        );
    }
    let mut sorted = UNUSUAL.to_vec();
    sorted.sort_unstable();
    assert_eq!(names(&list(&mut host, ".", b"", 1000)), sorted);
    for name in UNUSUAL {
        assert_eq!(entry(&stat(&mut host, name, false)).name, *name);
        let answer = host.call(open::Call::ReadFile(ReadFile {
            path: name.to_vec(),
            ..ReadFile::default()
        }));
        assert_eq!(answer.data, *name);
        let request = RemoveFile {
            path: name.to_vec(),
            recursive: false,
        };
        host.call(open::Call::RemoveFile(request));
    }
    assert_eq!(
        fs::read_dir(agent.workdir()).expect("a directory").count(),
        0
    );
}

#[test]
fn a_stat_tells_type_size_mode_owner_time_and_target() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let at = |name: &str| agent.workdir().join(name);
    fs::write(at("file"), "12345").expect("a file");
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o4751)).expect("a mode");
    symlink("file", at("link")).expect("a link");
    symlink("nowhere", at("dangling")).expect("a link");
    let metadata = fs::metadata(at("file")).expect("metadata");
    let file = entry(&stat(&mut host, b"file", false));
    assert_eq!(
        (file.r#type(), file.size, file.mode),
        (FileType::File, 5, 0o4751)
    );
    assert_eq!((file.uid, file.gid), (metadata.uid(), metadata.gid()));
    assert_eq!(
        file.modified_ns,
        metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
    );
    let root = entry(&stat(&mut host, b"/", false));
    assert_eq!(
        (root.r#type(), root.name.as_slice(), root.user.as_str()),
        (FileType::Directory, &b"/"[..], "root")
    );
    let link = entry(&stat(&mut host, b"link", false));
    assert_eq!(
        (link.r#type(), link.link_target.as_slice()),
        (FileType::Symlink, &b"file"[..])
    );
    assert_eq!(entry(&stat(&mut host, b"link", true)).size, 5);
    assert_eq!(
        entry(&stat(&mut host, b"/dev/null", false)).r#type(),
        FileType::Other
    );
    assert_eq!(
        stat(&mut host, b"dangling", true).failure().code(),
        FailureCode::NotFound
    );
    let failure = stat(&mut host, &vec![b'x'; 5000], false).failure();
    assert_eq!(failure.code(), FailureCode::Invalid);
}

#[test]
fn a_read_can_announce_the_file_before_its_content() {
    let agent = Agent::start();
    let mut host = agent.connect();
    fs::write(agent.workdir().join("file"), "0123456789").expect("a file");
    let answer = host.call(open::Call::ReadFile(ReadFile {
        path: b"file".to_vec(),
        offset: 7,
        length: 2,
        announce: true,
    }));
    assert!(
        matches!(&answer.outputs[0].output, Some(output::Output::Entry(entry)) if entry.size == 10)
    );
    assert_eq!(answer.data, b"78");
}

#[test]
fn directories_are_made_with_mode_and_parents_and_one_that_is_there_is_in_the_way() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let mut make = |path: &str, make_parents: bool, mode: u32| {
        host.call(open::Call::MakeDirectory(MakeDirectory {
            path: path.as_bytes().to_vec(),
            make_parents,
            mode,
            ..MakeDirectory::default()
        }))
    };
    assert_eq!(
        make("a/b/c", false, 0).failure().code(),
        FailureCode::NotFound
    );
    let made = entry(&make("a/b/c", true, 0o2700));
    assert_eq!((made.r#type(), made.mode), (FileType::Directory, 0o2700));
    assert_eq!(entry(&make("a/b/c", true, 0o755)).mode, 0o2700);
    assert_eq!(
        make("a/b/c", false, 0).failure().code(),
        FailureCode::Conflict
    );
    fs::write(agent.workdir().join("file"), "").expect("a file");
    assert_eq!(
        make("file/x", true, 0).failure().code(),
        FailureCode::Conflict
    );
}

#[test]
fn a_move_replaces_only_when_asked_to_and_makes_parents() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let at = |name: &str| agent.workdir().join(name);
    fs::write(at("one"), "1").expect("a file");
    fs::write(at("two"), "2").expect("a file");
    fs::create_dir_all(at("full/x")).expect("a directory");
    fs::create_dir(at("other")).expect("a directory");
    symlink("nowhere", at("link")).expect("a link");
    assert_eq!(
        rename(&mut host, "one", "two", false).failure().code(),
        FailureCode::Conflict
    );
    assert_eq!(entry(&rename(&mut host, "one", "two", true)).name, b"two");
    assert_eq!(fs::read(at("two")).expect("a file"), b"1");
    assert_eq!(
        rename(&mut host, "missing", "x", true).failure().code(),
        FailureCode::NotFound
    );
    assert_eq!(
        rename(&mut host, "other", "full", true).failure().code(),
        FailureCode::Conflict
    );
    assert_eq!(
        rename(&mut host, "two", "full", true).failure().code(),
        FailureCode::Conflict
    );
    assert_eq!(
        rename(&mut host, "full", "full/x/y", true).failure().code(),
        FailureCode::Invalid
    );
    assert_eq!(
        entry(&rename(&mut host, "link", "new/deep/link", false)).r#type(),
        FileType::Symlink
    );
}

#[test]
fn a_move_to_another_file_system_takes_everything_along() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let memory = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let source = agent.workdir().join("tree");
    // Where both are one file system, it is an ordinary move with the same result.
    let elsewhere = if device(memory).is_some() {
        memory.to_owned()
    } else {
        agent.workdir()
    };
    let target = elsewhere.join(format!("instavm-move-{}", std::process::id()));
    fs::create_dir_all(source.join("deep")).expect("a directory");
    fs::write(source.join("deep/file"), vec![7; 200_000]).expect("a file");
    fs::set_permissions(source.join("deep/file"), fs::Permissions::from_mode(0o751))
        .expect("a mode");
    symlink("deep/file", source.join("link")).expect("a link");
    let answer = rename(&mut host, "tree", target.to_str().expect("text"), false);
    let link = fs::read_link(target.join("link"));
    let copied = fs::read(target.join("deep/file"));
    let mode = fs::metadata(target.join("deep/file")).map(|file| file.mode() & 0o7777);
    let _ = fs::remove_dir_all(&target);
    assert_eq!(entry(&answer).r#type(), FileType::Directory);
    assert_eq!(link.expect("a link"), Path::new("deep/file"));
    assert_eq!(
        (copied.expect("a file").len(), mode.expect("a mode")),
        (200_000, 0o751)
    );
    assert!(!source.exists());
}

#[test]
fn a_tree_is_removed_without_following_its_links() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let at = |name: &str| agent.workdir().join(name);
    fs::create_dir_all(at("tree/a/b")).expect("a directory");
    fs::create_dir(at("kept")).expect("a directory");
    fs::write(at("kept/file"), "x").expect("a file");
    fs::write(at("tree/a/file"), "x").expect("a file");
    symlink("../kept", at("tree/link")).expect("a link");
    symlink("tree", at("to-tree")).expect("a link");
    assert_eq!(
        remove(&mut host, "tree", false).failure().code(),
        FailureCode::Conflict
    );
    remove(&mut host, "to-tree", true);
    assert!(at("tree/a/b").exists() && !at("to-tree").exists());
    let answer = remove(&mut host, "tree", true);
    assert!(
        matches!(answer.outcome, Some(outcome::Outcome::FileRemoved(removed)) if removed.entries == 5)
    );
    assert!(at("kept/file").exists() && !at("tree").exists());
    assert_eq!(
        remove(&mut host, "tree", true).failure().code(),
        FailureCode::NotFound
    );
    for path in ["/", "kept/.."] {
        assert_eq!(
            remove(&mut host, path, true).failure().code(),
            FailureCode::Invalid
        );
    }
}

#[test]
fn directories_too_deep_inside_each_other_are_refused_and_the_agent_lives_on() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let mut deep = agent.workdir().join("deep");
    for _ in 0..700 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).expect("directories");
    assert_eq!(
        remove(&mut host, "deep", true).failure().code(),
        FailureCode::Limit
    );
    assert!(host.answers());
}

#[test]
fn mode_and_owner_are_changed_by_number_and_by_name() {
    let agent = Agent::start();
    let mut host = agent.connect();
    fs::write(agent.workdir().join("file"), "").expect("a file");
    let mut change = |mode: Option<u32>, user: &str, group: &str| {
        host.call(open::Call::ChangeFile(ChangeFile {
            path: b"file".to_vec(),
            mode,
            user: user.to_owned(),
            group: group.to_owned(),
        }))
    };
    assert_eq!(entry(&change(Some(0), "", "")).mode, 0);
    assert_eq!(
        change(Some(0o10000), "", "").failure().code(),
        FailureCode::Invalid
    );
    assert_eq!(
        change(None, "no-such-user", "").failure().code(),
        FailureCode::NotFound
    );
    assert_eq!(
        change(None, "", "no-such-group").failure().code(),
        FailureCode::NotFound
    );
    if rustix::process::getuid().is_root() {
        let changed = entry(&change(Some(0o4755), "4242", ""));
        assert_eq!(
            (changed.uid, changed.gid, changed.mode),
            (4242, 4242, 0o4755)
        );
        let changed = entry(&change(None, "root", "7"));
        assert_eq!(
            (changed.uid, changed.gid, changed.user.as_str()),
            (0, 7, "root")
        );
    } else {
        assert_eq!(
            change(None, "4242", "").failure().code(),
            FailureCode::Permission
        );
    }
}

#[test]
fn a_written_file_gets_its_owner_and_may_have_to_be_new() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let mut write = |request: WriteFile| {
        let id = host.open(open::Call::WriteFile(request), 1 << 16, false);
        host.input(id, b"x", true);
        host.finish(id)
    };
    let new = WriteFile {
        path: b"a/b".to_vec(),
        make_parents: true,
        must_be_new: true,
        user: rustix::process::getuid().as_raw().to_string(),
        group: rustix::process::getgid().as_raw().to_string(),
        ..WriteFile::default()
    };
    assert!(matches!(
        write(new.clone()).outcome,
        Some(outcome::Outcome::FileWritten(_))
    ));
    assert_eq!(write(new.clone()).failure().code(), FailureCode::Conflict);
    if rustix::process::getuid().is_root() {
        write(WriteFile {
            path: b"c/d".to_vec(),
            user: "4242".to_owned(),
            group: "4343".to_owned(),
            ..new
        });
        for path in ["c", "c/d"] {
            let metadata = fs::metadata(agent.workdir().join(path)).expect("metadata");
            assert_eq!((metadata.uid(), metadata.gid()), (4242, 4343), "{path}");
        }
    }
}
