//! Append-only files that are loaded: of stock servers and our own, old ones, torn and damaged ones.
//!
//! Invariant: as in `main`. Files that no server would write are written here, byte by byte.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::support::client::Client;
use super::support::server::{Program, Server};
use super::support::wait::wait_until;
use super::{CORES, call, digest, end, fill, is_old, oracles, start};

const AOF: [(&str, &str); 1] = [("appendonly", "yes")];
const DIRECTORY: &str = "appendonlydir";
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";
const BASE: &str = "appendonlydir/appendonly.aof.1.base.rdb";
const INCR: &str = "appendonlydir/appendonly.aof.1.incr.aof";

/// Keys of the test that loses sectors.
const KEYS: usize = 40;

/// What goes over partitions, databases and libraries.
pub(crate) fn change_all(client: &mut Client) {
    for line in [
        "MSET one 1 two 2 three 3 four 4 five 5",
        "RENAME one six",
        "SUNIONSTORE union set3 set100",
        "COPY list3 list4",
        "DEL two three string1 string2",
        "SELECT 15",
        "SET fifteenth database",
        "SELECT 7",
        "MSET a 1 b 2 c 3",
        "FLUSHDB",
        "SET behind flush",
        "SELECT 0",
        "SWAPDB 0 9",
        "SET in nine",
        "MOVE in 3",
        "MULTI",
        "INCR counter",
        "SET both partitions",
        "RPUSH queue x",
        "EXEC",
        "SPOP set700 20",
        "INCRBYFLOAT float 1.5",
    ] {
        let reply = call(client, line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    for number in 1..300 {
        call(client, &format!("XADD trimmed {number} f v"));
    }
    for line in
        ["XADD trimmed MAXLEN ~ 50 LIMIT 100 300 f v", "XTRIM trimmed MINID ~ 299 LIMIT 100"]
    {
        assert!(!call(client, line).starts_with('-'), "{line}");
    }
    let both = "redis.call('set', KEYS[1], ARGV[1]) return redis.call('incr', KEYS[2])";
    let script = client.call(&["EVAL", both, "2", "by", "script", "v"]).expect("a reply");
    assert_eq!(script, b":1\r\n");
    for name in ["stays", "goes"] {
        let text = format!(
            "#!lua name={name}\nredis.register_function('{name}', function(keys) return redis.call('incr', keys[1]) end)"
        );
        let reply = client.call(&["FUNCTION", "LOAD", &text]).expect("a reply");
        assert_eq!(reply, format!("${}\r\n{name}\r\n", name.len()).into_bytes());
    }
    assert_eq!(call(client, "FCALL stays 1 called"), ":1");
    assert_eq!(call(client, "FUNCTION DELETE goes"), "+OK");
}

/// The data, and the libraries.
pub(crate) fn state(server: &Server) -> (String, String) {
    let mut client = server.client();
    (digest(&mut client), call(&mut client, "FUNCTION LIST"))
}

#[test]
fn directories_go_from_stock_servers_to_ours_and_back() {
    for stock in oracles() {
        let dir = tempfile::tempdir().expect("a directory");
        let theirs = Program::Stock(stock.clone());
        let mut server = start(&theirs, dir.path(), &AOF);
        fill(&mut server.client(), !is_old(&stock));
        change_all(&mut server.client());
        let expected = state(&server);
        end(&mut server, "SHUTDOWN NOSAVE");
        for cores in [1, 4, 2] {
            let mut server = start(&Program::Ours { cores }, dir.path(), &AOF);
            assert_eq!(state(&server), expected, "{stock:?}, {cores} cores");
            assert_eq!(call(&mut server.client(), "DEBUG LOADAOF"), "+OK");
            assert_eq!(state(&server), expected, "{stock:?}, {cores} cores, loaded again");
            end(&mut server, "SHUTDOWN NOSAVE");
        }
        let mut server = start(&theirs, dir.path(), &AOF);
        assert_eq!(state(&server), expected, "{stock:?} reads it again");
        end(&mut server, "SHUTDOWN NOSAVE");
    }
}

#[test]
fn our_directories_load_with_other_cores_and_in_stock_servers() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let other = if cores == 1 { 4 } else { 1 };
        let mut server = start(&Program::Ours { cores }, dir.path(), &AOF);
        fill(&mut server.client(), false);
        change_all(&mut server.client());
        let expected = state(&server);
        assert_eq!(call(&mut server.client(), "DEBUG LOADAOF"), "+OK");
        assert_eq!(state(&server), expected, "{cores} cores, loaded again");
        end(&mut server, "SHUTDOWN NOSAVE");
        let mut server = start(&Program::Ours { cores: other }, dir.path(), &AOF);
        assert_eq!(state(&server), expected, "{cores} cores, then {other}");
        call(&mut server.client(), "SET more later");
        let expected = state(&server);
        end(&mut server, "SHUTDOWN NOSAVE");
        for stock in oracles() {
            let mut server = start(&Program::Stock(stock.clone()), dir.path(), &AOF);
            assert_eq!(state(&server), expected, "{stock:?} reads ours");
            end(&mut server, "SHUTDOWN NOSAVE");
        }
        let server = start(&Program::Ours { cores }, dir.path(), &AOF);
        assert_eq!(state(&server), expected, "{cores} cores, after stock servers");
    }
}

