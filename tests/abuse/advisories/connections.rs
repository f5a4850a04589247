//! What connections do: announcements, bytes that never end, clients that never read or go at the
//! wrong moment.

use std::io::{ErrorKind, Read, Write};

use super::super::support::client::encode;
use super::super::{connect, expect, number, read_to_end, reset, start, wait_until, with_servers};
use super::{guarded, must_be_unharmed, text};

#[test]
fn cve_2021_21309_and_41099_lengths_beyond_the_limit() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        text(&mut client, &["CONFIG", "SET", "proto-max-bulk-len", "9223372036854775807"]);
        for length in ["4294967295", "9223372036854775807"] {
            let mut stream = connect(server);
            let request = format!("*2\r\n$3\r\nGET\r\n${length}\r\nabc");
            stream.write_all(request.as_bytes()).expect("it is sent");
            drop(stream);
        }
        text(&mut client, &["SETRANGE", "big", "9223372036854775807", "x"]);
        text(&mut client, &["SETRANGE", "big", "4294967295", "x"]);
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2021_32675_announcements_of_strangers() {
    with_servers(&[("requirepass", "secret")], |server| {
        for request in ["*1000000\r\n$16384\r\n", "*10\r\n$20000\r\n"] {
            let mut stream = connect(server);
            stream.write_all(request.as_bytes()).expect("it is sent");
            let reply = read_to_end(&mut stream);
            assert!(reply.starts_with(b"-ERR Protocol error: unauthenticated"), "{reply:?}");
        }
    });
}

#[test]
fn cve_2023_41056_buffers_that_shrink_under_a_large_word() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for size in [1_000, 32_768, 65_536, 300_000, 32 * 1024] {
            let value = "v".repeat(size);
            assert_eq!(text(&mut client, &["SET", "k", &value]), "+OK\r\n");
            client.send(&encode(&["PING"]).repeat(10)).expect("it is sent");
            (0..10).for_each(|_| assert_eq!(client.read_reply().expect("a reply"), b"+PONG\r\n"));
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2025_21605_strangers_that_never_read() {
    with_servers(&[("requirepass", "secret")], |server| {
        let mut stream = connect(server);
        stream.set_nonblocking(true).expect("a flag");
        let request = b"GET k\r\n".repeat(10_000);
        let mut sent = 0;
        while sent < 100 * request.len() {
            match stream.write(&request) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        let mut client = server.client();
        assert_eq!(text(&mut client, &["AUTH", "secret"]), "+OK\r\n");
        let list = text(&mut client, &["CLIENT", "LIST"]);
        let counts = list.split("omem=").skip(1).filter_map(|rest| rest.split(' ').next());
        let held: u64 = counts.filter_map(|count| count.parse::<u64>().ok()).sum();
        assert!(held < 1_000_000, "{held} bytes of replies");
    });
}

#[test]
fn cve_2025_46686_words_without_end() {
    with_servers(&[("client-query-buffer-limit", "1mb")], |server| {
        guarded(server);
        let mut stream = connect(server);
        stream.write_all(b"*1000000\r\n").expect("sent");
        let sent = stream.write_all(&b"$1\r\nx\r\n".repeat(999_999));
        // A system with much room takes all of it before the server has looked.
        let cut = sent.and_then(|()| stream.read_exact(&mut [0])).expect_err("it is cut off");
        assert_ne!(cut.kind(), ErrorKind::WouldBlock, "it is left waiting");
        must_be_unharmed(server);
    });
}

/// Connections that have failed before they are accepted do not keep others waiting.
#[test]
fn cve_2025_48367_connections_that_have_gone() {
    with_servers(&[], |server| {
        guarded(server);
        for _ in 0..20 {
            (0..50).for_each(|_| reset(connect(server)));
            must_be_unharmed(server);
        }
    });
}

/// `maxmemory-clients` strikes while a client that waited is served.
#[test]
fn cve_2026_23479_evicted_while_it_is_served() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        assert_eq!(text(&mut client, &["CLIENT", "NO-EVICT", "on"]), "+OK\r\n");
        for _ in 0..3 {
            let mut blocked = server.client();
            let other = format!("{{t}}{}", "x".repeat(200_000));
            let words = ["XREAD", "BLOCK", "0", "STREAMS", "{t}stream", &other, "$", "$"];
            blocked.send(&encode(&words)).expect("sent");
            wait_until("a blocked client", || number(server, "clients", "blocked_clients") == 1);
            for words in [
                &["MULTI"][..],
                &["CONFIG", "SET", "maxmemory-clients", "100000"],
                &["XADD", "{t}stream", "*", "field", "value"],
                &["EXEC"],
                &["CONFIG", "SET", "maxmemory-clients", "0"],
                &["PING"],
            ] {
                let reply = text(&mut client, words);
                assert!(!reply.starts_with('-'), "{words:?}: {reply}");
            }
            wait_until("nobody waits", || number(server, "clients", "blocked_clients") == 0);
            must_be_unharmed(server);
        }
    });
}

/// A primary sends everything anew while a script of its replica runs.
#[test]
fn cve_2026_23631_a_snapshot_while_a_script_runs() {
    for cores in [1, 4] {
        let options = [("repl-diskless-sync-delay", "0"), ("enable-debug-command", "yes")];
        let primary = start(cores, &options);
        let replica = start(cores, &[("busy-reply-threshold", "1")]);
        let mut there = replica.client();
        let port = primary.port().to_string();
        assert_eq!(text(&mut there, &["REPLICAOF", "127.0.0.1", &port]), "+OK\r\n");
        let mut client = guarded(&primary);
        let follows = |value: &str| {
            let expected = format!("$5\r\n{value}\r\n");
            wait_until("the replica follows", || {
                text(&mut replica.client(), &["GET", "guard"]) == expected
            });
        };
        follows("value");
        let mut script = replica.client();
        // It may use any key, so it holds all of them.
        let endless = "redis.call('GET', ARGV[1]) while true do end";
        script.send(&encode(&["EVAL", endless, "0", "guard"])).expect("sent");
        wait_until("it is busy", || text(&mut there, &["GET", "guard"]).starts_with("-BUSY"));
        assert_eq!(text(&mut client, &["DEBUG", "CHANGE-REPL-ID"]), "+OK\r\n");
        assert_eq!(text(&mut client, &["CLIENT", "KILL", "TYPE", "replica"]), ":1\r\n");
        assert_eq!(text(&mut client, &["SET", "guard", "other"]), "+OK\r\n");
        wait_until("a second snapshot", || number(&primary, "stats", "sync_full") >= 2);
        assert_eq!(text(&mut there, &["SCRIPT", "KILL"]), "+OK\r\n");
        let killed = script.read_reply().expect("a reply");
        assert!(killed.starts_with(b"-ERR"), "{}", killed.escape_ascii());
        follows("other");
        assert_eq!(text(&mut client, &["SET", "guard", "value"]), "+OK\r\n");
        follows("value");
        must_be_unharmed(&replica);
    }
}

#[test]
fn cve_2026_27623_requests_of_nothing() {
    with_servers(&[], |server| {
        guarded(server);
        let mut stream = connect(server);
        for nothing in [&b"\r\n"[..], b"*0\r\n", b"*-1\r\n", b"\r\n*0\r\n\r\n"] {
            for request in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n"] {
                stream.write_all(&[nothing, request].concat()).expect("sent");
                expect(&mut stream, b"+PONG\r\n");
                stream.write_all(nothing).expect("sent");
                stream.write_all(request).expect("sent");
                expect(&mut stream, b"+PONG\r\n");
            }
        }
        must_be_unharmed(server);
    });
}
