//! Peers that nobody knows yet: garbage, silence, half a handshake, a thousand at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client::{Identity, TlsClient};
use super::support::client::encode;
use super::{Secure, wait_for, with_servers};

/// Connections of a storm.
const STORM: usize = 1000;
const STORM_THREADS: usize = 8;

fn connect(secure: &Secure) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", secure.port)).expect("it connects");
    socket.set_read_timeout(Some(super::DEADLINE)).expect("a timeout");
    socket
}

fn must_serve(secure: &Secure, clients: &str) {
    assert_eq!(secure.client().text(&["PING"]), "+PONG");
    wait_for("their places are free again", || {
        (secure.server.info("clients", "connected_clients")? == clients).then_some(())
    });
}

#[test]
fn garbage_is_no_handshake() {
    with_servers(&[], |secure| {
        let garbage: [&[u8]; 6] = [
            b"\0",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\xff\xff",
            &[0xff; 70_000],
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
            b"\x15\x03\x03\x00\x02\x02\x28",
        ];
        for bytes in garbage {
            let mut socket = connect(secure);
            let _ = socket.write_all(bytes);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
        }
        must_serve(secure, "1");
        secure.wait_for_log("Error accepting a client connection: ");
    });
}

/// A handshake that ends after each of its first bytes.
#[test]
fn a_truncated_handshake_leaves_nothing() {
    with_servers(&[], |secure| {
        let rules = std::sync::Arc::new(super::client::config(&secure.files, Identity::Nobody));
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("an address");
        let mut hello = Vec::new();
        let mut connection = rustls::ClientConnection::new(rules, name).expect("a client");
        connection.write_tls(&mut hello).expect("a vector takes everything");
        for end in (0..hello.len()).step_by(7) {
            let mut socket = connect(secure);
            let _ = socket.write_all(&hello[..end]);
        }
        let mut broken = hello.clone();
        for at in (5..hello.len()).step_by(11) {
            broken[at] ^= 0xff;
            let mut socket = connect(secure);
            let _ = socket.write_all(&broken);
            broken[at] ^= 0xff;
        }
        must_serve(secure, "1");
    });
}

#[test]
fn records_that_were_changed_end_the_connection() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        assert_eq!(client.text(&["SET", "k", "v"]), "+OK");
        let mut sealed = Vec::new();
        client.stream.conn.writer().write_all(&encode(&["DEL", "k"])).expect("a vector");
        client.stream.conn.write_tls(&mut sealed).expect("a vector");
        *sealed.last_mut().expect("a record") ^= 1;
        client.stream.sock.write_all(&sealed).expect("it is sent");
        assert!(client.read_reply().is_err(), "an alert, and the end");
        assert_eq!(secure.client().text(&["GET", "k"]), "$1\r\nv");
        must_serve(secure, "1");
    });
}

/// Silent connections hold nothing but their place, for a bounded time.
#[test]
fn half_open_handshakes_end_by_themselves() {
    with_servers(&[], |secure| {
        let silent: Vec<TcpStream> = (0..200).map(|_| connect(secure)).collect();
        let began = Instant::now();
        assert_eq!(secure.client().text(&["PING"]), "+PONG");
        assert!(began.elapsed() < Duration::from_secs(5), "others get through");
        for mut socket in silent {
            assert!(matches!(socket.read(&mut [0; 1]), Ok(0) | Err(_)), "it is closed");
        }
        let log = secure.wait_for_log("Error accepting a client connection: the handshake took");
        assert!(log.contains("(addr=127.0.0.1:"), "{log}");
        must_serve(secure, "1");
    });
}

#[test]
fn there_are_no_more_clients_than_allowed() {
    with_servers(&[("maxclients", "5")], |secure| {
        let mut clients: Vec<TlsClient> = (0..4).map(|_| secure.client()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.text(&["PING"]), "+PONG"));
        let fifth = TcpStream::connect(("127.0.0.1", secure.port)).expect("it connects");
        let one_too_many = TlsClient::connect(secure.port, &secure.files, Identity::Nobody);
        assert!(one_too_many.is_err(), "a half-open one has a place, too");
        drop(fifth);
        drop(clients.pop());
        wait_for("a place", || {
            TlsClient::connect(secure.port, &secure.files, Identity::Named("client"))
                .ok()?
                .call(&["PING"])
                .ok()
        });
    });
}

