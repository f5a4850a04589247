//! What clients of a replica see while it gets its data from a primary, in each way of
//! `repl-diskless-load`; and that the data stays until the new one is whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::data::knows;
use crate::support::server::{Program as Binary, Server};
use crate::{
    CORES, ask, call, follow, info, oracle, start, wait_for_link, wait_in_sync, wait_until,
};

/// Not what servers before 7.0 do by themselves.
const DISKLESS: (&str, &str) = ("repl-diskless-sync", "yes");
const LOADING: &str = "-LOADING Redis is loading the dataset in memory";

/// What INFO says of loading: while data is served, and while it is not.
fn loading(server: &Server) -> (String, String) {
    let field = |name| server.info("persistence", name).unwrap_or_default();
    (field("async_loading"), field("loading"))
}

fn sees(server: &Server, with_data: &str, without: &str) -> bool {
    loading(server) == (with_data.into(), without.into())
}

/// A primary whose snapshots take long, and a replica with data of its own.
fn slow_pair(stock: &Binary, cores: usize, way: &str) -> (Server, Server) {
    let slow = [("rdb-key-save-delay", "2000"), ("rdbcompression", "no"), DISKLESS];
    let primary = start(stock, &slow);
    ask(&primary, "DEBUG POPULATE 1000 theirs 5000");
    let replica = start(&Binary::Ours { cores }, &[("repl-diskless-load", way)]);
    ask(&replica, "SET mine value");
    (primary, replica)
}

/// Cuts the link while the snapshot is on its way, and has the next one wait.
fn cut_in_between(primary: &Server, replica: &Server) {
    ask(primary, "CONFIG SET repl-diskless-sync-delay 100");
    ask(primary, "CLIENT KILL TYPE replica");
    wait_until("it notices", || sees(replica, "0", "0"));
}

fn finish(primary: &Server, replica: &Server) {
    ask(primary, "CONFIG SET rdb-key-save-delay 0");
    ask(primary, "CONFIG SET repl-diskless-sync-delay 0");
    wait_in_sync(primary, replica);
    assert_eq!(ask(replica, "GET mine"), "$-1");
    assert!(sees(replica, "0", "0"));
}

#[test]
fn data_of_another_history_is_not_served_and_stays() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        for way in ["swapdb", "flush-before-load"] {
            let (primary, replica) = slow_pair(&stock, cores, way);
            follow(&replica, primary.port());
            wait_until("it is loading", || sees(&replica, "0", "1"));
            assert_eq!(ask(&replica, "GET mine"), LOADING, "{way}");
            cut_in_between(&primary, &replica);
            assert_eq!(ask(&replica, "GET mine"), "$5\r\nvalue", "{way}");
            finish(&primary, &replica);
            assert_eq!(ask(&replica, "DBSIZE"), ":1000", "{way}");
        }
    }
}

#[test]
fn data_is_served_until_a_file_is_there() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        for way in ["disabled", "on-empty-db"] {
            let (primary, replica) = slow_pair(&stock, cores, way);
            follow(&replica, primary.port());
            wait_until("the snapshot comes", || info(&replica, "master_sync_in_progress") == "1");
            assert_eq!(ask(&replica, "GET mine"), "$5\r\nvalue", "{way}");
            assert!(sees(&replica, "0", "0"), "{way}");
            finish(&primary, &replica);
        }
    }
}

