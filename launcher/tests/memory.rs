//! Memory of a real process that has a file mapped, saved and put into another. (That of VMs is in the engine's exam.)
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod harness;

use harness::{Client, Home};
use instavm_launcher::proto::{
    request::Request, response::Response, ErrorCode, Listener, LoadPages, SavePages, Start,
};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PAGE_BYTES: usize = 4096;
const PAGES: usize = 1000;

/// Its memory is a private mapping of a file; it tells and sets the first byte of a page.
const PROGRAM: &str = r#"
import mmap, os, socket, sys
memory = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, access=mmap.ACCESS_COPY)
listener = socket.socket(fileno=4)
while True:
    connection, _ = listener.accept()
    page, *value = connection.recv(100).decode().split()
    at = int(page) * 4096
    if value:
        memory[at] = int(value[0])
    connection.sendall(b"%d" % memory[at])
    connection.close()
"#;

/// A file of memory whose page n begins with the byte n, and processes that have it mapped.
struct Room {
    home: Home,
    base: String,
}

impl Room {
    fn new() -> Self {
        let home = Home::new();
        let base = home.path("state/base");
        let bytes: Vec<u8> = (0..PAGES)
            .flat_map(|page| [page.to_le_bytes()[0]; PAGE_BYTES])
            .collect();
        fs::write(&base, bytes).unwrap();
        Self { home, base }
    }

    fn start(&self, client: &mut Client, number: usize) -> String {
        let vm = self.home.vm(number);
        let args = ["-S", "-c", PROGRAM, &self.base];
        client
            .start(Start {
                vm_id: vm.clone(),
                program: "/usr/bin/python3".into(),
                args: args.map(Into::into).to_vec(),
                listeners: vec![Listener {
                    fd: 4,
                    name: "agent.sock".into(),
                }],
                ..Start::default()
            })
            .unwrap();
        assert_eq!(self.ask(&vm, "1"), 1);
        vm
    }

    fn ask(&self, vm: &str, what: &str) -> u8 {
        let mut stream = UnixStream::connect(self.home.vm_file(vm, "agent.sock")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(what.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.parse().unwrap()
    }

    fn empty_file(&self, name: &str) -> String {
        let path = self.home.path(&format!("state/{name}"));
        File::create_new(&path).unwrap();
        path
    }

    fn save(&self, client: &mut Client, vm: &str, to: &str) -> Result<u64, (ErrorCode, String)> {
        let save = SavePages {
            vm_id: vm.into(),
            base_path: self.base.clone(),
            to_path: to.into(),
        };
        match client.call(Request::SavePages(save)) {
            Response::PagesSaved(saved) => Ok(saved.pages),
            Response::Error(error) => Err((error.code(), error.message)),
            other => panic!("{other:?}"),
        }
    }

    fn load(&self, client: &mut Client, vm: &str, from: &str) -> Result<(), (ErrorCode, String)> {
        client.ask(Request::LoadPages(LoadPages {
            vm_id: vm.into(),
            base_path: self.base.clone(),
            from_path: from.into(),
        }))
    }
}

#[test]
fn the_pages_that_differ_are_saved_and_another_process_has_them() {
    let room = Room::new();
    let _launcher = room.home.launch(&[]);
    let mut client = room.home.connect();
    let (first, second) = (room.start(&mut client, 1), room.start(&mut client, 2));
    for change in ["3 77", "4 78", "700 79", "999 80"] {
        room.ask(&first, change);
    }
    // Its own page now, with the file's bytes.
    room.ask(&first, "5 5");
    let pages = room.empty_file("pages");
    assert_eq!(room.save(&mut client, &first, &pages), Ok(4));
    room.ask(&second, "6 66");
    room.load(&mut client, &second, &pages).unwrap();
    let seen: Vec<u8> = ["3", "4", "700", "999", "5", "6", "2"]
        .map(|page| room.ask(&second, page))
        .to_vec();
    assert_eq!(seen, [77, 78, 79, 80, 5, 66, 2]);
    // What was loaded is saved again, with what came after it.
    let again = room.empty_file("again");
    assert_eq!(room.save(&mut client, &second, &again), Ok(5));
}

#[test]
fn what_is_not_that_process_s_memory_is_refused() {
    let room = Room::new();
    let _launcher = room.home.launch(&[]);
    let mut client = room.home.connect();
    let vm = room.start(&mut client, 1);
    let pages = room.empty_file("pages");
    let mut refused = |vm: &str, base: &str, to: &str| {
        let save = SavePages {
            vm_id: vm.into(),
            base_path: base.into(),
            to_path: to.into(),
        };
        client.ask(Request::SavePages(save)).unwrap_err().0
    };
    let copy = room.home.path("state/copy");
    fs::copy(&room.base, &copy).unwrap();
    assert_eq!(refused(&vm, &copy, &pages), ErrorCode::Invalid);
    let outside = room.home.path("outside");
    File::create_new(&outside).unwrap();
    assert_eq!(refused(&vm, &room.base, &outside), ErrorCode::Invalid);
    assert_eq!(refused(&vm, &room.base, &copy), ErrorCode::Exists);
    let absent = room.home.path("state/absent");
    assert_eq!(refused(&vm, &room.base, &absent), ErrorCode::NotFound);
    assert_eq!(
        refused("z1234567890123456789", &room.base, &pages),
        ErrorCode::NotFound
    );
    assert_eq!(refused("../vm", &room.base, &pages), ErrorCode::Invalid);
    assert_eq!(fs::metadata(&pages).unwrap().len(), 0);
}

#[test]
fn a_damaged_file_changes_no_memory() {
    let room = Room::new();
    let _launcher = room.home.launch(&[]);
    let mut client = room.home.connect();
    let (first, second) = (room.start(&mut client, 1), room.start(&mut client, 2));
    room.ask(&first, "3 77");
    let pages = room.empty_file("pages");
    assert_eq!(room.save(&mut client, &first, &pages), Ok(1));
    let file = File::options().write(true).open(&pages).unwrap();
    // The index names a page beyond the memory's end.
    file.write_all_at(&[0xff, 0xff], 2 * PAGE_BYTES as u64)
        .unwrap();
    let (code, message) = room.load(&mut client, &second, &pages).unwrap_err();
    assert_eq!(code, ErrorCode::Invalid, "{message}");
    file.set_len(2 * PAGE_BYTES as u64).unwrap();
    assert!(room.load(&mut client, &second, &pages).is_err());
    assert_eq!(room.ask(&second, "3"), 3);
}
