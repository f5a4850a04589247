//! Files of a real server: saved under writes, loaded by stock servers and back, broken, refused.
//!
//! Invariant: each test runs with one core and with four. `ORACLE` names stock servers, separated by
//! colons; without it Debian's is taken, and without that one cross-loading is skipped, loudly.

mod base;
mod disk;
mod failing;
mod journal;
mod migrate;
mod replay;
mod rewrite;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::{Client, call};
use support::server::{Program, Server};
use support::wait::{DEADLINE, POLL_PAUSE, wait_until};

const CORES: [usize; 2] = [1, 4];
const DEBIAN_ORACLE: &str = "/usr/bin/redis-server";
/// Keys of the test that writes during a save.
const KEYS: usize = 4000;

fn start(program: &Program, dir: &Path, options: &[(&str, &str)]) -> Server {
    let dir = dir.to_str().expect("a path that is text");
    let mut all = vec![("dir", dir), ("enable-debug-command", "yes")];
    all.extend(options);
    let owned: Vec<(String, String)> =
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Server::start(program, &owned)
}

/// Ends a server by a command that closes the connection.
fn end(server: &mut Server, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let _ = server.client().call(&words);
    let status = server.exit_status(Instant::now() + DEADLINE);
    assert!(status.is_some_and(|status| status.success()), "{line}: {status:?}\n{}", server.log());
}

fn wait_for_save(server: &Server) {
    wait_until("the save ends", || {
        server.info("persistence", "rdb_bgsave_in_progress").as_deref() == Some("0")
    });
}

/// Every type in its small form and in its large one, in two databases. Streams only with `streams`,
/// since what they know of their readers needs a version that old servers do not have.
fn fill(client: &mut Client, streams: bool) {
    for db in [0, 5] {
        call(client, &format!("SELECT {db}"));
        for number in 0..300 {
            call(client, &format!("SET string{number} value{number}"));
        }
        call(client, "SET int 12345");
        call(client, "SET negative -7");
        call(client, "SET expires soon PX 100000000");
        call(client, "SETRANGE raw 100000 end");
        call(client, "SETBIT bits 3000000 1");
        for len in [3, 100, 700] {
            for number in 0..len {
                call(client, &format!("RPUSH list{len} element{number} {number}"));
                call(client, &format!("SADD set{len} member{number}"));
                call(client, &format!("SADD intset{len} {}", number * 77_777));
                call(client, &format!("HSET hash{len} field{number} value{number}"));
                call(client, &format!("ZADD zset{len} {number}.5 member{number}"));
                if streams {
                    call(client, &format!("XADD stream{len} 1-{} f {number}", number + 1));
                }
            }
            if streams {
                call(client, &format!("XGROUP CREATE stream{len} group 0"));
                call(client, &format!("XREADGROUP GROUP group one COUNT 50 STREAMS stream{len} >"));
                call(client, &format!("XDEL stream{len} 1-2"));
            }
        }
        call(client, &format!("PEXPIRE set100 {}", 200_000_000));
    }
    call(client, "SELECT 0");
}

fn digest(client: &mut Client) -> String {
    call(client, "DEBUG DIGEST")
}

fn oracles() -> Vec<PathBuf> {
    let named = support::env("ORACLE").unwrap_or_else(|| DEBIAN_ORACLE.into());
    let found: Vec<PathBuf> =
        named.split(':').map(PathBuf::from).filter(|path| path.exists()).collect();
    if found.is_empty() {
        eprintln!("SKIPPED: no stock server; set ORACLE or install {DEBIAN_ORACLE}");
    }
    found
}

/// True for a server that knows no version after 10.
fn is_old(path: &Path) -> bool {
    let version = Command::new(path).arg("--version").output().expect("a stock server");
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    text.contains("v=7.0") || text.contains("v=6.") || text.contains("v=5.")
}

/// The checker that stands beside a stock server finds nothing wrong.
fn check_rdb(stock: &Path, file: &Path) {
    let name = stock.file_name().expect("a file").to_string_lossy().replace("server", "check-rdb");
    let checker = stock.with_file_name(name);
    if !checker.exists() {
        return eprintln!("SKIPPED: there is no {}", checker.display());
    }
    let output = Command::new(&checker).arg(file).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("RDB looks OK"), "{text}");
}

