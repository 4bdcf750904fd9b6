//! Whole directories as tar archives, from and to a real agent, with GNU tar on the other side.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod client;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use client::{Agent, Answer, Host};
use instavm_agent::files::tar::{encode, padding_bytes, Header, Kind};
use instavm_agent::link::frame::FrameType;
use instavm_agent::proto::{
    open, outcome, FailureCode, ReadTree, TreeRead, TreeWritten, WriteTree,
};

fn read(host: &mut Host, path: &str) -> Answer {
    host.call(open::Call::ReadTree(ReadTree {
        path: path.as_bytes().to_vec(),
    }))
}

fn told(answer: &Answer) -> TreeRead {
    match answer.outcome {
        Some(outcome::Outcome::TreeRead(read)) => read,
        ref other => panic!("expected the end of an archive, got {other:?}"),
    }
}

fn written(answer: &Answer) -> TreeWritten {
    match answer.outcome {
        Some(outcome::Outcome::TreeWritten(written)) => written,
        ref other => panic!("expected an unpacked archive, got {other:?}"),
    }
}

fn write(host: &mut Host, request: WriteTree, archive: &[u8]) -> Answer {
    let id = host.open(open::Call::WriteTree(request), 0, false);
    let mut window = 262_144;
    for piece in archive.chunks(30_000) {
        while window < piece.len() + 64 {
            let (header, payload) = host.receive().expect("the session goes on");
            if header.kind == FrameType::Credit {
                let granted = u32::from_le_bytes(payload[..].try_into().expect("a number"));
                window += granted as usize;
            }
        }
        window -= piece.len() + 4;
        host.input(id, piece, false);
    }
    host.send(FrameType::Message, id, true, &[]);
    host.finish(id)
}

fn into(path: &str) -> WriteTree {
    WriteTree {
        path: path.as_bytes().to_vec(),
        make_parents: true,
        ..WriteTree::default()
    }
}

fn entry(name: &str, kind: Kind, content: &[u8]) -> Vec<u8> {
    let is_link = matches!(kind, Kind::Symlink | Kind::HardLink);
    let mut bytes = encode(&Header {
        name: name.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        uid: 4242,
        gid: 4343,
        size: if is_link { 0 } else { content.len() as u64 },
        modified_s: 1_600_000_000,
        link: if is_link {
            content.to_vec()
        } else {
            Vec::new()
        },
    });
    if !is_link {
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + padding_bytes(content.len() as u64), 0);
    }
    bytes
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [&entries.concat()[..], &[0; 1024]].concat()
}

/// GNU tar, in a directory.
fn gnu_tar(directory: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut tar = Command::new("tar")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GNU tar");
    let mut stdin = tar.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
    let output = tar.wait_with_output().expect("an end");
    let _ = feeder.join();
    assert!(
        output.status.success(),
        "tar {arguments:?}: {}",
        output.status
    );
    output.stdout
}

/// Everything below a directory: mode, and content or target.
fn content(root: &Path) -> BTreeMap<Vec<u8>, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            let what = if metadata.is_dir() {
                left.push(path.clone());
                b"directory".to_vec()
            } else if metadata.is_symlink() {
                fs::read_link(&path)
                    .expect("a link")
                    .as_os_str()
                    .as_bytes()
                    .to_vec()
            } else {
                fs::read(&path).expect("a file")
            };
            let name = path
                .strip_prefix(root)
                .expect("below")
                .as_os_str()
                .as_bytes()
                .to_vec();
            found.insert(name, (metadata.mode(), what));
        }
    }
    found
}

fn make_sample(root: &Path) {
    let at = |name: &[u8]| root.join(OsStr::from_bytes(name));
    fs::create_dir_all(at(b"a/b/empty")).expect("directories");
    fs::write(at(b"a/b/large"), vec![7; 300_000]).expect("a file");
    fs::write(at(b"-rf"), "dash").expect("a file");
    fs::write(at(b"new\nline"), "").expect("a file");
    fs::write(at(b"\xff\xfe"), "raw").expect("a file");
    fs::write(at("größe 漢字 🙂".as_bytes()), "unicode").expect("a file");
    fs::write(at(&[b'n'; 250]), "long").expect("a file");
    fs::create_dir_all(at(&[b'd'; 200])).expect("a directory");
    fs::write(
        at(&[&[b'd'; 200][..], b"/", &[0xe9; 200]].concat()),
        "long and raw",
    )
    .expect("a file");
    symlink("a/b/large", at(b"link")).expect("a link");
    symlink(OsStr::from_bytes(&[b'l'; 300]), at(b"dangling")).expect("a link");
    fs::set_permissions(at(b"-rf"), fs::Permissions::from_mode(0o4751)).expect("a mode");
}