/// Handshakes run beside the cores: who is connected goes on being served. How fast is for perf/ to
/// say; here nothing may stop.
#[test]
fn a_storm_of_handshakes_stops_nobody() {
    with_servers(&[], |secure| {
        let mut established = secure.client();
        std::thread::scope(|scope| {
            let storms: Vec<_> = (0..STORM_THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..STORM / STORM_THREADS {
                            assert_eq!(secure.client().text(&["PING"]), "+PONG");
                        }
                    })
                })
                .collect();
            let mut served = 0;
            while storms.iter().any(|storm| !storm.is_finished()) {
                assert_eq!(established.text(&["PING"]), "+PONG");
                served += 1;
            }
            assert!(served > 100, "{served} requests in a storm");
        });
        must_serve(secure, "2");
    });
}

/// A core accepts and takes over; the work of a handshake is another thread's. Processor time says so on any machine.
#[test]
fn handshakes_take_their_time_beside_the_cores() {
    with_servers(&[], |secure| {
        assert_eq!(secure.client().text(&["PING"]), "+PONG");
        let before = thread_times(secure);
        for _ in 0..200 {
            drop(secure.client());
        }
        must_serve(secure, "1");
        let after = thread_times(secure);
        let spent = |prefix: &str| -> u64 {
            let of = |times: &BTreeMap<String, u64>| -> u64 {
                times
                    .iter()
                    .filter(|(name, _)| name.starts_with(prefix))
                    .map(|(_, time)| time)
                    .sum()
            };
            of(&after) - of(&before)
        };
        let (cores, handshakes) = (spent("core-"), spent("handshakes"));
        assert!(cores < handshakes, "{cores} ns of the cores, {handshakes} beside them");
    });
}

/// Processor time of each thread of the server by its name, in nanoseconds.
fn thread_times(secure: &Secure) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    let tasks = format!("/proc/{}/task", secure.server.pid());
    for task in fs::read_dir(tasks).expect("its threads") {
        let path = task.expect("a thread").path();
        let name = fs::read_to_string(path.join("comm")).expect("its name");
        let times_of = fs::read_to_string(path.join("schedstat")).expect("its times");
        let time = times_of.split(' ').next().and_then(|time| time.parse::<u64>().ok());
        *times.entry(name.trim().to_owned()).or_default() += time.expect("nanoseconds");
    }
    times
}

/// Records of a connection that is killed while they come in.
#[test]
fn cve_2026_56684_and_81934_killed_with_records_under_way() {
    with_servers(&[], |secure| {
        let mut admin = secure.server.client();
        let pipeline = encode(&["SET", "k", &"v".repeat(1000)]).repeat(2000);
        for _ in 0..10 {
            let mut victim = secure.client();
            let id = victim.text(&["CLIENT", "ID"]).replace(':', "");
            std::thread::scope(|scope| {
                // It ends in the middle.
                scope.spawn(|| while victim.send(&pipeline).is_ok() {});
                wait_for("its records", || {
                    (admin.call(&["EXISTS", "k"]).ok()? == b":1\r\n").then_some(())
                });
                let killed = admin.call(&["CLIENT", "KILL", "ID", &id]).expect("a reply");
                assert_eq!(killed, b":1\r\n");
            });
            assert_eq!(admin.call(&["DEL", "k"]).expect("a reply"), b":1\r\n");
            // And one that kills itself amid its own records.
            let mut suicide = secure.client();
            let words =
                ["CLIENT", "KILL", "SKIPME", "no", "LADDR", &format!("127.0.0.1:{}", secure.port)];
            let mut bytes = encode(&["PING"]).repeat(500);
            bytes.extend(encode(&words));
            bytes.extend(encode(&["PING"]).repeat(500));
            let _ = suicide.send(&bytes);
            while suicide.read_reply().is_ok() {}
        }
        must_serve(secure, "2");
    });
}
