//! Clients that wait in blocking commands on a real server: who gets an element, in which order, and
//! when the wait ends without one.
//!
//! Invariant: each test runs with one core and with four, on keys that lie on different partitions;
//! an element names who pushed it, so that none can be received twice or vanish unseen.
//! `BLOCKING_ROUNDS` makes the runs longer.

mod exchange;
mod order;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use ironring::base::slot::Slot;
use ironring::txn::cores::SlotMap;
use support::client::Client;
use support::server::{Program, Server};

/// Partitions that the keys of a test lie on, where there are so many.
const PARTITIONS: usize = 4;
/// Rounds of an ordinary run: a few seconds in all.
const ROUNDS: u64 = 60;
/// Nothing that a test waits for takes longer, unless it never comes.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL_PAUSE: Duration = Duration::from_millis(2);

fn rounds() -> u64 {
    support::env("BLOCKING_ROUNDS").and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Runs `test` on servers with one core and with four; nobody waits when it has ended.
fn with_servers(test: impl Fn(&Server)) {
    for cores in [1, PARTITIONS] {
        let server = Server::start(&Program::Ours { cores }, &[]);
        test(&server);
        wait_for_blocked(&server, 0);
        assert_eq!(number(&server, "total_blocking_keys"), 0);
        assert_eq!(number(&server, "clients_in_timeout_table"), 0);
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}

/// One key on each partition, by what it is for.
fn names(purpose: &str) -> Vec<String> {
    let map = SlotMap::new(PARTITIONS);
    let mut candidates = (0..).map(|number| format!("{purpose}{number}"));
    (0..PARTITIONS)
        .map(|core| candidates.find(|name| map.owner(Slot::of(name.as_bytes())) == core))
        .map(|name| name.expect("numbers do not end"))
        .collect()
}

/// A number of INFO's Clients section.
fn number(server: &Server, field: &str) -> u64 {
    server.info("clients", field).and_then(|text| text.parse().ok()).expect("a number of INFO")
}

/// Polls until exactly so many clients wait.
fn wait_for_blocked(server: &Server, count: u64) {
    let deadline = Instant::now() + DEADLINE;
    while number(server, "blocked_clients") != count {
        assert!(Instant::now() < deadline, "there never were {count} blocked clients");
        std::thread::sleep(POLL_PAUSE);
    }
}

/// Splits a line at its blanks and calls it.
fn call(client: &mut Client, line: &str) -> String {
    client.send_command(&line.split_whitespace().collect::<Vec<_>>()).expect("a command is sent");
    read(client)
}

/// The next reply, as text.
fn read(client: &mut Client) -> String {
    String::from_utf8(client.read_reply().expect("a reply")).expect("the tests send text")
}

/// The elements in a reply: what begins with an `e`, which no name of a key does.
fn elements(reply: &str) -> impl Iterator<Item = String> {
    reply.lines().filter(|line| line.starts_with('e')).map(str::to_owned)
}
