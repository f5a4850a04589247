//! A cache as client libraries keep it, and the writers that try to have it serve what is old.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::call;
use crate::support::client::Client;
use crate::support::server::Server;

const KEYS: usize = 8;
const WRITERS: usize = 2;
const READERS: usize = 4;
/// Keys of a pipelined read.
const PIPELINED: usize = 3;

/// A small generator, so that a run can be told by its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn name(key: usize) -> String {
    format!("key:{key}")
}

/// Writes ascending numbers to the keys of one writer, one after the other, each by another way.
fn write(server: &Server, writer: usize, until: Instant) {
    let mut client = server.client();
    let mut chance = Chance(writer as u64 + 1);
    for version in 1.. {
        for key in (writer..KEYS).step_by(WRITERS) {
            let key = name(key);
            match chance.below(5) {
                0 => {
                    let script = "return redis.call('set', KEYS[1], ARGV[1])";
                    let version = version.to_string();
                    client.call(&["EVAL", script, "1", &key, &version]).expect("a reply");
                }
                1 => {
                    call(&mut client, "MULTI");
                    call(&mut client, &format!("SET {key} {version}"));
                    call(&mut client, "EXEC");
                }
                2 => drop(call(&mut client, &format!("MSET {key} {version} beside:{writer} 1"))),
                _ => drop(call(&mut client, &format!("SET {key} {version}"))),
            }
        }
        if Instant::now() > until {
            return;
        }
    }
}

/// A client that keeps what it reads.
struct Cache {
    client: Client,
    copies: BTreeMap<usize, u64>,
    /// What each key holds at least, by what was read.
    known: [u64; KEYS],
    invalidated: usize,
}

impl Cache {
    fn new(server: &Server) -> Cache {
        let mut client = server.client();
        call(&mut client, "HELLO 3");
        assert_eq!(call(&mut client, "CLIENT TRACKING ON"), b"+OK\r\n");
        Cache { client, copies: BTreeMap::new(), known: [0; KEYS], invalidated: 0 }
    }

    /// The next reply; invalidations before it are obeyed.
    fn reply(&mut self) -> Vec<u8> {
        loop {
            let reply = self.client.read_reply().expect("a reply");
            if reply[0] != b'>' {
                return reply;
            }
            self.obey(&reply);
        }
    }

    fn obey(&mut self, push: &[u8]) {
        let text = String::from_utf8_lossy(push);
        assert!(text.contains("invalidate"), "{text}");
        self.invalidated += 1;
        self.copies.retain(|key, _| !text.contains(&format!("\r\n{}\r\n", name(*key))));
    }

    fn ask(&mut self, key: usize) {
        self.client.send_command(&["GET", &name(key)]).expect("a command is sent");
    }

    /// Takes a reply to GET up: what it says of the writer's other keys, and as a copy.
    fn keep(&mut self, key: usize) {
        let reply = self.reply();
        let digits = reply.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
        let version: u64 = String::from_utf8_lossy(digits).trim().parse().unwrap_or(0);
        assert!(version >= self.known[key], "key {key} went back to {version}");
        for other in (key % WRITERS..KEYS).step_by(WRITERS) {
            let least = if other <= key { version } else { version.saturating_sub(1) };
            self.known[other] = self.known[other].max(least);
        }
        self.copies.insert(key, version);
    }

    /// No copy is older than what is known.
    fn check(&self, seed: u64) {
        for (key, version) in &self.copies {
            let known = self.known[*key];
            assert!(
                *version >= known,
                "key {key}: {version}, though {known} is known; seed {seed}"
            );
        }
    }
}

fn read(server: &Server, seed: u64, until: Instant) -> usize {
    let mut cache = Cache::new(server);
    let mut chance = Chance(seed);
    while Instant::now() < until {
        if chance.below(4) > 0 {
            let key = chance.below(KEYS);
            cache.ask(key);
            cache.keep(key);
        } else {
            // What other clients do between the commands of a pipeline is told behind it.
            let keys: Vec<usize> = (0..PIPELINED).map(|_| chance.below(KEYS)).collect();
            keys.iter().for_each(|key| cache.ask(*key));
            keys.iter().for_each(|key| cache.keep(*key));
            cache.client.send_command(&["PING"]).expect("a command is sent");
            cache.reply();
        }
        cache.check(seed);
    }
    cache.invalidated
}

/// Readers keep copies while writers write.
pub(crate) fn run(server: &Server, time: Duration) {
    let until = Instant::now() + time;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || write(server, writer, until));
        }
        let readers: Vec<_> = (0..READERS as u64)
            .map(|reader| scope.spawn(move || read(server, 100 + reader, until)))
            .collect();
        for reader in readers {
            let invalidated = reader.join().expect("a reader finds nothing old");
            assert!(invalidated > 0, "nobody was told anything");
        }
    });
}

/// A change of any kind is told once, behind whatever made it.
pub(crate) fn every_kind_of_change(server: &Server) {
    let mut other = server.client();
    let mut client = server.client();
    call(&mut client, "HELLO 3");
    call(&mut client, "CLIENT TRACKING ON");
    for (change, told) in [
        ("SET key:1 x", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nkey:1\r\n"),
        ("DEL key:1", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nkey:1\r\n"),
        ("MSET key:2 x key:1 x", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nkey:1\r\n"),
        ("RENAME key:1 key:3", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nkey:1\r\n"),
        ("COPY key:3 key:1", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nkey:1\r\n"),
        ("PEXPIRE key:1 20", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nkey:1\r\n"),
        // It expires by itself.
        ("PING", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nkey:1\r\n"),
        ("FLUSHALL", ">2\r\n$10\r\ninvalidate\r\n_\r\n"),
    ] {
        call(&mut client, "GET key:1");
        call(&mut other, change);
        let push = client.read_reply().expect("an invalidation");
        assert_eq!(String::from_utf8_lossy(&push), told, "{change}");
    }
    call(&mut client, "GET key:1");
    call(&mut client, "CLIENT TRACKING OFF");
    call(&mut other, "SET key:1 y");
    assert_eq!(call(&mut client, "PING"), b"+PONG\r\n");
    drop(client);
    wait_for_none(server, &mut other);
}

/// Polls until no client has tracking on.
fn wait_for_none(server: &Server, other: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.info("clients", "tracking_clients").as_deref() != Some("0") {
        assert!(Instant::now() < deadline, "a client that has gone is counted");
        match call(other, "PING") {
            reply if reply == b"+PONG\r\n" => {}
            reply => panic!("{} {:?}", String::from_utf8_lossy(&reply), ErrorKind::InvalidData),
        }
    }
}