/// A command in its bytes.
fn words(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

fn lines(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| words(&line.split(' ').collect::<Vec<_>>())).collect()
}

/// A directory whose only file holds `incr`.
fn put(incr: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join(DIRECTORY)).expect("it is empty");
    fs::write(dir.path().join(INCR), incr).expect("a file");
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(dir.path().join(MANIFEST), manifest).expect("a file");
    dir
}

/// Starts a server that is to end at once; what it logged.
pub(crate) fn refused(dir: &Path, cores: usize, options: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ironring"))
        .args(["--port", "0", "--unixsocket", "refused.sock", "--appendonly", "yes"])
        .args(["--cores", &cores.to_string(), "--dir"])
        .arg(dir)
        .args(options)
        .output()
        .expect("it runs");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    log
}

#[test]
fn commands_do_what_they_did_when_they_were_written() {
    // Nothing expires while a file is loaded, since the file says itself what went.
    let expiry =
        lines(&["RPUSH list a", "EXPIREAT list 1000", "RPUSH list b", "SET k v PXAT 1000"]);
    let hash = lines(&["HSET h f 1 g 2", "HPEXPIREAT h 1000 FIELDS 1 f", "HINCRBY h f 4"]);
    let body = "redis.call('set', 'undeclared', redis.call('incr', KEYS[1])) return 'ok'";
    let scripts = [words(&["EVAL", body, "1", "n"]), words(&["EVAL", body, "1", "n"])].concat();
    let odd =
        lines(&["BLPOP none 0", "PUBLISH c m", "SELECT 3", "MSET a 1 b 2", "CONFIG SET hz 20"]);
    let failed = lines(&["SET text x", "LPUSH text y", "SET behind it"]);
    let nested = lines(&["MULTI", "SET t 1", "EXEC", "EXEC", "MULTI", "EXEC"]);
    let cases: &[(Vec<u8>, &[(&str, &str)])] = &[
        (expiry, &[("LLEN list", ":0"), ("EXISTS k", ":0")]),
        (hash, &[("HLEN h", ":1"), ("HGET h g", "$1\r\n2")]),
        (scripts, &[("GET undeclared", "$1\r\n2")]),
        (odd, &[("GET a", "$-1"), ("SELECT 3", "+OK"), ("MGET a b", "*2\r\n$1\r\n1\r\n$1\r\n2")]),
        (failed, &[("GET behind", "$2\r\nit"), ("GET text", "$1\r\nx")]),
        (nested, &[("GET t", "$1\r\n1")]),
    ];
    for (incr, expected) in cases {
        for cores in CORES {
            let dir = put(incr);
            let server = start(&Program::Ours { cores }, dir.path(), &AOF);
            let mut client = server.client();
            for (line, reply) in *expected {
                assert_eq!(call(&mut client, line), *reply, "{line}, {cores} cores");
            }
            let list = call(&mut client, "CLIENT LIST");
            assert_eq!(list.matches("id=").count(), 1, "nobody else is there: {list}");
            let complains = server.log().contains("== CRITICAL == This server is sending an error");
            assert_eq!(complains, incr.windows(5).any(|part| part == b"LPUSH"), "{}", server.log());
        }
    }
}

