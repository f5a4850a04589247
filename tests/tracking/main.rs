//! Clients that keep what they read, on a real server whose keys others change in every way; and
//! clients that watch all commands.
//!
//! Invariant: each test runs with one core and with four. A copy that is older than what its client
//! can know is a failure: with one writer to a key, which writes ascending numbers to its keys one
//! after the other, a number read under one key says what the others hold at least.
//! `TRACKING_MILLIS` makes the runs longer.

mod cache;
mod monitor;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::client::Client;
use support::server::{Program, Server};
use support::wait::wait_until;

/// How long an ordinary run writes and reads.
const MILLIS: u64 = 1_500;

fn run_time() -> Duration {
    let given = support::env("TRACKING_MILLIS").and_then(|text| text.parse().ok());
    Duration::from_millis(given.unwrap_or(MILLIS))
}

/// Runs `test` on servers with one core and with four.
fn with_servers(test: impl Fn(&Server)) {
    for cores in [1, 4] {
        let server = Server::start(&Program::Ours { cores }, &[]);
        test(&server);
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}

/// Splits a line at its blanks and calls it; the raw reply.
fn call(client: &mut Client, line: &str) -> Vec<u8> {
    client.call(&line.split_whitespace().collect::<Vec<_>>()).expect("a reply")
}

#[test]
fn a_copy_is_never_older_than_what_its_client_has_seen() {
    with_servers(|server| cache::run(server, run_time()));
}

#[test]
fn no_change_is_lost_however_it_comes_about() {
    with_servers(cache::every_kind_of_change);
}

#[test]
fn a_lower_limit_of_remembered_keys_counts_at_once() {
    with_servers(|server| {
        let (mut reader, mut other) = (server.client(), server.client());
        call(&mut reader, "HELLO 3");
        assert_eq!(call(&mut reader, "CLIENT TRACKING on"), b"+OK\r\n");
        let keys: Vec<String> = (0..20).map(|number| format!("key:{number}")).collect();
        call(&mut reader, &format!("MGET {}", keys.join(" ")));
        assert_eq!(call(&mut other, "CONFIG SET tracking-table-max-keys 5"), b"+OK\r\n");
        wait_until("the limit held", || {
            server.info("stats", "tracking_total_keys").as_deref() == Some("5")
        });
        // Nobody has read anything since: fifteen keys were forgotten, and each is told of.
        for _ in 0..15 {
            let told = reader.read_reply().expect("an invalidation");
            assert!(told.starts_with(b">2\r\n$10\r\ninvalidate\r\n*1\r\n"), "{told:?}");
        }
        assert_eq!(call(&mut reader, "PING"), b"+PONG\r\n");
    });
}

#[test]
fn all_who_watch_see_one_order_and_every_command() {
    with_servers(|server| monitor::run(server, run_time()));
}
