//! A full synchronization over two connections, the replica's side: against stock primaries, and against
//! one that the test plays, which ends or breaks either connection where it likes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::data::assert_same;
use crate::sentinel::signal;
use crate::support::client::encode;
use crate::support::server::{Program as Binary, Server};
use crate::{
    CORES, DEADLINE, ask, call, follow, info, oracle, start, wait_for_link, wait_in_sync,
    wait_until,
};

const ID: &str = "0123456789abcdef0123456789abcdef01234567";
const MARK: &str = "fedcba9876543210fedcba9876543210fedcba98";
/// Where the snapshot stands in the history.
const OFFSET: usize = 1000;
const CLIENT: usize = 17;
const BEGUN: &str = "Starting to receive RDB and replication stream in parallel.";

/// A primary that the test plays.
struct Played {
    listener: TcpListener,
}

impl Played {
    fn new() -> Played {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        Played { listener }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("its address").port()
    }

    fn accept(&self) -> Peer {
        let mut taken = None;
        wait_until("the replica connects", || {
            taken = self.listener.accept().ok();
            taken.is_some()
        });
        let (socket, _) = taken.expect("it has connected");
        socket.set_nonblocking(false).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
        Peer { socket, received: String::new() }
    }

    /// The link and its channel, as far as the snapshot's head.
    fn accept_both(&self) -> (Peer, Peer) {
        let mut main = self.accept_main();
        let mut channel = self.accept();
        assert_eq!(channel.request(), opening());
        channel.send(b"+OK\r\n");
        assert_eq!(channel.request(), "PSYNC ? -1");
        // It may take as long as it likes; the stream may be faster.
        channel.send(b"\n");
        main.send(&set("early", "1"));
        channel.send(format!("+FULLRESYNC {ID} {OFFSET}\r\n$EOF:{MARK}\r\n").as_bytes());
        (main, channel)
    }

    /// The link, whose replica is told to open a channel.
    fn accept_main(&self) -> Peer {
        let mut main = self.accept();
        loop {
            let request = main.request();
            if request.starts_with("PSYNC ") {
                main.send(format!("+RDBCHANNELSYNC {CLIENT}\r\n").as_bytes());
                return main;
            }
            let offers = request.starts_with("REPLCONF capa ");
            assert!(!offers || request.ends_with(" capa rdb-channel-repl"), "{request}");
            main.send(b"+OK\r\n");
        }
    }
}

/// What a replica says first over a channel, but for its port.
fn opening() -> String {
    format!(
        "REPLCONF capa eof rdb-only 1 rdb-channel 1 main-ch-client-id {CLIENT} listening-port PORT"
    )
}

