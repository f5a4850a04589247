//! Memory at its limit: writers that never stop, under every policy; who waits for what was evicted;
//! keys that all lie on one core.

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{number, resident, wait_until, with_servers};

/// Room for some thousand keys beside what an empty server holds.
const LIMIT: u64 = 16 << 20;
const KEYS_AT_ONCE: usize = 500;
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

fn text(client: &mut Client, argv: &[&str]) -> String {
    String::from_utf8_lossy(&client.call(argv).expect("a reply")).into_owned()
}

/// Sends SETs of 1000-byte values to keys of this prefix, those with `more` words behind them, and
/// counts the refused ones.
fn fill(client: &mut Client, prefix: &str, keys: usize, more: &[&str]) -> usize {
    let value = "x".repeat(1000);
    let mut refused = 0;
    for first in (0..keys).step_by(KEYS_AT_ONCE) {
        let commands = (first..first + KEYS_AT_ONCE).flat_map(|number| {
            let key = format!("{prefix}{number}");
            encode(&[&["SET", &key, &value], more].concat())
        });
        client.send(&commands.collect::<Vec<u8>>()).expect("all is taken");
        for _ in 0..KEYS_AT_ONCE {
            match client.read_reply().expect("a reply") {
                ok if ok == b"+OK\r\n" => {}
                error => {
                    assert_eq!(String::from_utf8_lossy(&error), OOM);
                    refused += 1;
                }
            }
        }
    }
    refused
}

fn must_be_below_the_limit(server: &Server) {
    let used = number(server, "memory", "used_memory");
    assert!(used <= LIMIT + LIMIT / 100, "{used} of {LIMIT}");
}

fn lower_the_limit(client: &mut Client, limit: &str) {
    assert_eq!(text(client, &["CONFIG", "SET", "maxmemory", limit]), "+OK\r\n");
}

fn limit() -> (&'static str, &'static str) {
    ("maxmemory", "16mb")
}

#[test]
fn writers_never_stop_while_something_can_go() {
    for policy in [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        with_servers(&[limit(), ("maxmemory-policy", policy)], |server| {
            let mut client = server.client();
            assert_eq!(fill(&mut client, "key:", 20_000, &["EX", "1000"]), 0, "{policy}");
            must_be_below_the_limit(server);
            assert!(number(server, "stats", "evicted_keys") > 4000);
        });
    }
}

#[test]
fn where_nothing_can_go_writers_are_refused_and_readers_are_not() {
    for policy in ["noeviction", "volatile-lru"] {
        with_servers(&[limit(), ("maxmemory-policy", policy)], |server| {
            let mut client = server.client();
            assert!(fill(&mut client, "key:", 20_000, &[]) > 4000);
            must_be_below_the_limit(server);
            let value = text(&mut client, &["GET", "key:0"]);
            assert!(value.starts_with("$1000\r\nxxx"), "{value}");
            lower_the_limit(&mut client, "1mb");
            assert_eq!(text(&mut client, &["SET", "more", "x"]), OOM);
            assert_eq!(text(&mut client, &["MULTI"]), "+OK\r\n");
            assert_eq!(text(&mut client, &["SET", "more", "x"]), OOM);
            let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
            assert_eq!(text(&mut client, &["EXEC"]), aborted);
            assert_eq!(text(&mut client, &["DEL", "key:0"]), ":1\r\n");
        });
    }
}

#[test]
fn a_transaction_is_refused_as_a_whole() {
    with_servers(&[limit()], |server| {
        let (mut client, mut other) = (server.client(), server.client());
        assert_eq!(text(&mut client, &["MULTI"]), "+OK\r\n");
        assert_eq!(text(&mut client, &["SET", "more", "x"]), "+QUEUED\r\n");
        fill(&mut other, "key:", 5000, &[]);
        lower_the_limit(&mut other, "1mb");
        assert_eq!(
            text(&mut client, &["EXEC"]),
            "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.\r\n"
        );
        assert_eq!(text(&mut client, &["EXISTS", "more"]), ":0\r\n");
    });
}

#[test]
fn eviction_changes_a_watched_key() {
    with_servers(&[limit(), ("maxmemory-policy", "allkeys-random")], |server| {
        let (mut client, mut other) = (server.client(), server.client());
        assert_eq!(text(&mut client, &["SET", "watched", "x"]), "+OK\r\n");
        assert_eq!(text(&mut client, &["WATCH", "watched"]), "+OK\r\n");
        let mut round = 0;
        while text(&mut other, &["EXISTS", "watched"]) == ":1\r\n" {
            round += 1;
            fill(&mut other, &format!("key:{round}:"), 5000, &[]);
        }
        assert_eq!(text(&mut client, &["MULTI"]), "+OK\r\n");
        assert_eq!(text(&mut client, &["PING"]), "+QUEUED\r\n");
        assert_eq!(text(&mut client, &["EXEC"]), "*-1\r\n");
    });
}

