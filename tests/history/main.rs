//! Concurrent clients of a real server with four cores, over TCP: what they saw must be what one
//! thread could have answered, each client's commands in the order in which it sent them.
//!
//! Invariant: keys lie on different partitions, so that every command on several keys needs a loan
//! and every pipeline travels. `HISTORY_ROUNDS` makes the runs longer.

mod checker;
mod model;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use checker::Operation;
use ironring::base::rng::Rng;
use ironring::base::slot::Slot;
use ironring::txn::cores::SlotMap;
use model::Command;
use snapshots::Span;
use support::client::{Client, encode};
use support::server::{Program, Server};

/// Partitions that the keys lie on, where there are so many.
const CORES: usize = 4;
/// Rounds of an ordinary run: a few seconds in all.
const ROUNDS: u64 = 40;

fn rounds() -> u64 {
    support::env("HISTORY_ROUNDS").and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

fn server() -> Server {
    Server::start(&Program::Ours { cores: CORES }, &[])
}

/// One key on each partition; `round` keeps the keys of rounds apart.
fn names(round: u64) -> Vec<Vec<u8>> {
    let map = SlotMap::new(CORES);
    let mut candidates = (0..).map(|number| format!("key{round}.{number}").into_bytes());
    (0..CORES)
        .map(|core| candidates.find(|name| map.owner(Slot::of(name)) == core))
        .map(|name| name.expect("numbers do not end"))
        .collect()
}

/// Nanoseconds since `origin`.
fn time(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).expect("a test of less than centuries")
}

#[test]
fn short_histories_have_an_order() {
    short_histories(CORES);
}

#[test]
fn short_histories_of_one_core_have_an_order() {
    short_histories(1);
}

fn short_histories(cores: usize) {
    const CLIENTS: usize = 4;
    let server = Server::start(&Program::Ours { cores }, &[]);
    for round in 0..rounds() * 5 {
        let (names, barrier, origin) = (names(round), Barrier::new(CLIENTS), Instant::now());
        let (server, names, barrier) = (&server, &names, &barrier);
        let histories: Vec<Vec<Operation>> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    scope.spawn(move || {
                        let connection = server.client();
                        barrier.wait();
                        random_pipelines(connection, (round, client), names, origin)
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().expect("a client")).collect()
        });
        if let Err(anomaly) = checker::check(&histories, names.len()) {
            panic!("round {round}: {anomaly}");
        }
    }
}

/// Three pipelines of random commands; what was asked and answered, and when.
fn random_pipelines(
    mut connection: Client,
    (round, client): (u64, usize),
    names: &[Vec<u8>],
    origin: Instant,
) -> Vec<Operation> {
    let mut rng = Rng::new(round * 100 + client as u64);
    let mut operations = Vec::new();
    for _ in 0..3 {
        let commands: Vec<Command> = (0..1 + rng.below(4))
            .map(|at| {
                let unique = (client * 100 + operations.len()) as u64 + at + 1;
                Command::random(&mut rng, names.len(), client, unique)
            })
            .collect();
        let requests: Vec<_> = commands.iter().map(|one| one.requests(names)).collect();
        let bytes = requests.iter().flatten().flatten().copied().collect::<Vec<u8>>();
        let invoked = time(origin);
        connection.send(&bytes).expect("a pipeline is sent");
        for (command, requests) in commands.into_iter().zip(requests) {
            let mut replies = requests
                .iter()
                .map(|_| connection.read_reply().expect("each request is answered"))
                .collect::<Vec<_>>();
            let reply = replies.pop().expect("that of the command");
            assert!(replies.iter().all(|one| one[0] == b'+'), "{command:?} is queued");
            operations.push(Operation { command, invoked, returned: Some((time(origin), reply)) });
        }
    }
    operations
}

/// A run of one client: (name of the write, when) of each operation.
type Seen = Vec<(u64, Span)>;

#[test]
fn snapshots_of_all_keys_have_an_order() {
    const WRITERS: u64 = 2;
    const READERS: usize = 2;
    let (server, names, origin) = (server(), names(0), Instant::now());
    let (server, names, writers_end) = (&server, &names, &AtomicBool::new(false));
    let (writes, reads): (Seen, Seen) = thread::scope(|scope| {
        let writers: Vec<_> = (1..=WRITERS)
            .map(|writer| scope.spawn(move || write_all(server.client(), names, writer, origin)))
            .collect();
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(move || read_all(server.client(), names, writers_end, origin)))
            .collect();
        let writes = writers.into_iter().flat_map(|writer| writer.join().expect("a writer"));
        let writes = writes.collect();
        writers_end.store(true, Ordering::Relaxed);
        let reads = readers.into_iter().flat_map(|reader| reader.join().expect("a reader"));
        (writes, reads.collect())
    });
    assert!(reads.len() > 100, "the readers were too slow to see anything");
    snapshots::check(&writes, &reads).unwrap_or_else(|anomaly| panic!("{anomaly}"));
}

/// Pipelines of MSETs that each give all keys one new value.
fn write_all(mut connection: Client, names: &[Vec<u8>], writer: u64, origin: Instant) -> Seen {
    let mut writes = Vec::new();
    for round in 0..rounds() * 10 {
        let values = (0..4).map(|at| (round * 4 + at) * 10 + writer);
        let pipeline = values.clone().flat_map(|value| {
            let pairs = (0..names.len()).map(|key| (key, value.to_string().into_bytes()));
            encode(&Command::Mset(pairs.collect()).words(names))
        });
        let begin = time(origin);
        connection.send(&pipeline.collect::<Vec<u8>>()).expect("a pipeline is sent");
        for value in values {
            assert_eq!(connection.read_reply().expect("a reply"), b"+OK\r\n");
            writes.push((value, (begin, time(origin))));
        }
    }
    writes
}