#[test]
fn a_tree_goes_out_and_comes_in_again_the_same() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let source = agent.workdir().join("source");
    fs::create_dir(&source).expect("a directory");
    make_sample(&source);
    let answer = read(&mut host, "source");
    let told = told(&answer);
    assert_eq!((told.bytes, told.skipped), (answer.data.len() as u64, 0));
    assert_eq!(told.entries as usize, content(&source).len());
    assert_eq!(answer.data.len() % 512, 0);
    // GNU tar reads it.
    let unpacked = agent.workdir().join("unpacked");
    fs::create_dir(&unpacked).expect("a directory");
    gnu_tar(&unpacked, &["-xpf", "-"], &answer.data);
    assert_eq!(content(&unpacked), content(&source));
    // So does the agent.
    let done = written(&write(&mut host, into("deep/again"), &answer.data));
    assert_eq!((done.entries, done.skipped), (told.entries, 0));
    assert_eq!(
        content(&agent.workdir().join("deep/again")),
        content(&source)
    );
}

#[test]
fn archives_of_gnu_tar_are_unpacked_in_each_of_its_formats() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let source = agent.workdir().join("source");
    fs::create_dir(&source).expect("a directory");
    make_sample(&source);
    fs::hard_link(source.join("-rf"), source.join("another name")).expect("a link");
    for format in ["gnu", "posix"] {
        let bytes = gnu_tar(
            &source,
            &["--format", format, "--exclude", "large", "-cf", "-", "."],
            b"",
        );
        let done = written(&write(&mut host, into(format), &bytes));
        assert_eq!(done.entries as usize, content(&source).len() - 1);
        let mut expected = content(&source);
        expected.remove(&b"a/b/large"[..]);
        assert_eq!(content(&agent.workdir().join(format)), expected, "{format}");
        let one = fs::metadata(agent.workdir().join(format).join("-rf")).expect("metadata");
        let other =
            fs::metadata(agent.workdir().join(format).join("another name")).expect("metadata");
        assert_eq!(one.ino(), other.ino());
        // Once more over what is there.
        written(&write(&mut host, into(format), &bytes));
        assert_eq!(content(&agent.workdir().join(format)), expected, "{format}");
    }
}

#[test]
fn one_file_is_an_archive_of_one_and_special_files_are_left_out() {
    let agent = Agent::start();
    let mut host = agent.connect();
    fs::create_dir(agent.workdir().join("tree")).expect("a directory");
    fs::write(agent.workdir().join("tree/file"), "x").expect("a file");
    Command::new("mkfifo")
        .arg(agent.workdir().join("tree/pipe"))
        .status()
        .expect("mkfifo");
    let answer = read(&mut host, "tree");
    assert_eq!((told(&answer).entries, told(&answer).skipped), (1, 1));
    let answer = read(&mut host, "tree/file");
    let listed = gnu_tar(&agent.workdir(), &["-tf", "-"], &answer.data);
    assert_eq!(listed, b"file\n");
    for (path, code) in [
        ("missing", FailureCode::NotFound),
        ("tree/pipe", FailureCode::Invalid),
    ] {
        assert_eq!(read(&mut host, path).failure().code(), code);
    }
}

#[test]
fn an_entry_that_would_leave_the_directory_is_refused() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let outside = agent.workdir().join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("secret"), "secret").expect("a file");
    let file = |name: &str| entry(name, Kind::File, b"evil");
    let absolute = outside.join("evil").to_str().expect("text").to_owned();
    let away = outside.to_str().expect("text").to_owned();
    let attacks: Vec<Vec<Vec<u8>>> = vec![
        vec![file("../outside/evil")],
        vec![file("a/../../outside/evil")],
        vec![file("..")],
        vec![file(&absolute)],
        vec![file("")],
        vec![
            entry("link", Kind::Symlink, b"../outside"),
            file("link/evil"),
        ],
        vec![
            entry("link", Kind::Symlink, away.as_bytes()),
            file("link/evil"),
        ],
        vec![
            entry("link", Kind::Symlink, away.as_bytes()),
            entry("link/evil", Kind::Directory, b""),
        ],
        vec![
            entry("link", Kind::Symlink, away.as_bytes()),
            entry("link/", Kind::Directory, b""),
        ],
        vec![
            entry("one", Kind::Symlink, b".."),
            entry("two", Kind::Symlink, b"one/outside"),
            file("two/evil"),
        ],
        vec![entry("hard", Kind::HardLink, b"../outside/secret")],
        vec![
            entry("link", Kind::Symlink, b"../outside"),
            entry("hard", Kind::HardLink, b"link/secret"),
        ],
    ];
    for (number, attack) in attacks.iter().enumerate() {
        let answer = write(
            &mut host,
            into(&format!("target{number}")),
            &archive(attack),
        );
        assert_eq!(
            answer.failure().code(),
            FailureCode::Invalid,
            "attack {number}"
        );
    }
    assert_eq!(content(&outside).len(), 1);
    assert_eq!(fs::read(outside.join("secret")).expect("a file"), b"secret");
}