#[test]
fn a_torn_tail_is_cut_off_or_refused() {
    let whole = lines(&["SET key value"]);
    let tails = [
        b"*3\r\n$3\r\nSET\r\n$3\r\nke".to_vec(),
        lines(&["MULTI", "SET key other"]),
        [b"*2\r\n$3\r\nDEL".to_vec(), vec![0; 700]].concat(),
        b"#CRC:100 0123456789abcdef\r\n*1\r\n".to_vec(),
        b"#CR".to_vec(),
    ];
    for tail in &tails {
        for cores in CORES {
            let dir = put(&[&whole[..], tail].concat());
            let log = refused(dir.path(), cores, &["--aof-load-truncated", "no"]);
            assert!(log.contains("Unexpected end of file reading the append only file"), "{log}");
            let mut server = start(&Program::Ours { cores }, dir.path(), &AOF);
            assert_eq!(call(&mut server.client(), "GET key"), "$5\r\nvalue");
            let cut =
                format!("Truncating the AOF appendonly.aof.1.incr.aof at offset {}", whole.len());
            server.must_log(&cut);
            assert_eq!(call(&mut server.client(), "SET key later"), "+OK");
            end(&mut server, "SHUTDOWN NOSAVE");
            let server = start(&Program::Ours { cores }, dir.path(), &AOF);
            assert_eq!(call(&mut server.client(), "GET key"), "$5\r\nlater");
            assert!(!server.log().contains("short read"), "it was cut once");
        }
    }
}

#[test]
fn zeros_ahead_of_the_writer_are_no_damage_and_are_cut_off() {
    let whole = lines(&["SET key value"]);
    for cores in CORES {
        let dir = put(&[&whole[..], &[0; 5000]].concat());
        let options = [AOF[0], ("aof-load-truncated", "no")];
        let server = start(&Program::Ours { cores }, dir.path(), &options);
        assert_eq!(call(&mut server.client(), "GET key"), "$5\r\nvalue");
        assert!(!server.log().contains("short read"), "{}", server.log());
        assert_eq!(fs::read(dir.path().join(INCR)).expect("it is there"), whole);
    }
}

/// Sets keys in their order, each in a group that is larger than a sector, beginning with this one.
fn set_in_order(client: &mut Client, first: usize) {
    for number in first..first + KEYS {
        let value = number.to_string().repeat(300);
        assert_eq!(call(client, &format!("SET {number} {value}")), "+OK");
    }
}

#[test]
fn sectors_that_were_never_synced_are_a_torn_tail_and_others_are_damage() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, incr) = (Program::Ours { cores }, dir.path().join(INCR));
        let options = [AOF[0], ("appendfsync", "no"), ("auto-aof-rewrite-percentage", "0")];
        let lose = |sector: usize| {
            let mut bytes = fs::read(&incr).expect("it was written");
            bytes[sector * 512..][..512].fill(0);
            fs::write(&incr, &bytes).expect("a file");
        };
        let server = start(&ours, dir.path(), &options);
        set_in_order(&mut server.client(), 0);
        drop(server);
        lose(9);
        let log = refused(dir.path(), cores, &["--aof-load-truncated", "no"]);
        assert!(log.contains("Unexpected end of file reading the append only file"), "{log}");
        let found = check(dir.path(), &[], MANIFEST);
        assert!(!found.status.success(), "it is not whole");
        let mut server = start(&ours, dir.path(), &options);
        wait_until("the log says it", || server.log().contains("bytes behind that are dropped"));
        let mut client = server.client();
        let left: usize = call(&mut client, "DBSIZE")[1..].parse().expect("a number");
        assert!(0 < left && left < KEYS, "{left} keys are left");
        for number in 0..left {
            assert_eq!(call(&mut client, &format!("EXISTS {number}")), ":1", "not a prefix");
        }
        set_in_order(&mut client, left);
        end(&mut server, "SHUTDOWN NOSAVE");
        // All of it was synced at the end.
        for sector in [9, fs::metadata(&incr).expect("a file").len() as usize / 512 - 1] {
            let whole = fs::read(&incr).expect("it was written");
            lose(sector);
            let log = refused(dir.path(), cores, &[]);
            assert!(log.contains("Bad file format reading the append only file"), "{log}");
            fs::write(&incr, &whole).expect("a file");
        }
        let server = start(&ours, dir.path(), &options);
        assert_eq!(call(&mut server.client(), "DBSIZE"), format!(":{}", left + KEYS));
    }
}

