//! Subscribers that do not read are cut off, and nobody else waits for them.

use std::time::{Duration, Instant};

use super::support::server::Server;
use super::{call, integer, listeners, read, wait_until, with_servers, words};

/// Fills the socket's buffers and the limit soon.
const PAYLOAD_BYTES: usize = 50_000;

fn cut_off(server: &Server) {
    let mut slow = server.client();
    call(&mut slow, "SUBSCRIBE news");
    let mut fast = server.client();
    call(&mut fast, "SUBSCRIBE news");
    let mut publisher = server.client();
    let payload = "x".repeat(PAYLOAD_BYTES);
    let started = Instant::now();
    let mut count = 2;
    while count == 2 {
        count = integer(&call(&mut publisher, &format!("PUBLISH news {payload}")));
        assert_eq!(words(&read(&mut fast))[2].len(), PAYLOAD_BYTES);
        assert!(started.elapsed() < Duration::from_secs(20), "the slow one is not cut off");
    }
    assert_eq!(listeners(&mut publisher, "news"), 1);
    let cut = server.info("stats", "client_output_buffer_limit_disconnections");
    assert_eq!(cut.as_deref(), Some("1"));
    server.must_log(" scheduled to be closed ASAP for overcoming of output buffer");
    // What it had got before is still there; then the connection ends.
    while slow.read_reply().is_ok() {}
}

#[test]
fn a_slow_subscriber_is_cut_off_at_the_hard_limit() {
    with_servers(&[("client-output-buffer-limit", "pubsub 1mb 0 0")], cut_off);
}

#[test]
fn a_slow_subscriber_is_cut_off_when_the_soft_limit_lasts() {
    with_servers(&[("client-output-buffer-limit", "pubsub 0 500kb 4")], |server| {
        let mut slow = server.client();
        call(&mut slow, "SUBSCRIBE news");
        let mut publisher = server.client();
        let payload = "x".repeat(PAYLOAD_BYTES);
        // More than sockets hold.
        for _ in 0..200 {
            call(&mut publisher, &format!("PUBLISH news {payload}"));
        }
        assert_eq!(listeners(&mut publisher, "news"), 1, "it has its seconds");
        wait_until("it is cut off", || listeners(&mut publisher, "news") == 0);
    });
}

#[test]
fn a_normal_client_is_cut_off_too() {
    for limit in ["normal 100kb 0 0", "normal 20mb 0 0", "normal 0 10mb 1"] {
        with_servers(&[("client-output-buffer-limit", limit)], normal_cut_off);
    }
}

fn normal_cut_off(server: &Server) {
    let mut client = server.client();
    call(&mut client, &format!("SET k {}", "x".repeat(PAYLOAD_BYTES)));
    let gets = b"GET k\r\n".repeat(2000);
    client.send(&gets).expect("a pipeline is sent");
    let cut = || server.info("stats", "client_output_buffer_limit_disconnections");
    wait_until("it is cut off", || cut().as_deref() == Some("1"));
}
