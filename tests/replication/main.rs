//! Replication between real servers: ours and stock ones, over links that are cut.
//!
//! Invariant: each test runs with one core and with four; a random one prints its seed. `ORACLE` names
//! a stock server; without it Debian's is taken, and without that one the tests that need one are
//! skipped, loudly.

#[allow(dead_code, reason = "replies are compared elsewhere")]
#[path = "../differential/program/mod.rs"]
mod program;
#[path = "../differential/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

mod converge;
mod data;
mod hostile;
mod moving;
mod prefix;
mod primary;
mod proxy;
mod role;
mod sentinel;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::client::Client;
use support::env;
use support::server::{Program as Binary, Server};

const CORES: [usize; 2] = [1, 4];
const DEBIAN_ORACLE: &str = "/usr/bin/redis-server";
const DEADLINE: Duration = Duration::from_mins(1);
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// The stock server that tests run with, if there is one.
fn oracle() -> Option<Binary> {
    let path = env("ORACLE").unwrap_or(DEBIAN_ORACLE.into());
    let path = PathBuf::from(path.split(':').next().unwrap_or_default());
    if Path::new(&path).exists() {
        return Some(Binary::Stock(path));
    }
    println!("SKIPPED: there is no stock server at {}", path.display());
    None
}

fn start(program: &Binary, options: &[(&str, &str)]) -> Server {
    let mut all = vec![("repl-diskless-sync-delay", "0"), ("enable-debug-command", "yes")];
    all.extend(options);
    let owned: Vec<(String, String)> =
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Server::start(program, &owned)
}

fn call(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let reply = client.call(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
    String::from_utf8_lossy(&reply).trim_end().to_owned()
}

/// A command of a client of its own.
fn ask(server: &Server, line: &str) -> String {
    let mut client = server.client();
    let reply = call(&mut client, line);
    client.quit();
    reply
}

fn follow(replica: &Server, port: u16) {
    assert_eq!(ask(replica, &format!("REPLICAOF 127.0.0.1 {port}")), "+OK");
}

fn info(server: &Server, field: &str) -> String {
    server.info("replication", field).unwrap_or_default()
}

/// Waits until a condition holds.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(POLL_PAUSE);
    }
}

/// Waits until a replica follows its primary.
fn wait_for_link(replica: &Server) {
    wait_until("the link comes up", || info(replica, "master_link_status") == "up");
}

/// Waits until a replica has all that its primary has.
fn wait_in_sync(primary: &Server, replica: &Server) {
    wait_for_link(replica);
    wait_until("the replica catches up", || {
        let offset = info(primary, "master_repl_offset");
        info(replica, "slave_repl_offset") == offset
            && info(replica, "master_link_status") == "up"
            && info(primary, "master_repl_offset") == offset
    });
}
