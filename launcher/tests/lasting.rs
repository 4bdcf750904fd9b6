//! The launcher's own life: one per directory, background, death, adoption, idle exit.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use harness::{is_alive, launcher_path, shell, sleep, stat_fields, wait_until, Home};
use instavm_launcher::proto::{ended::How, request, response, Hello};
use rustix::process::{kill_process, Pid, Signal};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn kill(pid: u32) {
    kill_process(
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
}

#[test]
fn processes_outlive_a_killed_launcher_and_the_next_one_tells_their_end() {
    let home = Home::new();
    let launcher = home.launch(&[]);
    let (lives, dies) = (home.vm(1), home.vm(2));
    let mut client = home.connect();
    let pid = client.start(sleep(&lives)).unwrap().pid;
    let lost = client.start(sleep(&dies)).unwrap().pid;
    launcher.kill();
    kill(lost);
    wait_until("the end of the second", || !is_alive(lost));
    assert!(is_alive(pid));

    let _launcher = home.launch(&[]);
    let mut client = home.connect();
    let known = client.list();
    let ends: Vec<_> = known
        .iter()
        .map(|process| {
            (
                process.pid,
                process.ended.as_ref().and_then(|ended| ended.how),
            )
        })
        .collect();
    assert_eq!(ends, [(pid, None), (lost, Some(How::Unknown(true)))]);
    client.signal(&lives, 9).unwrap();
    let ended = client.ended();
    assert_eq!(
        (ended.vm_id, ended.pid, ended.how),
        (lives, pid, Some(How::Unknown(true)))
    );
    assert!(!is_alive(pid));
}

#[test]
fn a_process_that_a_killed_launcher_could_not_write_down_is_found() {
    let home = Home::new();
    let launcher = home.launch(&[]);
    let vm = home.vm(1);
    let pid = home.connect().start(sleep(&vm)).unwrap().pid;
    launcher.kill();
    fs::remove_file(home.vm_file(&vm, "process.json")).unwrap();

    let _launcher = home.launch(&[]);
    let mut client = home.connect();
    assert_eq!(client.list()[0].pid, pid);
    client.signal(&vm, 9).unwrap();
    assert_eq!(client.ended().vm_id, vm);
    client.forget(&vm).unwrap();
    assert!(!is_alive(pid));
}

#[test]
fn a_pid_that_now_belongs_to_another_process_is_not_adopted() {
    let home = Home::new();
    let vm = home.vm(1);
    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = format!(
        "{{\"pid\":{},\"start_time_ticks\":1,\"boot_id\":\"{}\",\"program\":\"/bin/sleep\"}}\n",
        bystander.id(),
        boot_id.trim()
    );
    fs::write(home.vm_file(&vm, "process.json"), text).unwrap();
    let _launcher = home.launch(&[]);
    let mut client = home.connect();
    assert_eq!(
        client.list()[0].ended.as_ref().unwrap().how,
        Some(How::Unknown(true))
    );
    assert!(client.signal(&vm, 9).is_err());
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_term_ends_the_launcher_at_once_and_its_processes_live_on() {
    let home = Home::new();
    let mut launcher = home.launch(&[]);
    let vm = home.vm(1);
    let pid = home.connect().start(sleep(&vm)).unwrap().pid;
    kill_process(Pid::from_child(&launcher.process), Signal::TERM).unwrap();
    launcher.process.wait().unwrap();
    assert!(is_alive(pid));
    // The socket that it left is no obstacle.
    let _launcher = home.launch(&[]);
    assert_eq!(home.connect().list()[0].pid, pid);
}

#[test]
fn a_second_launcher_of_a_directory_names_the_first_and_leaves() {
    let home = Home::new();
    let launcher = home.launch(&[]);
    let second = Command::new(launcher_path())
        .args(home.args())
        .output()
        .unwrap();
    let expected = format!(
        "instavm-launcher: another launcher (pid {}) serves {}\n",
        launcher.process.id(),
        home.path("state")
    );
    assert_eq!(
        (
            second.status.code(),
            String::from_utf8(second.stderr).unwrap()
        ),
        (Some(3), expected)
    );
    assert_eq!(home.connect().list(), []);
}

#[test]
fn in_the_background_it_returns_when_it_listens_and_has_a_session_of_its_own() {
    let home = Home::new();
    let output = Command::new(launcher_path())
        .args(home.args())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut client = home.connect_silently();
    let response::Response::Hello(hello) = client.call(request::Request::Hello(Hello {
        protocol_version: 1,
    })) else {
        panic!("no hello");
    };
    assert_eq!(
        (hello.programs[0].as_str(), hello.read_roots.clone()),
        ("/bin/sh", vec![home.path("images")])
    );
    let stat = stat_fields(Path::new(&format!("/proc/{}/stat", hello.pid)));
    assert_eq!(
        (stat[2].clone(), stat[3].clone()),
        (hello.pid.to_string(), hello.pid.to_string())
    );
    assert_ne!(stat[1], std::process::id().to_string());
    assert_eq!(
        fs::read_to_string(home.path("state/launcher.lock"))
            .unwrap()
            .trim(),
        hello.pid.to_string()
    );
    for file in ["launcher.sock", "state/launcher.lock", "state/launcher.log"] {
        assert_eq!(
            fs::metadata(home.path(file)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{file}"
        );
    }
    kill(hello.pid);
}

#[test]
fn what_is_wrong_with_the_command_is_said_by_the_command() {
    let home = Home::new();
    fs::write(home.path("launcher.sock"), "a file").unwrap();
    let output = Command::new(launcher_path())
        .args(home.args())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        format!(
            "instavm-launcher: {}: exists and is not a socket\n",
            home.path("launcher.sock")
        )
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        fs::read_to_string(home.path("launcher.sock")).unwrap(),
        "a file"
    );
}

#[test]
fn an_idle_launcher_exits_and_removes_what_it_made() {
    let home = Home::new();
    let mut launcher = home.launch(&["--idle-exit-s", "1"]);
    assert!(launcher.process.wait().unwrap().success());
    assert!(!Path::new(&home.path("launcher.sock")).exists());
    assert!(!Path::new(&home.path("state/launcher.lock")).exists());
}

#[test]
fn a_client_or_a_process_keeps_the_launcher() {
    let home = Home::new();
    let mut launcher = home.launch(&["--idle-exit-s", "1"]);
    let mut client = home.connect();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let pid = client
        .start(shell(&home.vm(1), "exec sleep 600"))
        .unwrap()
        .pid;
    drop(client);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert!(launcher.process.try_wait().unwrap().is_none());
    kill(pid);
    assert!(launcher.process.wait().unwrap().success());
}
