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

mod channel;
mod channel_replica;
mod converge;
mod data;
mod diskless;
mod failover;
mod hostile;
mod moving;
mod prefix;
mod primary;
mod proxy;
mod role;
mod sentinel;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::client::call;
use support::env;
use support::server::{Program as Binary, Server};
use support::wait::{DEADLINE, wait_until};

const CORES: [usize; 2] = [1, 4];
const DEBIAN_ORACLE: &str = "/usr/bin/redis-server";

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

/// True for a stock server that lets everybody call DEBUG, and has no directive for it.
fn is_before_7(program: &Binary) -> bool {
    let Binary::Stock(path) = program else { return false };
    let shown = Command::new(path).arg("--version").output().expect("its version");
    String::from_utf8_lossy(&shown.stdout).contains(" v=6.")
}

fn start(program: &Binary, options: &[(&str, &str)]) -> Server {
    let mut all = vec![("repl-diskless-sync-delay", "0")];
    if !is_before_7(program) {
        all.push(("enable-debug-command", "yes"));
    }
    all.extend(options);
    let owned: Vec<(String, String)> =
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Server::start(program, &owned)
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
