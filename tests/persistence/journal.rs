//! The append-only file as it is written: what a killed server leaves, and which lines stand in it.
//! What reads it here is a stock server.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::replay::check;
use super::support::client::{Client, encode};
use super::support::server::{Program, Server};
use super::{CORES, call, end, is_old, oracles, start};

const POLICIES: [&str; 3] = ["always", "everysec", "no"];
/// Clients that write until the server is killed.
const WRITERS: usize = 6;
/// Requests that a client sends at once.
const PIPELINE: usize = 5;
/// How long they write.
const WRITE_TIME: Duration = Duration::from_millis(400);

/// A server that journals into `dir`.
pub(crate) fn journaling(program: &Program, dir: &Path, options: &[(&str, &str)]) -> Server {
    let mut all = vec![("appendonly", "yes"), ("auto-aof-rewrite-percentage", "0")];
    all.extend(options);
    start(program, dir, &all)
}

/// What a writer knows of its pairs of keys, over the lives of several servers.
#[derive(Default)]
pub(crate) struct Acknowledged {
    /// The last pair that was acknowledged, and the last that was sent.
    pub(crate) last: u64,
    sent: u64,
    /// Pairs of which nobody knows what became of them.
    unknown: Vec<u64>,
}

/// Writes pairs of keys until the server is gone.
pub(crate) fn write_pairs(
    mut client: Client,
    writer: usize,
    mut known: Acknowledged,
) -> Acknowledged {
    loop {
        let first = known.sent + 1;
        let mut requests = Vec::new();
        for number in first..first + PIPELINE as u64 {
            requests.extend(encode(&["MULTI"]));
            for side in ["left", "right"] {
                let (key, value) = (format!("{side}{writer}:{number}"), number.to_string());
                requests.extend(encode(&["SET", &key, &value]));
            }
            requests.extend(encode(&["EXEC"]));
            requests.extend(encode(&["SET", &format!("last{writer}"), &number.to_string()]));
        }
        known.sent += PIPELINE as u64;
        let is_sent = client.send(&requests).is_ok();
        for number in first..=known.sent {
            if !is_sent || (0..5).any(|_| client.read_reply().is_err()) {
                known.unknown.extend(number..=known.sent);
                return known;
            }
            known.last = number;
        }
    }
}

/// Compares the keys of a server with what their writers know.
pub(crate) fn check_pairs(client: &mut Client, known: &[Acknowledged], name: &str) {
    for (writer, known) in known.iter().enumerate() {
        let last = call(client, &format!("INCRBY last{writer} 0"));
        let last: u64 = last[1..].parse().expect("a number");
        assert!(last >= known.last, "{name}: {last} of {}", known.last);
        for number in 1..=known.sent + 1 {
            let mut has =
                |side: &str| call(client, &format!("EXISTS {side}{writer}:{number}")) == ":1";
            let (left, right) = (has("left"), has("right"));
            assert_eq!(left, right, "{name}: half of a transaction");
            let may_lack = number > known.last || known.unknown.contains(&number);
            assert!(left || may_lack, "{name}: {number} of {writer} is lost");
        }
    }
}

/// Cuts what a killed server has left behind the last group, so that a stock server takes it.
pub(crate) fn mend(dir: &Path) {
    let output = check(dir, &["--fix"], "appendonlydir/appendonly.aof.manifest");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_killed_server_has_lost_nothing_that_it_acknowledged() {
    for stock in oracles() {
        for (cores, policy) in CORES.iter().flat_map(|cores| POLICIES.map(|one| (*cores, one))) {
            let dir = tempfile::tempdir().expect("a directory");
            let options = [("appendfsync", policy)];
            let server = journaling(&Program::Ours { cores }, dir.path(), &options);
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let client = server.client();
                    thread::spawn(move || write_pairs(client, writer, Acknowledged::default()))
                })
                .collect();
            thread::sleep(WRITE_TIME);
            drop(server);
            let known: Vec<Acknowledged> =
                writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
            let name = format!("{cores} cores, {policy}");
            assert!(known.iter().all(|one| one.last > 0), "{name}: nothing was written");
            if policy == "always" {
                // Zeros were laid ahead of it.
                mend(dir.path());
            }
            let theirs = journaling(&Program::Stock(stock.clone()), dir.path(), &[]);
            check_pairs(&mut theirs.client(), &known, &name);
        }
    }
}

/// The commands in the last incr file of a directory, each with its database.
fn journal_of(dir: &Path) -> Vec<String> {
    let folder = dir.join("appendonlydir");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .collect();
    files.sort();
    let bytes = fs::read(files.last().expect("a file")).expect("the file");
    let (mut commands, mut db, mut at) = (Vec::new(), String::new(), 0);
    let line = |at: &mut usize| {
        let len = bytes[*at..].iter().position(|byte| *byte == b'\n').expect("a line's end");
        let text = String::from_utf8_lossy(&bytes[*at..*at + len]).trim_end().to_owned();
        *at += len + 1;
        text
    };
    while at < bytes.len() {
        let head = line(&mut at);
        let Some(count) = head.strip_prefix('*') else {
            assert!(head.starts_with('#'), "{head}");
            continue;
        };
        let mut words = Vec::new();
        for _ in 0..count.parse().expect("a count") {
            let len: usize = line(&mut at)[1..].parse().expect("a length");
            words.push(String::from_utf8_lossy(&bytes[at..at + len]).into_owned());
            at += len + 2;
        }
        match words[0].to_ascii_uppercase().as_str() {
            "SELECT" => db.clone_from(&words[1]),
            "MULTI" | "EXEC" => commands.push(words.join(" ")),
            _ => commands.push(format!("{db}: {}", words.join(" "))),
        }
    }
    commands
}

