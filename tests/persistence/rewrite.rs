//! Rewrites of the AOF, and the journal that begins and ends while the server runs: nothing that was
//! acknowledged is lost, whenever the server is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::disk::SmallDisk;
use super::journal::{Acknowledged, check_pairs, journaling, mend, write_pairs};
use super::*;

/// Clients that write until the server is killed.
const WRITERS: usize = 4;
/// How often a server is killed in an ordinary run. `AOF_KILLS` says otherwise.
const KILLS: u64 = 3;
/// How long it lives, at most.
const LIFE_MILLIS: u64 = 500;

pub(crate) fn field(server: &Server, name: &str) -> String {
    server.info("persistence", name).unwrap_or_default()
}

pub(crate) fn wait_for_rewrite(server: &Server) {
    wait_until("the rewrite ends", || {
        field(server, "aof_rewrite_in_progress") == "0"
            && field(server, "aof_rewrite_scheduled") == "0"
    });
}

#[test]
fn servers_that_are_killed_during_rewrites_lose_nothing() {
    let kills = support::env("AOF_KILLS").and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    for (cores, policy) in CORES.iter().flat_map(|one| [(*one, "always"), (*one, "everysec")]) {
        let dir = tempfile::tempdir().expect("a directory");
        let options = [("appendfsync", policy)];
        let mut known: Vec<Acknowledged> = (0..WRITERS).map(|_| Acknowledged::default()).collect();
        for kill in 0..kills {
            let server = journaling(&Program::Ours { cores }, dir.path(), &options);
            let name = format!("{cores} cores, {policy}, kill {kill}");
            check_pairs(&mut server.client(), &known, &name);
            let ends = Arc::new(AtomicBool::new(false));
            let rewriter = {
                let (mut client, ends) = (server.client(), ends.clone());
                thread::spawn(move || {
                    while !ends.load(Ordering::Relaxed) && client.call(&["BGREWRITEAOF"]).is_ok() {
                        thread::sleep(POLL_PAUSE);
                    }
                })
            };
            let writers: Vec<_> = known
                .into_iter()
                .enumerate()
                .map(|(writer, known)| {
                    let client = server.client();
                    thread::spawn(move || write_pairs(client, writer, known))
                })
                .collect();
            // Where in a rewrite it is killed differs from one life to the next.
            thread::sleep(Duration::from_millis(LIFE_MILLIS * (kill * 7 % 10 + 1) / 10));
            drop(server);
            ends.store(true, Ordering::Relaxed);
            rewriter.join().expect("the rewriter ends");
            known = writers.into_iter().map(|one| one.join().expect("a writer")).collect();
        }
        mend(dir.path());
        for program in oracles().into_iter().map(Program::Stock) {
            let theirs = journaling(&program, dir.path(), &[]);
            check_pairs(&mut theirs.client(), &known, &format!("{cores} cores, {policy}, stock"));
        }
    }
}

#[test]
fn the_journal_begins_and_ends_while_the_server_runs() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Program::Ours { cores };
        let mut server = start(&program, dir.path(), &[]);
        let mut client = server.client();
        fill(&mut client, false);
        assert_eq!(call(&mut client, "CONFIG SET appendonly yes"), "+OK");
        assert_eq!(field(&server, "aof_enabled"), "1");
        for number in 0..200 {
            call(&mut client, &format!("APPEND during{} x", number % 10));
        }
        wait_for_rewrite(&server);
        call(&mut client, "APPEND during0 behind");
        let expected = digest(&mut client);
        assert_eq!(call(&mut client, "CONFIG SET appendonly no"), "+OK");
        call(&mut client, "SET not journaled");
        assert_eq!(call(&mut client, "DEL not"), ":1");
        end(&mut server, "SHUTDOWN NOSAVE");
        let mut again = journaling(&program, dir.path(), &[]);
        let mut client = again.client();
        assert_eq!(digest(&mut client), expected, "{cores} cores");
        // The other way round: it ends in the middle of a rewrite, and begins anew.
        for _ in 0..5 {
            call(&mut client, "BGREWRITEAOF");
            assert_eq!(call(&mut client, "CONFIG SET appendonly no"), "+OK");
            call(&mut client, "INCR changes");
            assert_eq!(call(&mut client, "CONFIG SET appendonly yes"), "+OK");
            call(&mut client, "INCR changes");
        }
        wait_until("it is whole", || {
            field(&again, "aof_rewrite_in_progress") == "0" && again.log().contains("finished")
        });
        wait_for_rewrite(&again);
        call(&mut client, "INCR changes");
        let expected = digest(&mut client);
        end(&mut again, "SHUTDOWN NOSAVE");
        for program in oracles().into_iter().map(Program::Stock).chain([program]) {
            let server = journaling(&program, dir.path(), &[]);
            assert_eq!(digest(&mut server.client()), expected, "{cores} cores");
        }
    }
}