#[test]
fn damage_stops_the_start_and_is_told_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = start(&Program::Ours { cores: 1 }, dir.path(), &AOF);
    for number in 0..20 {
        assert_eq!(call(&mut server.client(), &format!("SET key{number} value")), "+OK");
    }
    end(&mut server, "SHUTDOWN NOSAVE");
    let good = fs::read(dir.path().join(INCR)).expect("it was written");
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(dir.path().join(INCR), &flipped).expect("a file");
        let log = refused(dir.path(), CORES[at % 2], &[]);
        assert!(log.contains("Bad file format reading the append only file"), "byte {at}: {log}");
        assert!(log.contains("appendonly.aof.1.incr.aof") && log.contains("at byte"), "{log}");
        assert_eq!(fs::read(dir.path().join(INCR)).expect("it is there"), flipped, "it is kept");
    }
    let unknown = put(&lines(&["SET a b", "NONESUCH a b"]));
    let log = refused(unknown.path(), 4, &[]);
    assert!(log.contains("Unknown command 'NONESUCH' reading the append only file"), "{log}");
}

#[test]
fn what_is_there_is_loaded_or_the_start_is_refused() {
    for cores in CORES {
        let ours = Program::Ours { cores };
        // One file, from before there was a directory.
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("appendonly.aof"), lines(&["SET old file"])).expect("a file");
        let mut server = start(&ours, dir.path(), &AOF);
        assert_eq!(call(&mut server.client(), "GET old"), "$4\r\nfile");
        server.must_log("Successfully migrated an old-style AOF file");
        end(&mut server, "SHUTDOWN NOSAVE");
        assert!(!dir.path().join("appendonly.aof").exists());
        let manifest = fs::read_to_string(dir.path().join(MANIFEST)).expect("it was written");
        assert_eq!(manifest.lines().next(), Some("file appendonly.aof seq 1 type b"));

        // A snapshot, and no AOF.
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = start(&ours, dir.path(), &[]);
        assert_eq!(call(&mut server.client(), "SET saved before"), "+OK");
        assert_eq!(call(&mut server.client(), "SAVE"), "+OK");
        end(&mut server, "SHUTDOWN NOSAVE");
        for _ in 0..2 {
            let mut server = start(&ours, dir.path(), &AOF);
            assert_eq!(call(&mut server.client(), "GET saved"), "$6\r\nbefore");
            end(&mut server, "SHUTDOWN NOSAVE");
        }
        assert!(dir.path().join(BASE).exists());

        // Files that nothing names.
        fs::remove_file(dir.path().join(MANIFEST)).expect("it is there");
        let log = refused(dir.path(), cores, &[]);
        assert!(log.contains("Restore the manifest"), "{log}");
        // A name without a file, and a manifest that says nothing.
        let manifest = "file appendonly.aof.7.incr.aof seq 7 type i\n";
        fs::write(dir.path().join(MANIFEST), manifest).expect("a file");
        assert!(refused(dir.path(), cores, &[]).contains("Unable to obtain the AOF file"));
        fs::write(dir.path().join(MANIFEST), "").expect("a file");
        assert!(refused(dir.path(), cores, &[]).contains("Found an empty AOF manifest"));
    }
}

/// Runs `--check-aof`, and confirms what it asks.
pub(crate) fn check(dir: &Path, options: &[&str], file: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ironring"))
        .arg("--check-aof")
        .args(options)
        .arg(dir.join(file))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    // It ends without having asked where there is nothing to ask.
    let _ = child.stdin.take().expect("piped").write_all(b"y\n");
    child.wait_with_output().expect("it ends")
}

#[test]
fn files_are_checked_and_mended() {
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let whole = lines(&["SET key value"]);
    let dir = put(&[&whole[..], b"*1\r\n$4\r\nPI"].concat());
    let found = check(dir.path(), &[], MANIFEST);
    assert!(!found.status.success() && said(&found).contains("is not valid"), "{}", said(&found));
    let mended = check(dir.path(), &["--fix"], MANIFEST);
    assert!(mended.status.success(), "{}", said(&mended));
    assert_eq!(fs::read(dir.path().join(INCR)).expect("it is there"), whole);
    let found = check(dir.path(), &[], INCR);
    assert!(found.status.success() && said(&found).contains("is valid"), "{}", said(&found));

    let early = [b"#TS:10\r\n".to_vec(), whole].concat();
    let dir = put(&[&early[..], b"#TS:20\r\n", &lines(&["DEL key"])].concat());
    let cut = check(dir.path(), &["--truncate-to-timestamp", "15"], MANIFEST);
    assert!(
        cut.status.success() && said(&cut).contains("Successfully truncated"),
        "{}",
        said(&cut)
    );
    assert_eq!(fs::read(dir.path().join(INCR)).expect("it is there"), early);
    assert!(!check(dir.path(), &[], "none.manifest").status.success());
}