#[test]
fn files_go_to_stock_servers_and_back() {
    for stock in oracles() {
        for cores in CORES {
            let dir = tempfile::tempdir().expect("a directory");
            let ours = Program::Ours { cores };
            let mut server = start(&ours, dir.path(), &[]);
            fill(&mut server.client(), !is_old(&stock));
            let expected = digest(&mut server.client());
            assert_eq!(call(&mut server.client(), "SAVE"), "+OK");
            end(&mut server, "SHUTDOWN NOSAVE");
            check_rdb(&stock, &dir.path().join("dump.rdb"));

            let theirs = start(&Program::Stock(stock.clone()), dir.path(), &[]);
            assert_eq!(digest(&mut theirs.client()), expected, "{stock:?} reads ours");
            assert_eq!(call(&mut theirs.client(), "SAVE"), "+OK");
            drop(theirs);

            let mut server = start(&ours, dir.path(), &[]);
            assert_eq!(digest(&mut server.client()), expected, "{stock:?} is read");
            assert_eq!(call(&mut server.client(), "DEBUG RELOAD"), "+OK");
            assert_eq!(digest(&mut server.client()), expected);
            end(&mut server, "SHUTDOWN NOSAVE");
        }
    }
}

#[test]
fn a_save_under_writes_is_the_state_at_its_instant() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Program::Ours { cores };
        let mut server = start(&program, dir.path(), &[]);
        let mut client = server.client();
        let value =
            |number: usize, round: usize| format!("{number}-{round}-{}", "x".repeat(number % 300));
        let mut model = BTreeMap::new();
        for number in 0..KEYS {
            call(&mut client, &format!("SET k{number} {}", value(number, 0)));
            call(&mut client, &format!("RPUSH l{} {number}", number % 10));
            call(&mut client, &format!("HSET h{} f{number} {number}", number % 3));
            model.insert(format!("k{number}"), value(number, 0));
        }
        let lists: Vec<String> = (0..10)
            .map(|number| format!("LRANGE l{number} 0 -1"))
            .chain((0..3).map(|number| format!("HGET h{number} f{}", number + 3 * 100)))
            .chain((0..3).map(|number| format!("HLEN h{number}")))
            .collect();
        let expected: Vec<String> = lists.iter().map(|line| call(&mut client, line)).collect();
        assert_eq!(call(&mut client, "BGSAVE"), "+Background saving started");
        for number in 0..KEYS {
            // From the other end, so that they meet the save half way.
            let number = KEYS - 1 - number;
            match number % 5 {
                0 => drop(call(&mut client, &format!("DEL k{number}"))),
                1 => drop(call(&mut client, &format!("RENAME k{number} new{number}"))),
                2 => drop(call(&mut client, &format!("PEXPIRE k{number} 1"))),
                3 => drop(call(&mut client, &format!("APPEND k{number} more"))),
                _ => drop(call(&mut client, &format!("SET k{number} {}", value(number, 1)))),
            }
            call(&mut client, &format!("LPUSH l{} new", number % 10));
            call(&mut client, &format!("HDEL h{} f{number}", number % 3));
            call(&mut client, &format!("SET other{number} {number}"));
            if number == KEYS / 2 {
                call(&mut client, "SWAPDB 0 3");
            }
        }
        call(&mut client, "FLUSHALL");
        wait_for_save(&server);
        assert_eq!(server.info("persistence", "rdb_last_bgsave_status").as_deref(), Some("ok"));
        end(&mut server, "SHUTDOWN NOSAVE");

        let mut server = start(&program, dir.path(), &[]);
        let mut client = server.client();
        assert_eq!(call(&mut client, "DBSIZE"), format!(":{}", KEYS + 13), "{cores} cores");
        for (key, value) in &model {
            assert_eq!(
                call(&mut client, &format!("GET {key}")),
                format!("${}\r\n{value}", value.len())
            );
        }
        let found: Vec<String> = lists.iter().map(|line| call(&mut client, line)).collect();
        assert!(found == expected, "lists and hashes are as they were");
        end(&mut server, "SHUTDOWN NOSAVE");
    }
}

