//! Primaries that send anything: the replica stays, and so does its data until a good snapshot is here.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::random::Random;
use crate::support::client::encode;
use crate::support::server::{Program as Binary, Server};
use crate::{CORES, ask, follow, info, start, wait_until};

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// A primary that answers the handshake and sends these bytes to whoever asks for a snapshot or the
/// stream; then it closes, or waits until the replica does.
struct Scripted {
    port: u16,
}

impl Scripted {
    fn new(payload: Vec<u8>, closes: bool) -> Scripted {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let payload = Arc::new(payload);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let payload = payload.clone();
                thread::spawn(move || serve(socket, &payload, closes));
            }
        });
        Scripted { port }
    }
}

/// Answers each request of the handshake with one line, and PSYNC with the payload.
fn serve(mut socket: TcpStream, payload: &[u8], closes: bool) {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    let mut answered = 0;
    while let Ok(count @ 1..) = socket.read(&mut chunk) {
        received.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&received).into_owned();
        if text.contains("PSYNC") {
            let _ = socket.write_all(payload);
            let _ = socket.set_read_timeout(Some(Duration::from_secs(5)));
            while !closes && matches!(socket.read(&mut chunk), Ok(1..)) {}
            return;
        }
        let requests = text.matches("REPLCONF").count() + text.matches("PING").count();
        for _ in answered..requests {
            let _ = socket.write_all(b"+OK\r\n");
        }
        answered = requests;
    }
}

fn full_resync(snapshot: &[u8]) -> Vec<u8> {
    let head = format!("+FULLRESYNC {ID} 1000\r\n${}\r\n", snapshot.len());
    [head.as_bytes(), snapshot].concat()
}

/// A snapshot as a server of ours writes it, with a few keys.
fn good_snapshot() -> Vec<u8> {
    let server = start(&Binary::Ours { cores: 1 }, &[]);
    ask(&server, "SET theirs 1");
    ask(&server, "RPUSH list a b c");
    ask(&server, "HSET hash f v");
    ask(&server, "SAVE");
    std::fs::read(server.dir().join("dump.rdb")).expect("the file")
}

fn assert_unharmed(replica: &Server, what: &str) {
    assert_eq!(ask(replica, "GET mine"), "$5\r\nvalue", "{what}");
    assert_eq!(ask(replica, "DBSIZE"), ":1", "{what}");
}

#[test]
fn a_snapshot_that_is_not_good_changes_nothing() {
    let good = good_snapshot();
    for cores in CORES {
        let replica = start(&Binary::Ours { cores }, &[]);
        ask(&replica, "SET mine value");
        let mut random = Random::new(7);
        let mut payloads = vec![
            ("nothing", full_resync(b"")),
            ("no snapshot", full_resync(b"this is none at all, and never was")),
            ("cut", full_resync(&good)[..good.len()].to_vec()),
            ("a tail", full_resync(&[&good[..], b"more"].concat())),
            (
                "an absurd length",
                format!("+FULLRESYNC {ID} 5\r\n${}\r\nREDIS0011", u64::MAX).into(),
            ),
            ("no length", format!("+FULLRESYNC {ID} 5\r\nREDIS0011\r\n").into()),
            ("an endless line", vec![b'x'; 1 << 20]),
            ("an error", b"-ERR I do not want to\r\n".to_vec()),
            ("a stream of nothing", b"+CONTINUE\r\n*1\r\n$-5\r\n".to_vec()),
        ];
        for _ in 0..6 {
            let mut bad = good.clone();
            let at = 9 + random.below(bad.len() - 17);
            bad[at] ^= 1 << random.below(8);
            payloads.push(("a bit", full_resync(&bad)));
        }
        for (what, payload) in payloads {
            let tries = replica.log().matches("sync started").count();
            let primary = Scripted::new(payload, true);
            follow(&replica, primary.port);
            wait_until("it tries, and tries again", || {
                replica.log().matches("sync started").count() > tries + 1
            });
            assert_unharmed(&replica, what);
            assert_eq!(ask(&replica, "REPLICAOF NO ONE"), "+OK");
        }
    }
}

#[test]
fn nothing_that_a_primary_sends_ends_a_replica() {
    let good = good_snapshot();
    for cores in CORES {
        let replica = start(&Binary::Ours { cores }, &[]);
        let mut stream = Vec::new();
        let names: Vec<String> = command_names(&replica);
        for name in &names {
            for extra in 0..4 {
                let mut argv: Vec<&str> = name.split('|').collect();
                argv.extend(["theirs", "1", "2"].iter().take(extra));
                stream.extend(encode(&argv));
            }
        }
        stream.extend(encode(&["NOSUCHCOMMAND", "x"]));
        stream.extend(encode(&["SET", "last", "word"]));
        let primary = Scripted::new([full_resync(&good), stream].concat(), false);
        follow(&replica, primary.port);
        wait_until("all of it has taken effect", || ask(&replica, "GET last") == "$4\r\nword");
        assert_eq!(info(&replica, "role"), "slave");
        replica.must_log("This replica is sending an error to its master");
    }
}

/// Every command with its subcommands, but for those that would take the test's own data away last.
fn command_names(server: &Server) -> Vec<String> {
    let reply = ask(server, "COMMAND LIST");
    let lines = reply.lines().filter(|line| !line.starts_with(['*', '$', '+']));
    lines
        .map(str::to_owned)
        .filter(|name| !["exec", "multi", "select"].contains(&name.as_str()))
        .collect()
}

#[test]
fn a_stream_that_breaks_takes_effect_up_to_where_it_breaks() {
    let good = good_snapshot();
    for cores in CORES {
        for (what, tail) in [
            ("no command", b"GARBAGE\r\n".to_vec()),
            ("a length", b"*2\r\n$9999999999999999999\r\nx".to_vec()),
            ("a count", b"*99999999999999\r\n".to_vec()),
            (
                "half a transaction",
                encode(&["MULTI"]).into_iter().chain(encode(&["SET", "half", "1"])).collect(),
            ),
            ("a database", encode(&["SELECT", "99999"])),
        ] {
            let replica = start(&Binary::Ours { cores }, &[]);
            let stream = [full_resync(&good), encode(&["SET", "good", "1"]), tail].concat();
            let primary = Scripted::new(stream, true);
            follow(&replica, primary.port);
            wait_until(what, || ask(&replica, "GET good") == "$1\r\n1");
            wait_until("the link is dropped", || replica.log().matches("sync started").count() > 1);
            assert_eq!(ask(&replica, "EXISTS half"), ":0", "{what}");
        }
    }
}