/// What a word is about, where it is a time of now.
fn without_times(command: &str) -> String {
    let is_time = |word: &str| {
        let millis = word.split('-').next().unwrap_or_default();
        millis.len() >= 13 && millis.parse::<u64>().is_ok()
    };
    let words = command.split(' ').map(|word| if is_time(word) { "TIME" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Commands whose lines are worth a look; one client sends them one after the other.
const PROGRAM: &str = "\
SET a 1
SET a 1 EX 100
SET a 2 KEEPTTL
SET gone 1 PX 1
SETNX a 3
GETDEL nothing
GETEX a EX 50
GETEX a PERSIST
INCR a
INCRBYFLOAT a 1.5
APPEND a x
MSET b 1 c 2
DEL b nothing
SELECT 3
RPUSH list 1 2 3
LPOP list
LMPOP 1 list LEFT COUNT 1
RPOPLPUSH list other
LMOVE other list LEFT RIGHT
BLPOP list 0
SELECT 0
SADD set a
SPOP set
SADD set a b
SPOP set 5
HSET hash f 1
HINCRBYFLOAT hash f 0.5
HEXPIRE hash 100 FIELDS 1 f
HGETDEL hash FIELDS 1 f
ZADD z 1 a 2 b
ZPOPMIN z
EXPIRE z 100
EXPIRE z -1
XADD s 1-1 f v
XADD s * f v
XGROUP CREATE s g 0
XREADGROUP GROUP g one STREAMS s >
XACK s g 1-1
XTRIM s MAXLEN 0
MULTI
EXEC
MULTI
SET one 1
EXEC
MULTI
SET one 2
SELECT 2
SET two 2
SELECT 0
GET one
EXEC
EVAL return(redis.call('set','k',1)) 0
EVAL redis.call('set','k',2)redis.call('incr','k')return(1) 0
EVAL redis.set_repl(redis.REPL_NONE)redis.call('set','k',3)redis.set_repl(redis.REPL_ALL)redis.call('set','l',3) 0
EVAL return(1) 0
PFADD hll a b
PFCOUNT hll
COPY a copied
COPY a copied DB 4
MOVE a 5
RENAME k renamed
PUBLISH channel message
SETRANGE range 3 x
BITFIELD bits SET u8 0 7 GET u8 0
SORT set
GEOADD geo 1 2 m
GEOSEARCHSTORE found geo FROMMEMBER m BYRADIUS 1 km
RESTORE nothing 0 wrong
GET gone
SWAPDB 0 1
FLUSHDB
FLUSHALL
SET end 1";

#[test]
fn the_lines_are_those_of_a_stock_server() {
    for stock in oracles().into_iter().filter(|stock| !is_old(stock)) {
        let journal = |program: &Program| {
            let dir = tempfile::tempdir().expect("a directory");
            let mut server = journaling(program, dir.path(), &[]);
            let mut client = server.client();
            // What has expired goes when it is looked at.
            call(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0");
            for line in PROGRAM.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                client.call(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
            end(&mut server, "SHUTDOWN NOSAVE");
            let commands = journal_of(dir.path());
            commands.iter().map(|command| without_times(command)).collect::<Vec<_>>()
        };
        let theirs = journal(&Program::Stock(stock.clone()));
        for cores in CORES {
            let ours = journal(&Program::Ours { cores });
            for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                assert_eq!(ours, theirs, "line {at}, {cores} cores");
            }
            assert_eq!(ours.len(), theirs.len(), "{cores} cores");
        }
    }
}

#[test]
fn a_wait_is_served_behind_what_serves_it() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = journaling(&Program::Ours { cores }, dir.path(), &[]);
        let mut waiting = server.client();
        waiting.send_command(&["BLMOVE", "from", "to", "LEFT", "LEFT", "0"]).expect("it is sent");
        let mut client = server.client();
        while server.info("clients", "blocked_clients").as_deref() != Some("1") {
            thread::yield_now();
        }
        call(&mut client, "RPUSH from x");
        assert_eq!(waiting.read_reply().expect("it is served"), b"$1\r\nx\r\n");
        end(&mut server, "SHUTDOWN NOSAVE");
        let journal = journal_of(dir.path());
        assert_eq!(journal, ["0: RPUSH from x", "0: LMOVE from to LEFT LEFT"], "{cores} cores");
    }
}

#[test]
fn everybody_reads_own_writes_under_always() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let options = [("appendfsync", "always")];
        let server = journaling(&Program::Ours { cores }, dir.path(), &options);
        let mut client = server.client();
        let mut model = BTreeMap::new();
        for round in 0..40 {
            let mut requests = Vec::new();
            for key in 0..5 {
                let (key, value) = (format!("key{key}"), format!("{round}"));
                requests.extend(encode(&["SET", &key, &value]));
                requests.extend(encode(&["GET", &key]));
                model.insert(key, value);
            }
            client.send(&requests).expect("the server reads");
            for value in model.values() {
                assert_eq!(client.read_reply().expect("a reply"), b"+OK\r\n");
                let expected = format!("${}\r\n{value}\r\n", value.len());
                assert_eq!(client.read_reply().expect("a reply"), expected.as_bytes());
            }
        }
        assert_eq!(server.info("persistence", "aof_last_write_status").as_deref(), Some("ok"));
    }
}