#[test]
fn the_end_saves_where_save_points_say_so() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Program::Ours { cores };
        let points = [("save", "3600 100000")];
        let mut server = start(&program, dir.path(), &points);
        call(&mut server.client(), "SET by shutdown");
        end(&mut server, "SHUTDOWN");
        let mut server = start(&program, dir.path(), &points);
        assert_eq!(call(&mut server.client(), "GET by"), "$8\r\nshutdown");
        call(&mut server.client(), "SET by signal");
        let killed = Command::new("kill").arg(server.pid().to_string()).status();
        assert!(killed.is_ok_and(|status| status.success()));
        let status = server.exit_status(Instant::now() + DEADLINE);
        assert!(status.is_some_and(|status| status.success()), "{}", server.log());
        let mut server = start(&program, dir.path(), &points);
        assert_eq!(call(&mut server.client(), "GET by"), "$6\r\nsignal");
        call(&mut server.client(), "SET by nobody");
        end(&mut server, "SHUTDOWN NOSAVE");
        let mut server = start(&program, dir.path(), &[]);
        assert_eq!(call(&mut server.client(), "GET by"), "$6\r\nsignal");
        end(&mut server, "SHUTDOWN SAVE");
        server.must_log("DB loaded from disk");
    }
}

#[test]
fn a_save_that_fails_stops_writes_until_one_succeeds() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = start(
            &Program::Ours { cores },
            dir.path(),
            &[("save", "3600 100000"), ("dbfilename", "taken.rdb")],
        );
        // No file can take the place of a directory.
        fs::create_dir(dir.path().join("taken.rdb")).expect("a directory");
        let mut client = server.client();
        // Who asked for a save in the foreground has heard of it: nothing stops.
        assert_eq!(call(&mut client, "SAVE"), "-ERR");
        assert!(call(&mut client, "SHUTDOWN").starts_with("-ERR Errors trying to SHUTDOWN"));
        assert_eq!(call(&mut client, "SET key value"), "+OK");
        assert_eq!(call(&mut client, "BGSAVE"), "+Background saving started");
        wait_for_save(&server);
        assert_eq!(server.info("persistence", "rdb_last_bgsave_status").as_deref(), Some("err"));
        assert!(call(&mut client, "SET key other").starts_with("-MISCONF "));
        assert_eq!(call(&mut client, "GET key"), "$5\r\nvalue");
        assert_eq!(call(&mut client, "SAVE"), "-ERR");
        assert!(call(&mut client, "SHUTDOWN").starts_with("-ERR Errors trying to SHUTDOWN"));
        assert_eq!(call(&mut client, "GET key"), "$5\r\nvalue");
        let left = fs::read_dir(dir.path()).expect("it is there").count();
        assert_eq!(left, 1, "nothing is left of a save that failed");
        fs::remove_dir(dir.path().join("taken.rdb")).expect("it is empty");
        assert_eq!(call(&mut client, "SAVE"), "+OK");
        assert_eq!(call(&mut client, "SET key other"), "+OK");
        end(&mut server, "SHUTDOWN NOSAVE");
    }
}

#[test]
fn a_broken_file_stops_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = start(&Program::Ours { cores: 1 }, dir.path(), &[]);
    fill(&mut server.client(), true);
    assert_eq!(call(&mut server.client(), "SAVE"), "+OK");
    end(&mut server, "SHUTDOWN NOSAVE");
    let path = dir.path().join("dump.rdb");
    let good = fs::read(&path).expect("it was saved");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    let cases = [(&good[..good.len() - 100], "RDB file"), (&flipped[..], "RDB"), (b"", "EOF")];
    for cores in CORES {
        for (bytes, expected) in cases {
            fs::write(&path, bytes).expect("a file");
            let output = Command::new(env!("CARGO_BIN_EXE_ironring"))
                .args(["--port", "0", "--unixsocket", "broken.sock", "--save", ""])
                .args(["--cores", &cores.to_string(), "--dir"])
                .arg(dir.path())
                .output()
                .expect("it runs");
            let log = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{log}");
            assert!(log.contains("Terminating server after rdb file reading failure."), "{log}");
            assert!(log.contains(expected), "{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}
