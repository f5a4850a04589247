//! Our server as a primary: stock replicas hold what it holds, whatever becomes of their links; and
//! what no replica should do harms nobody.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::converge::{cut_at_random, cut_shortly, seed, write_for};
use crate::data::{assert_same, knows};
use crate::proxy::Proxy;
use crate::support::client::encode;
use crate::support::server::{Program as Binary, Server};
use crate::{CORES, ask, call, follow, oracle, start, wait_in_sync, wait_until};

const OURS: fn(usize) -> Binary = |cores| Binary::Ours { cores };

/// What random programs of one client never do: keys that expire, transactions, clients that wait.
/// Fields expire only if the replica knows of that, as Redis does from 7.4 on: an older one cannot read a
/// snapshot that holds such a field.
fn write_in_time(primary: &Server, replica: &Server) {
    let fields_expire = knows(replica, "HPEXPIRE");
    let mut waiting = primary.client();
    let mut client = primary.client();
    for round in 0..40 {
        waiting
            .send_command(&["BLMOVE", "queue", "done", "LEFT", "RIGHT", "0"])
            .expect("it is sent");
        for line in [
            &format!("SET short{round} x PX {}", 1 + round % 20),
            "MULTI",
            "INCR counter",
            &format!("SADD set {round}"),
            "SPOP set",
            "RPUSH queue a",
            "SELECT 5",
            "LPUSH list 1 2 3",
            "SELECT 0",
            "EXEC",
            &format!("HSET hash{round} f v"),
            &if fields_expire {
                format!("HPEXPIRE hash{round} 5 FIELDS 1 f")
            } else {
                format!("PEXPIRE hash{round} 5")
            },
            "EVAL return{redis.call('incr',KEYS[1]),redis.call('spop',KEYS[2])} 2 counter set",
        ] {
            call(&mut client, line);
        }
        waiting.read_reply().expect("it is served");
    }
    wait_until("all that expires has expired", || {
        let left = |pattern: &str| ask(primary, &format!("KEYS {pattern}"));
        left("short*") == "*0" && left("hash[0-9]*") == "*0"
    });
}

#[test]
fn stock_replicas_hold_what_the_primary_holds() {
    let Some(stock) = oracle() else { return };
    let seed = seed();
    for cores in CORES {
        let primary = start(&OURS(cores), &[("repl-backlog-size", "64mb")]);
        let (near, far) = (start(&stock, &[]), start(&stock, &[]));
        write_for(&primary, &near, seed);
        let proxy = Proxy::to(primary.port());
        follow(&near, primary.port());
        follow(&far, proxy.port());
        let is_over = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            let (proxy, over) = (&proxy, is_over.clone());
            let cutter = scope.spawn(move || cut_at_random(proxy, seed, &over));
            write_for(&primary, &near, seed + 1);
            write_in_time(&primary, &near);
            is_over.store(true, Ordering::Release);
            cutter.join().expect("it cuts");
        });
        for replica in [&near, &far] {
            wait_in_sync(&primary, replica);
            assert_same(&primary, replica, &format!("{cores} cores, seed {seed}"));
        }
    }
}

#[test]
fn a_short_cut_costs_a_stock_replica_no_snapshot() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        cut_shortly(&OURS(cores), &stock);
    }
}

#[test]
fn a_replica_without_marks_gets_a_file() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        let primary = start(&OURS(cores), &[("repl-diskless-sync", "no")]);
        ask(&primary, "DEBUG POPULATE 20000 key 100");
        let replica = start(&stock, &[]);
        follow(&replica, primary.port());
        wait_in_sync(&primary, &replica);
        ask(&primary, "SET behind it");
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, "through a file");
        primary.must_log("target: disk");
    }
}

#[test]
fn wait_counts_the_replicas_that_have_what_the_client_wrote() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        let primary = start(&OURS(cores), &[]);
        let replica = start(&stock, &[]);
        follow(&replica, primary.port());
        wait_in_sync(&primary, &replica);
        let mut client = primary.client();
        for round in 0..50 {
            call(&mut client, &format!("SET key{round} {round}"));
            assert_eq!(call(&mut client, "WAIT 1 10000"), ":1");
            assert_eq!(
                ask(&replica, &format!("GET key{round}")),
                call(&mut client, &format!("GET key{round}"))
            );
        }
        assert_eq!(call(&mut client, "WAIT 2 50"), ":1");
        assert_eq!(call(&mut client, "MULTI"), "+OK");
        call(&mut client, "WAIT 2 0");
        assert_eq!(call(&mut client, "EXEC"), "*1\r\n:1");
        assert_eq!(call(&mut client, "WAIT 1 -1"), "-ERR timeout is negative");
        let too_few = "-NOREPLICAS Not enough good replicas to write.";
        assert_eq!(call(&mut client, "CONFIG SET min-replicas-to-write 2"), "+OK");
        wait_until("writes are refused", || call(&mut client, "SET a 1") == too_few);
        assert_eq!(call(&mut client, "GET key1"), "$1\r\n1");
        assert_eq!(call(&mut client, "CONFIG SET min-replicas-to-write 1"), "+OK");
        wait_until("writes are taken", || call(&mut client, "SET a 1") == "+OK");
        assert!(ask(&primary, "CLIENT LIST TYPE replica").contains(" flags=S "));
        assert!(ask(&primary, "ROLE").contains(&replica.port().to_string()));
    }
}