/// What can go lies on one core, what is written on another one.
#[test]
fn a_fuller_core_evicts_for_the_others() {
    with_servers(&[limit(), ("maxmemory-policy", "volatile-lru")], |server| {
        let mut client = server.client();
        assert_eq!(fill(&mut client, "{a}", 20_000, &["EX", "1000"]), 0);
        assert_eq!(fill(&mut client, "{b}", 5000, &[]), 0);
        must_be_below_the_limit(server);
        assert_eq!(text(&mut client, &["EXISTS", "{b}0", "{b}4999"]), ":2\r\n");
    });
}

/// A value of many parts is freed in slices: what is left of it is no reason to evict more.
#[test]
fn a_large_value_that_goes_is_enough() {
    with_servers(&[limit(), ("maxmemory-policy", "volatile-lru")], |server| {
        let mut client = server.client();
        let fields: Vec<String> = (0..200_000).map(|number| format!("field:{number}")).collect();
        for chunk in fields.chunks(10_000) {
            let mut words = vec!["SADD", "large"];
            words.extend(chunk.iter().map(String::as_str));
            client.call(&words).expect("a reply");
        }
        assert_eq!(text(&mut client, &["EXPIRE", "large", "1000"]), ":1\r\n");
        let used = number(server, "memory", "used_memory");
        lower_the_limit(&mut client, &(used + (1 << 20)).to_string());
        assert_eq!(fill(&mut client, "key:", 3000, &[]), 0);
        assert_eq!(text(&mut client, &["EXISTS", "large"]), ":0\r\n");
        assert_eq!(number(server, "stats", "evicted_keys"), 1);
    });
}

/// What a flush frees goes back to the system, also where nobody does anything afterwards.
#[test]
fn a_flushed_server_is_small_again() {
    with_servers(&[], |server| {
        let mut client = server.client();
        let before = resident(server);
        assert_eq!(fill(&mut client, "key:", 60_000, &[]), 0);
        assert!(resident(server) > before + (60 << 20));
        assert_eq!(text(&mut client, &["FLUSHALL"]), "+OK\r\n");
        wait_until("memory is given back", || resident(server) < before + (40 << 20));
    });
}

#[test]
fn what_is_kept_for_a_replica_evicts_nothing() {
    with_servers(&[("maxmemory-policy", "allkeys-random")], |server| {
        let mut client = server.client();
        fill(&mut client, "key", KEYS_AT_ONCE, &[]);
        // A replica that never reads.
        let mut replica = server.client();
        replica.send(&encode(&["PSYNC", "?", "-1"])).expect("it is taken");
        wait_until("the replica follows", || {
            server.info("replication", "slave0").is_some_and(|line| line.contains("state=online"))
        });
        let used = number(server, "memory", "used_memory");
        lower_the_limit(&mut client, &(used + (4 << 20)).to_string());
        let part = "y".repeat(100_000);
        for _ in 0..400 {
            client.call(&["SETRANGE", "key0", "0", &part]).expect("a reply");
        }
        assert_eq!(number(server, "stats", "evicted_keys"), 0);
        let kept = number(server, "memory", "mem_not_counted_for_evict");
        assert!(kept > 16 << 20, "{kept} bytes are kept for the replica");
    });
}

#[test]
fn invalidations_of_what_goes_have_nothing_else_go() {
    with_servers(&[("maxmemory-policy", "allkeys-lru")], |server| {
        let mut client = server.client();
        let name = |number: usize| format!("{number:04}{}", "k".repeat(1000));
        let names: Vec<String> = (0..2000).map(name).collect();
        let send_all = |client: &mut Client, words: &dyn Fn(&str) -> Vec<u8>| {
            for names in names.chunks(KEYS_AT_ONCE) {
                let commands = names.iter().flat_map(|name| words(name));
                client.send(&commands.collect::<Vec<u8>>()).expect("all is taken");
                names.iter().for_each(|_| drop(client.read_reply().expect("a reply")));
            }
        };
        send_all(&mut client, &|name| encode(&["SET", name, "v"]));
        let mut readers: Vec<Client> = (0..10).map(|_| server.client()).collect();
        for reader in &mut readers {
            reader.call(&["HELLO", "3"]).expect("a reply");
            reader.call(&["CLIENT", "TRACKING", "ON"]).expect("a reply");
            send_all(reader, &|name| encode(&["GET", name]));
        }
        let used = number(server, "memory", "used_memory");
        lower_the_limit(&mut client, &(used - 40_000).to_string());
        wait_until("keys go", || number(server, "stats", "evicted_keys") > 0);
        // Each key that goes is told to all readers, which takes ten times what the key has taken.
        wait_until("invalidations have left", || {
            number(server, "memory", "mem_not_counted_for_evict") == 0
        });
        let left: usize = text(&mut client, &["DBSIZE"])[1..].trim().parse().expect("a number");
        assert!((1000..2000).contains(&left), "{left} of 2000 keys are left");
    });
}
