//! Forks of a real program with threads, a disk and a socket. (Those of VMs are in the engine's exam.)
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod harness;

use harness::{is_alive, stat_fields, wait_until, Client, Home};
use instavm_launcher::proto::{ended::How, ErrorCode, Fork, Listener, Start};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Three threads count, the first of them into the disk; the main thread tells how far, or what one asks for.
const PROGRAM: &str = r#"
import ctypes, mmap, os, socket, sys, threading, time
disk = os.open("disk.raw", os.O_RDWR)
counts = [0, 0, 0]
def count(at):
    while True:
        counts[at] += 1
        if at == 0:
            os.pwrite(disk, b"%08d" % counts[0], 0)
        time.sleep(0.001)
for at in range(3):
    threading.Thread(target=count, args=(at,), daemon=True).start()
listener = socket.socket(fileno=4)
kept = []
while True:
    connection, _ = listener.accept()
    kept.append(connection)
    asked = connection.recv(100).decode()
    if asked == "tell":
        connection.sendall(("%d %d %d %d" % (os.getpid(), *counts)).encode())
        connection.close()
        kept.pop()
    elif asked == "keep":
        connection.sendall(b"kept")
    elif asked.startswith("exit "):
        os._exit(int(asked[5:]))
    elif asked == "open":
        kept.append(open("other", "w"))
    elif asked == "pipe":
        kept.append(os.pipe())
    elif asked == "share":
        kept.append(mmap.mmap(-1, 4096))
    elif asked == "program":
        try:
            os.execv("/bin/true", ["true"])
        except OSError as error:
            connection.sendall(str(error.errno).encode())
    if asked in ("open", "pipe", "share"):
        connection.sendall(b"done")
"#;

fn program(vm: &str) -> Start {
    Start {
        vm_id: vm.into(),
        program: "/usr/bin/python3".into(),
        args: vec!["-S".into(), "-c".into(), PROGRAM.into()],
        listeners: vec![listener()],
        forkable: true,
        ..Start::default()
    }
}

fn listener() -> Listener {
    Listener {
        fd: 4,
        name: "agent.sock".into(),
    }
}

fn fork(parent: &str, vm: &str) -> Fork {
    Fork {
        parent_vm_id: parent.into(),
        vm_id: vm.into(),
        disks: vec!["disk.raw".into()],
        listeners: vec![listener()],
        ..Fork::default()
    }
}

fn start_program(home: &Home, client: &mut Client, number: usize) -> String {
    let vm = home.vm(number);
    fs::write(home.vm_file(&vm, "disk.raw"), [0; 64]).unwrap();
    client.start(program(&vm)).unwrap();
    vm
}

fn dial(home: &Home, vm: &str, what: &str) -> UnixStream {
    let mut stream = UnixStream::connect(home.vm_file(vm, "agent.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(what.as_bytes()).unwrap();
    stream
}

fn ask(home: &Home, vm: &str, what: &str) -> String {
    let mut answer = [0; 100];
    let length = dial(home, vm, what).read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// The process's own id, and how far each thread has counted.
fn tell(home: &Home, vm: &str) -> (u32, Vec<u64>) {
    let answer = ask(home, vm, "tell");
    let mut words = answer.split(' ');
    let pid = words.next().unwrap().parse().unwrap();
    (pid, words.map(|word| word.parse().unwrap()).collect())
}

/// All threads count on.
fn assert_lives(home: &Home, vm: &str) {
    let (_, before) = tell(home, vm);
    wait_until("every thread counts", || {
        let (_, now) = tell(home, vm);
        now.iter().zip(&before).all(|(now, before)| now > before)
    });
}

fn disk_count(home: &Home, vm: &str) -> u64 {
    let bytes = fs::read(home.vm_file(vm, "disk.raw")).unwrap();
    String::from_utf8_lossy(&bytes[..8]).parse().unwrap_or(0)
}

#[test]
fn a_copy_goes_on_where_its_parent_stood_with_a_disk_and_a_socket_of_its_own() {
    let home = Home::new();
    let _launcher = home.launch_forking();
    let mut client = home.connect();
    let parent = start_program(&home, &mut client, 1);
    wait_until("the parent counts", || tell(&home, &parent).1[0] > 100);
    let child = home.vm(2);
    let started = client.fork(fork(&parent, &child)).unwrap();
    assert!(started.pause_us > 0);
    let (pid, counts) = tell(&home, &child);
    assert_eq!(pid, started.pid);
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    assert_lives(&home, &child);
    assert_lives(&home, &parent);
    client.signal(&parent, 19).unwrap();
    let stopped = disk_count(&home, &parent);
    assert_lives(&home, &child);
    assert!(disk_count(&home, &child) > 0);
    assert_eq!(disk_count(&home, &parent), stopped);
    client.signal(&parent, 18).unwrap();
    // A session and a directory of its own, so that it is found again and signalled alone.
    let stat = stat_fields(Path::new(&format!("/proc/{pid}/stat")));
    assert_eq!(
        (stat[2].as_str(), stat[3].as_str()),
        (pid.to_string().as_str(), pid.to_string().as_str())
    );
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        home.path.join("state/vms").join(&child)
    );
}

#[test]
fn the_end_of_a_copy_is_told_and_leaves_the_others_alone() {
    let home = Home::new();
    let _launcher = home.launch_forking();
    let mut client = home.connect();
    let parent = start_program(&home, &mut client, 1);
    assert_lives(&home, &parent);
    let (first, second) = (home.vm(2), home.vm(3));
    let pid = client.fork(fork(&parent, &first)).unwrap().pid;
    client.fork(fork(&first, &second)).unwrap();
    let _ = dial(&home, &first, "exit 7");
    let ended = client.ended();
    assert_eq!(
        (ended.vm_id.as_str(), ended.pid, ended.how),
        (first.as_str(), pid, Some(How::ExitCode(7)))
    );
    assert_lives(&home, &parent);
    assert_lives(&home, &second);
    client.signal(&parent, 9).unwrap();
    assert_eq!(client.ended().vm_id, parent);
    assert_lives(&home, &second);
}

#[test]
fn a_connection_of_the_parent_stays_and_is_cut_in_the_copy() {
    let home = Home::new();
    let _launcher = home.launch_forking();
    let mut client = home.connect();
    let parent = start_program(&home, &mut client, 1);
    let mut kept = dial(&home, &parent, "keep");
    let mut answer = [0; 4];
    kept.read_exact(&mut answer).unwrap();
    let child = home.vm(2);
    client.fork(fork(&parent, &child)).unwrap();
    assert_lives(&home, &child);
    client.signal(&child, 9).unwrap();
    client.ended();
    kept.set_nonblocking(true).unwrap();
    let nothing = kept.read(&mut answer).map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock));
}

