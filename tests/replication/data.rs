//! What a server holds, by reading all of it; and writes of all types.

use std::collections::BTreeMap;

use crate::program::{Action, Oracle, Program};
use crate::support::client::Client;
use crate::support::server::Server;
use crate::{ask, call};

/// True if a server knows a command.
pub(crate) fn knows(server: &Server, command: &str) -> bool {
    !ask(server, &format!("COMMAND INFO {command}")).ends_with("-1")
}

/// Every key of every database with its type, its expiry and its value, as replies. Of the expiry only
/// whether there is one, unless `is_exact`.
fn contents(server: &Server, is_exact: bool) -> BTreeMap<(usize, Vec<u8>), String> {
    let mut client = server.client();
    let mut all = BTreeMap::new();
    for db in 0..16 {
        call(&mut client, &format!("SELECT {db}"));
        for key in words(&reply(&mut client, &[b"KEYS", b"*"])) {
            let kind = String::from_utf8_lossy(&reply(&mut client, &[b"TYPE", &key])).into_owned();
            let is_sorted = matches!(kind.trim_end(), "+set" | "+hash");
            let read: &[&[u8]] = match kind.trim_end() {
                "+string" => &[b"GET", &key],
                "+list" => &[b"LRANGE", &key, b"0", b"-1"],
                "+set" => &[b"SMEMBERS", &key],
                "+hash" => &[b"HGETALL", &key],
                "+zset" => &[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"],
                "+stream" => &[b"XRANGE", &key, b"-", b"+"],
                // It has expired meanwhile.
                _ => continue,
            };
            let mut value = reply(&mut client, read);
            if is_sorted {
                let mut parts = words(&value);
                if kind.trim_end() == "+hash" {
                    let pairs = parts.chunks(2).map(|pair| pair.join(&b'='));
                    parts = pairs.collect();
                }
                parts.sort();
                value = parts.join(&b'|');
            }
            let command: &[u8] = if is_exact { b"PEXPIRETIME" } else { b"PTTL" };
            let expiry = reply(&mut client, &[command, &key]);
            let expiry = String::from_utf8_lossy(&expiry);
            let expiry = match expiry.trim_end() {
                persists if persists.starts_with(":-") => persists,
                when if is_exact => when,
                _ => "some time",
            };
            let shown = format!("{} {expiry} {}", kind.trim_end(), value.escape_ascii());
            all.insert((db, key), shown);
        }
    }
    client.quit();
    all
}

/// Panics if two servers do not hold the same.
pub(crate) fn assert_same(primary: &Server, replica: &Server, context: &str) {
    let is_exact = [primary, replica].iter().all(|server| knows(server, "PEXPIRETIME"));
    let (wanted, found) = (contents(primary, is_exact), contents(replica, is_exact));
    for (key, value) in &wanted {
        let name = (key.0, key.1.escape_ascii().to_string());
        assert_eq!(found.get(key), Some(value), "{context}: key {name:?}");
    }
    for key in found.keys() {
        let name = (key.0, key.1.escape_ascii().to_string());
        assert!(wanted.contains_key(key), "{context}: the replica alone has {name:?}");
    }
    let digests = [primary, replica].map(|server| ask(server, "DEBUG DIGEST"));
    assert_eq!(digests[0], digests[1], "{context}: DEBUG DIGEST");
}

/// Runs a random program of all types; replies are not looked at.
pub(crate) fn run_program(client: &mut Client, seed: u64, facts: &Oracle) {
    for step in Program::generate(seed, facts).steps {
        let Action::Command(argv, _) = step.action else { continue };
        let name = String::from_utf8_lossy(&argv[0]).to_ascii_uppercase();
        if OF_CONNECTIONS.contains(&name.as_str()) {
            continue;
        }
        let _ = client.call(&argv);
    }
}

/// What a program may ask of a server.
pub(crate) fn facts_of(server: &Server) -> Oracle {
    let version = server.info("server", "redis_version").unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let series = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let mut client = server.client();
    let list = reply(&mut client, &[b"COMMAND", b"LIST"]);
    client.quit();
    let upper = |name: &Vec<u8>| String::from_utf8_lossy(name).to_ascii_uppercase();
    Oracle { series, commands: words(&list).iter().map(upper).collect() }
}

fn reply(client: &mut Client, argv: &[&[u8]]) -> Vec<u8> {
    client.call(argv).expect("a reply")
}

/// The bulk strings of a flat array.
fn words(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = reply;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..at - 1];
        rest = &rest[at + 1..];
        if let Some(len) = line.strip_prefix(b"$") {
            let len: usize = String::from_utf8_lossy(len).parse().expect("a length");
            words.push(rest[..len].to_vec());
            rest = &rest[len + 2..];
        }
    }
    words
}

/// What would change the connection and not the data.
const OF_CONNECTIONS: [&str; 14] = [
    "AUTH",
    "HELLO",
    "RESET",
    "CLIENT",
    "QUIT",
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "MONITOR",
    "DEBUG",
    "CONFIG",
    "WAIT",
    "SCAN",
    "ACL",
];