/// The other end of a connection of the replica.
struct Peer {
    socket: TcpStream,
    received: String,
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("it is sent");
    }

    /// The next request, its words behind each other; empty lines are none.
    fn request(&mut self) -> String {
        self.next_request().expect("a request")
    }

    /// The same. None if the replica has closed.
    fn next_request(&mut self) -> Option<String> {
        loop {
            let requests = self.received.trim_start_matches('\n');
            let idle = self.received.len() - requests.len();
            if let Some((request, used)) = parsed(requests) {
                self.received.drain(..idle + used);
                return Some(request);
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.received.push_str(&String::from_utf8_lossy(&chunk[..count])),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until the replica has closed.
    fn wait_for_end(&mut self) {
        while self.next_request().is_some() {}
    }

    /// Waits for an empty line: the replica has all of the snapshot, and is busy.
    fn wait_until_busy(&mut self) {
        let mut byte = [0];
        self.socket.read_exact(&mut byte).expect("a byte");
        assert_eq!(byte, *b"\n");
    }

    fn close(self) {
        self.socket.shutdown(Shutdown::Both).expect("a socket");
    }

    /// Waits until the replica has told that it stands there.
    fn wait_for_ack(&mut self, offset: usize) {
        let wanted = format!("REPLCONF ACK {offset}");
        while !self.request().starts_with(&wanted) {}
    }
}

/// The first request of a text, if it is whole, and its bytes. The replica's own port is PORT.
fn parsed(text: &str) -> Option<(String, usize)> {
    let mut lines = text.split_inclusive("\r\n");
    let head = lines.next()?.strip_suffix("\r\n")?;
    let count: usize = head.strip_prefix('*')?.parse().expect("a count");
    let (mut words, mut used) = (Vec::new(), head.len() + 2);
    for _ in 0..count {
        let length = lines.next()?;
        let word = lines.next()?;
        used += length.len() + word.len();
        words.push(word.strip_suffix("\r\n")?);
    }
    if let Some(at) = words.iter().position(|word| *word == "listening-port") {
        words[at + 1] = "PORT";
    }
    Some((words.join(" "), used))
}

fn set(key: &str, value: &str) -> Vec<u8> {
    encode(&["SET", key, value])
}

/// A snapshot with these keys, as a server of ours writes it.
fn snapshot(keys: usize) -> Vec<u8> {
    let server = start(&Binary::Ours { cores: 1 }, &[]);
    ask(&server, &format!("DEBUG POPULATE {keys} theirs 10"));
    ask(&server, "SAVE");
    std::fs::read(server.dir().join("dump.rdb")).expect("the file")
}

/// A replica with data of its own, which follows a primary that is played.
fn replica_of(played: &Played, cores: usize, options: &[(&str, &str)]) -> Server {
    let replica = start(&Binary::Ours { cores }, options);
    ask(&replica, "SET mine value");
    follow(&replica, played.port());
    replica
}

fn assert_unharmed(replica: &Server, what: &str) {
    assert_eq!(ask(replica, "GET mine"), "$5\r\nvalue", "{what}");
    assert_eq!(ask(replica, "DBSIZE"), ":1", "{what}");
}

#[test]
fn the_stream_may_come_before_its_snapshot() {
    let snapshot = snapshot(100);
    for cores in CORES {
        let played = Played::new();
        let replica = replica_of(&played, cores, &[]);
        let (mut main, mut channel) = played.accept_both();
        wait_until("the stream is kept", || info(&replica, "replica_full_sync_buffer_size") != "0");
        wait_until("it is told", || info(&replica, "master_sync_in_progress") == "1");
        let mut sent = set("early", "1").len();
        for (at, part) in snapshot.chunks(snapshot.len().div_ceil(4)).enumerate() {
            channel.send(part);
            let line = [set("late", &at.to_string()), encode(&["RPUSH", "list", "x"])].concat();
            main.send(&line);
            sent += line.len();
        }
        assert_unharmed(&replica, "it is not whole");
        channel.send(MARK.as_bytes());
        main.wait_for_ack(OFFSET);
        channel.wait_for_end();
        main.send(&encode(&["REPLCONF", "GETACK", "*"]));
        sent += encode(&["REPLCONF", "GETACK", "*"]).len();
        main.wait_for_ack(OFFSET + sent);
        assert_eq!(ask(&replica, "MGET early late"), "*2\r\n$1\r\n1\r\n$1\r\n3");
        assert_eq!(ask(&replica, "LLEN list"), ":4");
        assert_eq!(ask(&replica, "DBSIZE"), ":103");
        assert_eq!(info(&replica, "master_replid"), ID);
        assert_eq!(info(&replica, "replica_full_sync_buffer_size"), "0");
        assert_ne!(info(&replica, "replica_full_sync_buffer_peak"), "0");
        replica.must_log("Successfully streamed replication buffer into the db");
    }
}

/// Waits until the process has stopped of itself, and continues it.
fn go_on_when_stopped(server: &Server) {
    wait_until("the process stops", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid()));
        // Behind the name in parentheses.
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    });
    signal(server, "CONT");
}

#[test]
fn tests_may_stop_the_process_at_steps_of_a_sync() {
    let snapshot = snapshot(10);
    for cores in CORES {
        let played = Played::new();
        let replica = start(&Binary::Ours { cores }, &[]);
        assert!(ask(&replica, "DEBUG REPL-PAUSE nowhere").starts_with("-ERR unknown subcommand"));
        for step in ["before-rdb-channel", "on-streaming-repl-buf"] {
            assert_eq!(ask(&replica, &format!("DEBUG REPL-PAUSE {step}")), "+OK");
        }
        follow(&replica, played.port());
        let mut main = played.accept_main();
        let mut channel = played.accept();
        assert_eq!(channel.request(), opening());
        channel.send(b"+OK\r\n");
        go_on_when_stopped(&replica);
        assert_eq!(channel.request(), "PSYNC ? -1");
        main.send(&set("early", "1"));
        channel.send(format!("+FULLRESYNC {ID} {OFFSET}\r\n$EOF:{MARK}\r\n").as_bytes());
        channel.send(&[&snapshot, MARK.as_bytes()].concat());
        go_on_when_stopped(&replica);
        wait_until("what was kept has taken effect", || ask(&replica, "GET early") == "$1\r\n1");
        assert_eq!(ask(&replica, "DBSIZE"), ":11");
        assert_eq!(ask(&replica, "DEBUG REPL-PAUSE clear"), "+OK");
    }
}