#[test]
fn replies_are_those_of_stock_servers() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = journaling(&Program::Ours { cores }, dir.path(), &[]);
        let mut client = server.client();
        // Long enough for the next commands.
        call(&mut client, "DEBUG POPULATE 40000");
        let started = "+Background append only file rewriting started";
        assert_eq!(call(&mut client, "BGREWRITEAOF"), started);
        let again = "-ERR Background append only file rewriting already in progress";
        assert_eq!(call(&mut client, "BGREWRITEAOF"), again);
        assert_eq!(field(&server, "aof_rewrite_in_progress"), "1");
        let refused = call(&mut client, "BGSAVE");
        assert!(refused.starts_with("-ERR Another child process is active (AOF?): can't BGSAVE"));
        let scheduled = "+Background saving scheduled";
        assert_eq!(call(&mut client, "BGSAVE SCHEDULE"), scheduled);
        wait_for_rewrite(&server);
        wait_until("what was scheduled is done", || server.log().contains("DB saved on disk"));
        wait_for_save(&server);
        assert_eq!(call(&mut client, "BGSAVE"), "+Background saving started");
        let scheduled = "+Background append only file rewriting scheduled";
        assert_eq!(call(&mut client, "BGREWRITEAOF"), scheduled);
        assert_eq!(field(&server, "aof_rewrite_scheduled"), "1");
        wait_until("it begins", || field(&server, "aof_rewrites") == "2");
        wait_for_rewrite(&server);
        assert_eq!(field(&server, "aof_last_bgrewrite_status"), "ok");
        assert_eq!(call(&mut client, "MULTI"), "+OK");
        call(&mut client, "BGREWRITEAOF");
        assert_eq!(call(&mut client, "EXEC"), format!("*1\r\n{scheduled}"));
        wait_until("it begins", || field(&server, "aof_rewrites") == "3");
        // A save in the foreground waits for nothing but the rewrite's end, which is all right.
        call(&mut client, "BGREWRITEAOF");
        assert_eq!(call(&mut client, "SAVE"), "+OK");
        wait_for_rewrite(&server);
        let expected = call(&mut client, "DBSIZE");
        end(&mut server, "SHUTDOWN NOSAVE");
        let server = journaling(&Program::Ours { cores }, dir.path(), &[]);
        assert_eq!(call(&mut server.client(), "DBSIZE"), expected);
    }
}

#[test]
fn files_that_have_grown_are_rewritten() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let options = [
            ("appendonly", "yes"),
            ("auto-aof-rewrite-percentage", "100"),
            ("auto-aof-rewrite-min-size", "20kb"),
        ];
        let server = start(&Program::Ours { cores }, dir.path(), &options);
        let mut client = server.client();
        wait_until("it is rewritten", || {
            for _ in 0..100 {
                call(&mut server.client(), &format!("SET key {}", "x".repeat(100)));
            }
            field(&server, "aof_rewrites") != "0"
        });
        wait_for_rewrite(&server);
        server.must_log("Starting automatic rewriting of AOF on ");
        let is_base = |one: &fs::DirEntry| one.path().extension().is_some_and(|end| end == "rdb");
        wait_until("the base has one key", || {
            let files = fs::read_dir(dir.path().join("appendonlydir")).expect("a directory");
            let bases = files.filter_map(Result::ok).filter(is_base);
            let lens: Vec<_> = bases.filter_map(|one| Some(one.metadata().ok()?.len())).collect();
            lens.len() == 1 && (100..1_000).contains(&lens[0])
        });
        assert_eq!(call(&mut client, "STRLEN key"), ":100");
    }
}

#[test]
fn a_full_disk_stops_writes_and_nothing_else() {
    for (cores, policy) in CORES.iter().flat_map(|one| [(*one, "always"), (*one, "everysec")]) {
        let Some(disk) = SmallDisk::mount() else { return };
        let dir = disk.path();
        let options = [("appendfsync", policy)];
        let server = journaling(&Program::Ours { cores }, dir, &options);
        let mut client = server.client();
        call(&mut client, "SET key value");
        let ballast = dir.join("ballast");
        let _ = fs::write(&ballast, vec![0; 2 << 20]);
        // Who waits for a write that fails hears nothing of it; the next ones are refused.
        wait_until("writes are refused", || {
            let mut client = server.client();
            let reply = client.call(&["SET", "key", &"x".repeat(10_000)]);
            reply.is_ok_and(|reply| reply.starts_with(b"-MISCONF"))
        });
        assert_eq!(field(&server, "aof_last_write_status"), "err");
        assert!(call(&mut client, "STRLEN key").starts_with(':'), "reads go on");
        fs::remove_file(&ballast).expect("it goes");
        wait_until("writes are taken again", || {
            server.client().call(&["SET", "key", "again"]).is_ok_and(|reply| reply == b"+OK\r\n")
        });
        assert_eq!(field(&server, "aof_last_write_status"), "ok");
        drop(server);
        let server = journaling(&Program::Ours { cores }, dir, &options);
        assert_eq!(call(&mut server.client(), "GET key"), "$5\r\nagain", "{cores} cores, {policy}");
    }
}