/// A connection that asks for the stream; what it is answered first.
fn ask_for_stream(server: &Server, id: &str, offset: &str) -> (TcpStream, String) {
    use std::io::Write;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut bytes = encode(&["REPLCONF", "capa", "eof", "capa", "psync2"]);
    bytes.extend(encode(&["PSYNC", id, offset]));
    stream.write_all(&bytes).expect("it is sent");
    let (mut line, mut lines) = (Vec::new(), 0);
    while lines < 2 {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        // Empty lines only say that the server lives.
        if byte[0] != b'\n' || line.last() == Some(&b'\r') {
            line.push(byte[0]);
        }
        lines = memchr::memchr_iter(b'\n', &line).count();
    }
    (stream, String::from_utf8_lossy(&line).into_owned())
}

#[test]
fn a_hostile_replica_harms_nobody() {
    use std::io::Write;
    for cores in CORES {
        let primary = start(&OURS(cores), &[]);
        ask(&primary, "SET a 1");
        let id = "0123456789abcdef0123456789abcdef01234567";
        let absurd = ["9223372036854775807", "-9223372036854775808", "0", "-1", "1"];
        for (name, offset) in
            absurd.iter().map(|offset| (id, *offset)).chain([("?", "-1"), ("x", "7")])
        {
            let (_stream, answer) = ask_for_stream(&primary, name, offset);
            assert!(answer.starts_with("+OK\r\n+FULLRESYNC "), "{name} {offset}: {answer}");
        }
        let own = crate::info(&primary, "master_replid");
        for offset in absurd.iter().filter(|offset| **offset != "1") {
            let (_stream, answer) = ask_for_stream(&primary, &own, offset);
            assert!(answer.starts_with("+OK\r\n+FULLRESYNC "), "{offset}: {answer}");
        }
        let mut client = primary.client();
        assert!(call(&mut client, "PSYNC ? many").starts_with("-ERR value is not an integer"));
        // It acknowledges the future, then wants an answer.
        let (mut stream, _) = ask_for_stream(&primary, "?", "-1");
        for ack in ["9223372036854775807", "-5", "x"] {
            stream.write_all(&encode(&["REPLCONF", "ACK", ack])).expect("it is sent");
        }
        call(&mut client, "SET b 2");
        assert!(call(&mut client, "WAIT 1 100").starts_with(':'));
        stream.write_all(&encode(&["GET", "a"])).expect("it is sent");
        wait_until("it is cut off", || {
            primary.log().contains("Replica generated a reply to command 'get'")
        });
        drop(stream);
        wait_until("they have gone", || crate::info(&primary, "connected_slaves") == "0");
        assert_eq!(call(&mut client, "GET a"), "$1\r\n1");
    }
}

#[test]
fn a_replica_that_does_not_read_is_cut_off() {
    for cores in CORES {
        let limit =
            [("client-output-buffer-limit", "replica 4mb 0 0"), ("repl-backlog-size", "1mb")];
        let primary = start(&OURS(cores), &[]);
        for (name, value) in limit {
            let mut client = primary.client();
            let reply = client.call(&["CONFIG", "SET", name, value]).expect("a reply");
            assert_eq!(reply, b"+OK\r\n");
        }
        let (_deaf, _) = ask_for_stream(&primary, "?", "-1");
        let mut client = primary.client();
        let value = "v".repeat(100_000);
        let mut rounds = 0;
        while crate::info(&primary, "connected_slaves") != "0" {
            for _ in 0..20 {
                call(&mut client, &format!("SET key {value}"));
            }
            rounds += 1;
            assert!(rounds < 100, "it is still there");
        }
        primary.must_log("for overcoming of output buffer limits.");
    }
}

#[test]
fn replicas_go_on_behind_a_restart() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let options = [("dir", dir.path().to_str().expect("a path that is text"))];
        let replica = start(&stock, &[]);
        let mut expired = 0;
        for round in 0..3 {
            let mut primary = start(&OURS(cores), &options);
            follow(&replica, primary.port());
            wait_in_sync(&primary, &replica);
            let syncs = |kind| primary.info("stats", kind).unwrap_or_default();
            let expected = if round == 0 { ("1", "0") } else { ("0", "1") };
            assert_eq!((&*syncs("sync_full"), &*syncs("sync_partial_ok")), expected);
            let left_out = primary.info("persistence", "rdb_last_load_keys_expired");
            assert_eq!(left_out, Some(expired.to_string()));
            assert_same(&primary, &replica, &format!("{cores} cores, round {round}"));
            // What has expired when the file is read is told to who still has it.
            ask(&primary, "DEBUG SET-ACTIVE-EXPIRE 0");
            for at in 0..50 {
                ask(&primary, &format!("SET short{at} x PX 1"));
                ask(&primary, &format!("SET key{at} {round}"));
            }
            wait_until("it has expired", || ask(&primary, "GET short49") == "$-1");
            expired = ask(&primary, "DBSIZE")[1..].parse::<u32>().expect("a number") - 50;
            wait_in_sync(&primary, &replica);
            let _ = primary.client().call(&["SHUTDOWN", "SAVE"]);
            let status = primary.exit_status(std::time::Instant::now() + crate::DEADLINE);
            assert!(status.is_some_and(|status| status.success()));
        }
    }
}