#[test]
fn a_sync_whose_connections_end_or_break_is_tried_again() {
    let good = snapshot(100);
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    for cores in CORES {
        let played = Played::new();
        let replica = replica_of(&played, cores, &[]);
        let (main, mut channel) = played.accept_both();
        channel.send(&good[..good.len() / 2]);
        main.close();
        channel.wait_for_end();
        assert_unharmed(&replica, "the link has ended");

        let (mut main, mut channel) = played.accept_both();
        channel.send(&good);
        channel.close();
        main.wait_for_end();
        assert_unharmed(&replica, "the channel has ended before the mark");

        let mut main = played.accept_main();
        let mut channel = played.accept();
        channel.request();
        channel.send(format!("-ERR Unrecognized RDB client id: {CLIENT}\r\n").as_bytes());
        main.wait_for_end();
        channel.wait_for_end();
        let said = "Master replied error to replconf: -ERR Unrecognized RDB client id: 17";
        wait_until("it is told", || replica.log().contains(said));

        let (mut main, mut channel) = played.accept_both();
        channel.send(&[&bad, MARK.as_bytes()].concat());
        main.wait_for_end();
        channel.wait_for_end();
        assert_unharmed(&replica, "the snapshot is damaged");

        let (mut main, mut channel) = played.accept_both();
        channel.send(&[&good, MARK.as_bytes()].concat());
        main.wait_for_ack(OFFSET + set("early", "1").len());
        assert_eq!(ask(&replica, "DBSIZE"), ":101");
        wait_until("three lines", || {
            replica.log().matches("Aborting rdb channel sync").count() == 3
        });
        let left: Vec<_> = std::fs::read_dir(replica.dir())
            .expect("its directory")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("temp-"))
            .collect();
        assert_eq!(left, [""; 0]);
    }
}

#[test]
fn who_stops_following_ends_both_connections() {
    for cores in CORES {
        let played = Played::new();
        let limit = ("replica-full-sync-buffer-limit", "1kb");
        for options in [&[][..], &[limit]] {
            let replica = replica_of(&played, cores, options);
            let (mut main, mut channel) = played.accept_both();
            main.send(&set("key", &"v".repeat(10_000)));
            wait_until("it is kept", || info(&replica, "replica_full_sync_buffer_size") != "0");
            channel.send(b"REDIS0011");
            assert_eq!(ask(&replica, "REPLICAOF NO ONE"), "+OK");
            main.wait_for_end();
            channel.wait_for_end();
            assert_unharmed(&replica, "it is its own again");
            let field = "mem_replica_full_sync_buffer";
            assert_eq!(replica.info("memory", field).as_deref(), Some("0"));
        }
    }
}

#[test]
fn a_whole_snapshot_is_of_use_when_the_link_has_ended() {
    let snapshot = snapshot(1000);
    for cores in CORES {
        let played = Played::new();
        let replica = replica_of(&played, cores, &[("key-load-delay", "2000")]);
        let (mut main, mut channel) = played.accept_both();
        channel.send(&[&snapshot, MARK.as_bytes()].concat());
        main.wait_until_busy();
        main.close();
        let mut next = played.accept();
        assert_eq!(next.request(), "PING");
        next.send(b"+PONG\r\n");
        while !next.request().starts_with("REPLCONF version") {}
        next.send(&b"+OK\r\n".repeat(3));
        let position = OFFSET + set("early", "1").len();
        assert_eq!(next.request(), format!("PSYNC {ID} {}", position + 1));
        assert_eq!(ask(&replica, "DBSIZE"), ":1001");
        replica.must_log("After loading RDB, replica will try psync with master.");
    }
}

#[test]
fn no_more_is_kept_than_may_be() {
    let snapshot = snapshot(10);
    let (limit, values) = (8 << 10, 300);
    for cores in CORES {
        for directive in [
            ("replica-full-sync-buffer-limit", "8kb"),
            ("client-output-buffer-limit", "replica 8kb 0 0"),
        ] {
            let played = Played::new();
            let replica = start(&Binary::Ours { cores }, &[]);
            let mut client = replica.client();
            let set_limit = client.call(&["CONFIG", "SET", directive.0, directive.1]);
            assert_eq!(set_limit.expect("a reply"), b"+OK\r\n");
            follow(&replica, played.port());
            let (main, mut channel) = played.accept_both();
            let mut writer = main.socket.try_clone().expect("a socket");
            let value = "v".repeat(100_000);
            let stream: Vec<u8> =
                (0..values).flat_map(|at| set(&format!("key{at}"), &value)).collect();
            thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&stream).expect("it is read in the end"));
                let said = "Replication buffer limit has been reached (8192 bytes)";
                wait_until("it is full", || replica.log().contains(said));
                channel.send(&[&snapshot, MARK.as_bytes()].concat());
            });
            let last = format!("GET key{}", values - 1);
            wait_until("all is there", || ask(&replica, &last).len() > value.len());
            assert_eq!(ask(&replica, "DBSIZE"), format!(":{}", 11 + values));
            let peak = info(&replica, "replica_full_sync_buffer_peak");
            assert!(peak.parse::<u64>().expect("a number") <= limit, "{peak}");
        }
    }
}