/// A replica that has fallen behind gets all data of its own history anew.
#[test]
fn an_earlier_state_is_served_to_the_end_with_its_functions() {
    let Some(stock) = oracle() else { return };
    let library = |answer: &str| {
        format!(
            "#!lua name=library\nredis.register_function('who', function() return '{answer}' end)"
        )
    };
    for cores in CORES {
        let small = [("rdbcompression", "no"), ("repl-backlog-size", "16kb"), DISKLESS];
        let primary = start(&stock, &small);
        if !knows(&primary, "FUNCTION") {
            return println!("SKIPPED: the stock server has no functions");
        }
        let ways = [("repl-diskless-load", "swapdb"), ("replica-read-only", "no")];
        let replica = start(&Binary::Ours { cores }, &ways);
        follow(&replica, primary.port());
        wait_for_link(&replica);
        ask(&primary, "DEBUG POPULATE 500 theirs 5000");
        ask(&replica, "SET mine value");
        for (server, answer) in [(&replica, "old"), (&primary, "new")] {
            let mut client = server.client();
            client.call(&["FUNCTION", "LOAD", &library(answer)]).expect("a reply");
        }
        ask(&primary, "CONFIG SET rdb-key-save-delay 2000");
        let mut writer = primary.client();
        for line in ["MULTI", "CLIENT KILL TYPE replica"] {
            call(&mut writer, line);
        }
        let value = "v".repeat(100_000);
        call(&mut writer, &format!("SET big {value}"));
        call(&mut writer, "EXEC");
        wait_until("it is put aside", || sees(&replica, "1", "0"));
        assert_eq!(ask(&replica, "GET mine"), "$5\r\nvalue");
        assert_eq!(ask(&replica, "FCALL who 0"), "$3\r\nold");
        assert_eq!(ask(&replica, "REPLICAOF NO ONE"), LOADING);
        cut_in_between(&primary, &replica);
        assert_eq!(ask(&replica, "GET mine"), "$5\r\nvalue");
        assert_eq!(ask(&replica, "FCALL who 0"), "$3\r\nold");
        // From here on no client is ever refused.
        let mut reader = replica.client();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let reply = call(&mut reader, "GET mine");
                    assert!(reply.starts_with('$'), "{reply}");
                    thread::sleep(Duration::from_micros(100));
                }
            });
            finish(&primary, &replica);
            is_over.store(true, Ordering::Release);
        });
        assert_eq!(ask(&replica, "FCALL who 0"), "$3\r\nnew");
        assert_eq!(ask(&replica, "DBSIZE"), ":501");
    }
}

#[test]
fn the_link_comes_from_the_address_that_is_named() {
    for cores in CORES {
        let primary = start(&Binary::Ours { cores }, &[]);
        let replica = start(&Binary::Ours { cores }, &[("bind-source-addr", "127.0.0.3")]);
        follow(&replica, primary.port());
        wait_for_link(&replica);
        let line = ask(&primary, "CLIENT LIST TYPE replica");
        assert!(line.contains(" addr=127.0.0.3:"), "{line}");
    }
}

/// A snapshot that came in a file is the one that the replica starts with.
#[test]
fn a_snapshot_in_a_file_is_kept_unless_no_data_may_stay() {
    let Some(stock) = oracle() else { return };
    for (cores, removes) in [(1, "no"), (4, "no"), (1, "yes"), (4, "yes")] {
        let primary = start(&stock, &[]);
        ask(&primary, "DEBUG POPULATE 1000");
        let replica = start(&Binary::Ours { cores }, &[("rdb-del-sync-files", removes)]);
        follow(&replica, primary.port());
        wait_in_sync(&primary, &replica);
        let names = std::fs::read_dir(replica.dir()).expect("a directory");
        let names: Vec<_> = names.map(|one| one.expect("an entry").file_name()).collect();
        let is_kept = names.iter().any(|name| name == "dump.rdb");
        assert_eq!(is_kept, removes == "no", "{names:?}");
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("temp-")), "{names:?}");
        if is_kept {
            ask(&replica, "REPLICAOF NO ONE");
            ask(&replica, "FLUSHALL");
            assert_eq!(ask(&replica, "DEBUG RELOAD NOSAVE NOFLUSH"), "+OK");
            assert_eq!(ask(&replica, "DBSIZE"), ":1000");
        }
    }
}

/// Whoever waits for what the new data has gets it.
#[test]
fn clients_that_block_are_served_from_new_data() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        let (former, primary) = (start(&stock, &[DISKLESS]), start(&stock, &[DISKLESS]));
        let replica = start(&Binary::Ours { cores }, &[("repl-diskless-load", "swapdb")]);
        ask(&former, "XADD stream 1-1 field value");
        ask(&primary, "XADD stream 2-1 field value");
        follow(&replica, former.port());
        wait_for_link(&replica);
        let mut waiting = replica.client();
        let words = ["XREAD", "BLOCK", "0", "STREAMS", "stream", "1-1"];
        waiting.send_command(&words).expect("it is sent");
        let blocked = || replica.info("clients", "blocked_clients").unwrap_or_default();
        wait_until("it waits", || blocked() == "1");
        follow(&replica, primary.port());
        wait_for_link(&replica);
        let reply = waiting.read_reply().expect("a reply");
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.contains("2-1"), "{reply}");
    }
}
