//! What a started process is given, and how its end is told.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use harness::{is_alive, launcher_path, shell, sleep, stat_fields, wait_until, Home, Launcher};
use instavm_launcher::proto::{
    ended::How, request, ErrorCode, FileClone, InheritedFile, SetPriority, Start,
};
use std::fs;
use std::os::unix::fs::{symlink, FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

#[test]
fn a_process_runs_to_its_end_and_its_exit_code_is_told() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    let started = client
        .start(shell(&vm, "echo out; echo err >&2; exit 7"))
        .unwrap();
    let ended = client.ended();
    assert_eq!(
        (ended.vm_id.as_str(), ended.pid, ended.how),
        (vm.as_str(), started.pid, Some(How::ExitCode(7)))
    );
    assert_eq!(
        fs::read_to_string(home.vm_file(&vm, "vm.log")).unwrap(),
        "out\nerr\n"
    );
    assert_eq!(
        fs::metadata(home.vm_file(&vm, "vm.log"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let known = client.list();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (known[0].start_time_ticks, known[0].ended.clone()),
        (started.start_time_ticks, Some(ended))
    );
}

#[test]
fn an_ended_process_is_remembered_until_it_is_forgotten() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    client.start(shell(&vm, "exit 0")).unwrap();
    client.ended();
    assert_eq!(
        client.start(shell(&vm, "exit 0")).unwrap_err().0,
        ErrorCode::Exists
    );
    assert!(home.vm_file(&vm, "process.json").exists());
    client.forget(&vm).unwrap();
    assert!(!home.vm_file(&vm, "process.json").exists());
    assert_eq!(client.list(), []);
    assert_eq!(client.forget(&vm).unwrap_err().0, ErrorCode::NotFound);
    client.start(shell(&vm, "exit 0")).unwrap();
}

#[test]
fn a_running_process_cannot_be_forgotten_or_started_again() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    client.start(sleep(&vm)).unwrap();
    assert_eq!(client.forget(&vm).unwrap_err().0, ErrorCode::StillRunning);
    assert_eq!(client.start(sleep(&vm)).unwrap_err().0, ErrorCode::Exists);
}

#[test]
fn signals_stop_continue_and_end_a_process() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    let pid = client.start(sleep(&vm)).unwrap().pid;
    let state = || stat_fields(Path::new(&format!("/proc/{pid}/stat")))[0].clone();
    client.signal(&vm, 19).unwrap();
    wait_until("stopped", || state() == "T");
    client.signal(&vm, 18).unwrap();
    wait_until("continued", || state() == "S");
    assert_eq!(client.signal(&vm, 1).unwrap_err().0, ErrorCode::Invalid);
    client.signal(&vm, 15).unwrap();
    assert_eq!(client.ended().how, Some(How::Signal(15)));
    assert_eq!(client.signal(&vm, 9).unwrap_err().0, ErrorCode::NotFound);
    assert!(!is_alive(pid));
}

#[test]
fn a_process_starts_in_its_directory_in_a_session_of_its_own_with_nothing_inherited() {
    let home = Home::new();
    let vm = home.vm(1);
    // A launcher that was given ignored signals, an open file and an environment that must not reach VMs.
    let words: Vec<String> = home.args().iter().map(|arg| format!("'{arg}'")).collect();
    let script = format!(
        "trap '' TERM HUP USR1 PIPE; exec 9</etc/passwd; SECRET=1 exec '{}' {} --foreground",
        launcher_path(),
        words.join(" ")
    );
    let _launcher = Launcher::from(Command::new("sh").args(["-c", &script, "--"]));
    let mut client = home.connect();
    let script = "env; pwd; cat /proc/self/oom_score_adj; grep -E '^Sig(Blk|Ign)' /proc/self/status; readlink /proc/self/fd/0; exec sleep 600";
    let mut start = shell(&vm, script);
    start.priority = 7;
    let pid = client.start(start).unwrap().pid;
    let directory = fs::canonicalize(home.vm_file(&vm, "")).unwrap();
    wait_until("the script's last command", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "sleep\n"
    });
    let seen = fs::read_to_string(home.vm_file(&vm, "vm.log")).unwrap();
    let (environment, rest) = seen
        .split_once(&format!("\n{}\n", directory.display()))
        .unwrap();
    assert!(
        environment.lines().all(|line| line.starts_with("PWD=")
            || line.starts_with("_=")
            || line.starts_with("OLDPWD")
            || line.starts_with("SHLVL")),
        "{environment}"
    );
    assert_eq!(
        rest,
        "500\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n/dev/null\n"
    );
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        directory
    );
    let stat = stat_fields(Path::new(&format!("/proc/{pid}/stat")));
    let (group, session, nice) = (&stat[2], &stat[3], &stat[16]);
    assert_eq!(
        (group.as_str(), session.as_str(), nice.as_str()),
        (pid.to_string().as_str(), pid.to_string().as_str(), "7")
    );
}

