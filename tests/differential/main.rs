//! Differential tests: random programs sent to a stock server and to ours, and every reply, then
//! the whole keyspace, compared byte for byte.
//!
//! Invariant: a program is a function of its seed, so a printed seed replays a failure:
//!
//! ```text
//! DIFF_SEED=12345 DIFF_STEPS=1 cargo test --test differential four_cores_resp3
//! ```
//!
//! `ORACLE` is the path of the stock server; without it Debian's `/usr/bin/redis-server` is taken.
//! `DIFF_STEPS` is how many commands each of the tests sends, at least one program. What Redis 7.0,
//! the oracle of every day, answers unlike 8.0.6, whose behaviour is ours, stands in
//! `known_differences.txt` and nowhere else.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod known;
mod program;
mod random;
mod run;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use known::KnownDifferences;
use program::{Oracle, Program};
use run::{Mismatch, Pair};
use support::env;
use support::reply::Node;
use support::server;

#[test]
fn one_core_resp2() {
    compare(1, 2, 0);
}

#[test]
fn one_core_resp3() {
    compare(1, 3, 1_000_000);
}

#[test]
fn four_cores_resp2() {
    compare(4, 2, 2_000_000);
}

#[test]
fn four_cores_resp3() {
    compare(4, 3, 3_000_000);
}

#[test]
fn clients_on_one_core() {
    compare_clients(1, 4_000_000);
}

#[test]
fn clients_on_four_cores() {
    compare_clients(4, 5_000_000);
}

/// As `compare`, with programs of several clients.
fn compare_clients(cores: usize, default_seed: u64) {
    let Some(oracle) = oracle() else {
        eprintln!("SKIPPED: no stock server; set ORACLE or install {DEBIAN_ORACLE}");
        return;
    };
    let options = [("enable-debug-command".to_owned(), "yes".to_owned())];
    let stock = server::Server::start(&server::Program::Stock(oracle), &options);
    let version = stock.info("server", "redis_version").unwrap_or_default();
    if series_of(&version) < CLIENTS_SINCE {
        eprintln!("SKIPPED: Redis {version} tells pushes in another order; set ORACLE to 8.0");
        return;
    }
    let ours = server::Server::start(&server::Program::Ours { cores }, &options);
    let first_seed = number("DIFF_SEED").unwrap_or(default_seed);
    let steps_wanted = number("DIFF_STEPS").unwrap_or(CLIENT_STEPS);
    println!("oracle {version}, {cores} cores, {steps_wanted} steps from seed {first_seed}");
    let (mut seed, mut steps) = (first_seed, 0);
    while steps < steps_wanted.max(1) {
        let program = clients::program::Program::generate(seed);
        if let Err(difference) = clients::compare(&stock, &ours, &program) {
            eprintln!("seed {seed} differs: {difference}\nmaking the program smaller ...");
            let (small, difference) = clients::shrink(&stock, &ours, &program, difference);
            panic!(
                "seed {seed}, {cores} cores. The smallest program that still differs:\n\n\
                 {small}\n{difference}\n\
                 Replay: DIFF_SEED={seed} DIFF_STEPS=1 cargo test --test differential clients"
            );
        }
        steps += program.steps.len() as u64;
        seed += 1;
    }
}

/// Runs programs until enough commands were sent; panics at the first difference, made small.
fn compare(cores: usize, protocol: u8, default_seed: u64) {
    let Some(oracle) = oracle() else {
        eprintln!("SKIPPED: no stock server; set ORACLE or install {DEBIAN_ORACLE}");
        return;
    };
    let options = [("enable-debug-command".to_owned(), "yes".to_owned())];
    let oracle_server = server::Server::start(&server::Program::Stock(oracle.clone()), &options);
    let ours = server::Server::start(&server::Program::Ours { cores }, &options);
    let version = oracle_server.info("server", "redis_version").unwrap_or_default();
    let known = KnownDifferences::of_oracle(&version);
    let facts = Oracle { series: series_of(&version), commands: commands_of(&oracle_server) };
    let with_events = facts.series >= EVENTS_SINCE;
    let pair = Pair { oracle: &oracle_server, ours: &ours, protocol, with_events, known: &known };
    let first_seed = number("DIFF_SEED").unwrap_or(default_seed);
    let steps_wanted = number("DIFF_STEPS").unwrap_or(STEPS);
    println!(
        "oracle {} ({version}), {cores} cores, RESP{protocol}, {steps_wanted} steps from seed {first_seed}",
        oracle.display()
    );
    let (mut seed, mut steps) = (first_seed, 0);
    while steps < steps_wanted.max(1) {
        let program = Program::generate(seed, &facts);
        if let Err(mismatch) = pair.run(&program) {
            report(&pair, &program, &mismatch, seed, cores);
        }
        steps += program.steps.len() as u64;
        seed += 1;
    }
}

/// Panics with the difference, the seed, and the smallest program found that still differs.
fn report(pair: &Pair<'_>, program: &Program, mismatch: &Mismatch, seed: u64, cores: usize) -> ! {
    eprintln!("seed {seed} differs: {mismatch}\nmaking the program smaller ...");
    let (small, small_mismatch) = pair.shrink(program, mismatch);
    panic!(
        "seed {seed}, {cores} cores, RESP{}: replies differ.\n{mismatch}\n\n\
         The smallest program that still differs ({} of {} steps; a blank line ends a pipeline):\n\n\
         {small}\n{small_mismatch}\n\n\
         Replay: DIFF_SEED={seed} DIFF_STEPS=1 cargo test --test differential",
        pair.protocol,
        small.steps.len(),
        program.steps.len(),
    );
}

/// Major and minor number of a version; 0 for what is none.
fn series_of(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The commands that a server has, in upper case.
fn commands_of(server: &server::Server) -> BTreeSet<String> {
    let mut client = server.client();
    let reply = client.call(&["COMMAND", "LIST"]).expect("a reply to COMMAND LIST");
    client.quit();
    let names = Node::parse(&reply).elements.into_iter();
    names.map(|name| String::from_utf8_lossy(&name.text).to_ascii_uppercase()).collect()
}

fn oracle() -> Option<PathBuf> {
    if let Some(path) = env("ORACLE") {
        return Some(PathBuf::from(path));
    }
    let debian = Path::new(DEBIAN_ORACLE);
    debian.exists().then(|| debian.to_owned())
}

fn number(name: &str) -> Option<u64> {
    env(name).map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// The first series of the oracle that tells keyspace events as 8.0.6 does.
const EVENTS_SINCE: (u32, u32) = (8, 0);
const DEBIAN_ORACLE: &str = "/usr/bin/redis-server";
/// The first series whose pushes come in the order of 8.0.6.
const CLIENTS_SINCE: (u32, u32) = (8, 0);
/// For each of the tests with several clients: every step waits for all that it causes.
const CLIENT_STEPS: u64 = 4_000;
/// For each of the four tests: together well under a minute with a debug build.
const STEPS: u64 = 12_000;