/// A stock primary that knows of channels, and whose snapshots take long.
fn stock_with_channels() -> Option<Binary> {
    let stock = oracle()?;
    if ask(&start(&stock, &[]), "CONFIG GET repl-rdb-channel") != "*0" {
        return Some(stock);
    }
    println!("SKIPPED: the stock server has no rdb channel");
    None
}

const SLOW: [(&str, &str); 4] = [
    ("repl-rdb-channel", "yes"),
    ("repl-diskless-sync", "yes"),
    ("rdb-key-save-delay", "500"),
    ("repl-backlog-size", "64mb"),
];

/// Writes until it is told to stop.
fn write_load(primary: &Server, is_over: &AtomicBool) {
    let mut client = primary.client();
    let mut round = 0;
    while !is_over.load(Ordering::Acquire) {
        for line in ["INCR counter", "SELECT 3", "SET key x", "SELECT 0", "LPUSH list 1 2 3"] {
            call(&mut client, line);
        }
        call(&mut client, &format!("SADD set{} {round}", round % 10));
        round += 1;
    }
}

/// Tells others that it is over when this one ends, however it does.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Follows a primary while clients write, with something done while the snapshot comes.
fn follow_under_load(primary: &Server, replica: &Server, meanwhile: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| write_load(primary, &is_over));
        follow(replica, primary.port());
        meanwhile();
        wait_for_link(replica);
    });
    wait_in_sync(primary, replica);
    assert_same(primary, replica, "behind a channel");
}

#[test]
fn what_a_stock_primary_holds_comes_over_a_channel() {
    let Some(stock) = stock_with_channels() else { return };
    for cores in CORES {
        for way in ["disabled", "swapdb"] {
            let primary = start(&stock, &SLOW);
            ask(&primary, "DEBUG POPULATE 2000 theirs 100");
            let replica = start(&Binary::Ours { cores }, &[("repl-diskless-load", way)]);
            follow_under_load(&primary, &replica, || {});
            replica.must_log(BEGUN);
            assert_ne!(info(&replica, "replica_full_sync_buffer_peak"), "0");
            let mut client = primary.client();
            call(&mut client, "SET behind it");
            assert_eq!(call(&mut client, "WAIT 1 10000"), ":1");
            // The link is one as any other: what is cut goes on.
            call(&mut client, "CLIENT KILL TYPE replica");
            call(&mut client, "SET further on");
            wait_in_sync(&primary, &replica);
            let syncs = |kind| primary.info("stats", kind).unwrap_or_default();
            assert_eq!((&*syncs("sync_full"), &*syncs("sync_partial_ok")), ("1", "1"));
            assert_same(&primary, &replica, way);
        }
    }
}

#[test]
fn a_stock_primary_that_kills_either_connection_is_asked_again() {
    let Some(stock) = stock_with_channels() else { return };
    for cores in CORES {
        for is_channel in [false, true] {
            let primary = start(&stock, &SLOW);
            ask(&primary, "DEBUG POPULATE 2000 theirs 100");
            ask(&primary, "CONFIG SET rdb-key-save-delay 3000");
            let replica = start(&Binary::Ours { cores }, &[]);
            follow_under_load(&primary, &replica, || {
                wait_until("the snapshot comes", || replica.log().contains(BEGUN));
                // The one that came first is the link.
                let list = ask(&primary, "CLIENT LIST TYPE replica");
                let ids = list.split_whitespace().filter_map(|word| word.strip_prefix("id="));
                let mut ids: Vec<u64> = ids.map(|id| id.parse().expect("an id")).collect();
                ids.sort_unstable();
                let id = ids[usize::from(is_channel)];
                ask(&primary, "CONFIG SET rdb-key-save-delay 0");
                assert_eq!(ask(&primary, &format!("CLIENT KILL ID {id}")), ":1");
                wait_until("it is noticed", || replica.log().contains("Aborting rdb channel sync"));
            });
        }
    }
}

#[test]
fn a_replica_without_channels_offers_none() {
    for cores in CORES {
        let played = Played::new();
        let _replica = replica_of(&played, cores, &[("repl-rdb-channel", "no")]);
        let mut main = played.accept();
        let offer = loop {
            let request = main.request();
            if request.starts_with("REPLCONF capa ") {
                break request;
            }
            main.send(b"+OK\r\n");
        };
        assert_eq!(offer, "REPLCONF capa eof capa psync2");
    }
}
