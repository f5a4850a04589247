//! docs/MIGRATING.md, step by step: every command of its blocks is run as it stands there.

use std::fs;

use crate::data::assert_same;
use crate::support::server::{Program as Binary, Server};
use crate::{CORES, ask, info, oracle, start, wait_in_sync};

/// The commands that the page gives to one of the two servers, in order: true for the new one.
fn commands() -> Vec<(bool, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/MIGRATING.md");
    let text = fs::read_to_string(page).expect("the page");
    let of_cli = |line: &str| {
        let line = line.trim().strip_prefix("redis-cli -p ")?;
        let (port, command) = line.split_once(' ')?;
        Some((port == "NEW", command.to_owned()))
    };
    text.lines().filter_map(of_cli).collect()
}

#[test]
fn the_page_leads_there_and_back() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        let old = start(&stock, &[]);
        ask(&old, "SET first 1");
        ask(&old, "RPUSH list a b c");
        let place = format!("127.0.0.1 {}", old.port());
        let new = start_following(cores, &place);
        wait_in_sync(&old, &new);
        assert_same(&old, &new, "in");
        for (is_new, command) in commands() {
            let (server, other) = if is_new { (&new, &old) } else { (&old, &new) };
            let command = command.replace("NEW", &new.port().to_string());
            let command = command.replace("OLD", &old.port().to_string());
            let reply = ask(server, &command);
            assert!(reply.starts_with("+OK") || reply.starts_with('$'), "{command}: {reply}");
            if command.ends_with("NO ONE") {
                // Clients write to the one that has taken over.
                assert_eq!(ask(server, &format!("SET written-by-{is_new} 1")), "+OK");
            } else if command.starts_with("REPLICAOF") {
                wait_in_sync(other, server);
                assert_same(other, server, &command);
            }
        }
        assert_eq!(info(&old, "role"), "master");
        assert_eq!(ask(&old, "EXISTS written-by-true written-by-false"), ":2");
        assert_eq!(old.info("stats", "sync_full").as_deref(), Some("1"), "the first one");
        assert_eq!(new.info("stats", "sync_full").as_deref(), Some("0"), "no way costs another");
    }
}

fn start_following(cores: usize, place: &str) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("replica.conf");
    fs::write(&file, format!("replicaof {place}\n")).expect("a file");
    let path = file.to_str().expect("a path that is text");
    start(&Binary::Ours { cores }, &[("include", path)])
}