#[test]
fn links_are_replaced_and_never_written_through() {
    let agent = Agent::start();
    let mut host = agent.connect();
    let at = |name: &str| agent.workdir().join(name);
    fs::create_dir_all(at("target/real")).expect("a directory");
    fs::write(at("outside"), "kept").expect("a file");
    symlink("../outside", at("target/link")).expect("a link");
    symlink("real", at("target/inner")).expect("a link");
    let bytes = archive(&[
        entry("link", Kind::File, b"new"),
        entry(
            "./inner/file",
            Kind::File,
            b"through a link that stays inside",
        ),
        entry("missing/parent/file", Kind::File, b"x"),
        entry("device", Kind::Other, b""),
    ]);
    let done = written(&write(&mut host, into("target"), &bytes));
    assert_eq!((done.entries, done.bytes), (4, 3 + 32 + 1));
    assert_eq!(fs::read(at("outside")).expect("a file"), b"kept");
    assert_eq!(fs::read(at("target/link")).expect("a file"), b"new");
    assert!(at("target/real/file").exists() && at("target/missing/parent/file").exists());
    assert_eq!(
        fs::metadata(at("target/link")).expect("metadata").mtime(),
        1_600_000_000
    );
}

#[test]
fn what_is_in_the_way_or_too_large_or_cut_is_told_and_leaves_no_draft() {
    let agent = Agent::start();
    let mut host = agent.connect();
    fs::create_dir_all(agent.workdir().join("target/full/x")).expect("a directory");
    let blocked = archive(&[entry("full", Kind::File, b"x")]);
    assert_eq!(
        write(&mut host, into("target"), &blocked).failure().code(),
        FailureCode::Conflict
    );
    let limited = WriteTree {
        size_limit_bytes: 1000,
        ..into("target")
    };
    let large = archive(&[
        entry("a", Kind::File, &[1; 600]),
        entry("b", Kind::File, &[1; 600]),
    ]);
    assert_eq!(
        write(&mut host, limited, &large).failure().code(),
        FailureCode::Limit
    );
    let cut = &archive(&[entry("cut", Kind::File, &[1; 6000])])[..3000];
    assert_eq!(
        write(&mut host, into("target"), cut).failure().code(),
        FailureCode::Invalid
    );
    let garbage = vec![7; 2000];
    assert_eq!(
        write(&mut host, into("target"), &garbage).failure().code(),
        FailureCode::Invalid
    );
    let nowhere = WriteTree {
        make_parents: false,
        ..into("no/where")
    };
    assert_eq!(
        write(&mut host, nowhere, &large).failure().code(),
        FailureCode::NotFound
    );
    let id = host.open(open::Call::WriteTree(into("target")), 0, false);
    host.input(
        id,
        &archive(&[entry("given-up", Kind::File, &[1; 6000])])[..3000],
        false,
    );
    host.send(FrameType::Reset, id, false, &[]);
    assert_eq!(host.finish(id).failure().code(), FailureCode::Cancelled);
    let mut names: Vec<_> = content(&agent.workdir().join("target"))
        .into_keys()
        .collect();
    // The thread that gives up may need a moment longer than the call.
    for _ in 0..1000 {
        if names == [&b"a"[..], b"full", b"full/x"] {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        names = content(&agent.workdir().join("target"))
            .into_keys()
            .collect();
    }
    assert_eq!(names, [&b"a"[..], b"full", b"full/x"]);
}

#[test]
fn owners_are_those_asked_for_or_those_of_the_archive() {
    if !rustix::process::getuid().is_root() {
        // Only root gives files away; what is seen then is the refusal.
        let agent = Agent::start();
        let request = WriteTree {
            keep_owners: true,
            ..into("kept")
        };
        let bytes = archive(&[entry("a/file", Kind::File, b"x")]);
        assert_eq!(
            write(&mut agent.connect(), request, &bytes)
                .failure()
                .code(),
            FailureCode::Permission
        );
        return;
    }
    let agent = Agent::start();
    let mut host = agent.connect();
    let bytes = archive(&[
        entry("a/file", Kind::File, b"x"),
        entry("link", Kind::Symlink, b"a"),
    ]);
    let kept = WriteTree {
        keep_owners: true,
        ..into("kept")
    };
    written(&write(&mut host, kept, &bytes));
    let given = WriteTree {
        user: "77".to_owned(),
        group: "78".to_owned(),
        ..into("given")
    };
    written(&write(&mut host, given, &bytes));
    written(&write(&mut host, into("default"), &bytes));
    let owner = |path: &str| {
        let metadata = fs::symlink_metadata(agent.workdir().join(path)).expect("metadata");
        (metadata.uid(), metadata.gid())
    };
    for name in ["a", "a/file", "link"] {
        assert_eq!(owner(&format!("kept/{name}")), (4242, 4343), "{name}");
        assert_eq!(owner(&format!("given/{name}")), (77, 78), "{name}");
        assert_eq!(owner(&format!("default/{name}")), (0, 0), "{name}");
    }
}
