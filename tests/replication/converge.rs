//! Random programs over all types on a primary: its replica holds the same in the end, whatever became
//! of the link meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::data::{assert_same, facts_of, run_program};
use crate::proxy::Proxy;
use crate::random::Random;
use crate::support::env;
use crate::support::server::{Program as Binary, Server};
use crate::{CORES, ask, call, follow, info, oracle, start, wait_for_link, wait_in_sync};

/// Programs of one client.
const PROGRAMS: u64 = 12;
const CLIENTS: u64 = 3;

pub(crate) fn seed() -> u64 {
    let seed = env("REPL_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("REPL_SEED={seed}");
    seed
}

/// Programs of several clients at once.
pub(crate) fn write(primary: &Server, seed: u64) {
    write_for(primary, primary, seed);
}

/// The same, of nothing that one of its replicas does not know.
pub(crate) fn write_for(primary: &Server, replica: &Server, seed: u64) {
    let facts = facts_of(replica);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let facts = &facts;
            scope.spawn(move || {
                let mut connection = primary.client();
                for program in 0..PROGRAMS {
                    run_program(&mut connection, seed * 1000 + client * 100 + program, facts);
                }
            });
        }
    });
}

/// Cuts a link at random until it is told to stop.
pub(crate) fn cut_at_random(proxy: &Proxy, seed: u64, is_over: &AtomicBool) {
    let mut random = Random::new(seed);
    while !is_over.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(random.below(400) as u64));
        proxy.cut();
    }
}

fn converge(primary: &Binary, context: &str) {
    let seed = seed();
    for cores in CORES {
        let primary = start(primary, &[("repl-backlog-size", "64mb")]);
        let replica = start(&Binary::Ours { cores }, &[]);
        write(&primary, seed);
        let proxy = Proxy::to(primary.port());
        follow(&replica, proxy.port());
        wait_in_sync(&primary, &replica);
        let context = format!("{context}, {cores} cores, seed {seed}");
        assert_same(&primary, &replica, &format!("{context}: full sync"));
        let is_over = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            let (proxy, is_over) = (&proxy, is_over.clone());
            let over = is_over.clone();
            let cutter = scope.spawn(move || cut_at_random(proxy, seed, &over));
            write(&primary, seed + 1);
            is_over.store(true, Ordering::Release);
            cutter.join().expect("it cuts");
        });
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, &format!("{context}: stream"));
    }
}

#[test]
fn a_replica_of_a_stock_primary_holds_what_that_holds() {
    if let Some(stock) = oracle() {
        converge(&stock, "stock primary");
    }
}

#[test]
fn a_replica_of_our_own_primary_holds_what_that_holds() {
    for cores in CORES {
        converge(&Binary::Ours { cores }, "our primary");
    }
}

#[test]
fn replicas_of_a_replica_get_the_same_bytes() {
    let Some(stock) = oracle() else { return };
    let seed = seed();
    for cores in CORES {
        let first = start(&stock, &[("repl-backlog-size", "64mb")]);
        let middle = start(&Binary::Ours { cores }, &[("repl-backlog-size", "64mb")]);
        follow(&middle, first.port());
        wait_in_sync(&first, &middle);
        let last = [start(&stock, &[]), start(&Binary::Ours { cores: 2 }, &[])];
        last.iter().for_each(|server| follow(server, middle.port()));
        write(&first, seed);
        for server in &last {
            wait_in_sync(&first, &middle);
            wait_in_sync(&first, server);
            assert_eq!(info(server, "master_replid"), info(&first, "master_replid"));
            assert_same(&first, server, &format!("behind {cores} cores, seed {seed}"));
        }
        // The one in the middle takes over: those behind it go on where they are.
        let offset = info(&middle, "master_repl_offset");
        assert_eq!(ask(&middle, "REPLICAOF NO ONE"), "+OK");
        write_for(&middle, &last[0], seed + 1);
        for server in &last {
            wait_in_sync(&middle, server);
            assert_same(&middle, server, &format!("after a promotion at {offset}, seed {seed}"));
        }
        assert_eq!(middle.info("stats", "sync_full").as_deref(), Some("2"), "one for each");
    }
}

#[test]
fn a_restart_costs_no_snapshot() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        let primary = start(&stock, &[]);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("a path that is text").to_owned();
        let port = primary.port().to_string();
        let place = format!("127.0.0.1 {port}");
        let file = dir.path().join("replica.conf");
        std::fs::write(&file, format!("replicaof {place}\n")).expect("a file");
        let file = file.to_str().expect("a path that is text").to_owned();
        let options = [("include", file.as_str()), ("dir", path.as_str())];
        {
            let mut replica = start(&Binary::Ours { cores }, &options);
            ask(&primary, "SET before 1");
            wait_in_sync(&primary, &replica);
            let _ = replica.client().call(&["SHUTDOWN", "SAVE"]);
            let deadline = std::time::Instant::now() + crate::DEADLINE;
            assert!(replica.exit_status(deadline).is_some_and(|status| status.success()));
        }
        ask(&primary, "SET meanwhile 1");
        let replica = start(&Binary::Ours { cores }, &options);
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, "after a restart");
        assert_eq!(primary.info("stats", "sync_full").as_deref(), Some("1"));
        assert_eq!(primary.info("stats", "sync_partial_ok").as_deref(), Some("1"));
    }
}

#[test]
fn a_short_cut_costs_no_snapshot() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        cut_shortly(&stock, &Binary::Ours { cores });
    }
}

/// A replica goes on where it was, each time that its link is cut.
pub(crate) fn cut_shortly(primary: &Binary, replica: &Binary) {
    let primary = start(primary, &[]);
    let replica = start(replica, &[]);
    let proxy = Proxy::to(primary.port());
    follow(&replica, proxy.port());
    wait_for_link(&replica);
    let mut client = primary.client();
    call(&mut client, "SELECT 3");
    for round in 0..SHORT_CUTS {
        for at in 0..200 {
            call(&mut client, &format!("INCR counter{}", at % 7));
            if at == 100 {
                proxy.cut();
            }
        }
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, &format!("round {round}"));
    }
    assert_eq!(primary.info("stats", "sync_full").as_deref(), Some("1"));
    let partial = primary.info("stats", "sync_partial_ok").unwrap_or_default();
    assert!(partial.parse::<u32>().is_ok_and(|count| count >= SHORT_CUTS), "{partial}");
    assert!(proxy.passed() > 0 && info(&replica, "master_replid").len() == 40);
}

const SHORT_CUTS: u32 = 5;
