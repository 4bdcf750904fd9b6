//! Forks of a real program with threads, a disk and a socket. (Those of VMs are in the engine's exam.)
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod harness;

use harness::forkable::{
    ask, assert_lives, dial, disk_count, fork, program, settle, start_program, tell,
};
use harness::{stat_fields, wait_until, Home};
use instavm_launcher::proto::{ended::How, ErrorCode, Start};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

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
