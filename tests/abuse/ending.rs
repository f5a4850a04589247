//! The end of the process in the middle of everything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::garbage::keys;
use super::support::client::encode;
use super::support::server::Server;
use super::{connect, kill, must_end, number, send_what_fits, start, wait_until};

/// Clients of every kind at work, and others that hang: each in its own thread until `stop`.
fn crowd(port: u16, kind: usize, stop: &AtomicBool) {
    let keys = keys();
    let mut pipeline = Vec::new();
    for round in 0..200 {
        pipeline.extend(encode(&["INCR", &keys[(round + kind) % 4]]));
        pipeline.extend(encode(&["MGET", &keys[0], &keys[1], &keys[2], &keys[3]]));
    }
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let mut chunk = vec![0; 1 << 16];
        for _ in 0..20 {
            // The server may be gone.
            if stream.write_all(&pipeline).is_err() || !matches!(stream.read(&mut chunk), Ok(1..)) {
                return;
            }
        }
    }
}

fn ends_in_order(cores: usize, order: impl Fn(&Server), lines: &[&str]) {
    let mut server = start(cores, &[]);
    let stop = AtomicBool::new(false);
    let port = server.port();
    thread::scope(|scope| {
        let stop = &stop;
        for kind in 0..4 {
            scope.spawn(move || crowd(port, kind, stop));
        }
        wait_until("a crowd at work", || {
            number(&server, "stats", "total_commands_processed") > 2_000
        });
        let mut deaf = connect(&server);
        send_what_fits(&mut deaf, &encode(&["CONFIG", "GET", "*"]).repeat(20_000));
        let mut silent = connect(&server);
        silent.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nxxx").expect("sent");
        order(&server);
        must_end(&mut server);
        stop.store(true, Ordering::Relaxed);
    });
    let log = server.log();
    let mut at = 0;
    for line in lines {
        let found = log[at..].find(line);
        at += found.unwrap_or_else(|| panic!("`{line}` is missing, or too early:\n{log}"));
    }
}

#[test]
fn signals_end_a_busy_server_in_order() {
    for (cores, signal) in [(1, "TERM"), (4, "INT")] {
        let received = format!("Received SIG{signal} scheduling shutdown...");
        let lines =
            [&received[..], "User requested shutdown...", "is now ready to exit, bye bye..."];
        ends_in_order(cores, |server| kill(server.pid(), signal), &lines);
    }
}

#[test]
fn the_command_ends_a_busy_server_in_order() {
    for cores in [1, 4] {
        let lines = ["User requested shutdown...", "is now ready to exit, bye bye..."];
        let order = |server: &Server| {
            let mut client = server.client();
            client.send_command(&["SHUTDOWN"]).expect("sent");
            assert!(client.read_reply().is_err(), "SHUTDOWN that goes well has no reply");
        };
        ends_in_order(cores, order, &lines);
    }
}
