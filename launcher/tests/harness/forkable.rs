//! A real program that can be forked: it has threads, a disk and a socket, and does what one asks of it.

use super::{is_alive, wait_until, Client, Home};
use instavm_launcher::proto::{Fork, Listener, Start};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
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
call = ctypes.CDLL(None, use_errno=True).syscall
block_signal_33 = lambda: call(14, 0, ctypes.byref(ctypes.c_uint64(1 << 32)), None, 8)
def be_deaf():
    block_signal_33()
    kept.append("deaf")
    while True:
        time.sleep(0.01)
def be_held():
    # Blocks the signal for a while: whoever waits for this thread to stand waits in vain.
    block_signal_33()
    kept.append("held")
    time.sleep(1.5)
    call(14, 1, ctypes.byref(ctypes.c_uint64(1 << 32)), None, 8)
    while True:
        time.sleep(0.01)
def make_aio():
    assert call(206, 8, ctypes.byref(ctypes.c_uint64())) == 0
def make_ring():
    # Its memory is not mapped: the descriptor alone must be seen.
    assert call(425, 8, ctypes.create_string_buffer(120)) >= 0
def begin(what, thread):
    threading.Thread(target=thread, daemon=True).start()
    while what not in kept:
        time.sleep(0.001)
preparations = {
    "open": lambda: kept.append(open("other", "w")),
    "pipe": lambda: kept.append(os.pipe()),
    "share": lambda: kept.append(mmap.mmap(-1, 4096)),
    "aio": make_aio,
    "ring": make_ring,
    "timer": lambda: call(283, 1, 0),
    "watch": lambda: call(294, 0),
    "directory": lambda: kept.append(os.open(".", os.O_RDONLY)),
    "deaf": lambda: begin("deaf", be_deaf),
    "held": lambda: begin("held", be_held),
}
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
    elif asked == "program":
        try:
            os.execv("/bin/true", ["true"])
        except OSError as error:
            connection.sendall(str(error.errno).encode())
    elif asked == "vfork":
        # The thread waits in the kernel until the copy exits.
        connection.sendall(b"done")
        if ctypes.PyDLL(None).syscall(56, 0x4000 | 17, 0, 0, 0, 0) == 0:
            time.sleep(1.5)
            os._exit(0)
        os.wait()
    elif asked in preparations:
        preparations[asked]()
        connection.sendall(b"done")
"#;

pub fn program(vm: &str) -> Start {
    Start {
        vm_id: vm.into(),
        program: "/usr/bin/python3".into(),
        args: vec!["-S".into(), "-c".into(), PROGRAM.into()],
        listeners: vec![listener()],
        forkable: true,
        ..Start::default()
    }
}

pub fn listener() -> Listener {
    Listener {
        fd: 4,
        name: "agent.sock".into(),
    }
}

pub fn fork(parent: &str, vm: &str) -> Fork {
    Fork {
        parent_vm_id: parent.into(),
        vm_id: vm.into(),
        disks: vec!["disk.raw".into()],
        listeners: vec![listener()],
        ..Fork::default()
    }
}

pub fn start_program(home: &Home, client: &mut Client, number: usize) -> String {
    let vm = home.vm(number);
    fs::write(home.vm_file(&vm, "disk.raw"), [0; 64]).unwrap();
    client.start(program(&vm)).unwrap();
    vm
}

pub fn dial(home: &Home, vm: &str, what: &str) -> UnixStream {
    let mut stream = UnixStream::connect(home.vm_file(vm, "agent.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(what.as_bytes()).unwrap();
    stream
}

pub fn ask(home: &Home, vm: &str, what: &str) -> String {
    let mut answer = [0; 100];
    let length = dial(home, vm, what).read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// The process's own id, and how far each thread has counted.
pub fn tell(home: &Home, vm: &str) -> (u32, Vec<u64>) {
    let answer = ask(home, vm, "tell");
    let mut words = answer.split(' ');
    let pid = words.next().unwrap().parse().unwrap();
    (pid, words.map(|word| word.parse().unwrap()).collect())
}

/// All threads count on.
pub fn assert_lives(home: &Home, vm: &str) {
    let (_, before) = tell(home, vm);
    wait_until("every thread counts", || {
        let (_, now) = tell(home, vm);
        now.iter().zip(&before).all(|(now, before)| now > before)
    });
}

pub fn disk_count(home: &Home, vm: &str) -> u64 {
    let bytes = fs::read(home.vm_file(vm, "disk.raw")).unwrap();
    String::from_utf8_lossy(&bytes[..8]).parse().unwrap_or(0)
}

/// A copy that had its go runs and is known; any other is gone.
pub fn settle(home: &Home, child: &str) {
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

pub fn processes_in(home: &Home, vm: &str) -> bool {
    let directory = home.path.join("state/vms").join(vm);
    let mut entries = fs::read_dir("/proc").unwrap().flatten();
    entries.any(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == directory))
}