#[test]
fn a_process_finds_open_what_it_inherits_and_nothing_else() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    // Other clients' connections and other VMs' descriptors must not show up.
    let (mut client, _others, vm) = (home.connect(), [home.connect(), home.connect()], home.vm(1));
    client.start(sleep(&home.vm(2))).unwrap();
    fs::write(home.path("images/root"), "image").unwrap();
    fs::write(home.path("state/disk"), "disk").unwrap();
    let file = |fd, path: &str, writable| InheritedFile {
        fd,
        path: home.path(path),
        writable,
    };
    let inherited = vec![
        file(62, "images/root", false),
        file(3, "state/disk", true),
        file(9, "images/root", false),
    ];
    let args = vec!["-1".into(), "/proc/self/fd".into()];
    client
        .start(Start {
            vm_id: vm.clone(),
            program: "/bin/ls".into(),
            args,
            inherited: inherited.clone(),
            ..Start::default()
        })
        .unwrap();
    assert_eq!(client.ended().how, Some(How::ExitCode(0)));
    let mut numbers: Vec<u32> = fs::read_to_string(home.vm_file(&vm, "vm.log"))
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    // 4 is the directory that ls itself reads.
    assert_eq!(numbers, [0, 1, 2, 3, 4, 9, 62]);

    let vm = home.vm(3);
    let mut start = shell(
        &vm,
        "cat <&3; echo; cat <&9; echo; echo written >&3; echo denied >&9 || echo 'read-only'",
    );
    start.inherited = inherited;
    client.start(start).unwrap();
    client.ended();
    let seen = fs::read_to_string(home.vm_file(&vm, "vm.log")).unwrap();
    assert!(
        seen.starts_with("disk\nimage\n") && seen.ends_with("read-only\n"),
        "{seen}"
    );
    assert_eq!(
        fs::read_to_string(home.path("state/disk")).unwrap(),
        "diskwritten\n"
    );
    assert_eq!(
        fs::read_to_string(home.path("images/root")).unwrap(),
        "image"
    );
}

#[test]
fn clones_are_made_before_the_process_and_stay_sparse() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    let source = fs::File::create_new(home.path("images/disk")).unwrap();
    source.set_len(256 << 20).unwrap();
    source.write_all_at(b"data", 100 << 20).unwrap();
    let mut start = shell(&vm, "tail -c +104857601 disk.raw | head -c 4");
    start.clones = vec![FileClone {
        from: home.path("images/disk"),
        to_name: "disk.raw".into(),
    }];
    client.start(start).unwrap();
    assert_eq!(client.ended().how, Some(How::ExitCode(0)));
    assert_eq!(
        fs::read_to_string(home.vm_file(&vm, "vm.log")).unwrap(),
        "data"
    );
    let copy = fs::metadata(home.vm_file(&vm, "disk.raw")).unwrap();
    assert_eq!(
        (copy.len(), copy.permissions().mode() & 0o777),
        (256 << 20, 0o600)
    );
    assert!(copy.blocks() * 512 < 1 << 20, "{} blocks", copy.blocks());
}

#[test]
fn a_failed_start_leaves_no_copies_and_can_be_tried_again() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    fs::write(home.path("images/disk"), "disk").unwrap();
    fs::write(home.vm_file(&vm, "taken"), "mine").unwrap();
    let clone = |name: &str| FileClone {
        from: home.path("images/disk"),
        to_name: name.into(),
    };
    let attempt = |program: &str, clones: Vec<FileClone>| Start {
        vm_id: vm.clone(),
        program: program.into(),
        clones,
        ..Start::default()
    };
    let (code, message) = client
        .start(attempt("/bin/sh", vec![clone("one"), clone("taken")]))
        .unwrap_err();
    assert_eq!(
        (code, message.starts_with("taken: ")),
        (ErrorCode::Exists, true),
        "{message}"
    );
    let (code, message) = client
        .start(attempt("/nonexistent/program", vec![clone("one")]))
        .unwrap_err();
    assert_eq!(
        (code, message.starts_with("start of /nonexistent/program: ")),
        (ErrorCode::NotFound, true),
        "{message}"
    );
    assert!(!home.vm_file(&vm, "one").exists() && !home.vm_file(&vm, "process.json").exists());
    assert_eq!(
        fs::read_to_string(home.vm_file(&vm, "taken")).unwrap(),
        "mine"
    );
    client
        .start(attempt("/bin/sh", vec![clone("one")]))
        .unwrap();
    assert!(home.vm_file(&vm, "one").exists());
}