/// MGETs of all keys until the writers are done; each must show one write.
fn read_all(
    mut connection: Client,
    names: &[Vec<u8>],
    writers_end: &AtomicBool,
    origin: Instant,
) -> Seen {
    let request = encode(&Command::Mget((0..names.len()).collect()).words(names));
    let mut reads = Vec::new();
    while !writers_end.load(Ordering::Relaxed) {
        let begin = time(origin);
        connection.send(&request).expect("a read is sent");
        let reply = connection.read_reply().expect("a reply");
        let end = time(origin);
        let text = String::from_utf8_lossy(&reply);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
        assert!(values.windows(2).all(|two| two[0] == two[1]), "half of a command: {values:?}");
        assert!(values.is_empty() || values.len() == names.len(), "half of a command: {text:?}");
        let name = values.first().map_or(0, |value| value.parse().expect("what a writer wrote"));
        reads.push((name, (begin, end)));
    }
    reads
}

#[test]
fn who_sees_the_flag_sees_the_data() {
    let (server, names) = (server(), names(0));
    let (data, flag) = (names[1].as_slice(), names[3].as_slice());
    let (server, writer_ends) = (&server, &AtomicBool::new(false));
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut connection = server.client();
            let request = [encode(&[b"GET", flag]), encode(&[b"GET", data])].concat();
            let mut last = 0;
            while !writer_ends.load(Ordering::Relaxed) {
                connection.send(&request).expect("a pipeline is sent");
                let [flag, data] = [number(&mut connection), number(&mut connection)];
                assert!(data >= flag, "the flag says {flag}, the data {data}");
                assert!(flag >= last, "the flag went back from {last} to {flag}");
                last = flag;
            }
            last
        });
        let mut connection = server.client();
        for round in 1..=rounds() * 50 {
            let round = round.to_string();
            let value = round.as_bytes();
            let pipeline = [encode(&[b"SET", data, value]), encode(&[b"SET", flag, value])];
            connection.send(&pipeline.concat()).expect("a pipeline is sent");
            for _ in pipeline {
                assert_eq!(connection.read_reply().expect("a reply"), b"+OK\r\n");
            }
        }
        writer_ends.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader") > 0, "the reader saw nothing");
    });
}

#[test]
fn no_update_is_lost() {
    for cores in [1, CORES] {
        let server = Server::start(&Program::Ours { cores }, &[]);
        let (server, names) = (&server, &names(0));
        let added: Vec<u64> = thread::scope(|scope| {
            let careful = (0..3)
                .map(|client| scope.spawn(move || count_carefully(server.client(), names, client)));
            let careful: Vec<_> = careful.collect();
            let plain = scope.spawn(move || {
                let mut connection = server.client();
                for round in 0..rounds() as usize {
                    let name = &names[round % names.len()];
                    connection.call(&[&b"INCR"[..], name.as_slice()]).expect("a reply");
                }
                vec![rounds() / names.len() as u64; names.len()]
            });
            let counts =
                careful.into_iter().chain([plain]).map(|one| one.join().expect("a client"));
            counts.reduce(|sum, one| sum.iter().zip(one).map(|(a, b)| a + b).collect())
        })
        .expect("there are clients");
        let mut connection = server.client();
        for (name, added) in names.iter().zip(added) {
            connection.send_command(&[&b"GET"[..], name.as_slice()]).expect("a read is sent");
            assert_eq!(number(&mut connection), added, "{cores} cores");
        }
        let watched = server.info("clients", "total_watched_keys");
        assert_eq!(watched.as_deref(), Some("0"), "nobody watches any more");
    }
}

/// Adds 1 to two counters at a time, by WATCH, MGET, MULTI, SET, EXEC; what it added to each.
fn count_carefully(mut connection: Client, names: &[Vec<u8>], client: u64) -> Vec<u64> {
    let mut rng = Rng::new(client);
    let mut added = vec![0; names.len()];
    let mut left = rounds();
    while left > 0 {
        let one = rng.below(names.len() as u64) as usize;
        let other = (one + 1 + rng.below(names.len() as u64 - 1) as usize) % names.len();
        let [first, second] = [one, other].map(|at| names[at].as_slice());
        connection.call(&[b"WATCH", first, second]).expect("a reply");
        let read = [encode(&[b"GET", first]), encode(&[b"GET", second])].concat();
        connection.send(&read).expect("reads are sent");
        let next = [(); 2].map(|()| (number(&mut connection) + 1).to_string());
        let pipeline = [
            encode(&["MULTI"]),
            encode(&[b"SET", first, next[0].as_bytes()]),
            encode(&[b"SET", second, next[1].as_bytes()]),
            encode(&["EXEC"]),
        ];
        connection.send(&pipeline.concat()).expect("a transaction is sent");
        let replies = pipeline.map(|_| connection.read_reply().expect("a reply"));
        if replies[3] != b"*-1\r\n" {
            assert_eq!(replies[3], b"*2\r\n+OK\r\n+OK\r\n");
            added[one] += 1;
            added[other] += 1;
            left -= 1;
        }
    }
    added
}

/// The number in the next reply, 0 for none.
fn number(connection: &mut Client) -> u64 {
    let reply = connection.read_reply().expect("a reply");
    let text = String::from_utf8_lossy(&reply);
    text.lines().nth(1).map_or(0, |line| line.parse().expect("what the writer wrote"))
}