#[test]
fn what_is_not_understood_is_refused_with_the_reason_and_the_parent_goes_on() {
    let home = Home::new();
    let _launcher = home.launch_forking();
    let mut client = home.connect();
    for (number, (what, reason)) in [
        ("open", "neither a disk nor its log"),
        ("pipe", "pipe:"),
        ("share", "mapped for writing, and shared"),
    ]
    .into_iter()
    .enumerate()
    {
        let parent = start_program(&home, &mut client, 10 + number);
        assert_lives(&home, &parent);
        assert_eq!(ask(&home, &parent, what), "done");
        let child = home.vm(20 + number);
        let (code, message) = client.fork(fork(&parent, &child)).unwrap_err();
        assert_eq!(code, ErrorCode::NotForkable, "{message}");
        assert!(message.contains(reason), "{message}");
        assert_lives(&home, &parent);
        let left: Vec<_> = fs::read_dir(home.vm_file(&child, "."))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "vm.log")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn without_the_library_nothing_is_forked() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let mut client = home.connect();
    let vm = home.vm(1);
    fs::write(home.vm_file(&vm, "disk.raw"), [0; 64]).unwrap();
    assert_eq!(
        client.start(program(&vm)).unwrap_err().0,
        ErrorCode::Invalid
    );
    client
        .start(Start {
            forkable: false,
            ..program(&vm)
        })
        .unwrap();
    assert_lives(&home, &vm);
    let (code, message) = client.fork(fork(&vm, &home.vm(2))).unwrap_err();
    assert_eq!(code, ErrorCode::NotForkable, "{message}");
    assert_lives(&home, &vm);
    assert_eq!(
        client.fork(fork(&home.vm(3), &home.vm(4))).unwrap_err().0,
        ErrorCode::NotFound
    );
}

#[test]
fn a_process_that_can_be_forked_starts_no_program() {
    let home = Home::new();
    let _launcher = home.launch_forking();
    let mut client = home.connect();
    let parent = start_program(&home, &mut client, 1);
    let child = home.vm(2);
    assert_lives(&home, &parent);
    client.fork(fork(&parent, &child)).unwrap();
    assert_eq!(ask(&home, &parent, "program"), "1");
    assert_eq!(ask(&home, &child, "program"), "1");
}

#[test]
fn a_launcher_that_is_killed_while_it_forks_harms_nobody() {
    let home = Home::new();
    let mut launcher = home.launch_forking();
    let parent = start_program(&home, &mut home.connect(), 1);
    assert_lives(&home, &parent);
    let (parent_pid, _) = tell(&home, &parent);
    for round in 0..40u32 {
        let mut client = home.connect();
        let child = home.vm(100 + usize::try_from(round).unwrap());
        client.send(instavm_launcher::proto::request::Request::Fork(fork(
            &parent, &child,
        )));
        // From before the request is read to after the child runs.
        std::thread::sleep(Duration::from_micros(u64::from(round) * 250));
        launcher.kill();
        launcher = home.launch_forking();
        let (pid, counts) = tell(&home, &parent);
        assert_eq!(pid, parent_pid);
        wait_until("the parent counts", || {
            tell(&home, &parent).1[0] > counts[0]
        });
        settle(&home, &child);
    }
    let descriptors = fs::read_dir(format!("/proc/{parent_pid}/fd"))
        .unwrap()
        .count();
    assert!(descriptors < 16, "{descriptors} descriptors are open");
}

/// A copy that had its go runs and is known; any other is gone.
fn settle(home: &Home, child: &str) {
    let mut client = home.connect();
    let start = Instant::now();
    loop {
        let known = client.list().into_iter().find(|one| one.vm_id == child);
        let running = known.as_ref().filter(|one| one.ended.is_none());
        if let Some(running) = running.filter(|one| is_alive(one.pid)) {
            if start.elapsed() > Duration::from_millis(200) {
                assert_eq!(tell(home, child).0, running.pid);
                client.signal(child, 9).unwrap();
                return;
            }
        } else if !processes_in(home, child) {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "a copy is neither known nor gone: {known:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn processes_in(home: &Home, vm: &str) -> bool {
    let directory = home.path.join("state/vms").join(vm);
    let mut entries = fs::read_dir("/proc").unwrap().flatten();
    entries.any(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == directory))
}