#[test]
fn paths_that_lead_out_are_refused() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    fs::write(home.path("secret"), "secret").unwrap();
    symlink(home.path("secret"), home.path("state/link")).unwrap();
    for path in [
        "/etc/passwd".into(),
        home.path("secret"),
        home.path("state/link"),
        home.path("images/../secret"),
    ] {
        let clone = FileClone {
            from: path.clone(),
            to_name: "copy".into(),
        };
        let (code, message) = client
            .start(Start {
                clones: vec![clone],
                ..shell(&vm, "exit")
            })
            .unwrap_err();
        assert_eq!(
            (code, message.contains("is outside")),
            (ErrorCode::Invalid, true),
            "{path}: {message}"
        );
        let inherited = InheritedFile {
            fd: 3,
            path: path.clone(),
            writable: false,
        };
        assert_eq!(
            client
                .start(Start {
                    inherited: vec![inherited],
                    ..shell(&vm, "exit")
                })
                .unwrap_err()
                .0,
            ErrorCode::Invalid,
            "{path}"
        );
    }
    fs::write(home.path("images/root"), "image").unwrap();
    let writable = InheritedFile {
        fd: 3,
        path: home.path("images/root"),
        writable: true,
    };
    assert_eq!(
        client
            .start(Start {
                inherited: vec![writable],
                ..shell(&vm, "exit")
            })
            .unwrap_err()
            .0,
        ErrorCode::Invalid
    );
    // A clone's name that a link in the VM's directory leads elsewhere is not followed.
    symlink(home.path("images/planted"), home.vm_file(&vm, "disk")).unwrap();
    let clone = FileClone {
        from: home.path("images/root"),
        to_name: "disk".into(),
    };
    assert_eq!(
        client
            .start(Start {
                clones: vec![clone],
                ..shell(&vm, "exit")
            })
            .unwrap_err()
            .0,
        ErrorCode::Exists
    );
    assert!(!Path::new(&home.path("images/planted")).exists());
}

#[test]
fn a_priority_changes_for_every_thread_of_a_process() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm, inner) = (home.connect(), home.vm(1), Home::new());
    // The launcher itself is a program with threads.
    let args = [inner.args(), vec!["--foreground".into()]].concat();
    let pid = client
        .start(Start {
            vm_id: vm.clone(),
            program: launcher_path(),
            args,
            priority: 10,
            ..Start::default()
        })
        .unwrap()
        .pid;
    wait_until("the inner launcher's socket", || {
        Path::new(&inner.path("launcher.sock")).exists()
    });
    let nice_values = || -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks
            .map(|task| stat_fields(&task.unwrap().path().join("stat"))[16].clone())
            .collect()
    };
    wait_until("five threads", || nice_values().len() == 5);
    assert_eq!(nice_values(), ["10"; 5]);
    client
        .ask(request::Request::SetPriority(SetPriority {
            vm_id: vm.clone(),
            priority: 12,
        }))
        .unwrap();
    assert_eq!(nice_values(), ["12"; 5]);
    if let Ok(group) = fs::read_to_string(format!("/proc/{pid}/autogroup")) {
        assert!(group.trim_end().ends_with("nice 12"), "{group}");
    }
    let refused = client.ask(request::Request::SetPriority(SetPriority {
        vm_id: vm,
        priority: -21,
    }));
    assert_eq!(refused.unwrap_err().0, ErrorCode::Invalid);
}

#[test]
fn fifty_starts_at_once_all_run_and_all_ends_are_told() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let mut client = home.connect();
    fs::write(home.path("images/disk"), vec![1; 100_000]).unwrap();
    let vms: Vec<String> = (0..50).map(|number| home.vm(number)).collect();
    for (number, vm) in vms.iter().enumerate() {
        let mut start = shell(vm, &format!("wc -c < disk; exit {number}"));
        start.clones = vec![FileClone {
            from: home.path("images/disk"),
            to_name: "disk".into(),
        }];
        client.send(request::Request::Start(start));
    }
    for _ in &vms {
        let (_, response) = client.receive();
        assert!(
            matches!(
                response,
                instavm_launcher::proto::response::Response::Started(_)
            ),
            "{response:?}"
        );
    }
    let mut ends: Vec<_> = vms
        .iter()
        .map(|_| client.ended())
        .map(|ended| (ended.vm_id, ended.how))
        .collect();
    ends.sort_by(|one, other| one.0.cmp(&other.0));
    for (number, (vm, end)) in vms.iter().zip(ends).enumerate() {
        assert_eq!(
            end,
            (
                vm.clone(),
                Some(How::ExitCode(u32::try_from(number).unwrap()))
            )
        );
        assert_eq!(
            fs::read_to_string(home.vm_file(vm, "vm.log"))
                .unwrap()
                .trim(),
            "100000"
        );
    }
}

#[test]
fn a_start_whose_client_left_leaves_nothing_half_made() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut client, vm) = (home.connect(), home.vm(1));
    fs::write(home.path("images/disk"), vec![1; 32 << 20]).unwrap();
    let clones = (0..8)
        .map(|number| FileClone {
            from: home.path("images/disk"),
            to_name: format!("disk-{number}"),
        })
        .collect();
    client.send(request::Request::Start(Start {
        clones,
        ..sleep(&vm)
    }));
    drop(client);
    let mut client = home.connect();
    wait_until("the start's end", || {
        let disks = (0..8)
            .filter(|number| home.vm_file(&vm, &format!("disk-{number}")).exists())
            .count();
        let runs = !client.list().is_empty();
        (runs && disks == 8) || (!runs && disks == 0)
    });
}
