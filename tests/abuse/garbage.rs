//! What is no request, or only a part of one.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use ironring::base::rng::Rng;
use ironring::base::slot::Slot;
use ironring::command::{Arity, Command};
use ironring::dispatch::table::table;
use ironring::txn::cores::SlotMap;

use super::support::client::encode;
use super::{
    connect, expect, number, read_to_end, reset, resident, shown, wait_for_nobody, wait_until,
    with_servers,
};

/// How long a client of a mixture waits for the server.
const UNREAD: Duration = Duration::from_millis(100);

/// What is sent, and what comes before the server closes the connection.
const BROKEN: &[(&[u8], &[u8])] = &[
    (b"*abc\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*2147483648\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*99999999999999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*1\r\n:1\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
    (b"*1\r\n$abc\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$-9223372036854775808\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$9223372036854775807\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$536870913\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"GET \"a\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"PING\r\n*x\r\n", b"+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
    (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    (b"PING\r\nHost: x\r\nPING\r\n", b"+PONG\r\n"),
];

/// What is no error at all.
const HARMLESS: &[(&[u8], &[u8])] = &[
    (b"\r\n\r\n\n*0\r\n*-1\r\n*-99\r\nPING\r\n", b"+PONG\r\n"),
    (b"*1\r\n$0\r\n\r\n", b"-ERR unknown command '', with args beginning with: \r\n"),
    (b"*1\r\n$4\r\nPINGxx", b"+PONG\r\n"),
];

#[test]
fn a_broken_request_ends_its_connection() {
    with_servers(&[], |server| {
        for (sent, expected) in BROKEN {
            let mut stream = connect(server);
            stream.write_all(sent).expect("sent");
            let found = read_to_end(&mut stream);
            assert!(found == *expected, "{}: {}", shown(sent), shown(&found));
        }
        for (sent, expected) in HARMLESS {
            let mut stream = connect(server);
            stream.write_all(sent).expect("sent");
            expect(&mut stream, expected);
        }
        for start in [&b"*"[..], b"*1\r\n$", b"*1\r\n*", b""] {
            let mut stream = connect(server);
            let line = [start, &vec![b'1'; 64 * 1024 + 1]].concat();
            stream.write_all(&line).expect("sent");
            let found = read_to_end(&mut stream);
            let too_big = found.starts_with(b"-ERR Protocol error: too big ");
            assert!(too_big, "{}: {}", shown(start), shown(&found));
        }
        wait_for_nobody(server);
    });
}

#[test]
fn random_bytes_harm_nobody() {
    with_servers(&[], |server| {
        let mut random = Rng::new(7);
        for round in 0..150 {
            let mut stream = connect(server);
            let alphabet: &[u8] = b"*$\r\n0123456789-PINGSETGET \"'\0\xff";
            let bytes: Vec<u8> = (0..random.below(4000))
                .map(|_| alphabet[random.below(alphabet.len() as u64) as usize])
                .collect();
            // The server may close before all is sent.
            let _ = stream.write_all(&bytes);
            if round % 2 == 0 {
                reset(stream);
            }
        }
        wait_for_nobody(server);
    });
}

#[test]
fn one_byte_at_a_time_is_enough() {
    with_servers(&[], |server| {
        let mut stream = connect(server);
        let request = [
            encode(&["SET", "{a}1", "v"]),
            encode(&["MGET", "{a}1", "{b}2"]),
            b"PING\r\n".to_vec(),
        ];
        for byte in request.concat() {
            stream.write_all(&[byte]).expect("sent");
        }
        expect(&mut stream, b"+OK\r\n*2\r\n$1\r\nv\r\n$-1\r\n+PONG\r\n");
    });
}

#[test]
fn what_is_only_announced_costs_no_memory() {
    with_servers(&[("proto-max-bulk-len", "2gb")], |server| {
        let before = resident(server);
        let announcements: [&[u8]; 4] = [
            b"*1000000000\r\n",
            b"*2147483647\r\n$3\r\nSET\r\n$1000000000\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000000\r\n",
            b"*3\r\n$3\r\nSET\r\n$1000000000\r\nk",
        ];
        let mut streams: Vec<_> = (0..400).map(|_| connect(server)).collect();
        for (stream, sent) in streams.iter_mut().zip(announcements.iter().cycle()) {
            stream.write_all(sent).expect("sent");
        }
        wait_until("all have been read", || {
            number(server, "stats", "total_net_input_bytes") > 400 * 13
        });
        let grown = resident(server).saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes for 400 announcements");
        drop(streams);
        wait_for_nobody(server);
    });
}

/// Keys on each of four cores.
pub(super) fn keys() -> Vec<String> {
    let map = SlotMap::new(4);
    let key = |core| {
        (0..1_000).map(|n| format!("key{n}")).find(|k| map.owner(Slot::of(k.as_bytes())) == core)
    };
    (0..4).map(|core| key(core).expect("numbers do not end")).collect()
}

/// Starts of conversations that their clients never finish.
fn unfinished() -> Vec<Vec<u8>> {
    let keys = keys();
    let mut travelling = Vec::new();
    for round in 0..300 {
        travelling.extend(encode(&["INCR", &keys[round % 4]]));
        travelling.extend(encode(&["MGET", &keys[0], &keys[1], &keys[2], &keys[3]]));
        travelling.extend(encode(&["CLIENT", "LIST"]));
    }
    let big = vec![b'x'; 300_000];
    let stored = encode(&[b"APPEND", keys[2].as_bytes(), &big]);
    vec![
        b"*2\r\n$3\r\nGE".to_vec(),
        b"PIN".to_vec(),
        travelling.clone(),
        [&travelling[..], &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000\r\n"[..], &big].concat(),
        stored[..100_000].to_vec(),
        stored[..stored.len() - 1].to_vec(),
        [&stored[..], &travelling, &stored[..200_000]].concat(),
    ]
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    with_servers(&[], |server| {
        let vanish = |rounds: usize| {
            for round in 0..rounds {
                for bytes in unfinished() {
                    let mut stream = connect(server);
                    stream.write_all(&bytes).expect("sent");
                    match round % 3 {
                        0 => reset(stream),
                        1 => drop(stream),
                        _ => drop(stream.shutdown(Shutdown::Write)),
                    }
                }
            }
            wait_for_nobody(server);
            let mut client = server.client();
            client.call(&["FLUSHALL"]).expect("empty");
            client.quit();
        };
        vanish(3);
        let used = number(server, "memory", "used_memory");
        vanish(6);
        wait_until("memory is given back", || {
            number(server, "memory", "used_memory") < used + (2 << 20)
        });
    });
}

/// Commands of every way of running: at home, where the key is, with loans, on all cores; among
/// them such as change sessions, stop writers and kill clients.
fn random_pipeline(random: &mut Rng) -> Vec<u8> {
    let keys = keys();
    let mut bytes = Vec::new();
    for _ in 0..random.below(150) {
        let key = &keys[random.below(4) as usize];
        let value = "x".repeat(random.below(40_000) as usize);
        let victim = random.below(900).to_string();
        bytes.extend(match random.below(14) {
            0 => encode(&["GET", key]),
            1 => encode(&["SET", key, &value]),
            2 => encode(&["MGET", &keys[0], &keys[1], &keys[2], &keys[3]]),
            3 => encode(&["CLIENT", "LIST"]),
            4 => encode(&["CLIENT", "KILL", "ID", &victim]),
            5 => encode(&["INFO"]),
            6 => encode(&["DBSIZE"]),
            7 => encode(&["CLIENT", "PAUSE", "2", "ALL"]),
            8 => encode(&["RESET"]),
            9 => encode(&["HELLO", "3"]),
            10 => encode(&["CLIENT", "REPLY", ["ON", "OFF", "SKIP"][random.below(3) as usize]]),
            11 => encode(&["APPEND", key, &value.repeat(5)]),
            12 => encode(&["FLUSHALL"]),
            _ => encode(&["PING"]),
        });
    }
    if random.below(2) == 0 {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
    bytes
}

#[test]
fn no_mixture_of_commands_and_vanishing_clients_ends_the_server() {
    const THREADS: u64 = 8;
    with_servers(&[], |server| {
        std::thread::scope(|scope| {
            for seed in 0..THREADS {
                scope.spawn(move || {
                    let mut random = Rng::new(seed);
                    for _ in 0..40 {
                        let mut stream = connect(server);
                        stream.set_write_timeout(Some(UNREAD)).expect("a deadline");
                        stream.set_read_timeout(Some(UNREAD)).expect("a deadline");
                        // Nobody reads all of it, and others may kill this client.
                        let _ = stream.write_all(&random_pipeline(&mut random));
                        match random.below(4) {
                            0 => reset(stream),
                            1 => drop(stream.shutdown(Shutdown::Write)),
                            2 => while matches!(stream.read(&mut [0; 1 << 16]), Ok(1..)) {},
                            _ => drop(stream),
                        }
                    }
                });
            }
        });
        wait_for_nobody(server);
    });
}

/// Requests for a command with too few words for it, and with one too many if there is such a number.
fn miscounted(command: &Command, name: &str) -> Vec<Vec<String>> {
    let (least, most) = match command.arity {
        Arity::Exactly(count) => (usize::from(count), Some(usize::from(count))),
        Arity::AtLeast(count) => (usize::from(count), None),
    };
    let named: Vec<String> = name.split('|').map(str::to_owned).collect();
    (named.len()..least)
        .chain(most.map(|most| most + 1))
        .map(|count| {
            let words = (named.len()..count).map(|at| format!("word{at}"));
            named.iter().cloned().chain(words).collect()
        })
        .collect()
}

#[test]
fn every_command_with_a_wrong_number_of_words_is_refused_amid_a_pipeline() {
    with_servers(&[], |server| {
        for one in table().all() {
            for request in miscounted(one.command, one.full_name) {
                // The keys belong to all cores, so the request is met on every one of them, and, behind
                // a command of the session, on the client's own.
                let mut sent = Vec::new();
                for key in ["b", "c", "d", "a"] {
                    sent.extend(encode(&["GET", key]));
                    sent.extend(encode(&request));
                    sent.extend(encode(&["CLIENT", "GETNAME"]));
                    sent.extend(encode(&request));
                }
                sent.extend(encode(&["PING"]));
                let mut client = server.client();
                client.send(&sent).expect("sent");
                for _ in 0..8 {
                    assert_eq!(client.read_reply().expect("a reply"), b"$-1\r\n");
                    let reply = client.read_reply().expect("a reply");
                    let text = String::from_utf8_lossy(&reply);
                    let is_right = text.starts_with('-') && text.contains("number of arguments");
                    assert!(is_right, "{request:?}: {text}");
                }
                assert_eq!(client.read_reply().expect("a reply"), b"+PONG\r\n", "{request:?}");
            }
        }
        wait_for_nobody(server);
    });
}
