//! Wire tests: every conversation in `tests/transcripts` against a running server, in RESP2 and in
//! RESP3, with one core and with four.
//!
//! Invariant: expectations are recorded from a stock server, never typed. To record:
//!
//! ```text
//! RECORD=1 ORACLE=/path/to/redis-server cargo test --test wire
//! ```
//!
//! With a Valkey as the oracle, the `*.valkey.resp` files are recorded, else all others.
//! `TRANSCRIPT=string/set` runs only the files whose path contains that text.

#[path = "../support/mod.rs"]
mod support;
mod transcript;

use std::path::{Path, PathBuf};

use support::env;
use support::server::{Program, Server};
use transcript::Transcript;

#[test]
fn one_core() {
    if let Some(oracle) = record_from() {
        record(&oracle);
    } else {
        run_all(1);
    }
}

#[test]
fn four_cores() {
    if record_from().is_none() {
        run_all(4);
    }
}

/// Runs all transcripts and reports every failed one.
fn run_all(cores: usize) {
    let mut failures = Vec::new();
    let paths = transcript_paths();
    for path in &paths {
        let transcript = Transcript::read(path).unwrap_or_else(|e| panic!("{e}"));
        // A stock Redis in our place, to check the harness, has nothing that only Valkey has.
        let foreign = env("IRONRING_STOCK").is_some() && is_valkeys(path);
        if foreign || !transcript.cores.contains(&cores) {
            continue;
        }
        for protocol in transcript.protocols() {
            let server = Server::start(&Program::Ours { cores }, &transcript.config);
            for failure in transcript.check(&server, protocol) {
                failures.push(format!("{failure} [{cores} cores, {protocol:?}]"));
            }
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} differences in {} transcripts:\n\n{}",
        paths.len(),
        failures.join("\n\n")
    );
}

/// Rewrites the expectations of the transcripts that are this oracle's.
fn record(oracle: &Path) {
    let program = Program::Stock(oracle.to_owned());
    let is_valkey =
        Server::start(&program, &[]).info("server", "server_name").as_deref() == Some("valkey");
    for path in transcript_paths() {
        if is_valkeys(&path) != is_valkey {
            continue;
        }
        let mut transcript = Transcript::read(&path).unwrap_or_else(|e| panic!("{e}"));
        for protocol in transcript.protocols() {
            let server = Server::start(&program, &transcript.config);
            transcript.record(&server, protocol);
        }
        transcript.write();
    }
}

/// Whether a transcript is about what only Valkey has.
fn is_valkeys(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".valkey.resp")
}

fn record_from() -> Option<PathBuf> {
    env("RECORD")?;
    Some(PathBuf::from(env("ORACLE").expect("RECORD needs ORACLE, the path of a stock server")))
}

/// All transcripts, or those that TRANSCRIPT chooses, in a stable order.
fn transcript_paths() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder of transcripts") {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "resp") {
                paths.push(path);
            }
        }
    }
    let chosen = env("TRANSCRIPT").unwrap_or_default();
    paths.retain(|path| path.to_string_lossy().contains(&chosen));
    paths.sort();
    assert!(!paths.is_empty(), "no transcript is called {chosen:?}");
    paths
}

/// Support code that every other test rests on: framing and quoting, without a server.
mod framing {
    use super::support::quote::{join, split};
    use super::support::reply::{Rule, complete_length, render};

    #[test]
    fn a_reply_ends_where_its_last_element_ends() {
        let replies: [&[u8]; 9] = [
            b"+OK\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$4\r\na\r\nb\r\n",
            b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            b"%1\r\n+k\r\n*0\r\n",
            b"|1\r\n+ttl\r\n:5\r\n$1\r\nv\r\n",
            b">2\r\n+message\r\n_\r\n",
            b"*-1\r\n",
        ];
        for raw in replies {
            for cut in 0..raw.len() {
                assert_eq!(complete_length(&raw[..cut]), Ok(None), "{raw:?} cut at {cut}");
            }
            let followed = [raw, b":7\r\n"].concat();
            assert_eq!(complete_length(&followed), Ok(Some(raw.len())), "{raw:?}");
        }
        assert!(complete_length(b"what\r\n").is_err());
        assert!(complete_length(b"$x\r\n").is_err());
    }

    #[test]
    fn the_readable_form_shows_every_byte() {
        let raw = b"*3\r\n$4\r\na\r\nb\r\n$0\r\n\r\n*1\r\n$2\r\n \x00\r\n";
        let lines = ["*3", "  $4 a\\r\\nb", "  $0", "  *1", "    $2  \\x00"];
        assert_eq!(render(raw, Rule::Exact), lines);
        assert_eq!(render(b"+a \r\n", Rule::Exact), ["+a\\x20"]);
    }

    #[test]
    fn rules_leave_out_what_they_say() {
        let raw = b"*2\r\n:2\r\n:1\r\n";
        assert_eq!(render(raw, Rule::Sorted), ["*2", "  :1", "  :2"]);
        assert_eq!(render(raw, Rule::Ints), ["*2", "  :...", "  :..."]);
        assert_eq!(render(raw, Rule::Type), ["*..."]);
        assert_eq!(render(b"$10\r\nid=1 db=0 \r\n", Rule::Fields), ["$5 id db"]);
        let line = |n: i32| vec![format!(":{n}")];
        assert!(Rule::Near(5).agree(&line(100), &line(96)));
        assert!(!Rule::Near(5).agree(&line(1), &line(-1)));
    }

    #[test]
    fn quoting_survives_a_round_trip() {
        let argv: [&[u8]; 7] = [b"SET", b"", b"a b", b"\"\\'", b"\x00\xff\r\n\t", b"'", b"plain"];
        assert_eq!(split(&join(&argv)).expect("well-formed"), argv);
        assert_eq!(split(r"  GET   'it\'s' ").expect("well-formed"), [&b"GET"[..], b"it's"]);
        assert!(split("\"open").is_err());
        assert!(split("\"a\"b").is_err());
    }
}
