//! Several clients, and those that misbehave.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use harness::{shell, sleep, wait_until, Home};
use instavm_launcher::proto::{ended::How, request, response, ErrorCode, Hello, List};
use std::io::Write;

#[test]
fn every_greeted_client_hears_of_an_end() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let (mut starter, mut listener, vm) = (home.connect(), home.connect(), home.vm(1));
    starter.start(shell(&vm, "exit 3")).unwrap();
    assert_eq!(starter.ended().how, Some(How::ExitCode(3)));
    assert_eq!(listener.ended().vm_id, vm);
}

#[test]
fn a_version_that_is_not_spoken_is_refused_with_both_numbers() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let mut client = home.connect_silently();
    let response::Response::Error(error) = client.call(request::Request::Hello(Hello {
        protocol_version: 99,
    })) else {
        panic!("greeted");
    };
    assert_eq!(
        (error.code(), error.message.as_str()),
        (
            ErrorCode::Invalid,
            "protocol version 99: this launcher speaks 1"
        )
    );
}

#[test]
fn a_client_that_does_not_greet_first_is_disconnected() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let mut client = home.connect_silently();
    client.send(request::Request::List(List {}));
    assert!(client.read().is_none());
}

#[test]
fn malformed_frames_end_their_connection_and_no_other() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let mut steady = home.connect();
    let bad: [&[u8]; 4] = [
        &[0; 4],
        &[0xff; 4],
        &[1, 0, 16, 0],
        &[3, 0, 0, 0, 0xff, 0xff, 0xff],
    ];
    for bytes in bad {
        let mut client = home.connect();
        client.stream.write_all(bytes).unwrap();
        assert!(client.read().is_none(), "{bytes:?}");
        assert_eq!(steady.list(), []);
    }
}

#[test]
fn noise_never_harms_the_launcher() {
    let home = Home::new();
    let mut launcher = home.launch(&[]);
    let mut state = 0x1234_5678_9abc_def1u64;
    for round in 0..300usize {
        let mut client = home.connect();
        let noise: Vec<u8> = (0..200)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        // Every other round in a frame of the right length, so that the bytes reach the decoder.
        let framed = [200u32.to_le_bytes().as_slice(), &noise].concat();
        let _ = client
            .stream
            .write_all(if round % 2 == 0 { &noise } else { &framed });
    }
    assert!(launcher.process.try_wait().unwrap().is_none());
    assert_eq!(home.connect().list(), []);
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_holds_up_nobody() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let mut steady = home.connect();
    for number in 0..20 {
        steady.start(sleep(&home.vm(number))).unwrap();
    }
    let mut lazy = home.connect();
    let body = [0x08, 0x01, 0x6a, 0x00]; // List, request id 1
    let frame = [4u32.to_le_bytes().as_slice(), &body].concat();
    let flood = frame.repeat(1_000);
    lazy.stream
        .set_write_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    wait_until("the disconnect", || lazy.stream.write_all(&flood).is_err());
    assert_eq!(steady.list().len(), 20);
}

#[test]
fn more_clients_than_the_limit_are_turned_away() {
    let home = Home::new();
    let _launcher = home.launch(&[]);
    let mut clients: Vec<_> = (0..64).map(|_| home.connect()).collect();
    assert!(home.connect_silently().read().is_none());
    clients.pop();
    wait_until("a free place", || {
        let mut client = home.connect_silently();
        client
            .stream
            .write_all(&[6, 0, 0, 0, 0x08, 0x01, 0x52, 0x02, 0x08, 0x01])
            .is_ok()
            && client.read().is_some()
    });
}
